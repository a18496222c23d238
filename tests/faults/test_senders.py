"""Senders that break off in the middle of a body, or send a byte now and then: nothing of it is written, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.gateway import Gateway
from tests.live import listening

PATH = "/v1/ingest/usage"
BODY_LIMIT = 64 * 1024
MEMORY = 128 * 1024


@pytest.fixture
async def headers(gateway: Gateway) -> dict[str, str]:
    return await gateway.key("ingest")


@pytest.fixture
def memory() -> int:
    """Room for two bodies of the greatest length and not for three."""
    return MEMORY


@pytest.fixture
def url(gateway: Gateway, database_url: str, memory: int) -> Iterator[str]:
    """A gateway on a real port."""
    settings = Settings(database_url=database_url, ingest_body_limit=BODY_LIMIT, ingest_memory=memory, key_rate_limit="off")
    with listening(create_app(settings, Wiring(clock=gateway.clock, jobs=False))) as url:
        yield url


def lines(name: str, size: int) -> bytes:
    """Return NDJSON of about `size` bytes, every line a record that can be taken."""
    rows: list[bytes] = []
    while sum(len(row) for row in rows) < size:
        record = {"request_id": f"{name}-{len(rows)}", "occurred_at": "2026-06-25T10:30:00Z", "tenant_id": "acme", "model_id": "a/b"}
        rows.append(orjson.dumps(record) + b"\n")
    return b"".join(rows)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def head(headers: dict[str, str], *more: str, path: str = PATH) -> bytes:
    """Return the head of a POST."""
    given = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: test", *given, *more, "", "")).encode()


def chunk(data: bytes) -> bytes:
    """Return a chunk of the chunked transfer coding."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def begun(headers: dict[str, str], body: bytes, *, chunked: bool, zipped: bool) -> bytes:
    """Return the most of a request: whole records, but not the end of the body."""
    sent = gzip.compress(body, 0) if zipped else body
    coding = ("Content-Encoding: gzip",) if zipped else ()
    most = sent[: len(sent) * 9 // 10]
    if chunked:
        half = len(most) // 2
        return (
            head(headers, *coding, "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
            + chunk(most[:half])
            + chunk(most[half:])
        )
    return head(headers, *coding, "Content-Type: application/x-ndjson", f"Content-Length: {len(sent)}") + most


def cut(connection: socket.socket, *, reset: bool) -> None:
    """Break off, with a FIN or, as a process that crashes with data unread does, a RST."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def count_records(gateway: Gateway) -> int:
    async with gateway.database.read_connection() as connection:
        row = await (await connection.execute("SELECT count(*) FROM usage_records")).fetchone()
    assert row is not None
    return int(row[0])


async def post_until_taken(url: str, headers: dict[str, str], body: bytes, seconds: float = 20) -> httpx.Response:
    """Send a body; again for as long as there is no room for it."""
    deadline = time.monotonic() + seconds
    async with httpx.AsyncClient(timeout=20) as client:
        while True:
            answer = await client.post(f"{url}{PATH}", content=body, headers=headers | {"Content-Type": "application/x-ndjson"})
            if answer.status_code != 429 or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
async def test_a_body_that_breaks_off_is_not_written_and_gives_its_memory_back(
    gateway: Gateway, url: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture, chunked: bool, zipped: bool
) -> None:
    body = lines("cut", BODY_LIMIT * 9 // 10)
    for round_number in range(5):
        with contextlib.ExitStack() as connections:
            opened = [connections.enter_context(connect(url)) for _ in range(3)]
            for connection in opened:
                await asyncio.to_thread(connection.sendall, begun(headers, body, chunked=chunked, zipped=zipped))
            # Two are held by the gateway, which waits for their rest; the third found no room.
            refused = await asyncio.to_thread(first_answered, opened)
            assert b" 429 " in refused.split(b"\r\n", 1)[0]
            for connection in opened:
                cut(connection, reset=round_number % 2 == 1)
    whole = lines("whole", BODY_LIMIT * 9 // 10)
    answer = await post_until_taken(url, headers, whole)
    assert answer.status_code == 200
    assert answer.json()["inserted"] == whole.count(b"\n")
    assert await count_records(gateway) == whole.count(b"\n")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def first_answered(connections: list[socket.socket], seconds: float = 20) -> bytes:
    """Return what the first connection that is answered at all is told."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in connections:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                return connection.recv(65_536)
        time.sleep(0.01)
    raise AssertionError("none was answered")


async def test_a_compressed_body_that_arrives_whole_but_ends_too_early_is_refused(
    gateway: Gateway, url: str, headers: dict[str, str]
) -> None:
    body = gzip.compress(lines("short", 20_000))[:-8]
    answer = await post_until_taken(url, headers | {"Content-Encoding": "gzip"}, body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "the gzip data ends too early")
    assert await count_records(gateway) == 0


async def test_a_question_that_breaks_off_leaves_no_trace(url: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    for reset in (False, True):
        with connect(url) as connection:
            connection.sendall(head(headers, "Content-Type: application/json", "Content-Length: 100", path="/graphql") + b'{"query": "{ ')
            await asyncio.sleep(0.2)
            cut(connection, reset=reset)
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.post(f"{url}/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert answer.json() == {"data": {"__typename": "Query"}}
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connections_to(url: str, number: int) -> AsyncIterator[list[Connection]]:
    """Open some connections, and close them in the end."""
    parts = urlsplit(url)
    opened = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(number)]
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in opened), return_exceptions=True)


async def trickle(writer: asyncio.StreamWriter, request: bytes, hurry: asyncio.Event) -> None:
    """Send a byte now and then, and the rest when it is time to hurry."""
    for position in range(len(request)):
        if hurry.is_set():
            writer.write(request[position:])
            break
        writer.write(request[position : position + 1])
        await asyncio.sleep(0.02)
    await writer.drain()


@pytest.mark.parametrize("memory", [4 * MEMORY], ids=["room for all of one key"])
async def test_slow_senders_hold_nobody_and_are_served_in_the_end(gateway: Gateway, url: str, headers: dict[str, str]) -> None:
    def request(number: int) -> bytes:
        body = lines(f"slow{number}", 400)
        return head(headers, "Content-Type: application/x-ndjson", f"Content-Length: {len(body)}", "Connection: close") + body

    # Half of them are slow from the first byte of the head on, the others stop in the body.
    requests = [request(number) for number in range(24)]
    hurry = asyncio.Event()
    async with connections_to(url, len(requests)) as connections:
        slow = []
        for number, (_, writer) in enumerate(connections):
            start = 0 if number % 2 else len(requests[number]) - 100
            writer.write(requests[number][:start])
            slow.append(asyncio.create_task(trickle(writer, requests[number][start:], hurry)))
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            for number in range(50):
                answer = await client.post(PATH, content=lines(f"fast{number}", 500), headers={"Content-Type": "application/x-ndjson"})
                assert answer.status_code == 200
        assert not all(task.done() for task in slow), "nobody waited for them"
        hurry.set()
        await asyncio.gather(*slow)
        for reader, _ in connections:
            answered = await asyncio.wait_for(reader.read(), 20)
            assert answered.startswith(b"HTTP/1.1 200"), answered
    expected = sum(part.count(b'"request_id"') for part in requests) + 50 * lines("fast0", 500).count(b"\n")
    assert await count_records(gateway) == expected
