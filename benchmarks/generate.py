"""Makes millions of records inside PostgreSQL: one INSERT ... SELECT a month over 24 months, two months at a time, then the rollups.

Everything follows from hashes of the row's number, so the same count gives the same rows. Callers and models are drawn by Zipf's law.
On 2 cores 1M records took 12 s (9 of them for the rollups) and 0.8 GB of disk, 10M 3 minutes (2 for the rollups) and 6.2 GB, and the
write-ahead log up to 4 GB beside.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.cube.rollups import ROLLUPS
from app.db.engine import Connection, Database
from app.db.partitions import ensure_partitions, next_month
from app.domain.time_range import TimeRange
from app.ingest.verify import rebuild
from benchmarks.population import MODELS, USERS
from benchmarks.timing import BenchmarkError

MONTHS = 24
START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
"""The records fill `[START, END)`."""

BYTES_PER_RECORD = 800
"""What a record takes on disk with its key and its share of the rollups: 762 at 1M, 618 at 10M."""

_AT_ONCE = 2
_MICROSECOND = timedelta(microseconds=1)

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

# Each hash gives 64 bits; disjoint pieces of them decide the columns. Tokens: a power of a uniform, so that few requests are long.
_INSERT = f"""
INSERT INTO usage_records (
  occurred_at, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, shared_model_spend, byok_platform_fee, managed_tool_fee,
  agent_runtime_fee, search_requests, tenant_id, project_id, user_id, caller_key_id, model_id, provider_id, status_code, traffic_mode,
  is_priced, request_id, cost_usd, latency_ms, ttft_ms, attempt, cache_hit, interrupted)
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
  CASE WHEN h3 >> 38 & 31 = 0 THEN 2 ELSE 1 END, h3 >> 43 & 63 = 0, h3 >> 49 & 127 = 0
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
    first: int
    last: int
    step: int


def slice_months(rows: int) -> Iterator[Slice]:
    """Share `rows` out among the months, by their length."""
    month, start, first = (START.year, START.month), START, 0
    for _ in range(MONTHS):
        following = next_month(month)
        end = datetime(*following, 1, tzinfo=UTC)
        until = rows * ((end - START) // _MICROSECOND) // ((END - START) // _MICROSECOND)
        if until > first:
            yield Slice(month, start, first, until - 1, (end - start) // _MICROSECOND // (until - first))
        month, start, first = following, end, until


def check_disk(rows: int, folder: Path) -> None:
    """BenchmarkError if the disk of `folder` has less free than twice of what so many records take."""
    needed, free = 2 * rows * BYTES_PER_RECORD, shutil.disk_usage(folder).free
    if free < needed:
        raise BenchmarkError(
            f"{rows:,} records take about {rows * BYTES_PER_RECORD / 1e9:.0f} GB; twice that must be free, and {free / 1e9:.0f} GB are"
        )


async def generate(database: Database, rows: int) -> dict[str, float]:
    """Fill an acquainted database, whose own records go; return the seconds that records and rollups took, and bytes per record."""
    slices = list(slice_months(rows))
    await ensure_partitions(database, [part.month for part in slices])
    async with database.transaction() as connection:
        await connection.execute(_KNOWN)
    started = time.perf_counter()
    turn = asyncio.Semaphore(min(_AT_ONCE, os.cpu_count() or 1))
    await asyncio.gather(*(_insert(database, part, turn) for part in slices))
    inserted = time.perf_counter()
    async for _ in rebuild(database, TimeRange(START, END)):
        pass
    rebuilt = time.perf_counter()
    async with database.read_connection() as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
        found, size = await _count(connection)
    if found != rows:
        raise BenchmarkError(f"{found:,} records were made instead of {rows:,}")
    return {"records_seconds": inserted - started, "rollups_seconds": rebuilt - inserted, "bytes_per_record": size / rows}


async def _insert(database: Database, part: Slice, turn: asyncio.Semaphore) -> None:
    async with turn, database.transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(_INSERT, {"start": part.start, "first": part.first, "last": part.last, "step": part.step})


async def _count(connection: Connection) -> tuple[int, int]:
    row = await (
        await connection.execute("SELECT (SELECT count(*) FROM usage_records), pg_database_size(current_database())::bigint")
    ).fetchone()
    assert row is not None, "a count is a row"
    return row[0], row[1]
