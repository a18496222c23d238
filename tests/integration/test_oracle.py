"""The proof: whatever batches come, however split, ordered and repeated, the rollups equal a direct aggregation of the records."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cube.rollups import ROLLUPS
from app.db.engine import Database
from app.domain.fields import MAX_COUNT
from app.domain.usage import UsageRecord
from app.summaries.verify import chunks_of, find_differences, find_extent
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog
from app.write.queue import IngestQueue
from tests.factories import Price, assert_rollups_equal, first_of_each, make_batch, make_record

_CORNERS = [
    datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
]
_instants = st.sampled_from(_CORNERS) | st.datetimes(datetime(2025, 12, 30), datetime(2026, 1, 3), timezones=st.just(UTC))
_counts = st.integers(0, 500) | st.sampled_from([0, 2**31, MAX_COUNT // 64])
_money = st.decimals(0, 1000, places=9) | st.sampled_from([Decimal("0.0000000000000000000001"), Decimal(0)])
_PRICES: dict[str, tuple[str | None, str | None]] = {
    "openai/gpt-4o": ("0.0000025", "0.00001"),
    "acme/free": ("0", "0"),
    "acme/half": ("0.000000037", None),
}


@st.composite
def _records(draw: st.DrawFn) -> UsageRecord:
    prompt, completion = draw(_counts), draw(_counts)
    model = draw(st.sampled_from(["openai/gpt-4o", "acme/free", "acme/half", "plain", "unknown"]))
    user = draw(st.sampled_from([None, "u1", "u2"]))
    return make_record(
        request_id=draw(st.sampled_from([f"r{number}" for number in range(30)])),
        tenant_id=draw(st.sampled_from(["a", "b"])),
        occurred_at=draw(_instants),
        project_id=draw(st.sampled_from([None, "p"])),
        api_key_id=draw(st.sampled_from([None, "k1", "k2"])),
        user_id=user,
        username=None if user is None else draw(st.sampled_from([None, "n1", "n2"])),
        model_id=model,
        model_permaslug=draw(st.sampled_from([model, f"{model}-2024:free"])),
        provider=draw(st.sampled_from([None, None, "azure"])),
        status_code=draw(st.sampled_from([200, 299, 300, 429, 500, 0, 199])),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=draw(st.integers(0, prompt)),
        reasoning_tokens=draw(st.integers(0, completion)),
        cost_usd=draw(st.none() | _money),
        traffic_mode=draw(st.sampled_from(["shared", "byok"])),
        shared_model_spend=draw(_counts),
        search_requests=draw(st.integers(0, 3)),
        latency_ms=draw(st.none() | st.decimals(0, 10**6, places=4)),
        attempt=draw(st.integers(1, 3)),
        cache_hit=draw(st.booleans()),
        interrupted=draw(st.booleans()),
    )


def _price_of(record: UsageRecord) -> Price:
    per_input, per_output = _PRICES.get(record.model_id, (None, None))
    return (None if per_input is None else Decimal(per_input), None if per_output is None else Decimal(per_output))


async def _empty(database: Database) -> None:
    async with database.transaction() as connection:
        tables = ["usage_records", "recent_requests", "users", "tenants", "models", "model_prices", *(rollup.name for rollup in ROLLUPS)]
        await connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    records=st.lists(_records(), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    seed=st.integers(0, 2**32),
    queued=st.booleans(),
)
async def test_rollups_equal_a_direct_aggregation(
    database: Database, records: list[UsageRecord], cuts: list[int], seed: int, queued: bool
) -> None:
    await _empty(database)
    catalog = [
        {"model_id": model, "cost_per_input_token": prices[0], "cost_per_output_token": prices[1]} for model, prices in _PRICES.items()
    ]
    await load_catalog(database, parse_catalog(catalog), datetime(2026, 6, 1, tzinfo=UTC))
    bounds = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    parts = [records[start:end] for start, end in itertools.pairwise(bounds)]
    kept = first_of_each(records)
    if queued:  # all at once: they share transactions, in their order
        queue = IngestQueue(Ingestor(database))
        written = await asyncio.gather(*(queue.ingest(make_batch(part)) for part in parts))
    else:
        ingestor = Ingestor(database)
        written = [await ingestor.ingest(make_batch(part)) for part in parts]
    before: set[tuple[str, str]] = set()
    for part, receipt in zip(parts, written, strict=True):
        new = {(record.tenant_id, record.request_id) for record in part} - before
        assert (receipt.received, receipt.inserted, receipt.duplicates) == (len(part), len(new), len(part) - len(new))
        before |= new
    costed = [(record, _price_of(record)) for record in kept]
    await assert_rollups_equal(database, costed)

    # A replay, in another order, by two writers at once, changes nothing.
    shuffled = random.Random(seed).sample(records, len(records))
    replays = [make_batch(shuffled), make_batch(reversed(shuffled))]
    receipts = await asyncio.gather(*(Ingestor(database).ingest(batch) for batch in replays))
    assert [receipt.inserted for receipt in receipts] == [0, 0]
    await assert_rollups_equal(database, costed)
    whole = await find_extent(database)
    for chunk in [] if whole is None else chunks_of(whole):
        assert await find_differences(database, chunk) == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(records=st.lists(_records(), min_size=1, max_size=40, unique_by=lambda record: record.request_id), seed=st.integers(0, 2**32))
async def test_two_writers_at_once_give_the_same(database: Database, records: list[UsageRecord], seed: int) -> None:
    await _empty(database)
    shuffled = random.Random(seed).sample(records, len(records))
    receipts = await asyncio.gather(Ingestor(database).ingest(make_batch(records)), Ingestor(database).ingest(make_batch(shuffled)))
    assert sum(receipt.inserted for receipt in receipts) == len(records)
    await assert_rollups_equal(database, [(record, None) for record in records])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    prices=st.lists(st.decimals(0, 1, places=8), min_size=1, max_size=4),
    offsets=st.lists(st.integers(-200, 400), min_size=1, max_size=20),
)
async def test_each_record_has_the_price_in_force_when_it_occurred(database: Database, prices: list[Decimal], offsets: list[int]) -> None:
    await _empty(database)
    start = datetime(2026, 6, 1, tzinfo=UTC)
    for number, price in enumerate(prices):
        entry = {"model_id": "m/x", "cost_per_input_token": str(price), "cost_per_output_token": "0"}
        await load_catalog(database, parse_catalog([entry]), start + timedelta(hours=100 * number))

    def price_at(instant: datetime) -> Decimal:
        changes = [start + timedelta(hours=100 * number) for number in range(1, len(prices))]
        return prices[sum(instant >= change for change in changes)]

    records = [make_record(model_id="m/x", occurred_at=start + timedelta(hours=offset)) for offset in offsets]
    await Ingestor(database).ingest(make_batch(records))
    await assert_rollups_equal(database, [(record, (price_at(record.occurred_at), Decimal(0))) for record in records])
