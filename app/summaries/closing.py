"""Closes days: derives what is kept of closed days, and anew where records came late. Any number of hosts may run it, and may die anywhere.

The day that is not over is closed in parts: what is kept of the cube holds its records from before `partly_until`.

`closing_state` moves under a lock that no write is under, so every later write knows it, and marks the closed days that it
changes in `reopened_days`, in its own transaction. A day is closed anew by deleting its mark first: that waits for the writes that hold
it, and is committed together with what was derived after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.cube.dimensions import Grain
from app.cube.rollups import BY_DAY_ALL, CONDENSED, Condensed
from app.db.engine import Connection, Database
from app.db.partitions import next_month
from app.domain.time_range import TimeRange, midnight
from app.summaries.derive import RANK_DAYS, condense_days, condense_months, remove_empty, sum_days_anew

CLOSED_AFTER = timedelta(hours=1)
"""A day is closed this long after its end; what comes later reopens it for a moment."""

PARTLY_AFTER = timedelta(minutes=15)
"""The day that is not over is closed in parts of this length, each this long after its end: most requests are known by then."""

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
    reached = await _advance(database, now.astimezone(UTC))
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


@dataclass(frozen=True, slots=True)
class _Reached:
    """How far days are closed: those before `until`, and of the next one what is before `partly`."""

    until: date
    partly: datetime

    @property
    def is_partly(self) -> bool:
        """Whether anything of the next day is."""
        return self.partly > midnight(self.until)


async def _reached(connection: Connection) -> _Reached:
    cursor = await connection.execute("SELECT closed_until, partly_until FROM closing_state")
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("closing_state has no row")
    return _Reached(row[0], row[1])


async def _next(connection: Connection, now: datetime) -> _Reached:
    """Return how far days can be closed: never back.

    And never past what has records: a host whose clock is wrong does not close what is to come.
    """
    reached = await _reached(connection)
    cursor = await connection.execute("SELECT (SELECT max(day) FROM usage_by_day_model), (SELECT max(hour) FROM usage_by_hour_model)")
    row = await cursor.fetchone()
    if row is None or None in row:
        return reached
    until = max(reached.until, min((now - CLOSED_AFTER).date(), row[0] + timedelta(days=1)))
    begun = midnight(until)
    partly = min(now - PARTLY_AFTER, row[1] + timedelta(hours=1), begun + timedelta(days=1) - PARTLY_AFTER)
    return _Reached(until, max(begun, reached.partly, begun + (partly - begun) // PARTLY_AFTER * PARTLY_AFTER))


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
  UNION
  SELECT %(until)s WHERE %(is_partly)s
) days ORDER BY day
ON CONFLICT (day) DO NOTHING
"""


async def _advance(database: Database, now: datetime) -> date | None:
    """Let every write know what is closed from now on, and mark the days that have records of it.

    Return the date before which days are closed; None if another process is at it.
    """
    async with database.read_connection() as connection:
        if await _next(connection, now) == (reached := await _reached(connection)):
            return reached.until
    async with database.transaction() as connection:
        if not await _is_alone(connection):
            return None
        # Every write takes this table first. Those under way are waited for, because they may not know; those that come wait a moment.
        await connection.execute("LOCK TABLE recent_requests IN SHARE ROW EXCLUSIVE MODE")
        following = await _next(connection, now)
        if following != await _reached(connection):
            await connection.execute(_MARK_NEW, {"until": following.until, "is_partly": following.is_partly})
            await connection.execute(
                "/* app:close */ UPDATE closing_state SET closed_until = %s, partly_until = %s", [following.until, following.partly]
            )
        return following.until


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
        reached = await _reached(connection)
        if day == reached.until:
            await _derive_part(connection, reached)
            return True
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
            await _condense(connection, condensed, condense_days(condensed), {"days": days})
    await connection.execute(RANK_DAYS, {"days": days})


async def _derive_part(connection: Connection, reached: _Reached) -> None:
    """Derive what is kept of the cube for the day that is closed in part, and count. By model alone the whole day is few rows."""
    values = {"days": [reached.until], "from": midnight(reached.until), "until": reached.partly}
    for condensed in CONDENSED:
        if condensed.source is BY_DAY_ALL:
            await _condense(connection, condensed, condense_days(condensed, in_part=True), values)
    await connection.execute(
        "/* app:count_part */ UPDATE closing_state SET"
        " partly_cube_rows = (SELECT count(*) FROM usage_by_day_all WHERE day = closed_until),"
        " partly_hour_records = (SELECT count(*) FROM usage_records"
        " WHERE occurred_at >= date_trunc('hour', %(until)s, 'UTC') AND occurred_at < %(until)s)",
        values,
    )


async def _condense(connection: Connection, condensed: Condensed, statement: str, values: dict[str, Any]) -> None:
    cursor = await connection.execute(statement, values)
    if await cursor.fetchone() != (0,):
        for removal in remove_empty(condensed):
            await connection.execute(removal)


async def _rank_changed_models(database: Database) -> bool:
    """Rank anew the closed days of models that were published, or withdrawn, since; False if another process is at it."""
    changed = "SELECT id FROM models WHERE is_ranking_stale"
    async with database.read_connection() as connection:
        if await _one(connection, f"/* app:publicity */ {changed} LIMIT 1") is None:
            return True
    async with database.transaction() as connection:
        if not await _is_alone(connection):
            return False
        await connection.execute("SET LOCAL statement_timeout = 0")
        # One that is being published or withdrawn meanwhile is left to the next run: nobody waits for another here, in any order of rows.
        cursor = await connection.execute(
            f"UPDATE models SET ranked_public = is_public WHERE id IN ({changed} FOR NO KEY UPDATE SKIP LOCKED) RETURNING id"
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
        " SELECT day::date, 1 FROM closing_state, generate_series(%s::date,"
        " least(%s::date, (partly_until AT TIME ZONE 'UTC' + interval '1 day' - interval '1 microsecond')::date) - 1, interval '1 day') day"
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
