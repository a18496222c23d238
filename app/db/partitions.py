"""Monthly partitions of `usage_records`: made ahead by a job, and on demand by the write that needs one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from app.db.engine import Connection, Database

_LOCK = 0x7061727473  # "parts"

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


async def ensure_partitions(database: Database, months: Iterable[Month]) -> None:
    """Make the partitions of `months` that are missing. Readers and writers of other months go on meanwhile."""
    for month in sorted(set(months)):
        name = f"usage_records_{month[0]:04d}_{month[1]:02d}"
        async with database.read_connection() as connection:
            if await _exists(connection, name):
                continue
        start, end = date(*month, 1), date(*next_month(month), 1)
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            if await _exists(connection, name):
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
