"""Monthly partitions of `usage_records`: made ahead by a job and on demand by the write that needs one, dropped whole.

Which months are kept, `write_state` says; a month that is not is never made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time

from app.db.engine import Connection, Database

_LOCK = 0x7061727473  # "parts"
_NAME = re.compile(r"usage_records_(\d{4})_(\d{2})", re.ASCII)
# Tells a partition that was detached to be dropped from one that an operator set aside.
_TO_BE_DROPPED = "tokengraph: its records are no longer kept"

Month = tuple[int, int]
"""Year and month, UTC."""


def month_of(instant: datetime) -> Month:
    """Return the UTC month that an instant in UTC falls in."""
    return instant.year, instant.month


def next_month(month: Month) -> Month:
    """Return the month after."""
    year, number = month
    return (year + 1, 1) if number == 12 else (year, number + 1)


def months_ahead(now: datetime, count: int) -> list[Month]:
    """Return the current UTC month and the `count` after it."""
    months = [month_of(now.astimezone(UTC))]
    for _ in range(count):
        months.append(next_month(months[-1]))
    return months


def first_instant(month: Month) -> datetime:
    """Return the instant at which a month begins."""
    return datetime.combine(date(*month, 1), time.min, tzinfo=UTC)


async def lock_partitions(connection: Connection) -> None:
    """Hold off whoever makes partitions, until the caller's transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


async def ensure_partitions(database: Database, months: Iterable[Month]) -> None:
    """Make the partitions of `months` that are missing. Readers and writers of other months go on meanwhile.

    A month that is no longer kept is left out. A writer that remembers otherwise finds no partition, and reads the state anew.
    """
    for month in sorted(set(months)):
        name = f"usage_records_{month[0]:04d}_{month[1]:02d}"
        async with database.read_connection() as connection:
            if await _exists(connection, name):
                continue
        start, end = date(*month, 1), date(*next_month(month), 1)
        async with database.transaction() as connection:
            await lock_partitions(connection)
            if await _exists(connection, name) or not await _is_kept(connection, month):
                continue
            # Made aside and then attached: attaching locks the parent only against other changes of its shape.
            await connection.execute(f"CREATE TABLE {name} (LIKE usage_records INCLUDING ALL)")
            await connection.execute(
                f"ALTER TABLE usage_records ATTACH PARTITION {name} FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
            )


async def _exists(connection: Connection, name: str) -> bool:
    # A look at the table of tables, not to_regclass(): that one may answer from a cache older than the lock just waited for.
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = current_schema() AND c.relname = %s)",
        [name],
    )
    return await cursor.fetchone() == (True,)


async def _is_kept(connection: Connection, month: Month) -> bool:
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM write_state WHERE records_since >= %s)", [first_instant(next_month(month))]
    )
    return await cursor.fetchone() == (False,)


async def drop_partitions(database: Database, before: datetime) -> list[Month]:
    """Drop the partitions that end at or before `before`, an instant up to which no record is taken any more; return their months.

    Begins where a run that was cut off has ended. One run at a time. Readers and writers go on: a partition is detached once those are
    through that may still see it. DatabaseBusyError: they took too long; what is left is for the next run.
    """
    dropped = []
    # Lent for questions, but it is the one that is in no transaction: a concurrent detaching has two of its own.
    async with database.read_connection() as connection:
        for name, attached, pending in await _fetch_partitions(connection, before):
            if attached and pending:
                await connection.execute(f"ALTER TABLE usage_records DETACH PARTITION {name} FINALIZE", prepare=False)
            elif attached:
                await connection.execute(f"COMMENT ON TABLE {name} IS '{_TO_BE_DROPPED}'", prepare=False)
                await connection.execute(f"ALTER TABLE usage_records DETACH PARTITION {name} CONCURRENTLY", prepare=False)
            await connection.execute(f"DROP TABLE IF EXISTS {name}", prepare=False)
            dropped.append(_month_of_partition(name))
    return dropped


def _month_of_partition(name: str) -> Month:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return int(match[1]), int(match[2])


async def _fetch_partitions(connection: Connection, before: datetime) -> list[tuple[str, bool, bool]]:
    """Name, whether attached, whether a detaching is under way, of each that is to go; that one first, because no other may begin."""
    cursor = await connection.execute(
        "/* app:partitions */ SELECT c.relname, i.inhrelid IS NOT NULL, coalesce(i.inhdetachpending, false) AS pending FROM pg_class c"
        " LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'usage_records'::regclass"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND starts_with(c.relname, 'usage_records_')"
        " AND (i.inhrelid IS NOT NULL OR obj_description(c.oid, 'pg_class') = %s)"
        " ORDER BY pending DESC, c.relname",
        [_TO_BE_DROPPED],
    )
    rows = [(name, attached, pending) for name, attached, pending in await cursor.fetchall() if _NAME.fullmatch(name)]
    return [row for row in rows if first_instant(next_month(_month_of_partition(row[0]))) <= before]
