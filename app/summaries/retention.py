"""How long records are kept: moves the instant from which they are, and drops the months before it. Rollups stay, for all time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.db.engine import Database
from app.db.partitions import Month, drop_partitions, first_instant, lock_partitions, month_of
from app.domain.time_range import RECORDS_FLOOR, midnight
from app.write.state import fetch_write_state

_LOCK = 0x72657461696E  # "retain"


@dataclass(frozen=True, slots=True)
class Retained:
    """What a run came to: the instant from which records are kept (None: all are), and the months that it dropped."""

    records_since: datetime | None
    dropped: tuple[Month, ...] = ()


def kept_since(now: datetime, keep: timedelta) -> datetime:
    """Return the first instant of the UTC month in which the last `keep` begins: whole months go, so no bucket of a rollup is cut."""
    return first_instant(month_of((now - keep).astimezone(UTC)))


async def retain_records(database: Database, now: datetime, keep: timedelta | None) -> Retained | None:
    """Stop keeping records older than `keep`, by whole months, and return what that came to; None if another process is at it.

    `keep` None: keep what is there, and complete what was begun. Any number of hosts may run it, and may die at any point: what is refused
    from then on is committed before anything is dropped. DatabaseBusyError: somebody reads for long; nothing is lost, the next run goes on.
    """
    # A lock of the session and not of a transaction, which would keep a snapshot that the detaching waits for.
    async with database.read_connection() as guard:
        cursor = await guard.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        if await cursor.fetchone() != (True,):
            return None
        try:
            if keep is not None:
                await _advance(database, kept_since(await _present(database, now), keep))
            since = (await fetch_write_state(database)).records_since
            return Retained(since, () if since is None else tuple(await drop_partitions(database, since)))
        finally:
            await guard.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


async def _present(database: Database, now: datetime) -> datetime:
    """Return the time from which age is counted: that of the newest record, if the clock says later.

    A clock that jumps ahead would make everything old at once, and what it dropped, and refused from then on, would not come back with it.
    """
    async with database.read_connection() as connection:
        cursor = await connection.execute("/* app:newest_hour */ SELECT max(hour) FROM usage_by_hour_model")
        row = await cursor.fetchone()
    newest = None if row is None or row[0] is None else row[0] + timedelta(hours=1)
    return now if newest is None else min(now, newest)


async def _advance(database: Database, since: datetime) -> None:
    """Move the instant, never back, and make every writer notice."""
    if since <= midnight(RECORDS_FLOOR):
        return
    async with database.transaction() as connection:
        # Whoever makes a partition has looked at the instant before: what it made is there to be dropped, or it sees the new one.
        await lock_partitions(connection)
        # The last minutes of a day that is closed in part are answered from records. Where those go while nobody closes days, the cube
        # answers the day.
        await connection.execute(
            "INSERT INTO reopened_days (day, marks) SELECT closed_until, 1 FROM closing_state"
            " WHERE partly_until > closed_until::timestamp AT TIME ZONE 'UTC' AND partly_until < %s"
            " ON CONFLICT (day) DO UPDATE SET marks = reopened_days.marks + 1",
            [since],
        )
        await connection.execute(
            "/* app:retain */ UPDATE write_state SET epoch = epoch + 1, records_since = %s"
            " WHERE records_since IS NULL OR records_since < %s",
            [since, since],
        )
