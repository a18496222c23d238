"""Closes days: derives what is kept of closed days, and anew where records came late. Any number of hosts may run it, and may die anywhere.

`closing_state.closed_until` moves under a lock that no write is under, so every later write knows it, and marks the closed days that it
changes in `reopened_days`, in its own transaction. A day is closed anew by deleting its mark first: that waits for the writes that hold
it, and is committed together with what was derived after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.cube.dimensions import Grain
from app.cube.rollups import CONDENSED
from app.db.engine import Connection, Database
from app.db.partitions import next_month
from app.domain.time_range import TimeRange
from app.ingest.condense import RANK_DAYS, condense_days, condense_months, remove_empty, sum_days_anew

CLOSED_AFTER = timedelta(hours=1)
"""A day is closed this long after its end; what comes later reopens it for a moment."""

_LOCK = 0x636C6F7365  # "close"


@dataclass(frozen=True, slots=True)
class Closed:
    """What a run came to. `until`: days before this date are closed; `days`: those that were closed or closed anew, in this order."""

    until: date
    days: tuple[date, ...] = ()


async def close_days(database: Database, now: datetime) -> Closed | None:
    """Close the days that are over and those that were reopened, one by one; None if another process is at it.

    DatabaseBusyError: writes are under way for long; what was done is done, the next run goes on.
    """
    until = (now.astimezone(UTC) - CLOSED_AFTER).date()
    reached = await _advance(database, until)
    if reached is None:
        return None
    closed = []
    for day in await _find_reopened(database):
        done = await _close_day(database, day)
        if done is None:
            return None
        closed += [day] * done
    if not await _rank_changed_models(database):
        return None
    return Closed(reached, tuple(closed))


async def _is_alone(connection: Connection) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
    return await cursor.fetchone() == (True,)


async def _one(connection: Connection, statement: str, *values: Any) -> Any:
    row = await (await connection.execute(statement, values)).fetchone()
    return None if row is None else row[0]


async def _closed_until(connection: Connection) -> date:
    until: date = await _one(connection, "SELECT closed_until FROM closing_state")
    return until


_NEXT = """
SELECT least(%s, (SELECT max(day) + 1 FROM usage_by_day_model)) FROM closing_state
WHERE closed_until < least(%s, (SELECT max(day) + 1 FROM usage_by_day_model))
"""
# Those that have records, and the last day of each month: a month is derived when its last reopened day is closed, so it must have one.
_MARK_NEW = """
INSERT INTO reopened_days (day, marks)
SELECT day, 1 FROM (
  SELECT DISTINCT d.day FROM usage_by_day_model d, closing_state WHERE d.day >= closed_until AND d.day < %(until)s
  UNION
  SELECT (month + interval '1 month' - interval '1 day')::date
  FROM closing_state, generate_series(
    date_trunc('month', greatest(closed_until, (SELECT min(day) FROM usage_by_day_model))::timestamp),
    %(until)s::timestamp - interval '1 month', interval '1 month') month
) days ORDER BY day
ON CONFLICT (day) DO NOTHING
"""


async def _advance(database: Database, until: date) -> date | None:
    """Let every write know that days before `until` are closed, and mark those that have records; return where that stands now."""
    async with database.read_connection() as connection:
        if await _one(connection, _NEXT, until, until) is None:
            return await _closed_until(connection)
    async with database.transaction() as connection:
        if not await _is_alone(connection):
            return None
        # Every write takes this table first. Those under way are waited for, because they may not know; those that come wait a moment.
        await connection.execute("LOCK TABLE recent_requests IN SHARE ROW EXCLUSIVE MODE")
        # Never past the days that have records: a host whose clock is wrong does not close what is to come.
        reached = await _one(connection, _NEXT, until, until)
        if reached is not None:
            await connection.execute(_MARK_NEW, {"until": reached})
            await connection.execute("/* app:close */ UPDATE closing_state SET closed_until = %s", [reached])
        return await _closed_until(connection)


async def _find_reopened(database: Database) -> list[date]:
    async with database.read_connection() as connection:
        cursor = await connection.execute("/* app:reopened */ SELECT day FROM reopened_days ORDER BY day DESC")
        return [day for (day,) in await cursor.fetchall()]


async def _close_day(database: Database, day: date) -> bool | None:
    """Derive a day anew; False if another process did so meanwhile, None if one is at it."""
    async with database.transaction() as connection:
        if not await _is_alone(connection):
            return None
        await connection.execute("SET LOCAL statement_timeout = 0")
        # A write that holds the mark is waited for, and seen by the statements after this one. One that comes now waits, and marks anew.
        if (await connection.execute("DELETE FROM reopened_days WHERE day = %s", [day])).rowcount == 0:
            return False
        await _derive(connection, [day])
        month = day.replace(day=1)
        following = date(*next_month((day.year, day.month)), 1)
        # A month with another reopened day is derived when its last one is closed: until then nobody reads it.
        if await _one(
            connection,
            "SELECT closed_until >= %s AND NOT EXISTS (SELECT FROM reopened_days WHERE day >= %s AND day < %s) FROM closing_state",
            following,
            month,
            following,
        ):
            days = [month + timedelta(days=number) for number in range((following - month).days)]
            for condensed in CONDENSED:
                if condensed.by_day is None:
                    await connection.execute(condense_months(condensed), {"days": days})
    return True


async def _derive(connection: Connection, days: list[date]) -> None:
    for condensed in CONDENSED:
        if condensed.by_day is not None:
            cursor = await connection.execute(condense_days(condensed), {"days": days})
            if await cursor.fetchone() != (0,):
                for statement in remove_empty(condensed):
                    await connection.execute(statement)
    await connection.execute(RANK_DAYS, {"days": days})


async def _rank_changed_models(database: Database) -> bool:
    """Rank anew the closed days of models that were published, or withdrawn, since; False if another process is at it."""
    changed = "SELECT r.model_id FROM ranked_models r JOIN models m ON m.id = r.model_id WHERE m.is_public <> r.is_public"
    async with database.read_connection() as connection:
        if await _one(connection, f"/* app:publicity */ {changed} LIMIT 1") is None:
            return True
    async with database.transaction() as connection:
        if not await _is_alone(connection):
            return False
        await connection.execute("SET LOCAL statement_timeout = 0")
        cursor = await connection.execute(
            f"UPDATE ranked_models r SET is_public = NOT r.is_public FROM ({changed}) c WHERE c.model_id = r.model_id RETURNING r.model_id"
        )
        models = [model for (model,) in await cursor.fetchall()]
        cursor = await connection.execute(
            "SELECT DISTINCT day FROM usage_by_day_model WHERE model_id = ANY(%s) AND day < (SELECT closed_until FROM closing_state)",
            [models],
        )
        await connection.execute(RANK_DAYS, {"days": [day for (day,) in await cursor.fetchall()]})
    return True


async def hold_closing(connection: Connection) -> None:
    """Wait for who closes days, and hold it off until the caller's transaction ends. To be called before any other lock."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


async def reopen_days(connection: Connection, part: TimeRange, *, with_ever: bool) -> None:
    """Mark the closed days of a month, or of a part of it, in the transaction that changed their rollups by other means than the write.

    Sums of stored days are made anew at once, because closing a day only adds what differs: of the month, and `with_ever` of all time.
    """
    start, end = part.start.date(), part.end.date()
    await connection.execute(
        "INSERT INTO reopened_days (day, marks)"
        " SELECT day::date, 1 FROM closing_state, generate_series(%s::date, least(%s::date, closed_until) - 1, interval '1 day') day"
        " ON CONFLICT (day) DO UPDATE SET marks = reopened_days.marks + 1",
        [start, end],
    )
    first = start.replace(day=1)
    bounds = {"start": first, "end": date(*next_month((first.year, first.month)), 1)}
    for condensed in CONDENSED:
        for rollup in condensed.rollups:
            if condensed.by_day not in (None, rollup) and (with_ever or rollup.grain is not Grain.EVER):
                for statement in sum_days_anew(condensed, rollup):
                    await connection.execute(statement, {} if rollup.grain is Grain.EVER else bounds)
