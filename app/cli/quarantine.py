"""`tokengraph quarantine`: list, show, release and drop quarantined records. A server may be running."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.main import app
from app.cli.session import run_with_database
from app.db.engine import Database
from app.domain.errors import BadInputError, NotFoundError
from app.domain.time_range import format_instant, format_seconds, system_clock
from app.domain.usage import Reason, UsageRecord
from app.graph.quarantine import (
    QuarantinedRow,
    QuarantineFilter,
    Span,
    count_waiting,
    fetch_quarantined,
    fetch_quarantined_record,
)
from app.ingest.inputs import printable
from app.ingest.release import (
    MAX_IDS,
    ONE_REQUEST_ID,
    DropReceipt,
    ReleaseReceipt,
    drop_quarantined,
    read_ids,
    release_quarantined,
)
from app.settings import load
from app.write.quarantine import QUARANTINE_LIMIT

_LISTED = 100
_TOLD = 100

quarantine = typer.Typer(help="Quarantined records.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="The ids that `quarantine list` shows.")]
AllOf = Annotated[str | None, typer.Option("--all-of", metavar="SOURCE", help="All waiting records of a source, instead of ids.")]


@quarantine.command("list")
def list_waiting(
    source: Annotated[str | None, typer.Option(help="Only records of this source, such as otlp.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only records of this tenant: the sender's, else that of the record.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=QUARANTINE_LIMIT, help="Maximum number of records.")] = _LISTED,
    include_resolved: Annotated[bool, typer.Option("--all", help="Include released and dropped records.")] = False,
    as_json: AsJson = False,
) -> None:
    """List waiting records, oldest first."""
    wanted = QuarantineFilter(source, tenant, include_resolved)

    async def work(database: Database) -> tuple[list[QuarantinedRow], int]:
        return await fetch_quarantined(database, wanted, limit), await count_waiting(database, wanted)

    rows, waiting = run_with_database(load(), work)
    if as_json:
        typer.echo(json.dumps([_as_json(row) for row in rows]))
        return
    table = Table("id", "received", "source", "tenant", "request", "errors", *(["decided"] if include_resolved else []))
    for row in rows:
        texts = [_format_reason(reason) for reason in _reasons(row)]
        cells = [
            str(row.id),
            format_seconds(row.received_at),
            row.source,
            row.tenant_id or "",
            row.request_id or "",
            "".join(texts[:1]) + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""),
            *([row.resolution or ""] if include_resolved else []),
        ]
        # As Text, because values of senders must not be parsed as markup; ids are not wrapped, so that they can be copied.
        table.add_row(*(Text(printable(cell), no_wrap=number == 0) for number, cell in enumerate(cells)))
    console = Console()
    if console.is_terminal:
        console.print(table)
    else:
        # A file or a pipe has no width.
        Console(width=400).print(table)
    typer.echo(f"{waiting:,} {'record waits' if waiting == 1 else 'records wait'}")


@quarantine.command("show")
def show(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="An id that `quarantine list` shows.")], as_json: AsJson = False
) -> None:
    """Show one record: its values as they were read, and the errors."""
    known, _ = read_ids([record_id])
    row = run_with_database(load(), lambda database: fetch_quarantined_record(database, known[0])) if known else None
    if row is None:
        raise NotFoundError(f"no quarantined record has the id {printable(record_id)}")
    if as_json:
        typer.echo(json.dumps(_as_json(row)))
        return
    decided = "waits" if row.resolved_at is None else f"{row.resolution} at {format_seconds(row.resolved_at)}"
    sender = "" if row.sender_tenant_id is None else f", by a key of tenant {row.sender_tenant_id}"
    typer.echo(f"{row.id}: {decided}; received from {row.source} at {format_seconds(row.received_at)}{sender}")
    for reason in _reasons(row):
        typer.echo(f"  error: {_format_reason(reason)}")
    for name, value in row.record.items():
        typer.echo(f"  {printable(name)} = {printable(json.dumps(value, ensure_ascii=False))}")


@quarantine.command("release")
def release(
    ids: Ids = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Replace a stored value; FIELD= removes it. Repeatable."),
    ] = None,
    all_of: AllOf = None,
    as_json: AsJson = False,
) -> None:
    """Write waiting records, with changes, and mark them as released. Exit 1 if any of them is not released."""
    changes = parse_settings(settings or [])
    _check_choice(ids, all_of)
    if all_of is not None and changes.get("request_id") is not None:
        raise BadInputError(ONE_REQUEST_ID)
    total = ReleaseReceipt()

    async def work(database: Database) -> None:
        async for some in _chosen(database, ids or [], all_of):
            _add_release(total, await release_quarantined(database, some, changes, system_clock()))

    try:
        run_with_database(load(), work)
    finally:
        _print_release(total, as_json)
    if total.still_quarantined or total.dropped_before or total.not_found:
        raise typer.Exit(1)


@quarantine.command("drop")
def drop(
    ids: Ids = None,
    all_of: AllOf = None,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation with --all-of.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop waiting records; they cannot be restored. Exit 1 if any of them is not dropped."""
    _check_choice(ids, all_of)
    if all_of is not None and not is_sure:
        typer.confirm(f"Drop all waiting records of {printable(all_of)}?", abort=True, err=True)
    total = DropReceipt()

    async def work(database: Database) -> None:
        async for some in _chosen(database, ids or [], all_of):
            _add_drop(total, await drop_quarantined(database, some, system_clock()))

    try:
        run_with_database(load(), work)
    finally:
        _print_drop(total, as_json)
    if total.released_before or total.not_found:
        raise typer.Exit(1)


def parse_settings(settings: Iterable[str]) -> dict[str, object]:
    """Parse `field=value` into changes by field name; an empty value removes one. BadInputError: unknown or repeated field."""
    changes: dict[str, object] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in UsageRecord._fields:
            raise BadInputError(f"--set {printable(text)}: must be FIELD=VALUE, with a field of the usage record")
        if name in changes:
            raise BadInputError(f"--set {name}: is given twice")
        changes[name] = value or None
    return changes


def _check_choice(ids: list[str] | None, all_of: str | None) -> None:
    if bool(ids) == (all_of is not None):
        raise BadInputError("give ids, or --all-of SOURCE")


async def _chosen(database: Database, ids: list[str], all_of: str | None) -> AsyncIterator[list[str]]:
    """Yield the ids in parts of at most MAX_IDS; of a source, the ids of its waiting records, each once."""
    if all_of is None:
        for first in range(0, len(ids), MAX_IDS):
            yield ids[first : first + MAX_IDS]
        return
    rows = await fetch_quarantined(database, QuarantineFilter(all_of), MAX_IDS)
    while rows:
        yield [str(row.id) for row in rows]
        rows = await fetch_quarantined(database, QuarantineFilter(all_of), MAX_IDS, Span(after=rows[-1].position))


def _add_release(total: ReleaseReceipt, part: ReleaseReceipt) -> None:
    total.released += part.released
    total.duplicates += part.duplicates
    total.released_before += part.released_before
    total.dropped_before += part.dropped_before
    total.still_quarantined += part.still_quarantined
    total.not_found += part.not_found


def _add_drop(total: DropReceipt, part: DropReceipt) -> None:
    total.dropped += part.dropped
    total.released_before += part.released_before
    total.dropped_before += part.dropped_before
    total.not_found += part.not_found


def _print_release(total: ReleaseReceipt, as_json: bool) -> None:
    counts = {
        "released": total.released,
        "duplicates": total.duplicates,
        "released_before": total.released_before,
        "dropped_before": total.dropped_before,
    }
    if as_json:
        still = [{"id": item.id, "reasons": [_reason_json(reason) for reason in item.reasons]} for item in total.still_quarantined]
        typer.echo(json.dumps({**counts, "still_quarantined": still, "not_found": total.not_found}))
        return
    _print_counts({**counts, "still quarantined": len(total.still_quarantined), "not found": len(total.not_found)})
    for item in total.still_quarantined[:_TOLD]:
        for reason in item.reasons:
            typer.echo(f"{item.id}: {_format_reason(reason)}", err=True)
    _print_not_found(total.not_found)


def _print_drop(total: DropReceipt, as_json: bool) -> None:
    counts = {"dropped": total.dropped, "released_before": total.released_before, "dropped_before": total.dropped_before}
    if as_json:
        typer.echo(json.dumps({**counts, "not_found": total.not_found}))
        return
    _print_counts({**counts, "not found": len(total.not_found)})
    _print_not_found(total.not_found)


def _print_counts(counts: dict[str, int]) -> None:
    first, *others = counts.items()
    texts = [first, *((name, count) for name, count in others if count)]
    typer.echo("  ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in texts))


def _print_not_found(ids: list[str]) -> None:
    for text in ids[:_TOLD]:
        typer.echo(f"{printable(text)}: no quarantined record has this id", err=True)


def _reasons(row: QuarantinedRow) -> list[Reason]:
    return [Reason(reason["field"], reason["message"]) for reason in row.reasons]


def _format_reason(reason: Reason) -> str:
    return printable(reason.message if reason.field is None else f"{reason.field} {reason.message}")


def _reason_json(reason: Reason) -> dict[str, Any]:
    return {"field": reason.field, "message": reason.message}


def _as_json(row: QuarantinedRow) -> dict[str, Any]:
    return {
        **row._asdict(),
        "id": str(row.id),
        "received_at": format_instant(row.received_at),
        "resolved_at": None if row.resolved_at is None else format_instant(row.resolved_at),
    }
