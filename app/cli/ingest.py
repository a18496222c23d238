"""`tokengraph ingest`: files of usage records through the one write, with a progress bar and a receipt."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.keys import TENANT_PATTERN
from app.cli.main import app
from app.cli.session import run_with_database
from app.db.engine import Database
from app.domain.errors import BadInputError
from app.domain.time_range import system_clock
from app.ingest.batch import Ingestor
from app.ingest.files import FileFormat, detect_format, iter_batches
from app.ingest.receipt import Receipt
from app.settings import load

_MAX_ERRORS = 100


@dataclass(slots=True)
class FileReceipt:
    """The sum of the receipts of many batches, with the first errors."""

    received: int = 0
    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)
    private_models: set[str] = field(default_factory=set)

    def add(self, path: Path, receipt: Receipt) -> None:
        """Take a batch's receipt in."""
        self.received += receipt.received
        self.inserted += receipt.inserted
        self.duplicates += receipt.duplicates
        self.rejected += receipt.rejected
        for error in receipt.errors[: _MAX_ERRORS - len(self.errors)]:
            self.errors.append({"file": str(path), "index": error.index, "field": error.field, "message": error.message})
        self.unknown_fields.update(receipt.unknown_fields)
        self.private_models.update(receipt.private_models)

    def as_json(self) -> dict[str, Any]:
        """Return the documented receipt, over all files; at most 100 errors."""
        answer: dict[str, Any] = {
            "received": self.received,
            "inserted": self.inserted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "errors": self.errors,
        }
        if self.unknown_fields:
            answer["unknown_fields"] = sorted(self.unknown_fields)
        if self.private_models:
            answer["private_models"] = sorted(self.private_models)
        return answer


@app.command("ingest")
def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files; '-' is standard input.")],
    file_format: Annotated[
        Literal["ndjson", "csv", "parquet"] | None, typer.Option("--format", help="By the file's name if not given.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant of records that name none; others are rejected.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Write files of usage records. A load that was cut off is completed by running it again. Exit 1 if anything was rejected."""
    if tenant is not None and TENANT_PATTERN.fullmatch(tenant) is None:
        raise BadInputError("--tenant must be 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    inputs: list[tuple[Path, FileFormat]] = [
        (path, file_format or ("ndjson" if str(path) == "-" else detect_format(path))) for path in files
    ]

    total = FileReceipt()

    async def work(database: Database) -> None:
        ingestor = Ingestor(database)
        with _progress() as bar:
            for path, kind in inputs:
                size = path.stat().st_size if path.is_file() else None
                task = bar.add_task(path.name, total=size)
                for part in iter_batches(path, kind, now=system_clock(), tenant_id=tenant):
                    total.add(path, await ingestor.ingest(part.parsed))
                    bar.update(task, completed=part.bytes_read)

    try:
        run_with_database(load(), work)
    finally:
        # What went in before an unreadable part of a file is said, too.
        if as_json:
            typer.echo(json.dumps(total.as_json()))
        elif total.received:
            _print_receipt(total)
    if total.rejected:
        raise typer.Exit(1)


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


def _print_receipt(receipt: FileReceipt) -> None:
    typer.echo(
        f"received {receipt.received:,}  inserted {receipt.inserted:,}  duplicates {receipt.duplicates:,}  rejected {receipt.rejected:,}"
    )
    for error in receipt.errors:
        where = f"{error['file']}, record {error['index']}" + ("" if error["field"] is None else f", {error['field']}")
        typer.echo(f"{where}: {error['message']}", err=True)
    if receipt.unknown_fields:
        typer.echo(f"unknown fields, not stored: {', '.join(sorted(receipt.unknown_fields))}", err=True)
    if receipt.private_models:
        typer.echo(f"new models, private until `tokengraph catalog publish`: {', '.join(sorted(receipt.private_models))}", err=True)
