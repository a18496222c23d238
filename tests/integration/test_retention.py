"""Retention: old records go by whole months, every rollup stays, and what can no longer be asked is an error, never a wrong number."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from app.cube.rollups import ROLLUPS
from app.db.engine import Database
from app.db.partitions import drop_partitions, ensure_partitions
from app.domain.errors import BadInputError, ConnectionLostError
from app.domain.time_range import TimeRange
from app.domain.usage import UsageRecord
from app.jobs.schedule import build_jobs
from app.settings import load
from app.summaries.retention import Retained, kept_since, retain_records
from app.summaries.verify import chunks_of, find_differences, find_extent, rebuild
from app.write.batch import Ingestor
from app.write.state import fetch_write_state
from tests.clock import NOW, FakeClock
from tests.command import run_command
from tests.factories import assert_rollups_equal, make_batch, make_record, spread, stored_rollup, unpriced
from tests.gateway import Gateway

KEEP = timedelta(days=60)
SINCE = datetime(2026, 4, 1, tzinfo=UTC)
"""From when on records are kept for 60 days at NOW, 2026-06-26: the month in which these days begin."""

SURFACES = {
    "/api/v1/analytics/network": "admin",
    "/api/v1/datasets/rankings-daily?start_date=2026-01-01&end_date=2026-06-26": "admin",
    "/api/usage/analytics?date_from=2026-01-01&date_to=2026-06-26": "admin",
    "/v1/analytics": "gateway",
    "/v1/analytics?days=365": "gateway",
    "/v1/customer/analytics?start_date=2026-01-01&end_date=2026-06-26": "tenant",
    "/v1/customer/analytics/export.csv?start_date=2026-01-01&end_date=2026-06-26": "tenant",
}


async def fetch_surfaces(gateway: Gateway) -> dict[str, str]:
    """Return what every surface of sums answers, the snapshot taken anew."""
    await gateway.snapshot()
    answers = {}
    for url, role in SURFACES.items():
        answer = await gateway.client.get(url, headers=await gateway.key(role, "acme" if role == "tenant" else None))
        assert answer.status_code == 200, answer.text
        answers[url] = answer.text
    return answers


def some_months(number: int = 40) -> list[UsageRecord]:
    """Records from January to June 2026, among them the first and the last instants of months."""
    edges = [
        SINCE - timedelta(microseconds=1),
        SINCE,
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    instants = [*edges, *spread(datetime(2026, 1, 3, 5, tzinfo=UTC), timedelta(days=4, hours=7), number)]
    return [
        make_record(
            occurred_at=at,
            user_id=f"u{position % 3}",
            username=f"name {position % 3}",
            project_id="p1",
            api_key_id="k1",
            provider="azure" if position % 4 == 0 else None,
            status_code=500 if position % 7 == 0 else 200,
            prompt_tokens=1000 + position,
            shared_model_spend=position,
        )
        for position, at in enumerate(instants)
    ]


async def month_tables(database: Database) -> list[str]:
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT substr(relname, 15) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'usage\\_records\\_2%' ORDER BY 1"
        )
        return [name for (name,) in await cursor.fetchall()]


async def assert_verified(database: Database) -> None:
    whole = await find_extent(database)
    assert whole is not None
    for chunk in chunks_of(whole):
        assert await find_differences(database, chunk) == []


@pytest.mark.parametrize(
    ("now", "days", "since"),
    [
        (NOW, 60, SINCE),
        (datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC), 31, SINCE),
        (datetime(2026, 3, 1, tzinfo=UTC), 59, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, tzinfo=UTC), 60, datetime(2025, 12, 1, tzinfo=UTC)),
    ],
)
def test_records_are_kept_at_least_as_long_as_set(now: datetime, days: int, since: datetime) -> None:
    assert kept_since(now, timedelta(days=days)) == since


async def test_months_go_whole_and_every_sum_stays(gateway: Gateway) -> None:
    records = some_months()
    await gateway.catalog({"model_id": "openai/gpt-4o", "public": True})
    await gateway.store(records)
    before = await fetch_surfaces(gateway)
    retained = await retain_records(gateway.database, NOW, KEEP)
    assert retained is not None
    assert (retained.records_since, retained.dropped) == (SINCE, ((2026, 1), (2026, 2), (2026, 3)))
    assert await month_tables(gateway.database) == ["2026_04", "2026_05", "2026_06"]
    assert await fetch_surfaces(gateway) == before
    # A replay of everything, by a writer that knew nothing of it and by one that has seen it all, doubles nothing.
    for ingestor in (Ingestor(gateway.database), Ingestor(gateway.database)):
        for _ in range(2):
            receipt = await ingestor.ingest(make_batch(records))
            old = sum(record.occurred_at < SINCE for record in records)
            assert (receipt.inserted, receipt.rejected, receipt.duplicates) == (0, old, len(records) - old)
            # Where the ids of the requests are no longer remembered, the records themselves tell a duplicate.
            async with gateway.database.transaction() as connection:
                await connection.execute("TRUNCATE recent_requests")
    await assert_rollups_equal(gateway.database, [(record, (None, None)) for record in records])
    assert await fetch_surfaces(gateway) == before
    assert await month_tables(gateway.database) == ["2026_04", "2026_05", "2026_06"]
    await assert_verified(gateway.database)


async def test_it_never_goes_back_and_bumps_the_epoch_once(database: Database) -> None:
    first = await fetch_write_state(database)
    for _ in range(2):
        await retain_records(database, NOW, KEEP)
        assert await fetch_write_state(database) == type(first)(first.epoch + 1, SINCE)
    for keep in (timedelta(days=600), None):
        assert await retain_records(database, NOW, keep) is not None
        assert await fetch_write_state(database) == type(first)(first.epoch + 1, SINCE)
    await retain_records(database, NOW - timedelta(days=90), KEEP)
    assert (await fetch_write_state(database)).records_since == SINCE
    await retain_records(database, NOW + timedelta(days=5), KEEP)
    assert await fetch_write_state(database) == type(first)(first.epoch + 2, datetime(2026, 5, 1, tzinfo=UTC))


async def test_what_is_kept_for_longer_than_records_go_back_changes_nothing(database: Database) -> None:
    first = await fetch_write_state(database)
    assert await retain_records(database, NOW, timedelta(days=3650)) is not None
    assert await fetch_write_state(database) == first


async def test_a_writer_that_remembers_is_told_and_makes_no_partition(database: Database) -> None:
    writer, other = Ingestor(database), Ingestor(database)
    old, new = datetime(2026, 2, 3, tzinfo=UTC), NOW - timedelta(days=1)
    await writer.ingest(make_batch([make_record(occurred_at=old), make_record(occurred_at=new)]))
    await other.ingest(make_batch([make_record(occurred_at=new)]))
    await retain_records(database, NOW, KEEP)
    kept = make_record(occurred_at=new)
    receipt = await writer.ingest(make_batch([make_record(occurred_at=old), kept]))
    assert [(error.index, error.field, error.message) for error in receipt.errors] == [
        (0, "occurred_at", "must not be before 2026-04-01T00:00:00.000Z: older records are not retained")
    ]
    assert (receipt.inserted, receipt.rejected) == (1, 1)
    # This one has never made the partition, and remembers that all is kept.
    assert (await other.ingest(make_batch([make_record(occurred_at=old)]))).rejected == 1
    await ensure_partitions(database, [(2026, 2), (2026, 3), (2026, 4)])
    assert await month_tables(database) == ["2026_04", "2026_06"]


async def test_a_late_record_is_rejected_over_http(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    record = {"request_id": "late", "occurred_at": "2026-03-31T23:59:59.999Z", "model_id": "m/a"}
    on_time = {**record, "request_id": "in time", "occurred_at": "2026-04-01T00:00:00Z"}
    newest = {**record, "request_id": "newest", "occurred_at": NOW.isoformat()}
    first = await gateway.client.post("/v1/ingest/usage", json=[{**record, "request_id": "first"}, newest], headers=headers)
    assert first.json()["inserted"] == 2
    await retain_records(gateway.database, NOW, KEEP)
    answer = await gateway.client.post("/v1/ingest/usage", json=[on_time, record, {**record, "request_id": "first"}], headers=headers)
    assert answer.status_code == 200
    message = "must not be before 2026-04-01T00:00:00.000Z: older records are not retained"
    body = answer.json()
    assert (body["inserted"], body["duplicates"], body["rejected"]) == (1, 0, 2)
    assert body["errors"] == [{"index": index, "field": "occurred_at", "message": message} for index in (1, 2)]


LOGS = "/v1/customer/logs"
STATEMENT = "/v1/customer/billing/usage-statement.csv"
MESSAGE = "single requests are retained from 2026-04-01T00:00:00.000Z on, and {} is before that"


async def test_single_requests_that_are_gone_are_an_error(gateway: Gateway) -> None:
    records = some_months()
    await gateway.store(records)
    headers = await gateway.key("tenant", "acme")
    await retain_records(gateway.database, NOW, KEEP)
    for url, parameters in (
        (LOGS, {"start_date": "2026-03-31"}),
        (LOGS, {"start_date": "1999-01-01"}),
        (LOGS, {"start_date": "2026-03-01", "end_date": "2026-03-31", "limit": "1"}),
        (LOGS, {"end_date": "2026-03-31"}),
        (STATEMENT, {"month": "2026-03"}),
        (STATEMENT, {"month": "2019-03"}),
    ):
        answer = await gateway.client.get(url, params=parameters, headers=headers)
        assert answer.status_code == 400, (url, parameters)
        name = "month" if url == STATEMENT else next(iter(parameters))
        assert answer.json()["error"]["message"] == MESSAGE.format(name)
    kept = [record for record in records if record.occurred_at >= SINCE]
    for parameters in ({}, {"start_date": "2026-04-01"}):
        page = (await gateway.client.get(LOGS, params={"limit": "100", **parameters}, headers=headers)).json()
        assert {row["request_id"] for row in page["data"]} == {record.request_id for record in kept}
        assert page["has_more"] is False
    april = await gateway.client.get(STATEMENT, params={"month": "2026-04"}, headers=headers)
    assert april.status_code == 200
    assert f"total,{sum(record.occurred_at.month == 4 for record in kept)} requests" in april.text


async def test_graphql_refuses_them_too_and_pages_to_the_last_one_kept(gateway: Gateway) -> None:
    records = some_months()
    await gateway.store(records)
    headers = await gateway.key("tenant", "acme")
    document = "query($start: Date, $after: String) { tenantRequests(first: 3, startDate: $start, after: $after) {"
    document += " nodes { requestId } pageInfo { hasNextPage endCursor } } }"
    oldest = (await gateway.graphql("{ tenantRequests(first: 1000) { edges { cursor } } }", headers))["data"]["tenantRequests"]["edges"][-1]
    await retain_records(gateway.database, NOW, KEEP)
    refused = await gateway.graphql(document, headers, start="2026-03-31T23:59:59Z")
    assert [(error["message"], error["extensions"]["code"]) for error in refused["errors"]] == [
        (MESSAGE.format("startDate"), "BAD_USER_INPUT")
    ]
    found: list[str] = []
    page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while page["hasNextPage"]:
        answer = (await gateway.graphql(document, headers, start=None, after=page["endCursor"]))["data"]["tenantRequests"]
        found += [node["requestId"] for node in answer["nodes"]]
        page = answer["pageInfo"]
    assert sorted(found) == sorted(record.request_id for record in records if record.occurred_at >= SINCE)
    behind = (await gateway.graphql(document, headers, start=None, after=oldest["cursor"]))["data"]["tenantRequests"]
    assert behind["nodes"] == []
    assert behind["pageInfo"]["hasNextPage"] is False


async def test_what_was_left_between_the_steps_is_completed(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(some_months()))
    async with database.transaction() as connection:
        await connection.execute("UPDATE write_state SET epoch = epoch + 1, records_since = %s", [SINCE])
    retained = await retain_records(database, NOW, None)
    assert retained is not None
    assert retained.dropped == ((2026, 1), (2026, 2), (2026, 3))
    again = await retain_records(database, NOW, KEEP)
    assert again is not None
    assert again.dropped == ()


async def wait_for_detaching(database: Database) -> int:
    """Return the server process that waits to finish a detaching."""
    for _ in range(400):
        async with database.read_connection() as connection:
            cursor = await connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'ALTER TABLE%%CONCURRENTLY'"
                " AND wait_event_type = 'Lock'"
            )
            row = await cursor.fetchone()
        if row is not None:
            return int(row[0])
        await asyncio.sleep(0.05)
    raise AssertionError("nothing waits")


async def test_a_detaching_that_was_cut_off_is_completed(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(records := some_months()))
    async with await psycopg.AsyncConnection.connect(database.url) as reader:
        await reader.execute("SELECT count(*) FROM usage_records")
        run = asyncio.create_task(retain_records(database, NOW, KEEP))
        backend = await wait_for_detaching(database)
        # Meanwhile writers write, partitions are made, and readers read what is kept.
        new = make_record(occurred_at=NOW)
        async with asyncio.timeout(5):
            assert (await Ingestor(database).ingest(make_batch([new]))).inserted == 1
            await ensure_partitions(database, [(2026, 8)])
            await assert_verified(database)
        await reader.execute("SELECT pg_terminate_backend(%s)", [backend])
        with pytest.raises(ConnectionLostError):
            await run
    retained = await retain_records(database, NOW, KEEP)
    assert retained is not None
    assert retained.dropped == ((2026, 1), (2026, 2), (2026, 3))
    assert await month_tables(database) == ["2026_04", "2026_05", "2026_06", "2026_08"]
    await assert_rollups_equal(database, unpriced([*records, new]))


_RUN = """
import asyncio, sys
from datetime import datetime, timedelta
from app.db.engine import Database
from app.summaries.retention import retain_records

async def run():
    async with Database(sys.argv[1]) as database:
        await retain_records(database, datetime.fromisoformat(sys.argv[2]), timedelta(days=60))

asyncio.run(run())
"""


async def test_a_host_that_is_killed_while_it_detaches_leaves_it_to_the_next(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(records := some_months()))
    async with await psycopg.AsyncConnection.connect(database.url) as reader:
        await reader.execute("SELECT count(*) FROM usage_records")
        host = await asyncio.create_subprocess_exec(sys.executable, "-c", _RUN, database.url, NOW.isoformat())
        await wait_for_detaching(database)
        assert await retain_records(database, NOW, KEEP) is None  # that host is at it
        host.kill()
        await host.wait()
        # Its server process still waits for the reader; what it holds otherwise is free as soon as the server notices.
        async with asyncio.timeout(15):
            next_run = asyncio.create_task(retain_until_it_is_ours(database))
            await asyncio.sleep(0.3)
            await reader.rollback()
            assert (await next_run).records_since == SINCE
    assert await month_tables(database) == ["2026_04", "2026_05", "2026_06"]
    await assert_rollups_equal(database, unpriced(records))


async def retain_until_it_is_ours(database: Database) -> Retained:
    while (run := await retain_records(database, NOW, KEEP)) is None:  # noqa: ASYNC110  (another process is waited for)
        await asyncio.sleep(0.05)
    return run


async def test_a_month_that_was_detached_but_not_dropped_is_dropped_and_an_operators_own_is_not(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(some_months()))
    async with database.read_connection() as connection:
        await connection.execute("COMMENT ON TABLE usage_records_2026_01 IS 'tokengraph: its records are no longer kept'")
        await connection.execute("ALTER TABLE usage_records DETACH PARTITION usage_records_2026_01 CONCURRENTLY")
        await connection.execute("ALTER TABLE usage_records DETACH PARTITION usage_records_2026_02 CONCURRENTLY")
        await connection.execute("CREATE TABLE usage_records_2026_03_copy AS SELECT 1 AS one")
    assert await drop_partitions(database, SINCE) == [(2026, 1), (2026, 3)]
    assert await month_tables(database) == ["2026_02", "2026_03_copy", "2026_04", "2026_05", "2026_06"]


async def test_two_hosts_at_once(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(some_months()))
    epoch = (await fetch_write_state(database)).epoch
    async with Database(database.url) as other:
        runs = await asyncio.gather(*(retain_records(host, NOW, KEEP) for host in (database, other, database, other)))
    dropped = [month for run in runs if run is not None for month in run.dropped]
    assert dropped == [(2026, 1), (2026, 2), (2026, 3)]
    assert await fetch_write_state(database) == type(await fetch_write_state(database))(epoch + 1, SINCE)


async def test_readers_and_writers_at_work_notice_nothing_but_the_error(gateway: Gateway) -> None:
    stored = some_months(200)
    await gateway.store(stored)
    headers = await gateway.key("tenant", "acme")
    ingestors = [Ingestor(gateway.database) for _ in range(2)]
    over = asyncio.Event()

    async def write(number: int) -> None:
        while not over.is_set():
            batch = [
                make_record(occurred_at=at, user_id="u1", username="somebody")
                for at in (datetime(2026, 1 + number, 5, tzinfo=UTC), datetime(2026, 3, 31, 23, 30, tzinfo=UTC), NOW)
            ]
            receipt = await ingestors[number % 2].ingest(make_batch(batch))
            refused = {error.index for error in receipt.errors}
            assert receipt.inserted == len(batch) - len(refused)
            stored.extend(record for position, record in enumerate(batch) if position not in refused)

    async def read(parameters: dict[str, str]) -> set[int]:
        seen = set()
        while not over.is_set():
            answer = await gateway.client.get(LOGS, params={"limit": "100", **parameters}, headers=headers)
            seen.add(answer.status_code)
            if answer.status_code == 200:
                assert answer.json()["data"]
            else:
                assert answer.json()["error"]["message"].startswith("single requests are retained from 2026-")
        return seen

    async def retain() -> None:
        try:
            for months in range(1, 4):
                await asyncio.sleep(0.3)
                assert await retain_records(gateway.database, datetime(2026, 3 + months, 26, tzinfo=UTC), KEEP) is not None
            await asyncio.sleep(0.3)
        finally:
            over.set()

    january = {"start_date": "2026-01-01", "end_date": "2026-01-31"}
    async with asyncio.timeout(60):
        _, _, _, by_month, whole, open_start = await asyncio.gather(
            retain(), write(0), write(1), read(january), read({"start_date": "2026-03-01"}), read({})
        )
    assert (by_month, whole, open_start) == ({200, 400}, {200, 400}, {200})
    await assert_rollups_equal(gateway.database, unpriced(stored))
    await assert_verified(gateway.database)


async def test_rebuild_refuses_what_it_would_erase(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(records := some_months()))
    await retain_records(database, NOW, KEEP)
    whole = await find_extent(database)
    assert whole is not None
    with pytest.raises(BadInputError, match="records are retained from 2026-04-01"):
        [part async for part in rebuild(database, whole)]
    await assert_rollups_equal(database, unpriced(records))
    async with database.transaction() as connection:
        for rollup in ROLLUPS:
            await connection.execute(
                f"UPDATE {rollup.name} SET request_count = request_count + 1 WHERE {rollup.grain.value} >= '2026-04-01'"
            )
    assert len([part async for part in rebuild(database, TimeRange(SINCE, whole.end))]) == 3
    await assert_rollups_equal(database, unpriced(records))


async def test_the_commands_say_from_when_records_are_kept(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(records := some_months()))
    await retain_records(database, NOW, KEEP)
    stored = [await stored_rollup(database, rollup) for rollup in ROLLUPS]
    retained = "records are retained from 2026-04-01T00:00:00.000Z on"
    for arguments in ((), ("--from", "2026-01-01"), ("--to", "2026-02-01")):
        code, output, _ = await run_command(database.url, "rollups", "verify", *arguments)
        assert code == 0
        assert retained in output
        assert "the rollups equal the records" in output
    for given in (("--from", "2026-03-31"), ("--to", "2026-03-31"), ("--from", "2026-01-01", "--to", "2026-01-02")):
        code, output, errors = await run_command(database.url, "rollups", "rebuild", *given)
        assert (code, output) == (1, "")
        assert retained in errors
    code, output, _ = await run_command(database.url, "rollups", "rebuild")
    assert (code, output) == (0, "3 months rebuilt\n")
    assert [await stored_rollup(database, rollup) for rollup in ROLLUPS] == stored
    await assert_rollups_equal(database, unpriced(records))


async def test_the_job_does_it_and_waits_for_long_readers(database: Database, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    await Ingestor(database).ingest(make_batch(some_months()))
    jobs = {job.name: job for job in build_jobs(database, clock, timedelta(minutes=10), KEEP)}
    with caplog.at_level("INFO", logger="app.jobs.schedule"):
        assert await jobs["retention"].run() == timedelta(hours=3)
    assert caplog.messages == ["dropped the records of 2026-01, 2026-02, 2026-03; records are retained from 2026-04-01T00:00:00.000Z on"]
    clock.advance(timedelta(days=10))
    await Ingestor(database).ingest(make_batch([make_record(occurred_at=clock.now)]))
    async with await psycopg.AsyncConnection.connect(database.url) as reader:
        await reader.execute("SELECT count(*) FROM usage_records")
        assert await jobs["retention"].run() == timedelta(minutes=5)
    assert await jobs["retention"].run() == timedelta(hours=3)
    assert await month_tables(database) == ["2026_05", "2026_06", "2026_07"]
    keeps_all = {job.name: job for job in build_jobs(database, clock, timedelta(minutes=10))}
    clock.advance(timedelta(days=400))
    await keeps_all["retention"].run()
    assert await month_tables(database) == ["2026_05", "2026_06", "2026_07"]


@pytest.mark.parametrize(("given", "days"), [("31", 31), ("400", 400), ("", None)])
def test_the_setting(monkeypatch: pytest.MonkeyPatch, given: str, days: int | None) -> None:
    monkeypatch.setenv("TOKENGRAPH_RECORD_RETENTION_DAYS", given)
    assert load().record_retention == (None if days is None else timedelta(days=days))


@pytest.mark.parametrize("given", ["30", "0", "-1", "a month", "1e9", "99999999999"])
def test_a_setting_that_cannot_be_right_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TOKENGRAPH_RECORD_RETENTION_DAYS", given)
    with pytest.raises(BadInputError, match="TOKENGRAPH_RECORD_RETENTION_DAYS"):
        load()
