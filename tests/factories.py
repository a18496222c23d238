"""Makes usage records and batches, and says what the rollups must then hold: a direct aggregation in plain Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from app.cube.rollups import ROLLUPS, Rollup
from app.db.engine import Database
from app.domain.usage import ParsedBatch, UsageRecord

_ids = count(1)

DEFAULTS: dict[str, Any] = {
    "tenant_id": "acme",
    "occurred_at": datetime(2026, 6, 25, 10, 30, tzinfo=UTC),
    "model_id": "openai/gpt-4o",
    "prompt_tokens": 100,
    "completion_tokens": 20,
}


def make_record(**given: Any) -> UsageRecord:
    """Return a record; every field that matters to a test is given by it."""
    fields = {"request_id": f"req-{next(_ids)}", **DEFAULTS, **given}
    fields.setdefault("model_permaslug", fields["model_id"])
    return UsageRecord(**fields)


def make_batch(records: Iterable[UsageRecord]) -> ParsedBatch:
    """Return the records as a parser would hand them over."""
    taken = list(records)
    return ParsedBatch(received=len(taken), records=taken, indexes=list(range(len(taken))))


def first_of_each(records: Iterable[UsageRecord]) -> list[UsageRecord]:
    """Return what must be stored of a sequence of deliveries: the first record of each (tenant, request id)."""
    seen: dict[tuple[str, str], UsageRecord] = {}
    for record in records:
        seen.setdefault((record.tenant_id, record.request_id), record)
    return list(seen.values())


Price = tuple[Decimal | None, Decimal | None]


def naive_provider(record: UsageRecord) -> str:
    """Return the provider that a record without catalog counts under."""
    prefix, slash, _ = record.model_id.partition("/")
    return record.provider or (prefix if slash and prefix else "unknown")


def naive_cost(record: UsageRecord, price: Price | None) -> tuple[Decimal, bool]:
    """Return cost in USD and whether it is known."""
    if record.cost_usd is not None or record.cache_hit:
        return record.cost_usd or Decimal(0), True
    per_input, per_output = price or (None, None)
    cost = record.prompt_tokens * (per_input or Decimal(0)) + record.completion_tokens * (per_output or Decimal(0))
    return cost, per_input is not None and per_output is not None


NaiveRollup = dict[tuple[Any, ...], dict[str, Any]]


def naive_rollup(rollup: Rollup, costed: Sequence[tuple[UsageRecord, Price | None]]) -> NaiveRollup:
    """Aggregate records with their prices as `rollup` should: by its key in public names (None for none), to its measures."""
    rows: NaiveRollup = defaultdict(lambda: dict.fromkeys((measure.name for measure in rollup.measures), 0))
    for record, price in costed:
        instant = record.occurred_at.astimezone(UTC)
        names = {
            "hour": instant.replace(minute=0, second=0, microsecond=0),
            "day": instant.date(),
            "tenant_id": record.tenant_id,
            "project_id": record.project_id,
            "user_id": record.user_id,
            "caller_key_id": record.api_key_id,
            "model_id": (record.model_id, record.model_permaslug),
            "provider_id": naive_provider(record),
            "traffic_mode": ("shared", "byok").index(record.traffic_mode),
        }
        cost, priced = naive_cost(record, price)
        amounts = {
            "request_count": 1,
            "successful_count": int(200 <= record.status_code <= 299),
            "priced_count": int(priced),
            "retry_count": int(record.attempt > 1),
            "cache_hit_count": int(record.cache_hit),
            "interrupted_count": int(record.interrupted),
            "cost_usd": cost,
            "latency_count": int(record.latency_ms is not None),
            "latency_sum_ms": record.latency_ms or 0,
        }
        row = rows[tuple(names[column] for column in rollup.key)]
        for measure in rollup.measures:
            row[measure.name] += amounts[measure.name] if measure.name in amounts else getattr(record, measure.name)
    return dict(rows)


_LABELS = {
    "tenant_id": ("tenants", "external_id"),
    "project_id": ("projects", "external_id"),
    "user_id": ("users", "external_id"),
    "caller_key_id": ("caller_keys", "external_id"),
    "provider_id": ("providers", "slug"),
}


async def stored_rollup(database: Database, rollup: Rollup) -> NaiveRollup:
    """Return what the database holds of a rollup, in the form of `naive_rollup`."""
    async with database.read_connection() as connection:
        labels: dict[str, dict[int, Any]] = {}
        for column, (table, label) in _LABELS.items():
            cursor = await connection.execute(f"SELECT id, {label} FROM {table}")
            labels[column] = {0: None, **dict(await cursor.fetchall())}
        cursor = await connection.execute("SELECT id, public_id, permaslug FROM models")
        labels["model_id"] = {key: (public_id, permaslug) for key, public_id, permaslug in await cursor.fetchall()}
        measures = [measure.name for measure in rollup.measures]
        cursor = await connection.execute(f"SELECT {', '.join((*rollup.key, *measures))} FROM {rollup.name}")
        rows = await cursor.fetchall()
    keys = len(rollup.key)
    return {
        tuple(labels[column][cell] if column in labels else cell for column, cell in zip(rollup.key, row, strict=False)): dict(
            zip(measures, row[keys:], strict=True)
        )
        for row in rows
    }


async def assert_rollups_equal(database: Database, costed: Sequence[tuple[UsageRecord, Price | None]]) -> None:
    """Fail unless every rollup holds exactly the direct aggregation of the records."""
    for rollup in ROLLUPS:
        assert await stored_rollup(database, rollup) == naive_rollup(rollup, costed), rollup.name


def unpriced(records: Iterable[UsageRecord]) -> list[tuple[UsageRecord, Price | None]]:
    """Return the records as they are stored where the catalog is empty."""
    return [(record, None) for record in records]


def spread(start: datetime, step: timedelta, number: int) -> list[datetime]:
    """Return `number` instants, `step` apart."""
    return [start + step * position for position in range(number)]
