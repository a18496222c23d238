"""The receipt of several files: the sums of their batches' receipts and the first errors, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import typer

from app.domain.usage import ParsedBatch
from app.write.receipt import Receipt

MAX_ERRORS: Final = 100
_MAX_NAMES: Final = 1000


@dataclass(slots=True)
class FilesReceipt:
    """The sum of the receipts of many batches, with the first 100 errors and the first 100 reasons of quarantine."""

    received: int = 0
    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    quarantined: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Why a file, or the rest of it, could not be read."""
    unknown_fields: set[str] = field(default_factory=set)
    private_models: set[str] = field(default_factory=set)
    prints_at_once: bool = False
    """Whether errors are printed when they occur, not at the end."""

    @property
    def is_clean(self) -> bool:
        """Whether all records are stored."""
        return not (self.rejected or self.quarantined or self.failures)

    def add(self, name: str, parsed: ParsedBatch, receipt: Receipt) -> None:
        """Add the receipt of a batch of the file `name`."""
        self.received += receipt.received
        self.inserted += receipt.inserted
        self.duplicates += receipt.duplicates
        self.rejected += receipt.rejected
        self.quarantined += receipt.quarantined
        before = len(self.errors), len(self.reasons)
        for error in receipt.errors[: MAX_ERRORS - len(self.errors)]:
            self.errors.append({"file": name, "index": error.index, "field": error.field, "message": error.message})
        for item in parsed.quarantined[: MAX_ERRORS - len(self.reasons)]:
            for reason in item.reasons[: MAX_ERRORS - len(self.reasons)]:
                self.reasons.append({"file": name, "index": item.index, "field": reason.field, "message": reason.message})
        if self.prints_at_once:
            _print_errors(self.errors[before[0] :], self.reasons[before[1] :])
        _add_names(self.unknown_fields, receipt.unknown_fields)
        _add_names(self.private_models, receipt.private_models)

    def as_json(self) -> dict[str, Any]:
        """Return the documented receipt over all files; optional members only if they are not empty."""
        answer: dict[str, Any] = {
            "received": self.received,
            "inserted": self.inserted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "errors": self.errors,
        }
        if self.quarantined:
            answer["quarantined"] = self.quarantined
            answer["quarantine_reasons"] = self.reasons
        if self.failures:
            answer["failed_files"] = self.failures
        if self.unknown_fields:
            answer["unknown_fields"] = sorted(self.unknown_fields)
        if self.private_models:
            answer["private_models"] = sorted(self.private_models)
        return answer


def _add_names(known: set[str], names: Iterable[str]) -> None:
    for name in names:
        if len(known) < _MAX_NAMES:
            known.add(name)


def _print_errors(errors: Iterable[dict[str, Any]], reasons: Iterable[dict[str, Any]]) -> None:
    for what, listed in (("", errors), (" (quarantined)", reasons)):
        for error in listed:
            where = f"{error['file']}, record {error['index']}" + ("" if error["field"] is None else f", {error['field']}")
            typer.echo(f"{where}: {error['message']}{what}", err=True)


def print_receipt(receipt: FilesReceipt) -> None:
    """Print the sums to standard output, and errors to standard error."""
    if receipt.received:
        counts = {
            "received": receipt.received,
            "inserted": receipt.inserted,
            "duplicates": receipt.duplicates,
            "rejected": receipt.rejected,
            **({"quarantined": receipt.quarantined} if receipt.quarantined else {}),
        }
        typer.echo("  ".join(f"{name} {count:,}" for name, count in counts.items()))
    if not receipt.prints_at_once:
        _print_errors(receipt.errors, receipt.reasons)
    for failure in receipt.failures:
        typer.echo(f"error: {failure}", err=True)
    if receipt.unknown_fields:
        typer.echo(f"unknown fields, not stored: {', '.join(sorted(receipt.unknown_fields))}", err=True)
    if receipt.private_models:
        typer.echo(f"new models, private until `tokengraph catalog publish`: {', '.join(sorted(receipt.private_models))}", err=True)
