"""The stream of records that the ingest measurements write: a million requests a day in the order of their instants. Deterministic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from random import Random

import orjson

from app.domain.usage import ParsedBatch, UsageRecord
from benchmarks.population import MODELS, USERS, Caller, Model, list_callers, list_models, zipf_rank

START = datetime(2025, 6, 2, tzinfo=UTC)
STEP = timedelta(days=1) / 1_000_000
"""Between two records of a stream."""

_FAILURES = (429, 500, 502, 408, 400)


def generate_traffic(seed: str, count: int) -> list[UsageRecord]:
    """Return `count` records from `START` on.

    Every optional field is given but `username`, and `cost_usd` is in every second record only: the others are priced from the catalog.
    """
    rng = Random(f"traffic {seed}")
    models, callers = list_models(), list_callers()
    at = START
    records = []
    for number in range(count):
        at += STEP
        caller = callers[zipf_rank(rng.random(), USERS)]
        model = models[zipf_rank(rng.random(), MODELS)]
        records.append(_make_record(rng, at, caller, model, is_priced=number % 2 == 0))
    return records


@lru_cache(maxsize=1)
def generate_introductions() -> list[UsageRecord]:
    """Return a record of each caller, on the day before `START`: all names that the streams mention."""
    rng = Random("introductions")
    models = list_models()
    step = timedelta(days=1) / USERS
    return [
        _make_record(rng, START - timedelta(days=1) + number * step, caller, models[number % MODELS], is_priced=True)
        for number, caller in enumerate(list_callers())
    ]


def _make_record(rng: Random, at: datetime, caller: Caller, model: Model, *, is_priced: bool) -> UsageRecord:
    bits = rng.getrandbits(96)
    prompt = 20 + int(900 * rng.lognormvariate(0, 1))
    completion = 1 + int(250 * rng.lognormvariate(0, 0.9))
    failed = bits % 25 == 0
    by_own_key = bits % 7 == 0
    first_token = 150 + bits % 997
    cost = prompt * model.cost_per_input_token + completion * model.cost_per_output_token
    credit = 1 + int(cost * 1_000_000)
    return UsageRecord(
        tenant_id=caller.tenant_id,
        request_id=f"req-{bits:024x}",
        occurred_at=at,
        project_id=caller.project_id,
        api_key_id=caller.api_key_id,
        user_id=caller.user_id,
        username=None,
        model_id=model.model_id,
        model_permaslug=model.permaslug,
        provider=model.provider,
        status_code=_FAILURES[bits // 25 % 5] if failed else 200,
        prompt_tokens=prompt,
        completion_tokens=0 if failed else completion,
        cached_tokens=prompt * (bits % 11) // 16 if bits % 3 == 0 else 0,
        reasoning_tokens=completion // 2 if bits % 5 == 0 and not failed else 0,
        cost_usd=None if is_priced else cost,
        traffic_mode="byok" if by_own_key else "shared",
        shared_model_spend=0 if by_own_key else credit,
        byok_platform_fee=credit // 20 if by_own_key else 0,
        managed_tool_fee=500 * (bits % 50 == 1),
        agent_runtime_fee=25 * (bits % 100 == 2),
        search_requests=int(bits % 50 == 1),
        latency_ms=Decimal(first_token + completion * 8),
        ttft_ms=Decimal(first_token),
    )


def cost_of(record: UsageRecord, prices: dict[str, Model]) -> Decimal:
    """Return what a record costs by its own word or by the catalog, `prices` being by permaslug."""
    if record.cost_usd is not None:
        return record.cost_usd
    model = prices[record.model_permaslug]
    return record.prompt_tokens * model.cost_per_input_token + record.completion_tokens * model.cost_per_output_token


def split(records: list[UsageRecord], size: int) -> Iterator[list[UsageRecord]]:
    """Cut a stream into batches of `size`; a shorter rest is left out."""
    for first in range(0, len(records) - size + 1, size):
        yield records[first : first + size]


def make_batch(records: list[UsageRecord]) -> ParsedBatch:
    """Return records as a parser hands them over."""
    return ParsedBatch(received=len(records), records=records, indexes=list(range(len(records))))


def encode_ndjson(records: list[UsageRecord]) -> bytes:
    """Return records as a client posts them, without the fields that are None."""
    return b"".join(
        orjson.dumps(
            {name: value for name, value in record._asdict().items() if value is not None}, default=float, option=orjson.OPT_APPEND_NEWLINE
        )
        for record in records
    )
