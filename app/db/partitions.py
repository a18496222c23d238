"""Monthly partitions of `usage_records`: created ahead by a job or by the write that needs one, and dropped as a whole.

`write_state` has the first retained month; earlier partitions are never created again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time

from app.db.engine import Connection, Database

_LOCK = 0x7061727473  # "parts"
_NAME = re.compile(r"usage_records_(\d{4})_(\d{2})", re.ASCII)
# A comment that distinguishes a partition detached for dropping from one that an operator detached.
_TO_BE_DROPPED = "tokengraph: its records are no longer kept"

Month = tuple[int, int]
"""Year and month, UTC."""


def month_of(instant: datetime) -> Month:
    """Return the UTC month of an instant in UTC."""
    return instant.year, instant.month


def next_month(month: Month) -> Month:
    """Return the next month."""
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
    """Block the creation of partitions until the caller's transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


async def ensure_partitions(database: Database, months: Iterable[Month]) -> None:
    """Create the missing partitions of `months`, without blocking readers and writers of other months.

    Months before the first retained one are skipped. A writer with a stale cache then finds no partition, and reads the state again.
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
            # Created detached and then attached: attaching only locks the parent against other schema changes.
            await connection.execute(f"CREATE TABLE {name} (LIKE usage_records INCLUDING ALL)")
            await connection.execute(
                f"ALTER TABLE usage_records ATTACH PARTITION {name} FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
            )


async def _exists(connection: Connection, name: str) -> bool:
    # A query of pg_class, not to_regclass(): the latter may use a cache from before the lock.
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
    """Drop the partitions that end at or before `before`, an instant before which records are refused; return their months.

    Continues an interrupted run. One run at a time. Readers and writers are not blocked: a partition is detached after the transactions
    that may see it. DatabaseBusyError: they took too long; the next run continues.
    """
    dropped = []
    # Autocommit, because DETACH CONCURRENTLY manages its own two transactions.
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
    """Name, whether attached, and whether a detach is pending, of each partition to drop; a pending one first, because it blocks others."""
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
