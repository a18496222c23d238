"""The peer of ingest: a writer row by row, with the tables and the transactions of LiteLLM's spend tracking, written here with psycopg.

A record is one transaction: an INSERT keyed by the request id, which makes a retry a duplicate, and an upsert of each of the three daily
sums, by user, by team (the tenant) and by key. Prepared statements, names as text, no index beside the keys: as light as it can be.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from app.domain.fields import Amount, Cost, Count, Flag, Instant, SmallNumber
from app.domain.usage import FIELDS, UsageRecord
from benchmarks.population import list_models
from benchmarks.timing import BenchmarkError
from benchmarks.traffic import cost_of

# Words and names as text, all else in the type of its own.
_NATIVE = Amount | Cost | Count | Flag | Instant | SmallNumber
_TYPES = {field.name: field.kind.sql_type if isinstance(field.kind, _NATIVE) else "text" for field in FIELDS}
_COST = UsageRecord._fields.index("cost_usd")
_SUMS = ("requests", "successful", "failed", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd")
_DAILY = {"peer_daily_user": "user_id", "peer_daily_team": "tenant_id", "peer_daily_key": "api_key_id"}
_DAILY_KEY = ("entity_id", "day", "api_key_id", "model_id", "provider")

_INSERT = f"INSERT INTO peer_records VALUES ({', '.join(['%s'] * len(_TYPES))}) ON CONFLICT DO NOTHING"


def _upsert(table: str) -> str:
    columns = (*_DAILY_KEY, *_SUMS)
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"
        f" ON CONFLICT ({', '.join(_DAILY_KEY)}) DO UPDATE SET {sums}"
    )


_UPSERTS = [(_upsert(table), UsageRecord._fields.index(entity)) for table, entity in _DAILY.items()]


def create_peer_tables(url: str) -> None:
    """Make the record table and the three daily ones."""
    sums = ", ".join(f"{name} {'numeric' if name == 'cost_usd' else 'bigint'} NOT NULL" for name in _SUMS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE peer_records ({', '.join(f'{name} {kind}' for name, kind in _TYPES.items())}, PRIMARY KEY (request_id))"
        )
        for table in _DAILY:
            connection.execute(
                f"CREATE TABLE {table} (entity_id text, day date, api_key_id text, model_id text, provider text, {sums},"
                f" PRIMARY KEY ({', '.join(_DAILY_KEY)}))"
            )


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """How far a writer came in how long, and how often the server broke a deadlock at its cost."""

    count: int
    seconds: float
    deadlocks: int


def write_row_by_row(url: str, records: Sequence[UsageRecord], seconds: float) -> RowsWritten:
    """Write records until the time is up; a transaction that lost to a deadlock is repeated."""
    prices = {model.permaslug: model for model in list_models()}
    count = deadlocks = 0
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        started = time.perf_counter()
        while count < len(records) and time.perf_counter() - started < seconds:
            record = records[count]
            cost = cost_of(record, prices)
            row = (*record[:_COST], cost, *record[_COST + 1 :])
            good = int(200 <= record.status_code <= 299)
            sums = (1, good, 1 - good, record.prompt_tokens, record.completion_tokens, record.cached_tokens, cost)
            keys = (record.occurred_at.date(), record.api_key_id, record.model_id, record.provider)
            try:
                with connection.transaction():
                    if connection.execute(_INSERT, row).rowcount == 1:
                        for statement, entity in _UPSERTS:
                            connection.execute(statement, (row[entity], *keys, *sums))
            except psycopg.errors.DeadlockDetected:
                deadlocks += 1
            else:
                count += 1
        return RowsWritten(count, time.perf_counter() - started, deadlocks)


def verify_peer(url: str, expected_records: int) -> None:
    """BenchmarkError unless every daily table sums to the records."""
    wanted: Any = None
    with psycopg.connect(url) as connection:
        wanted = connection.execute("SELECT count(*), sum(prompt_tokens), sum(cost_usd) FROM peer_records").fetchone()
        for table in _DAILY:
            found = connection.execute(f"SELECT sum(requests), sum(prompt_tokens), sum(cost_usd) FROM {table}").fetchone()
            if found != wanted or wanted[0] != expected_records:
                raise BenchmarkError(f"{table} holds {found}, the records {wanted}, of {expected_records}")
