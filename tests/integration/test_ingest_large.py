"""Many records at once: the same promises as few, whatever part of them is known, from when, and who writes beside."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from app.db.engine import Database
from app.domain.fields import MAX_COUNT
from app.domain.usage import UsageRecord
from app.write import large
from app.write.batch import ARRAYS_UP_TO, Ingestor
from app.write.columns import encode_copy
from app.write.large import Expectation
from app.write.rotation import RETRY_WINDOW, rotate_request_ids
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, make_record, spread, unpriced
from tests.integration.test_ingest_batch import T, fetch
from tests.recorder import recorded

SIZE = 3 * ARRAYS_UP_TO


def make_many(size: int = SIZE, **given: Any) -> list[UsageRecord]:
    """Return records of many callers over 20 hours."""
    return [
        make_record(
            occurred_at=at,
            tenant_id=f"t{number % 7}",
            project_id=f"p{number % 3}" if number % 5 else None,
            api_key_id=f"k{number % 4}" if number % 6 else None,
            user_id=f"u{number % 50}" if number % 9 else None,
            model_id=f"m/{number % 5}",
            provider="azure" if number % 8 == 0 else None,
            **given,
        )
        for number, at in enumerate(spread(T - timedelta(hours=20), timedelta(seconds=72_000 / size), size))
    ]


def count_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the list to which the number of records is added whenever some are encoded for a COPY."""
    counts: list[int] = []

    def encode(records: list[UsageRecord], *arguments: Any, **more: Any) -> Any:
        counts.append(len(records))
        return encode_copy(records, *arguments, **more)

    monkeypatch.setattr(large, "encode_copy", encode)
    return counts


@pytest.mark.parametrize("known", [1, SIZE // 3, SIZE - 1])
async def test_what_is_known_of_many_stays_as_it_is(ingestor: Ingestor, database: Database, known: int) -> None:
    records = make_many()
    first = Random(known).sample(records, known)
    assert (await ingestor.ingest(make_batch(first))).inserted == known
    changed = [
        record._replace(prompt_tokens=999, occurred_at=record.occurred_at + timedelta(days=1)) if record in first else record
        for record in records
    ]
    receipt = await ingestor.ingest(make_batch(changed))
    assert (receipt.inserted, receipt.duplicates) == (SIZE - known, known)
    await assert_rollups_equal(database, unpriced(records))


async def test_each_delivery_of_a_large_group_is_told_its_own(ingestor: Ingestor, database: Database) -> None:
    records = make_many()
    await ingestor.ingest(make_batch(records[::10]))
    first, second, third = records[:700], [*records[690:1000], *records[:5]], records[1000:]
    receipts = await ingestor.ingest_all([make_batch(part) for part in (first, second, third)])
    assert [(receipt.received, receipt.inserted, receipt.duplicates) for receipt in receipts] == [
        (700, 630, 70),
        (315, 270, 45),
        (500, 450, 50),
    ]
    await assert_rollups_equal(database, unpriced(records))
    new = make_many()
    receipts = await ingestor.ingest_all([make_batch(new[:700]), make_batch(new[700:])])
    assert [receipt.inserted for receipt in receipts] == [700, SIZE - 700]
    await assert_rollups_equal(database, unpriced([*records, *new]))


@pytest.mark.parametrize("rotations", [1, 2])
async def test_what_is_known_from_long_ago_is_known(ingestor: Ingestor, database: Database, rotations: int) -> None:
    assert await rotate_request_ids(database, NOW)
    records = make_many()
    await ingestor.ingest(make_batch(records[: SIZE // 2]))
    for number in range(1, rotations + 1):
        assert await rotate_request_ids(database, NOW + number * RETRY_WINDOW)
    for inserted in (SIZE - SIZE // 2, 0, 0, 0):
        receipt = await ingestor.ingest(make_batch(records))
        assert (receipt.inserted, receipt.duplicates) == (inserted, SIZE - inserted)
    await assert_rollups_equal(database, unpriced(records))


@pytest.mark.parametrize("tokens", [2**31 - 1, 2**31, MAX_COUNT])
async def test_great_counts_are_summed_exactly(ingestor: Ingestor, database: Database, tokens: int) -> None:
    records = make_many(600, shared_model_spend=2**31 - 1)
    records[17] = records[17]._replace(prompt_tokens=tokens)
    assert (await ingestor.ingest(make_batch(records))).inserted == 600
    await assert_rollups_equal(database, unpriced(records))


async def test_names_of_a_write_that_was_wrong_about_its_records_are_registered_with_the_next_try(
    ingestor: Ingestor, database: Database
) -> None:
    records = make_many()
    await ingestor.ingest(make_batch(records[:3]))
    records[-1] = records[-1]._replace(model_id="new/model", model_permaslug="new/model", tenant_id="newcomer", username="eve", user_id="e")
    receipt = await ingestor.ingest(make_batch(records))
    assert (receipt.inserted, receipt.duplicates) == (SIZE - 3, 3)
    assert "new/model" in receipt.private_models
    assert await fetch(database, "SELECT username FROM tenant_users WHERE username IS NOT NULL") == [("eve",)]
    await assert_rollups_equal(database, unpriced(records))


async def test_a_replay_is_recognised_by_its_keys(ingestor: Ingestor, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    records = make_many()
    encoded = count_encoded(monkeypatch)
    with recorded() as statements:
        await ingestor.ingest(make_batch(records))
    assert [name for name in statements.names() if name in ("claim", "ingest")] == ["claim", "ingest"]
    assert encoded == [SIZE]
    await ingestor.ingest(make_batch(records))  # which was not expected
    encoded.clear()
    with recorded() as statements:
        assert (await ingestor.ingest(make_batch(records))).duplicates == SIZE
    assert statements.names() == ["known"]
    assert encoded == []
    with recorded() as statements:
        assert (await ingestor.ingest(make_batch([*records, make_record(tenant_id="t1")]))).inserted == 1
    assert [name for name in statements.names() if name in ("known", "claim", "ingest")] == ["claim", "ingest", "known"]
    assert encoded == [1], "only what is new travels"


async def test_writers_of_the_same_records_at_once_write_them_once(database: Database) -> None:
    records = make_many(4000)
    writers = [Ingestor(database) for _ in range(3)]
    orders = [Random(number).sample(records, len(records)) for number in range(3)]

    async def write(writer: Ingestor, mine: list[UsageRecord]) -> int:
        return sum([(await writer.ingest(make_batch(mine[first : first + 1000]))).inserted for first in range(0, len(mine), 1000)])

    assert sum(await asyncio.gather(*map(write, writers, orders))) == len(records)
    await assert_rollups_equal(database, unpriced(records))
    assert await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_expectations_follow_what_comes() -> None:
    expectation = Expectation()
    assert expectation.all_new
    expectation.learn(1000, 0)
    assert expectation.repeats
    assert not expectation.all_new
    expectation.learn(1000, 1000)
    assert expectation.all_new


def test_the_more_often_it_is_wrong_the_longer_nothing_is_expected() -> None:
    expectation = Expectation()
    waits = []
    for _ in range(12):
        expectation.be_disappointed()
        waits.append(0)
        while not expectation.all_new:
            expectation.learn(1000, 999)
            assert not expectation.all_new, "known records keep it wary"
            expectation.learn(1000, 1000)
            waits[-1] += 1
    assert waits == [1, 3, 7, 15, 31, 63, 127, 255, 256, 256, 256, 256]
    for _ in range(256):
        expectation.learn(1000, 1000)
    expectation.be_disappointed()
    expectation.learn(1000, 1000)
    assert expectation.all_new, "long after it is trusted as at first"
