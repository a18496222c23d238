"""Makes millions of records inside PostgreSQL: an INSERT ... SELECT a month over 24 months, two months at a time, then the rollups.

Everything follows from hashes of the row's number, so the same count gives the same rows. Callers and models are drawn by Zipf's law.
Months are filled before they are partitions and every sum before it has indexes, each being built at the end: so 100M records take less
than an hour on two cores. What comes out is what the product would have written: a month of every rollup is compared with its records.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import log10
from pathlib import Path
from typing import Any

from app.cube.rollups import CONDENSED, ROLLUPS, Condensed, Rollup
from app.db.engine import Connection, Database
from app.db.partitions import ensure_partitions, next_month
from app.domain.fields import Choice, Field
from app.domain.time_range import TimeRange, midnight
from app.domain.usage import FIELDS
from app.summaries.closing import close_days
from app.summaries.derive import RANK_DAYS, select_condensed
from app.summaries.verify import chunks_of, find_differences
from app.write.rollup import insert_rollup
from benchmarks.population import MODELS, USERS
from benchmarks.timing import BenchmarkError

MONTHS = 24
START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
"""The records fill `[START, END)`."""

LAST = date(2026, 12, 31)
"""Their last day."""

_WAL_AND_SORTS = 12 * 10**9
_AT_ONCE = 2
_MICROSECOND = timedelta(microseconds=1)
_MEMORY = "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off; SET LOCAL work_mem = '192MB'"

# The records of the introduction name every caller and, 400 by 400, every model in the order of its rank.
_KNOWN = f"""
CREATE TABLE bench_callers AS
  SELECT row_number() OVER (ORDER BY occurred_at) - 1 AS rank, tenant_id, project_id, user_id, caller_key_id, model_id, provider_id
  FROM usage_records;
CREATE TABLE bench_models AS
  SELECT c.rank, c.model_id, c.provider_id, p.cost_per_input_token, p.cost_per_output_token
  FROM bench_callers c JOIN model_prices p ON p.model_id = c.model_id WHERE c.rank < {MODELS};
TRUNCATE usage_records, recent_requests, {", ".join(rollup.name for rollup in ROLLUPS)};
ANALYZE bench_callers, bench_models
"""

_MADE = (
    "occurred_at",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "shared_model_spend",
    "byok_platform_fee",
    "managed_tool_fee",
    "agent_runtime_fee",
    "search_requests",
    "tenant_id",
    "project_id",
    "user_id",
    "caller_key_id",
    "model_id",
    "provider_id",
    "status_code",
    "traffic_mode",
    "is_priced",
    "request_id",
    "cost_usd",
    "latency_ms",
    "ttft_ms",
    "attempt",
    "cache_hit",
    "interrupted",
)


def _default(field: Field) -> str:
    """A column that is not made, as SQL."""
    if isinstance(field.kind, Choice):
        return str(field.kind.words.index(field.default))
    return "NULL" if field.default is None else str(field.default)


_REST = {field.column: _default(field) for field in FIELDS if field.column is not None and field.column not in _MADE}

# Each hash gives 64 bits; disjoint pieces of them decide the columns. Tokens: a power of a uniform, so that few requests are long.
_INSERT = f"""
INSERT INTO usage_records ({", ".join((*_MADE, *_REST))})
SELECT
  d.occurred_at, d.prompt, d.completion,
  CASE WHEN h3 & 3 = 0 THEN d.prompt * (h3 >> 2 & 7) / 10 ELSE 0 END,
  CASE WHEN h3 >> 5 & 3 = 0 THEN d.completion / 2 ELSE 0 END,
  CASE WHEN h3 >> 7 & 7 = 0 THEN 0 ELSE 1 + (d.prompt + 4 * d.completion) / 10 END,
  CASE WHEN h3 >> 7 & 7 = 0 THEN 1 + (d.prompt + 4 * d.completion) / 200 ELSE 0 END,
  CASE WHEN h3 >> 10 & 63 = 0 THEN 500 ELSE 0 END,
  CASE WHEN h3 >> 16 & 127 = 0 THEN 25 ELSE 0 END,
  CASE WHEN h3 >> 10 & 63 = 0 THEN 1 ELSE 0 END,
  c.tenant_id, c.project_id, c.user_id, c.caller_key_id, m.model_id, m.provider_id,
  CASE WHEN h3 >> 23 & 31 = 0 THEN 500 ELSE 200 END,
  CASE WHEN h3 >> 7 & 7 = 0 THEN 1 ELSE 0 END,
  true, 'req-' || to_hex(d.g) || '-' || to_hex(h1), d.prompt * m.cost_per_input_token + d.completion * m.cost_per_output_token,
  (200 + d.completion * 8)::numeric, (200 + (h3 >> 28 & 1023))::numeric,
  CASE WHEN h3 >> 38 & 31 = 0 THEN 2 ELSE 1 END, h3 >> 43 & 63 = 0, h3 >> 49 & 127 = 0{"".join(f", {value}" for value in _REST.values())}
FROM (
  SELECT g, h1, h3,
    %(start)s::timestamptz + make_interval(secs => ((g - %(first)s) * %(step)s + (h2 & 2147483647) %% %(step)s)::float8 / 1000000)
      AS occurred_at,
    floor(power({USERS + 1}, (h1 & 4294967295)::float8 / 4294967296))::integer - 1 AS caller,
    floor(power({MODELS + 1}, (h1 >> 32 & 2147483647)::float8 / 2147483648))::integer - 1 AS model,
    20 + (40000 * power((h2 >> 31 & 65535)::float8 / 65536, 4))::bigint AS prompt,
    1 + (4000 * power((h2 >> 47 & 65535)::float8 / 65536, 3))::bigint AS completion
  FROM (
    SELECT g, hashint8extended(g, 1) AS h1, hashint8extended(g, 2) AS h2, hashint8extended(g, 3) AS h3
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) g OFFSET 0
  ) hashes OFFSET 0
) d
JOIN bench_callers c ON c.rank = d.caller
JOIN bench_models m ON m.rank = d.model
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """A month's records: numbers `[first, last]`, `step` microseconds apart."""

    month: tuple[int, int]
    start: datetime
    end: datetime
    first: int
    last: int
    step: int

    @property
    def table(self) -> str:
        """The month's partition."""
        return f"usage_records_{self.month[0]:04d}_{self.month[1]:02d}"


def slice_months(rows: int) -> Iterator[Slice]:
    """Share `rows` out among the months, by their length."""
    month, start, first = (START.year, START.month), START, 0
    for _ in range(MONTHS):
        following = next_month(month)
        end = datetime(*following, 1, tzinfo=UTC)
        until = rows * ((end - START) // _MICROSECOND) // ((END - START) // _MICROSECOND)
        if until > first:
            yield Slice(month, start, end, first, until - 1, (end - start) // _MICROSECOND // (until - first))
        month, start, first = following, end, until


def disk_needed(rows: int) -> int:
    """Return the bytes that so many records take with their keys and rollups: the more there are, the more of them share a rollup's row."""
    return round(rows * max(1500 - 400 * max(log10(rows) - 6, 0), 700))


def check_disk(rows: Sequence[int], folder: Path, beside: int = 0) -> int:
    """Return the bytes that databases of so many records need, with log, sorts and `beside`. BenchmarkError: `folder` has less."""
    needed, free = sum(map(disk_needed, rows)) + beside + _WAL_AND_SORTS, shutil.disk_usage(folder).free
    if free < needed:
        raise BenchmarkError(f"{sum(rows):,} records take up to {needed / 1e9:.0f} GB of disk, and {free / 1e9:.0f} GB are free")
    return needed


@dataclass(frozen=True, slots=True)
class Generated:
    """What making a database took."""

    records_seconds: float
    rollups_seconds: float
    closing_seconds: float
    bytes_per_record: float


async def generate(database: Database, rows: int) -> Generated:
    """Fill an acquainted database, whose own records go."""
    slices = list(slice_months(rows))
    await ensure_partitions(database, [part.month for part in slices])
    async with database.transaction() as connection:
        await connection.execute(_KNOWN)
    started = time.perf_counter()
    await _make_records(database, slices)
    inserted = time.perf_counter()
    await _make_rollups(database, slices)
    rebuilt = time.perf_counter()
    await _close_days(database)
    closed = time.perf_counter()
    async with database.read_connection() as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
        found, size = await _count(connection)
    if found != rows:
        raise BenchmarkError(f"{found:,} records were made instead of {rows:,}")
    await _check_rollups(database, slices[len(slices) // 2])
    return Generated(inserted - started, rebuilt - inserted, closed - rebuilt, size / rows)


async def _two_at_a_time(jobs: Iterable[Callable[[], Awaitable[None]]]) -> None:
    turn = asyncio.Semaphore(min(_AT_ONCE, os.cpu_count() or 1))

    async def run(job: Callable[[], Awaitable[None]]) -> None:
        async with turn:
            await job()

    await asyncio.gather(*(run(job) for job in jobs))


async def _make_records(database: Database, slices: Sequence[Slice]) -> None:
    """Fill the months as tables by themselves, without key; then they are partitions again."""
    bounds = {}
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        for part in slices:
            row = await _one(
                connection,
                f"SELECT pg_get_expr(relpartbound, oid), (SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
                f" WHERE conrelid = c.oid AND contype = 'p') FROM pg_class c WHERE oid = '{part.table}'::regclass",
            )
            bounds[part] = str(row[0])
            name, _, key = str(row[1]).partition(" ")
            await connection.execute(f"ALTER TABLE usage_records DETACH PARTITION {part.table}")
            await connection.execute(f"ALTER TABLE {part.table} DROP CONSTRAINT {name}")
            # Attaching need not look through a table that proves its range.
            await connection.execute(
                f"ALTER TABLE {part.table} ADD CONSTRAINT bench_range CHECK (occurred_at >= '{part.start}' AND occurred_at < '{part.end}')"
            )
            bounds[part] = f"{bounds[part]}|ALTER TABLE {part.table} ADD CONSTRAINT {name} {key}"

    async def fill(part: Slice) -> None:
        async with database.transaction() as connection:
            await connection.execute(_MEMORY)
            values = {"start": part.start, "first": part.first, "last": part.last, "step": part.step}
            await connection.execute(_INSERT.replace("INTO usage_records", f"INTO {part.table}"), values)
            await connection.execute(bounds[part].partition("|")[2])

    await _two_at_a_time(partial(fill, part) for part in slices)
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        for part in slices:
            bound = bounds[part].partition("|")[0]
            await connection.execute(f"ALTER TABLE usage_records ATTACH PARTITION {part.table} {bound}")
            await connection.execute(f"ALTER TABLE {part.table} DROP CONSTRAINT bench_range")


async def _drop_indexes(connection: Connection, rollups: Iterable[Rollup]) -> list[str]:
    """Drop the indexes of tables that are about to be filled; return the statements that build them."""
    statements = []
    for rollup in rollups:
        cursor = await connection.execute(
            "SELECT i.indexrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid), pg_get_indexdef(i.indexrelid)"
            " FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'p'"
            f" WHERE i.indrelid = '{rollup.name}'::regclass"
        )
        for index, constraint, definition, statement in await cursor.fetchall():
            if constraint is None:
                await connection.execute(f"DROP INDEX {index}")
                statements.append(statement)
            else:
                await connection.execute(f"ALTER TABLE {rollup.name} DROP CONSTRAINT {constraint}")
                statements.append(f"ALTER TABLE {rollup.name} ADD CONSTRAINT {constraint} {definition}")
    return statements


async def _build_indexes(database: Database, statements: Iterable[str]) -> None:
    """Build one after the other: each uses the server's own parallel workers, and two of one table would wait for each other."""
    for statement in statements:
        async with database.transaction() as connection:
            await connection.execute(_MEMORY)
            await connection.execute(statement, prepare=False)


async def _make_rollups(database: Database, slices: Sequence[Slice]) -> None:
    """Fill the rollups, two months at a time, without indexes; then build those."""
    async with database.transaction() as connection:
        indexes = await _drop_indexes(connection, ROLLUPS)

    async def fill(part: Slice) -> None:
        for rollup in ROLLUPS:
            async with database.transaction() as connection:
                await connection.execute(_MEMORY)
                await connection.execute(insert_rollup(rollup, part.table), prepare=False)

    await _two_at_a_time(partial(fill, part) for part in slices)
    await _build_indexes(database, indexes)


async def _close_days(database: Database) -> None:
    """Fill what is kept of closed days for all months but the last, each by one statement; the product closes the days of that one."""
    open_from = LAST.replace(day=1)

    async def fill(condensed: Condensed) -> None:
        source = f"(SELECT * FROM {condensed.source.name} WHERE day < '{open_from}') closed_days"
        for rollup in condensed.rollups:
            columns = ", ".join((*rollup.key, *(measure.name for measure in rollup.measures)))
            rows = select_condensed(condensed, rollup, source)
            async with database.transaction() as connection:
                await connection.execute(_MEMORY)
                order = ", ".join(str(position) for position in range(1, len(rollup.key) + 1))
                indexes = await _drop_indexes(connection, [rollup])
                await connection.execute(f"INSERT INTO {rollup.name} ({columns}) {rows} ORDER BY {order}", prepare=False)
            await _build_indexes(database, indexes)
            if rollup is condensed.by_day:
                source = rollup.name  # months and all time are sums of the days, as they are stored

    async with database.read_connection() as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(f"ANALYZE {', '.join(rollup.name for rollup in ROLLUPS)}")
    # The largest last and by itself, so that no two large sorts are on the disk at once.
    *smaller, largest = sorted(CONDENSED, key=lambda condensed: max(len(rollup.key) for rollup in condensed.rollups))
    await _two_at_a_time(partial(fill, condensed) for condensed in smaller)
    await fill(largest)
    async with database.transaction() as connection:
        await connection.execute(_MEMORY)
        dates = [START.date() + timedelta(days=number) for number in range((open_from - START.date()).days)]
        for first in range(0, len(dates), 31):
            await connection.execute(RANK_DAYS, {"days": dates[first : first + 31]})
        await connection.execute("UPDATE closing_state SET closed_until = %s, partly_until = %s", [open_from, midnight(open_from)])
        await connection.execute("DELETE FROM reopened_days")
    if await close_days(database, END) is None:
        raise BenchmarkError("the last days could not be closed")


async def _check_rollups(database: Database, part: Slice) -> None:
    for chunk in chunks_of(TimeRange(part.start, part.end)):
        if differences := await find_differences(database, chunk, limit=1):
            raise BenchmarkError(f"a rollup is not what the records say: {differences[0]}")


async def _one(connection: Connection, statement: str) -> tuple[Any, ...]:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None, statement
    return row


async def _count(connection: Connection) -> tuple[int, int]:
    row = await _one(connection, "SELECT (SELECT count(*) FROM usage_records), pg_database_size(current_database())::bigint")
    return row[0], row[1]
