"""`tokengraph ingest`: loads files of usage records, with a progress bar and a receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.ingest_follow import follow_files
from app.cli.ingest_receipt import FilesReceipt, print_receipt
from app.cli.keys import TENANT_PATTERN
from app.cli.main import app
from app.cli.session import run_with_database
from app.db.engine import Database
from app.domain.errors import BadInputError
from app.domain.time_range import system_clock
from app.ingest.files import iter_batches
from app.ingest.inputs import FileFormat, Found, find_files, is_compressed, is_standard_input, printable, read_map, size_of
from app.ingest.sources.choice import SourceName
from app.ingest.tables import ReadOptions
from app.settings import load
from app.write.batch import Ingestor

_MAX_SKIPPED = 10


@app.command("ingest")
def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, directories; '-' is standard input (NDJSON by default).")],
    file_format: Annotated[FileFormat | None, typer.Option("--format", help="Format of the files; default: by their extension.")] = None,
    source: Annotated[SourceName | None, typer.Option(help="Format of the rows; default: recognised by their columns.")] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE.yaml", help="Mapping of columns to fields, for any other table.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant of requests that name none; other tenants are refused.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
    is_followed: Annotated[
        bool, typer.Option("--follow", help="Read lines that are appended to NDJSON files, until Ctrl-C or SIGTERM.")
    ] = False,
) -> None:
    """Load files of usage records.

    Run it again to complete an interrupted load. Exit 1 if a record was rejected or quarantined, or a file could not be read.
    """
    if tenant is not None and TENANT_PATTERN.fullmatch(tenant) is None:
        raise BadInputError("--tenant must be 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    if map_file is not None and source is not None:
        raise BadInputError("--map and --source exclude each other")
    options = ReadOptions(system_clock(), tenant, source if map_file is None else read_map(map_file))
    if is_followed:
        _refuse_to_follow(files, file_format)
        with _printed_receipt(as_json) as total:
            follow_files(files, options, total)
        return
    found = find_files(files, file_format)
    _warn_skipped(found)
    with _printed_receipt(as_json) as total:
        run_with_database(load(), lambda database: _write_all(database, found, options, total))


@contextmanager
def _printed_receipt(as_json: bool) -> Iterator[FilesReceipt]:
    """Yield a receipt to add to; print it also after an error, because earlier batches are stored."""
    total = FilesReceipt()
    try:
        yield total
    finally:
        if as_json:
            typer.echo(json.dumps(total.as_json()))
        else:
            print_receipt(total)
    if not total.is_clean:
        raise typer.Exit(1)


async def _write_all(database: Database, found: Found, options: ReadOptions, total: FilesReceipt) -> None:
    ingestor = Ingestor(database)
    with _progress() as bar:
        for path, file_format in found.files:
            task = bar.add_task(printable(path.name), total=size_of(path))
            try:
                for part in iter_batches(path, file_format, options):
                    total.add(printable(path), part.parsed, await ingestor.ingest(part.parsed))
                    bar.update(task, completed=part.bytes_read)
            except BadInputError as error:
                # The other files are still read: running again for one file reads all of them.
                total.failures.append(error.message)


def _refuse_to_follow(files: list[Path], file_format: FileFormat | None) -> None:
    """Raise BadInputError for files and formats that cannot be followed."""
    if file_format not in (None, "ndjson"):
        raise BadInputError("--follow reads NDJSON only: other formats must be complete")
    for path in files:
        if is_compressed(path):
            raise BadInputError(f"{printable(path)}: a compressed file cannot be followed; read it once, without --follow")
        if not is_standard_input(path) and path.is_dir():
            raise BadInputError(f"{printable(path)}: --follow takes files, not directories")


def _warn_skipped(found: Found) -> None:
    names = [printable(path) for path in found.left_out[:_MAX_SKIPPED]]
    if names:
        more = len(found.left_out) - len(names)
        typer.echo(f"not read, because of an unknown extension: {', '.join(names)}{f' and {more} more' if more else ''}", err=True)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
