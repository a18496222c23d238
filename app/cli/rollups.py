"""`tokengraph rollups` and `tokengraph snapshot`: verification, rebuild, and the network snapshot."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.analytics.snapshot import take_snapshot
from app.cli.main import app, rollups
from app.cli.session import run_with_database
from app.db.engine import Database
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant, midnight, parse_date, system_clock
from app.settings import load
from app.summaries.verify import Difference, chunks_of, find_differences, find_extent, not_kept, rebuild, split_by_month
from app.write.state import fetch_write_state

_SHOWN = 100

From = Annotated[str | None, typer.Option("--from", help="First UTC date, YYYY-MM-DD; default: the first record.")]
To = Annotated[str | None, typer.Option("--to", help="Last UTC date, inclusive; default: the last record.")]


def progress_bar() -> Progress:
    """Return a progress bar on standard error."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


async def _chosen_range(database: Database, first: str | None, last: str | None) -> TimeRange | None:
    extent = await find_extent(database)
    start: date | None = None if first is None else parse_date(first, "--from")
    end: date | None = None if last is None else parse_date(last, "--to")
    if start is not None and end is not None and start > end:
        raise BadInputError("--from must not be after --to")
    if extent is None:
        return None
    chosen = TimeRange(
        extent.start if start is None else max(midnight(start), extent.start),
        extent.end if end is None else min(midnight(end) + timedelta(days=1), extent.end),
    )
    return chosen if chosen.start < chosen.end else None


async def _retained_part(database: Database, whole: TimeRange | None) -> tuple[TimeRange | None, datetime | None]:
    """Return the part of a range with retained records, and the first retained instant (None: all are retained)."""
    since = (await fetch_write_state(database)).records_since
    if whole is None or since is None:
        return whole, since
    return (TimeRange(max(whole.start, since), whole.end) if whole.end > since else None), since


def _describe(difference: Difference) -> str:
    key = ", ".join(f"{name}={value}" for name, value in difference.key.items())
    if difference.stored is None or difference.expected is None:
        return f"{difference.rollup} ({key}): {'missing' if difference.stored is None else 'must not exist'}"
    wrong = [
        f"{name} is {difference.stored[name]}, the records give {value}"
        for name, value in difference.expected.items()
        if difference.stored[name] != value
    ]
    return f"{difference.rollup} ({key}): {'; '.join(wrong)}"


@rollups.command("verify")
def verify(first: From = None, last: To = None) -> None:
    """Compare every rollup with the retained records; exit 1 and list the differences."""

    async def work(database: Database) -> tuple[int, list[Difference], datetime | None]:
        whole, since = await _retained_part(database, await _chosen_range(database, first, last))
        chunks = [] if whole is None else chunks_of(whole)
        found: list[Difference] = []
        with progress_bar() as bar:
            task = bar.add_task("verifying", total=len(chunks))
            for chunk in chunks:
                if len(found) < _SHOWN:
                    found += await find_differences(database, chunk, limit=_SHOWN - len(found))
                bar.advance(task)
        return len(chunks), found, since

    checked, differences, since = run_with_database(load(), work)
    if since is not None:
        typer.echo(f"records are retained from {format_instant(since)} on: older rollups were not compared")
    for difference in differences:
        typer.echo(_describe(difference))
    if differences:
        more = " or more" if len(differences) == _SHOWN else ""
        typer.echo(f"{len(differences)}{more} rollup rows differ; `tokengraph rollups rebuild` rebuilds them", err=True)
        raise typer.Exit(1)
    typer.echo(f"the rollups equal the records ({checked} months of rollups checked)")


@rollups.command("rebuild")
def rebuild_all(first: From = None, last: To = None) -> None:
    """Rebuild the rollups from the retained records. Writers wait for a month at a time, readers do not wait."""

    async def work(database: Database) -> int:
        whole, since = await _retained_part(database, await _chosen_range(database, first, last))
        for text, name in ((first, "--from"), (last, "--to")):
            if text is not None and since is not None and midnight(parse_date(text, name)) < since:
                raise BadInputError(not_kept(since))
        if whole is None:
            return 0
        months = 0
        with progress_bar() as bar:
            task = bar.add_task("rebuilding", total=len(list(split_by_month(whole))))
            async for _ in rebuild(database, whole):
                months += 1
                bar.advance(task)
        return months

    typer.echo(f"{run_with_database(load(), work)} months rebuilt")


@app.command("snapshot")
def snapshot() -> None:
    """Compute and store the network snapshot now."""
    taken = run_with_database(load(), lambda database: take_snapshot(database, system_clock()))
    totals = taken.body["totals"]
    typer.echo(f"{format_instant(taken.generated_at)}: {totals['tokens']:,} tokens in {totals['requests']:,} requests")
