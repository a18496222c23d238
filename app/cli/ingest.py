"""`tokengraph ingest`: files of requests through the one write, with a progress bar and a receipt."""

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

_MAX_LEFT_OUT = 10


@app.command("ingest")
def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, directories; '-' is standard input (NDJSON by default).")],
    file_format: Annotated[FileFormat | None, typer.Option("--format", help="By the file's name if not given.")] = None,
    source: Annotated[SourceName | None, typer.Option(help="What the rows are; recognised by their columns if not given.")] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE.yaml", help="Which columns hold what, for any other table.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant of requests that name none; others are refused.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
    is_followed: Annotated[
        bool, typer.Option("--follow", help="Go on with what is appended to NDJSON files, until Ctrl-C or SIGTERM.")
    ] = False,
) -> None:
    """Write files of requests.

    A load that was cut off is completed by running it again. Exit 1 if anything was rejected or quarantined, or a file could not be read.
    """
    if tenant is not None and TENANT_PATTERN.fullmatch(tenant) is None:
        raise BadInputError("--tenant must be 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    if map_file is not None and source is not None:
        raise BadInputError("--map says itself what the rows are: leave --source out")
    options = ReadOptions(system_clock(), tenant, source if map_file is None else read_map(map_file))
    if is_followed:
        _refuse_to_follow(files, file_format)
        with _told_at_the_end(as_json) as total:
            follow_files(files, options, total)
        return
    found = find_files(files, file_format)
    _name_left_out(found)
    with _told_at_the_end(as_json) as total:
        run_with_database(load(), lambda database: _write_all(database, found, options, total))


@contextmanager
def _told_at_the_end(as_json: bool) -> Iterator[FilesReceipt]:
    """Yield a receipt to add to; print it whatever happens, because what went in before an error is in."""
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
                # The other files are read all the same: to run again for one is to read all of them.
                total.failures.append(error.message)


def _refuse_to_follow(files: list[Path], file_format: FileFormat | None) -> None:
    """Raise BadInputError for what cannot be followed."""
    if file_format not in (None, "ndjson"):
        raise BadInputError("--follow reads NDJSON: of other formats the end must be there")
    for path in files:
        if is_compressed(path):
            raise BadInputError(f"{printable(path)}: a compressed file cannot be followed; read it once, without --follow")
        if not is_standard_input(path) and path.is_dir():
            raise BadInputError(f"{printable(path)}: --follow takes files, not directories")


def _name_left_out(found: Found) -> None:
    names = [printable(path) for path in found.left_out[:_MAX_LEFT_OUT]]
    if names:
        more = len(found.left_out) - len(names)
        typer.echo(f"not read, because their names say no known format: {', '.join(names)}{f' and {more} more' if more else ''}", err=True)


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
