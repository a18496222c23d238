"""Proof and repair: compares the rollups with the records, what is kept of closed days with the rollups, and derives rollups anew.

Rollups are compared and derived as far back as records are kept: what is older, they alone know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from app.cube.dimensions import Grain
from app.cube.rollups import BY_DAY_ALL, CONDENSED, ROLLUPS, Condensed, Rollup
from app.db.engine import Connection, Database
from app.db.partitions import next_month
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant, midnight
from app.summaries.closing import hold_closing, reopen_days
from app.summaries.derive import WRONG_RANKINGS, select_wrong_part, select_wrong_sums
from app.write.rollup import insert_rollup, select_rollup_rows
from app.write.state import read_write_state


@dataclass(frozen=True, slots=True)
class Difference:
    """A rollup row that is not what the records say. `stored` or `expected` None: the row is missing, or should not be."""

    rollup: str
    key: dict[str, Any]
    stored: dict[str, Any] | None
    expected: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One rollup over one month or less; without one, what is kept of the month's closed days, and `with_ever` of all.

    It is what is checked at once.
    """

    rollup: Rollup | None
    range: TimeRange
    with_ever: bool = False


async def find_extent(database: Database) -> TimeRange | None:
    """Return the whole UTC days that any record or rollup row falls in; None: there is nothing."""
    parts = ["SELECT min(occurred_at) a, max(occurred_at) b FROM usage_records"]
    for rollup in ROLLUPS:
        bucket = rollup.grain.value
        instant = bucket if rollup.grain.column_type == "timestamptz" else f"{bucket}::timestamp AT TIME ZONE 'UTC'"
        parts.append(f"SELECT min({instant}), max({instant}) FROM {rollup.name}")
    async with database.read_connection() as connection:
        cursor = await connection.execute(f"/* app:extent */ SELECT min(a), max(b) FROM ({' UNION ALL '.join(parts)}) parts")
        row = await cursor.fetchone()
    if row is None or row[0] is None:
        return None
    return TimeRange.of_dates(row[0].date(), row[1].date())


def split_by_month(whole: TimeRange) -> Iterator[TimeRange]:
    """Cut a range of whole days at the starts of months."""
    start = whole.start
    while start < whole.end:
        end = min(whole.end, midnight(date(*next_month((start.year, start.month)), 1)))
        yield TimeRange(start, end)
        start = end


def chunks_of(whole: TimeRange) -> list[Chunk]:
    """Return the work of verifying a range of whole days."""
    parts = list(split_by_month(whole))
    of_records = [Chunk(rollup, part) for part in parts for rollup in ROLLUPS]
    return [*of_records, *(Chunk(None, part, with_ever=part is parts[-1]) for part in parts)]


async def _find_wrong_sums(database: Database, chunk: Chunk, limit: int) -> list[Difference]:
    """The rows kept of closed days that are not the sums of what they are derived from. Days that were reopened are left out.

    They are compared with rollups and not with records, so they can be as far back as there are any.
    """
    first = chunk.range.start.date().replace(day=1)
    bounds = {"start": first, "end": date(*next_month((first.year, first.month)), 1)}
    found: list[Difference] = []
    async with database.consistent_reads() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        for condensed in CONDENSED:
            for rollup in condensed.rollups:
                if len(found) < limit and (chunk.with_ever or rollup.grain is not Grain.EVER):
                    found += await _find_wrong(connection, condensed, rollup, bounds, limit - len(found))
        if chunk.with_ever and len(found) < limit:
            found += await _find_wrong_part(connection, limit - len(found))
        rows = await (await connection.execute(WRONG_RANKINGS, bounds, prepare=False)).fetchall()
    found += [
        Difference("rankings_by_day", {"day": day, "place": place}, _values(_RANKED, stored), _values(_RANKED, expected))
        for day, place, *cells in rows
        for stored, expected in [(tuple(cells[:2]), tuple(cells[2:]))]
    ]
    return found[:limit]


async def _find_wrong_part(connection: Connection, limit: int) -> list[Difference]:
    """The rows kept of the day that is closed in part that are not what its records say; none while it is reopened."""
    cursor = await connection.execute(
        "SELECT closed_until, partly_until FROM closing_state WHERE NOT EXISTS (SELECT FROM reopened_days WHERE day = closed_until)"
    )
    row = await cursor.fetchone()
    since = (await read_write_state(connection)).records_since
    if row is None or (since is not None and since > midnight(row[0])):
        return []
    values = {"days": [row[0]], "from": midnight(row[0]), "until": row[1]}
    found: list[Difference] = []
    for condensed in CONDENSED:
        if condensed.source is BY_DAY_ALL and condensed.by_day is not None and len(found) < limit:
            statement = f"{select_wrong_part(condensed)} LIMIT {limit - len(found)}"
            rows = await (await connection.execute(statement, values, prepare=False)).fetchall()
            found += _differences(condensed.by_day, rows)
    return found


_RANKED = ["permaslug", "tokens"]


async def _find_wrong(
    connection: Connection, condensed: Condensed, rollup: Rollup, bounds: dict[str, date], limit: int
) -> list[Difference]:
    statement = f"{select_wrong_sums(condensed, rollup)} LIMIT {limit}"
    values = {} if rollup.grain is Grain.EVER else bounds
    rows = await (await connection.execute(statement, values, prepare=False)).fetchall()
    return _differences(rollup, rows)


def _bounds(rollup: Rollup, part: TimeRange) -> tuple[list[datetime], list[Any]]:
    instants = [part.start, part.end]
    return instants, instants if rollup.grain.column_type == "timestamptz" else [part.start.date(), part.end.date()]


async def find_differences(database: Database, chunk: Chunk, *, limit: int = 100) -> list[Difference]:
    """Return up to `limit` rows of the chunk that differ from a direct aggregation of the records, both read in one snapshot.

    There are none before the instant from which records are kept: there is nothing to compare with. What is kept of closed days is
    compared with the rollups instead.
    """
    rollup = chunk.rollup
    if rollup is None:
        return await _find_wrong_sums(database, chunk, limit)
    instants, buckets = _bounds(rollup, chunk.range)
    bucket = rollup.grain.value
    measures = [measure.name for measure in rollup.measures]
    source = "(SELECT * FROM usage_records WHERE occurred_at >= %s AND occurred_at < %s) records"
    columns = ", ".join((*rollup.key, *measures))
    stored_values = ", ".join(f"s.{name}" for name in measures)
    expected_values = ", ".join(f"e.{name}" for name in measures)
    statement = (
        f"/* app:verify {rollup.name} */ WITH e ({columns}) AS ({select_rollup_rows(rollup, source)}),"
        f" s AS (SELECT {columns} FROM {rollup.name} WHERE {bucket} >= %s AND {bucket} < %s)"
        f" SELECT {', '.join(rollup.key)}, {stored_values}, {expected_values} FROM s FULL JOIN e USING ({', '.join(rollup.key)})"
        f" WHERE ({stored_values}) IS DISTINCT FROM ({expected_values}) ORDER BY {', '.join(rollup.key)} LIMIT {limit}"
    )
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        rows = await (await connection.execute(statement, [*instants, *buckets], prepare=False)).fetchall()
        # Asked after the records, because the instant moves before they go: while it was not past, they were all there.
        since = (await read_write_state(connection)).records_since
    if since is not None and chunk.range.start < since:
        return []
    return _differences(rollup, rows)


def _differences(rollup: Rollup, rows: list[tuple[Any, ...]]) -> list[Difference]:
    measures = [measure.name for measure in rollup.measures]
    keys, count = len(rollup.key), len(measures)
    return [
        Difference(
            rollup.name,
            dict(zip(rollup.key, row[:keys], strict=True)),
            _values(measures, row[keys : keys + count]),
            _values(measures, row[keys + count :]),
        )
        for row in rows
    ]


def _values(names: list[str], cells: tuple[Any, ...]) -> dict[str, Any] | None:
    return None if all(cell is None for cell in cells) else dict(zip(names, cells, strict=True))


async def rebuild(database: Database, whole: TimeRange) -> AsyncIterator[TimeRange]:
    """Derive every rollup anew from the records, a month at a time; yields what is done. Writers wait meanwhile, readers do not.

    Closed days are reopened by it, and closed anew by the job.

    BadInputError: a part lies before the instant from which records are kept; nothing of it is touched.
    """
    for part in split_by_month(whole):
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            await hold_closing(connection)
            # Every write takes this table first, so that whoever waits for the rebuild holds nothing that it needs.
            await connection.execute("LOCK TABLE recent_requests IN SHARE ROW EXCLUSIVE MODE")
            await _refuse_dropped(connection, part)
            for rollup in ROLLUPS:
                instants, buckets = _bounds(rollup, part)
                bucket = rollup.grain.value
                await connection.execute(f"DELETE FROM {rollup.name} WHERE {bucket} >= %s AND {bucket} < %s", buckets, prepare=False)
                source = "(SELECT * FROM usage_records WHERE occurred_at >= %s AND occurred_at < %s) records"
                await connection.execute(f"/* app:rebuild */ {insert_rollup(rollup, source)}", instants, prepare=False)
            await reopen_days(connection, part, with_ever=part.end == whole.end)
        yield part


def not_kept(since: datetime) -> str:
    """Return the words for rollups that no record is left of."""
    return f"records are retained from {format_instant(since)} on: earlier rollups cannot be rebuilt, they are the only copy"


async def _refuse_dropped(connection: Connection, part: TimeRange) -> None:
    """Raise BadInputError where a part's records are no longer kept; if they are, keep them so until the transaction ends."""
    cursor = await connection.execute("SELECT records_since FROM write_state FOR SHARE")
    row = await cursor.fetchone()
    if row is not None and row[0] is not None and part.start < row[0]:
        raise BadInputError(not_kept(row[0]))
