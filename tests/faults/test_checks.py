"""The fault tests' own checks: each finds what it is there to find."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.db.engine import Database
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_batch, make_record
from tests.faults.checks import assert_stored_once, assert_sums_are_right, fingerprint
from tests.faults.traffic import Book, SentBatch


@pytest.fixture
async def book(database: Database) -> Book:
    """Three batches that are stored: one acknowledged, one given up, one that brought a record of each of them again."""
    first, second = ([make_record(request_id=f"{name}{n}", occurred_at=NOW) for n in range(3)] for name in "ab")
    batches = [
        SentBatch(first, tries=1, acknowledged=True, may_be_written=True),
        SentBatch(second, tries=1, abandoned=True, may_be_written=True),
        SentBatch([first[0], second[0]], tries=1, abandoned=True, may_be_written=True),
        SentBatch([make_record(request_id="never arrived")], tries=1, abandoned=True, may_be_written=True),
    ]
    for batch in batches[:3]:
        await Ingestor(database).ingest(make_batch(batch.records))
    return Book(batches)


async def change(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        assert (await connection.execute(statement)).rowcount == 1


async def test_what_is_right_passes(database: Database, book: Book) -> None:
    stored = await assert_stored_once(database, book)
    assert {record.request_id for record in stored} == {"a0", "a1", "a2", "b0", "b1", "b2"}
    await assert_sums_are_right(database, stored)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM usage_records WHERE request_id = 'a1'", "1 of 3 acknowledged records are lost"),
        ("DELETE FROM usage_records WHERE request_id = 'b2'", "1 of 2 records of a batch are stored"),
        ("DELETE FROM usage_records WHERE request_id = 'b0'", "2 of 2 records of a batch are stored"),
        ("UPDATE usage_records SET request_id = 'c0' WHERE request_id = 'b0'", "1 records were never sent"),
        ("UPDATE usage_records SET prompt_tokens = 1 WHERE request_id = 'b0'", "1 records are not as they were sent first"),
    ],
)
async def test_what_is_lost_or_strange_or_half_there_is_found(database: Database, book: Book, statement: str, words: str) -> None:
    before = await fingerprint(database)
    await change(database, statement)
    assert await fingerprint(database) != before
    with pytest.raises(AssertionError, match=words):
        await assert_stored_once(database, book)


async def test_what_is_doubled_is_found(database: Database, book: Book) -> None:
    columns = (
        "tenant_id, project_id, user_id, caller_key_id, model_id, provider_id, status_code, traffic_mode, is_priced, request_id, cost_usd"
    )
    columns += (
        ", prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, shared_model_spend, byok_platform_fee, managed_tool_fee"
    )
    columns += ", agent_runtime_fee, search_requests, attempt, cache_hit, interrupted"
    later = NOW + timedelta(seconds=1)
    await change(
        database,
        f"INSERT INTO usage_records (occurred_at, {columns}) SELECT '{later.isoformat()}', {columns} FROM usage_records WHERE request_id = 'a1'",
    )
    with pytest.raises(AssertionError, match="1 records are stored twice"):
        await assert_stored_once(database, book)


async def test_a_wrong_sum_is_found(database: Database, book: Book) -> None:
    stored = await assert_stored_once(database, book)
    await change(database, "UPDATE usage_by_hour_model SET prompt_tokens = prompt_tokens + 1")
    with pytest.raises(AssertionError, match="usage_by_hour_model"):
        await assert_sums_are_right(database, stored)
