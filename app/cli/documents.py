"""`tokengraph documents`: register the documents of a client's manifest, list trusted documents. A server may be running."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.main import app
from app.domain.errors import BadInputError
from app.execution.documents import Document, ManifestError, Merge, conflict_of, encode_manifest, merge_documents, parse_manifest
from app.execution.engine import Engine, Prepared
from app.ingest.inputs import printable
from app.resolvers.engine import build_engine
from app.resolvers.schema import build_schema
from app.settings import load
from app.web.documents import documents_path, manifest_files, read_manifest

_CLIENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_TOLD = 20

documents = typer.Typer(help="Trusted documents, which clients run by id.", no_args_is_help=True)
app.add_typer(documents, name="documents")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@documents.command("sync")
def sync(
    manifest: Annotated[Path, typer.Argument(help="An Apollo manifest, or a JSON object of texts by id (Relay, graphql-codegen).")],
    client: Annotated[str, typer.Option(metavar="NAME", help="Client that uses the documents; each client has its own set.")] = "default",
    prune: Annotated[bool, typer.Option("--prune", help="Remove the client's documents that are not in the manifest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register the documents of a manifest: all of them, or none if one is invalid. Running it again changes nothing."""
    if not _CLIENT.fullmatch(client):
        raise BadInputError("--client must be 1 to 64 letters, digits, dots, dashes and underscores, and may not begin with a dot")
    given = _read(manifest)
    if not given:
        raise BadInputError(f"{printable(manifest)} has no documents; nothing was changed")
    _validate(given)
    folder = documents_path(load())
    with _locked(folder):
        merge = _merge(folder, f"{client}.json", given, prune=prune)
        if merge.added or merge.pruned:
            _replace(folder / f"{client}.json", encode_manifest(merge.documents))
    counts = {
        "documents": len(merge.documents),
        "added": len(merge.added),
        "unchanged": len(merge.unchanged),
        "pruned": len(merge.pruned),
    }
    if as_json:
        typer.echo(json.dumps(counts))
        return
    typer.echo("  ".join(f"{name} {count:,}" for name, count in counts.items()))


@documents.command("list")
def list_documents(as_json: AsJson = False) -> None:
    """List the trusted documents by client and id. Exit 1 if one of them is invalid."""
    folder = documents_path(load())
    engine = build_engine(build_schema())
    rows: list[tuple[str, Document, Prepared]] = []
    for file in _files(folder):
        rows += [(file.stem, document, engine.prepare(document.text)) for document in _read(file)]
    listed = [
        {
            "id": document.id,
            "client": client,
            "operations": [{"name": name, "type": kind} for name, kind in _operations(prepared)],
            "characters": len(document.text),
            "error": prepared.errors[0].message if prepared.errors else None,
        }
        for client, document, prepared in rows
    ]
    if as_json:
        typer.echo(json.dumps(listed))
    else:
        _print_table(rows)
    if any(prepared.errors for _, _, prepared in rows):
        raise typer.Exit(1)


def _print_table(rows: list[tuple[str, Document, Prepared]]) -> None:
    table = Table("id", "client", "operations", "characters", "error")
    for client, document, prepared in rows:
        operations = ", ".join(kind if name is None else f"{kind} {name}" for name, kind in _operations(prepared))
        error = prepared.errors[0].message if prepared.errors else ""
        cells = (document.id, client, operations, f"{len(document.text):,}", error)
        # As Text, because a manifest must not be parsed as markup; ids are not wrapped, so that they can be copied.
        table.add_row(*(Text(printable(cell), no_wrap=number == 0) for number, cell in enumerate(cells)))
    console = Console()
    (console if console.is_terminal else Console(width=400)).print(table)
    typer.echo(f"{len(rows):,} {'document' if len(rows) == 1 else 'documents'}")


def _operations(prepared: Prepared) -> list[tuple[str | None, str]]:
    alone = len(prepared.operations) == 1  # without a name
    return [(name, kind.value) for name, kind in prepared.operations.items() if name is not None or alone]


def _read(file: Path) -> tuple[Document, ...]:
    try:
        return read_manifest(file)
    except ManifestError as error:
        raise BadInputError(f"{printable(file)} {error}") from None


def _files(folder: Path) -> list[Path]:
    try:
        return manifest_files(folder)
    except OSError as error:
        raise BadInputError(f"{printable(folder)} cannot be read: {error.strerror}") from None


def _validate(given: tuple[Document, ...]) -> None:
    engine: Engine = build_engine(build_schema())
    wrong = [(document, prepared.errors[0]) for document in given if (prepared := engine.prepare(document.text)).errors]
    for document, error in wrong[:_TOLD]:
        place = "" if not error.locations else f" (line {error.locations[0].line})"
        typer.echo(f"{printable(document.id)}: {printable(error.message)}{place}", err=True)
    if wrong:
        raise BadInputError(f"{len(wrong):,} of {len(given):,} documents are invalid in the schema; nothing was stored")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for changes by this process; create it if needed."""
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInputError(f"{printable(folder)} is a single manifest: replace the file, or set a folder")
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise BadInputError(f"{printable(folder)} cannot be written: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _merge(folder: Path, name: str, given: tuple[Document, ...], *, prune: bool) -> Merge:
    stored: tuple[Document, ...] = ()
    try:
        by_id = {document.id: document for document in given}
        for file in _files(folder):
            found = _read(file)
            if file.name == name:
                stored = found
            for document in found:
                if document.id in by_id and by_id[document.id] != document:
                    raise ManifestError(f"{conflict_of(document)} ({printable(file)})")
        merge = merge_documents(stored, given, prune=prune)
        parse_manifest(encode_manifest(merge.documents))  # a server must be able to read it
        return merge
    except ManifestError as error:
        raise BadInputError(f"{error}; nothing was stored") from None


def _replace(file: Path, content: bytes) -> None:
    """Replace a file atomically, so that no server reads a part of it."""
    draft = file.with_name(f".{file.name}.new")
    try:
        with draft.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise BadInputError(f"{printable(file)} cannot be written: {error.strerror}; nothing was stored") from None
