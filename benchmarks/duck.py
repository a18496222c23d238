"""DuckDB on the raw columns: the records of a generated database in DuckDB's own format, asked the product's questions.

It is given what suits it: every column that a question reads, in its native types, two threads, all it likes of memory. The request id,
which no question reads, stays out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from benchmarks.timing import BenchmarkError

VERSION = duckdb.__version__
THREADS = 2
BYTES_PER_RECORD = 50
"""With the CSV of one month beside, while it is loaded."""

_COLUMNS = {
    "occurred_at": "TIMESTAMP",
    "tenant_id": "INTEGER",
    "project_id": "INTEGER",
    "user_id": "INTEGER",
    "model_id": "SMALLINT",
    "provider_id": "SMALLINT",
    "status_code": "SMALLINT",
    "prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "cost_usd": "DECIMAL(18,8)",
    "is_priced": "BOOLEAN",
    "attempt": "SMALLINT",
    "cache_hit": "BOOLEAN",
    "interrupted": "BOOLEAN",
    "shared_model_spend": "BIGINT",
    "byok_platform_fee": "BIGINT",
    "managed_tool_fee": "BIGINT",
    "agent_runtime_fee": "BIGINT",
    "search_requests": "BIGINT",
    "latency_ms": "DECIMAL(12,3)",
}
_NAMES = {
    "models": "id, public_id, permaslug, is_public",
    "providers": "id, slug",
    "tenants": "id, external_id",
    "projects": "tenant_id, id, external_id",
    "users": "id, external_id",
}
_CHECK = "count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost_usd), sum(latency_ms), count(DISTINCT tenant_id)"


def load_records(url: str, file: Path, say: Callable[[str], None]) -> None:
    """Write the database's records and names to a DuckDB file, unless it is there. BenchmarkError: not the same rows arrived."""
    if file.exists():
        return
    making = file.with_suffix(".making")
    making.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(url, autocommit=True) as source, duckdb.connect(making) as target:
        source.execute("SET timezone = 'UTC'; SET statement_timeout = 0")
        target.execute(f"SET threads = {THREADS}")
        target.execute(f"CREATE TABLE records ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})")
        partitions = source.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_records'::regclass ORDER BY 1"
        ).fetchall()
        columns = ", ".join("occurred_at AT TIME ZONE 'UTC'" if name == "occurred_at" else name for name in _COLUMNS)
        for (partition,) in partitions:
            # By time, so that DuckDB may leave out the blocks of other days, as records that came in by time would let it.
            _copy(source, target, f"SELECT {columns} FROM {partition} ORDER BY occurred_at", "records", making.with_suffix(".csv"))
        for table, names in _NAMES.items():
            types = {"id": "INTEGER", "tenant_id": "INTEGER", "is_public": "BOOLEAN"}
            columns = ", ".join(f"{name} {types.get(name, 'VARCHAR')}" for name in names.split(", "))
            target.execute(f"CREATE TABLE {table} ({columns})")
            _copy(source, target, f"SELECT {names} FROM {table}", table, making.with_suffix(".csv"))
        wanted = source.execute(f"SELECT {_CHECK} FROM usage_records").fetchone()
        found = target.execute(f"SELECT {_CHECK} FROM records").fetchone()
        if wanted != found:
            raise BenchmarkError(f"DuckDB holds other records: {found} instead of {wanted}")
        target.execute("CHECKPOINT")
    making.rename(file)
    say(f"DuckDB {VERSION} holds the same {wanted[0] if wanted else 0:,} records in {file.stat().st_size / 1e6:,.0f} MB")


def _copy(source: psycopg.Connection[Any], target: duckdb.DuckDBPyConnection, query: str, table: str, file: Path) -> None:
    try:
        with file.open("wb") as sink, source.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT CSV)") as copy:
            for block in copy:
                sink.write(block)
        if file.stat().st_size:
            quoted = str(file).replace("'", "''")
            target.execute(f"COPY {table} FROM '{quoted}' (FORMAT CSV, HEADER false)")
    finally:
        with suppress(FileNotFoundError):
            file.unlink()


class Duck:
    """An open file."""

    def __init__(self, file: Path) -> None:
        self._connection = duckdb.connect(file, read_only=True)
        self._connection.execute(f"SET threads = {THREADS}")

    def ask(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; instants among the parameters are taken as UTC."""
        used = {name: _utc(value) for name, value in parameters.items() if f"${name}" in statement}
        return self._connection.execute(statement, used).fetchall()

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
