"""The one write: exactly once, whatever is repeated, split, reordered or refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from app.db.engine import Database
from app.domain.errors import UnavailableError
from app.domain.fields import MAX_COUNT
from app.summaries.verify import chunks_of, find_differences, find_extent, rebuild
from app.write.batch import ARRAYS_UP_TO, Ingestor
from app.write.rotation import RETRY_WINDOW, rotate_request_ids
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, make_record, spread, unpriced

T = datetime(2026, 6, 25, 10, 30, tzinfo=UTC)


async def fetch(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.read_connection() as connection:
        return await (await connection.execute(statement)).fetchall()


async def count_records(database: Database) -> int:
    return int((await fetch(database, "SELECT count(*) FROM usage_records"))[0][0])


async def assert_verified(database: Database) -> None:
    whole = await find_extent(database)
    assert whole is not None
    for chunk in chunks_of(whole):
        assert await find_differences(database, chunk) == []


async def test_a_record_is_stored_as_it_is(ingestor: Ingestor, database: Database) -> None:
    record = make_record(
        request_id='odd "id" \\ {x},\tNULL',
        project_id="p1",
        api_key_id="k1",
        user_id="u1",
        username='O"Hara \\ {}',
        model_permaslug="openai/gpt-4o-2024-05-13:free",
        provider="azure",
        status_code=503,
        prompt_tokens=MAX_COUNT,
        completion_tokens=7,
        cached_tokens=5,
        reasoning_tokens=3,
        cost_usd=Decimal("0.0000000000000000000000001"),
        traffic_mode="byok",
        byok_platform_fee=9,
        search_requests=2,
        latency_ms=Decimal("12.345678901"),
        ttft_ms=Decimal("0"),
    )
    receipt = await ingestor.ingest(make_batch([record]))
    assert receipt.as_json() == {
        "received": 1,
        "inserted": 1,
        "duplicates": 0,
        "rejected": 0,
        "errors": [],
        "private_models": ["openai/gpt-4o-2024-05-13:free"],
    }
    rows = await fetch(
        database,
        "SELECT r.occurred_at, t.external_id, r.request_id, p.external_id, k.external_id, u.external_id, n.username, m.public_id, m.permaslug,"
        " v.slug, r.status_code, r.prompt_tokens, r.completion_tokens, r.cached_tokens, r.reasoning_tokens, r.cost_usd, r.is_priced,"
        " r.traffic_mode, r.byok_platform_fee, r.search_requests, r.latency_ms, r.ttft_ms"
        " FROM usage_records r JOIN tenants t ON t.id = r.tenant_id JOIN projects p ON p.id = r.project_id"
        " JOIN caller_keys k ON k.id = r.caller_key_id JOIN users u ON u.id = r.user_id"
        " JOIN tenant_users n ON n.user_id = u.id AND n.tenant_id = t.id JOIN models m ON m.id = r.model_id"
        " JOIN providers v ON v.id = r.provider_id",
    )
    assert rows == [
        (
            record.occurred_at,
            "acme",
            record.request_id,
            "p1",
            "k1",
            "u1",
            record.username,
            "openai/gpt-4o",
            "openai/gpt-4o-2024-05-13:free",
            "azure",
            503,
            MAX_COUNT,
            7,
            5,
            3,
            record.cost_usd,
            True,
            1,
            9,
            2,
            record.latency_ms,
            Decimal(0),
        )
    ]


@pytest.mark.parametrize("size", [1, ARRAYS_UP_TO, ARRAYS_UP_TO + 1, 3000])
async def test_both_ways_to_the_server_give_the_same(ingestor: Ingestor, database: Database, size: int) -> None:
    records = [
        make_record(
            occurred_at=at,
            tenant_id=f"t{number % 7}",
            user_id=f"u{number % 50}",
            username=f"name {number % 3}\t\\",
            model_id=f"m/{number % 5}",
        )
        for number, at in enumerate(spread(T, timedelta(seconds=61), size))
    ]
    receipt = await ingestor.ingest(make_batch(records))
    assert (receipt.inserted, receipt.duplicates) == (size, 0)
    await assert_rollups_equal(database, unpriced(records))
    again = await ingestor.ingest(make_batch(records))
    assert (again.inserted, again.duplicates) == (0, size)
    await assert_rollups_equal(database, unpriced(records))


async def test_a_repeated_id_changes_nothing_whatever_else_it_says(ingestor: Ingestor, database: Database) -> None:
    first = make_record(request_id="same", prompt_tokens=5)
    other = first._replace(prompt_tokens=900, model_id="x/y", model_permaslug="x/y", username="eve", user_id="u")
    elsewhere = first._replace(tenant_id="umbrella")
    receipt = await ingestor.ingest(make_batch([first, other, elsewhere]))
    assert (receipt.inserted, receipt.duplicates) == (2, 1)
    later = await ingestor.ingest(make_batch([other]))
    assert (later.inserted, later.duplicates) == (0, 1)
    await assert_rollups_equal(database, unpriced([first, elsewhere]))


@pytest.mark.parametrize("shift", [timedelta(seconds=1), timedelta(hours=-30), timedelta(days=-200)])
async def test_a_retry_with_another_timestamp_is_a_duplicate(ingestor: Ingestor, database: Database, shift: timedelta) -> None:
    first = make_record()
    await ingestor.ingest(make_batch([first]))
    receipt = await ingestor.ingest(make_batch([first._replace(occurred_at=first.occurred_at + shift)]))
    assert (receipt.inserted, receipt.duplicates) == (0, 1)
    await assert_rollups_equal(database, unpriced([first]))


async def test_the_retry_window_holds_over_one_rotation_and_ends_after_two(ingestor: Ingestor, database: Database) -> None:
    assert await rotate_request_ids(database, NOW)
    records = [make_record(), make_record()]
    kept, moved = records[0], records[1]._replace(occurred_at=T + timedelta(minutes=1))
    await ingestor.ingest(make_batch(records))
    assert not await rotate_request_ids(database, NOW + RETRY_WINDOW - timedelta(seconds=1))
    assert await rotate_request_ids(database, NOW + RETRY_WINDOW)
    assert (await ingestor.ingest(make_batch([moved]))).duplicates == 1
    assert await rotate_request_ids(database, NOW + 2 * RETRY_WINDOW)
    assert (await ingestor.ingest(make_batch([kept]))).duplicates == 1, "the same timestamp is known for ever"
    assert (await ingestor.ingest(make_batch([moved]))).inserted == 1, "documented: after the window a new timestamp is a new record"


async def test_rotation_happens_once_among_many(database: Database) -> None:
    assert sorted(await asyncio.gather(*(rotate_request_ids(database, NOW) for _ in range(4)))) == [False, False, False, True]


async def test_writers_with_shared_buckets_neither_lock_up_nor_lose(database: Database) -> None:
    records = [
        make_record(
            occurred_at=at,
            tenant_id=f"t{number % 11}",
            user_id=f"u{number % 97}",
            username=f"n{number}",
            project_id=f"p{number % 3}",
            model_id=f"m/{number % 13}",
        )
        for number, at in enumerate(spread(T, timedelta(seconds=37), 4000))
    ]
    writers = [Ingestor(database) for _ in range(4)]

    async def write(writer: Ingestor, order: int) -> int:
        mine = sorted(records, key=lambda record: hash((record.request_id, order)))
        inserted = 0
        for start in range(0, len(mine), 400 + 100 * order):
            inserted += (await writer.ingest(make_batch(mine[start : start + 400 + 100 * order]))).inserted
        return inserted

    assert sum(await asyncio.gather(*(write(writer, order) for order, writer in enumerate(writers)))) == len(records)
    await assert_rollups_equal(database, unpriced(records))
    assert (await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")) == [(0,)]


async def test_the_newest_username_is_kept_in_any_order(ingestor: Ingestor, database: Database) -> None:
    names = [(0, "first"), (50, "newest"), (20, "late"), (50, "a tie loses to the greater")]
    for seconds, name in names:
        await ingestor.ingest(make_batch([make_record(user_id="u", username=name, occurred_at=T + timedelta(seconds=seconds))]))
    await ingestor.ingest(make_batch([make_record(user_id="u", username=None, occurred_at=T + timedelta(seconds=90))]))
    await ingestor.ingest(make_batch([make_record(tenant_id="umbrella", user_id="u", username="theirs")]))
    assert await fetch(database, "SELECT username, username_at FROM tenant_users ORDER BY tenant_id") == [
        ("newest", T + timedelta(seconds=50)),
        ("theirs", T),
    ]


async def test_months_are_made_when_records_need_them(ingestor: Ingestor, database: Database) -> None:
    months = [datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)]
    await ingestor.ingest(make_batch([make_record(occurred_at=at) for at in months]))
    names = await fetch(database, "SELECT tableoid::regclass::text FROM usage_records ORDER BY 1")
    assert names == [("usage_records_2020_01",), ("usage_records_2024_02",), ("usage_records_2025_12",)]


async def test_two_gateways_may_make_the_same_month(database: Database) -> None:
    records = [make_record(occurred_at=datetime(2023, 5, 1, tzinfo=UTC)) for _ in range(6)]
    receipts = await asyncio.gather(*(Ingestor(database).ingest(make_batch([record])) for record in records))
    assert [receipt.inserted for receipt in receipts] == [1] * 6


async def test_a_failed_write_leaves_nothing_and_is_not_remembered(ingestor: Ingestor, database: Database) -> None:
    bad = make_record(tenant_id="new-tenant", cached_tokens=500, prompt_tokens=1)
    with pytest.raises(psycopg.errors.CheckViolation):
        await ingestor.ingest(make_batch([make_record(), bad]))
    assert await count_records(database) == 0
    assert await fetch(database, "SELECT count(*) FROM tenants") == [(0,)]
    receipt = await ingestor.ingest(make_batch([make_record(tenant_id="new-tenant")]))
    assert receipt.inserted == 1
    await assert_verified(database)


async def test_a_connection_that_is_cut_is_replaced_and_the_write_done_once(
    ingestor: Ingestor, database: Database, database_url: str
) -> None:
    await ingestor.ingest(make_batch([make_record()]))
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    receipt = await ingestor.ingest(make_batch([make_record()]))
    assert receipt.inserted == 1
    await assert_verified(database)


async def test_no_server_is_said_so(tmp_path: Any) -> None:
    async with Database(f"postgresql://nobody@/none?host={tmp_path}") as database:
        with pytest.raises(UnavailableError):
            await Ingestor(database).ingest(make_batch([make_record()]))


async def test_verify_finds_what_differs_and_rebuild_mends_it(ingestor: Ingestor, database: Database) -> None:
    records = [make_record(occurred_at=at, user_id="u") for at in spread(T, timedelta(days=9), 8)]
    await ingestor.ingest(make_batch(records))
    whole = await find_extent(database)
    assert whole is not None
    await assert_verified(database)
    async with database.transaction() as connection:
        await connection.execute("UPDATE usage_by_day_model SET prompt_tokens = prompt_tokens + 1 WHERE day = '2026-07-04'")
        await connection.execute("DELETE FROM usage_by_hour_model WHERE hour < '2026-07-01'")
        await connection.execute(
            "INSERT INTO usage_by_day_all SELECT tenant_id, '2026-06-01', 0, 0, 0, model_id, provider_id, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM usage_by_day_all LIMIT 1"
        )
    whole = await find_extent(database)
    assert whole is not None
    found = [difference for chunk in chunks_of(whole) for difference in await find_differences(database, chunk)]
    assert sorted((difference.rollup, difference.stored is None, difference.expected is None) for difference in found) == [
        ("usage_by_day_all", False, True),
        ("usage_by_day_model", False, False),
        ("usage_by_hour_model", True, False),
    ]
    assert [part async for part in rebuild(database, whole)]
    await assert_rollups_equal(database, unpriced(records))
    await assert_verified(database)
