"""Group commit and backpressure: who waits together is written together, each gets its own receipt, and what may wait is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import psycopg
import pytest

from app.db.engine import Database
from app.domain.errors import OverloadedError
from app.domain.usage import ParsedBatch, Quarantined, Reason, Reject
from app.settings import Settings
from app.web.app import Wiring, create_app
from app.web.bodies import Pace
from app.write.batch import Ingestor
from app.write.queue import GROUP_RECORDS, IngestQueue
from tests.factories import assert_rollups_equal, make_batch, make_record, unpriced
from tests.gateway import Gateway
from tests.live import listening
from tests.recorder import recorded


@pytest.fixture
def queue(ingestor: Ingestor) -> IngestQueue:
    return IngestQueue(ingestor)


@asynccontextmanager
async def stalled_writes(database_url: str) -> AsyncIterator[None]:
    """Let every write wait until the block ends, as a database that is too slow does."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("LOCK TABLE recent_requests IN ACCESS EXCLUSIVE MODE")
        yield


async def test_who_waits_together_shares_a_transaction(database: Database, queue: IngestQueue) -> None:
    records = [make_record(tenant_id=f"t{number % 3}") for number in range(64)]
    await queue.ingest(make_batch([make_record(tenant_id=f"t{number}") for number in range(3)]))
    with recorded() as statements:
        receipts = await asyncio.gather(*(queue.ingest(make_batch([record])) for record in records))
    assert [(receipt.received, receipt.inserted, receipt.duplicates) for receipt in receipts] == [(1, 1, 0)] * 64
    assert statements.names().count("ingest") == 1
    assert queue.held_records == 0


async def test_each_gets_the_receipt_of_its_own(database: Database, queue: IngestQueue) -> None:
    known, shared = make_record(request_id="known"), make_record(request_id="shared")
    await queue.ingest(make_batch([known]))
    new_models = [make_record(model_id=f"new/{number}") for number in range(2)]
    rejecting = ParsedBatch(received=2, records=[make_record()], indexes=[1], rejects=[Reject(0, "model_id", "is wrong")])
    rejecting.unknown_fields = {"odd": 1}
    batches = [
        make_batch([known, shared]),
        make_batch([shared, make_record()]),
        rejecting,
        make_batch(new_models),
        make_batch([new_models[1]._replace(request_id="another")]),
        ParsedBatch(),
    ]
    receipts = await asyncio.gather(*(queue.ingest(batch) for batch in batches))
    assert [(receipt.received, receipt.inserted, receipt.duplicates, receipt.rejected) for receipt in receipts] == [
        (2, 1, 1, 0),
        (2, 1, 1, 0),
        (2, 1, 0, 1),
        (2, 2, 0, 0),
        (1, 1, 0, 0),
        (0, 0, 0, 0),
    ]
    assert receipts[2].errors == rejecting.rejects
    assert receipts[2].unknown_fields == {"odd": 1}
    assert [receipt.private_models for receipt in receipts] == [[], [], [], ["new/0", "new/1"], ["new/1"], []]


async def test_a_batch_that_fails_for_no_known_reason_fails_alone(queue: IngestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = make_batch([make_record()])
    write_all = Ingestor.ingest_all

    async def fail(self: Ingestor, batches: list[ParsedBatch], also: Any = None) -> Any:
        if any(batch is bad for batch in batches):
            raise ZeroDivisionError
        return await write_all(self, batches, also)

    monkeypatch.setattr(Ingestor, "ingest_all", fail)
    good = [make_batch([make_record()]) for _ in range(3)]
    results = await asyncio.gather(*(queue.ingest(batch) for batch in [good[0], bad, *good[1:]]), return_exceptions=True)
    assert isinstance(results[1], ZeroDivisionError)
    assert [getattr(result, "inserted", None) for result in results] == [1, None, 1, 1]


async def test_large_batches_are_not_split_and_small_ones_not_kept_for_them(database: Database, queue: IngestQueue) -> None:
    large = [[make_record(request_id=f"{part}-{number}") for number in range(GROUP_RECORDS + 500)] for part in range(3)]
    small = [make_record() for _ in range(10)]
    await queue.ingest(make_batch([make_record(request_id="first")]))
    with recorded() as statements:
        receipts = await asyncio.gather(
            *(queue.ingest(make_batch(records)) for records in large), *(queue.ingest(make_batch([record])) for record in small)
        )
    assert [receipt.inserted for receipt in receipts] == [GROUP_RECORDS + 500] * 3 + [1] * 10
    assert statements.names().count("ingest") == 4


async def test_a_caller_that_goes_away_changes_nothing(database: Database, database_url: str, queue: IngestQueue) -> None:
    records = [make_record() for _ in range(3)]
    async with stalled_writes(database_url):
        tasks = [asyncio.create_task(queue.ingest(make_batch([record]))) for record in records]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.wait([tasks[0], tasks[2]])
    assert (await tasks[1]).inserted == 1
    await queue.drain()
    await assert_rollups_equal(database, unpriced(records))


async def test_what_waits_is_bounded(database: Database, database_url: str) -> None:
    queue = IngestQueue(Ingestor(database), max_waiting_records=10)
    async with stalled_writes(database_url):
        waiting = [asyncio.create_task(queue.ingest(make_batch([make_record()]), sender)) for sender in range(10)]
        await asyncio.sleep(0.1)
        with pytest.raises(OverloadedError):
            await queue.ingest(make_batch([make_record()]), "another")
        assert queue.held_records == 10
    assert [(await task).inserted for task in waiting] == [1] * 10
    assert queue.held_records == 0
    # A batch that is larger than the bound by itself is taken where nothing else waits.
    assert (await queue.ingest(make_batch([make_record() for _ in range(11)]))).inserted == 11


async def test_senders_that_fill_the_queue_leave_room_for_others(database: Database, database_url: str) -> None:
    queue = IngestQueue(Ingestor(database), max_waiting_records=120)
    waiting = []
    async with stalled_writes(database_url):
        room = []
        for sender in range(4):
            taken = 0
            while True:
                send = asyncio.create_task(queue.ingest(make_batch([make_record()]), sender))
                await asyncio.sleep(0)
                if send.done():
                    break
                waiting.append(send)
                taken += 1
            with pytest.raises(OverloadedError, match="this key's records"):
                await send
            room.append(taken)
        assert room == [60, 30, 15, 8]
        assert queue.held_records == sum(room)
    assert [(await task).inserted for task in waiting] == [1] * sum(room)
    assert (await queue.ingest(make_batch([make_record() for _ in range(60)]), 0)).inserted == 60, "what is written is held no more"


async def test_senders_take_turns(database: Database, queue: IngestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sends a hundred large batches before two others send three small ones each."""
    groups: list[list[str]] = []
    began, go = asyncio.Event(), asyncio.Event()
    write_all = Ingestor.ingest_all

    async def note(self: Ingestor, batches: list[ParsedBatch], also: Any = None) -> Any:
        groups.append([batch.records[0].tenant_id for batch in batches])
        began.set()
        await go.wait()
        return await write_all(self, batches, also)

    monkeypatch.setattr(Ingestor, "ingest_all", note)

    def send(sender: str, records: int) -> asyncio.Task[Any]:
        return asyncio.create_task(queue.ingest(make_batch([make_record(tenant_id=sender) for _ in range(records)]), sender))

    sent = [send("flood", 900)]
    await began.wait()
    sent += [send("flood", 900) for _ in range(5)]
    sent += [send(sender, 2) for _ in range(3) for sender in ("b", "c")]
    go.set()
    receipts = await asyncio.gather(*sent)
    assert [receipt.inserted for receipt in receipts] == [900] * 6 + [2] * 6
    assert groups[0] == ["flood"]
    assert groups[1] == ["flood", "b", "c", "flood", "b", "c"]


async def test_a_slow_database_costs_the_senders_a_429_and_no_more(gateway: Gateway, database_url: str) -> None:
    """Real connections, each with a body that takes a good part of what may be held at once."""
    settings = Settings(database_url=database_url, ingest_body_limit=40_000, ingest_memory=100_000)
    headers = {"Content-Type": "application/json", **await gateway.key("ingest")}
    # The last body is refused while it arrives, the others before they are written.
    with listening(create_app(settings, Wiring(clock=gateway.clock, jobs=False))) as url:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=180) as client:

            async def send(number: int) -> httpx.Response:
                filler = [{"request_id": f"r{number}", "occurred_at": "2026-06-25T10:30:00Z", "tenant_id": "acme", "model_id": "a/b"}]
                body = orjson.dumps([*filler, "x" * 30_000])
                return await client.post("/v1/ingest/usage", content=body)

            async with stalled_writes(database_url):
                sending = [asyncio.create_task(send(number)) for number in range(20)]
                async with asyncio.timeout(120):
                    while sum(task.done() for task in sending) < 18:  # noqa: ASYNC110 - the other two wait for the database
                        await asyncio.sleep(0.02)
                refused = [task.result() for task in sending if task.done()]
                waiting = [task for task in sending if not task.done()]
                assert {response.status_code for response in refused} == {429}
                assert {response.headers["retry-after"] for response in refused} == {"1"}
                assert refused[0].json()["error"]["type"] == "rate_limit_error"
                assert len(waiting) == 2, "half of the memory is one key's"
            taken = [await task for task in waiting]
            assert [response.json()["inserted"] for response in taken] == [1, 1]
            again = await asyncio.gather(*(send(number) for number in range(2)))
            assert {response.status_code for response in again} == {200}
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT count(*) = count(DISTINCT request_id) FROM usage_records")
        assert await cursor.fetchone() == (True,)


async def test_what_is_quarantined_is_kept_with_its_batch_and_once(database: Database, queue: IngestQueue) -> None:
    def contradictory(request_id: str) -> Quarantined:
        values = {"tenant_id": "acme", "request_id": request_id, "model_id": "nul \0 and \ud800", "prompt_tokens": 2**70}
        return Quarantined(0, "otlp", datetime(2026, 6, 25, tzinfo=UTC), None, values, (Reason("cached_tokens", "is wrong"),))

    def batch(*request_ids: str) -> ParsedBatch:
        taken = make_batch([make_record()])
        taken.received += len(request_ids)
        taken.quarantined = [contradictory(request_id) for request_id in request_ids]
        return taken

    receipts = await asyncio.gather(queue.ingest(batch("a", "b")), queue.ingest(batch("b")), queue.ingest(batch("b", "b")))
    assert [(receipt.received, receipt.inserted, receipt.quarantined, receipt.duplicates) for receipt in receipts] == [
        (3, 1, 2, 0),
        (2, 1, 1, 0),
        (3, 1, 2, 0),
    ]
    async with database.read_connection() as connection:
        cursor = await connection.execute("SELECT source, request_id, record, reasons FROM quarantined_records ORDER BY request_id")
        rows = await cursor.fetchall()
    assert [row[1] for row in rows] == ["a", "b"]
    assert rows[0][2]["model_id"] == "nul \ufffd and \ufffd"
    assert rows[0][2]["prompt_tokens"] == str(2**70)
    assert rows[0][3] == [{"field": "cached_tokens", "message": "is wrong"}]


async def test_a_sender_that_falls_silent_gives_back_what_it_holds(gateway: Gateway, database_url: str) -> None:
    settings = Settings(database_url=database_url, ingest_body_limit=40_000, ingest_memory=40_000)
    key = (await gateway.key("ingest"))["Authorization"]
    with listening(create_app(settings, Wiring(clock=gateway.clock, jobs=False, pace=Pace(grace=0.3, rate=2**20)))) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = f"POST /v1/ingest/usage HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 40000\r\n\r\n[{' ' * 38_000}".encode())
        answer = await asyncio.wait_for(reader.read(4096), 20)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive in time" in answer
        writer.close()
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": key}, timeout=30) as client:
            again = await client.post("/v1/ingest/usage", json=["x" * 39_000])
        assert again.json()["rejected"] == 1
