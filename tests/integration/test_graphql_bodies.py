"""Bodies of `/graphql` over HTTP: how long they may be by who sends them, how slowly they may come, and what a stop makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson
import pytest

from app.settings import Settings
from app.web.app import Wiring, create_app
from app.web.bodies import LEAST, Pace
from app.web.graphql_bodies import ANONYMOUS_BYTES, ANONYMOUS_MEMORY, READER_BYTES, WRITER_BYTES
from app.web.http_protocol import ConnectionBounds
from tests.gateway import Gateway
from tests.live import listening

QUERY = "{ network { generatedAt } }"
JSON = {"Content-Type": "application/json"}


def body_of(size: int) -> bytes:
    """Return a request of `size` bytes, most of which says nothing."""
    start = b'{"query":"%b","padding":"' % QUERY.encode()
    return start + b"x" * (size - len(start) - 2) + b'"}'


@pytest.mark.parametrize(
    ("role", "limit"),
    [(None, ANONYMOUS_BYTES), ("wrong", ANONYMOUS_BYTES), ("tenant", READER_BYTES), ("gateway", READER_BYTES), ("ingest", WRITER_BYTES)],
)
async def test_a_body_may_be_as_long_as_its_sender_is_trusted(gateway: Gateway, role: str | None, limit: int) -> None:
    headers = dict(JSON)
    if role == "wrong":
        headers["Authorization"] = "Bearer tg_wrong"
    elif role is not None:
        headers |= await gateway.key(role, "acme" if role == "tenant" else None)
    taken = await gateway.client.post("/graphql", content=body_of(limit), headers=headers)
    assert (taken.status_code, "errors" in taken.json()) == (200, False), taken.text
    refused = await gateway.client.post("/graphql", content=body_of(limit + 1), headers=headers)
    assert refused.status_code == 413
    assert refused.json()["errors"] == [
        {"message": f"the body is larger than {limit} bytes", "extensions": {"code": "BAD_USER_INPUT"}},
    ]


async def test_a_body_may_be_compressed_and_is_as_long_as_it_becomes(gateway: Gateway) -> None:
    headers = JSON | {"Content-Encoding": "gzip"}
    taken = await gateway.client.post("/graphql", content=gzip.compress(body_of(ANONYMOUS_BYTES)), headers=headers)
    assert taken.json().keys() == {"data"}
    refused = await gateway.client.post("/graphql", content=gzip.compress(body_of(ANONYMOUS_BYTES + 1)), headers=headers)
    assert refused.status_code == 413
    unknown = await gateway.client.post("/graphql", content=b"{}", headers=JSON | {"Content-Encoding": "br"})
    assert unknown.status_code == 415


async def test_very_many_values_are_refused_undecoded(gateway: Gateway) -> None:
    body = b'{"query":"%b","variables":{"a":[' % QUERY.encode() + b"{}," * (2 * 2**20) + b"0]}}"
    refused = await gateway.client.post("/graphql", content=body, headers=JSON | await gateway.key("ingest"))
    assert refused.status_code == 413
    assert "too many values" in refused.json()["errors"][0]["message"]


@contextmanager
def served(gateway: Gateway, database_url: str, pace: Pace, bounds: ConnectionBounds | None = None) -> Iterator[str]:
    app = create_app(Settings(database_url=database_url), Wiring(clock=gateway.clock, jobs=False, pace=pace))
    with listening(app, bounds) as url:
        yield url


async def begin(
    url: str, path: str, headers: dict[str, str], length: int, sent: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a request whose body is not sent to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    head = [f"POST {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {length}"]
    writer.write("\r\n".join([*head, "", ""]).encode() + sent)
    return reader, writer


async def test_unfinished_anonymous_bodies_are_bounded_together_and_end(gateway: Gateway, database_url: str) -> None:
    most = ANONYMOUS_MEMORY // ANONYMOUS_BYTES
    key = await gateway.key("tenant", "acme")
    with served(gateway, database_url, Pace(grace=3, rate=2**20)) as url:
        sent = body_of(ANONYMOUS_BYTES)[:-1]
        begun = [await begin(url, "/graphql", JSON, ANONYMOUS_BYTES, sent) for _ in range(most + 20)]
        answers = await asyncio.gather(*(reader.read(4096) for reader, _ in begun))
        statuses = [int(answer[9:12]) for answer in answers]
        assert set(statuses) == {408, 429}
        assert statuses.count(429) >= 20
        assert b"Retry-After: 1" in next(answer for answer in answers if answer[9:12] == b"429").replace(b"retry-after", b"Retry-After")
        assert b"did not arrive in time" in next(answer for answer in answers if answer[9:12] == b"408")
        for _, writer in begun:
            writer.close()
        async with httpx.AsyncClient(base_url=url, headers=JSON, timeout=30) as client:
            assert (await client.post("/graphql", content=body_of(ANONYMOUS_BYTES))).status_code == 200, "all of it was given back"
            assert (await client.post("/graphql", content=body_of(READER_BYTES), headers=key)).status_code == 200
    assert most * LEAST < ANONYMOUS_MEMORY


async def test_a_stop_answers_unfinished_bodies_408_and_whatever_else_503(gateway: Gateway, database_url: str) -> None:
    """In each surface's form."""
    ingest = JSON | await gateway.key("ingest")
    admin = await gateway.key("admin")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(served(gateway, database_url, Pace(), ConnectionBounds(stop_seconds=1)))
        async with gateway.database.transaction() as connection:
            await connection.execute("LOCK TABLE usage_records, users IN ACCESS EXCLUSIVE MODE")
            unfinished = [
                await begin(url, path, headers, 1000, b"{")
                for path, headers in (("/graphql", JSON), ("/v1/ingest/usage", ingest), ("/v1/traces", ingest))
            ]
            record = {"request_id": "a", "occurred_at": "2026-06-25T10:30:00Z", "tenant_id": "acme", "model_id": "a/b"}
            body = orjson.dumps([record])
            waiting = [await begin(url, "/v1/ingest/usage", ingest, len(body), body)]
            for path in ("/v1/customer/logs", "/api/usage/analytics"):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                key = await gateway.key("tenant", "acme") if "customer" in path else admin
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key['Authorization']}\r\n\r\n".encode())
                waiting.append((reader, writer))
            while await blocked(gateway) < len(waiting):  # noqa: ASYNC110 - what the database knows
                await asyncio.sleep(0.02)
            stopping = threading.Thread(target=stack.close)
            stopping.start()
            answers = await asyncio.gather(*(reader.read(4096) for reader, _ in [*unfinished, *waiting]))
            for _, writer in [*unfinished, *waiting]:
                writer.close()
        await asyncio.to_thread(stopping.join)
    assert [int(answer[9:12]) for answer in answers] == [408] * 3 + [503] * 3, answers
    forms = [orjson.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers]
    assert forms[0]["errors"][0]["message"] == "The body did not arrive in time"
    assert forms[1]["error"]["type"] == "invalid_request_error"
    assert forms[2]["code"] == 3
    assert forms[3]["error"]["message"] == "The gateway is stopping; try again"
    assert forms[5] == {"detail": "The gateway is stopping; try again"}


async def blocked(gateway: Gateway) -> int:
    """Return how many statements of this database wait for a lock."""
    async with gateway.database.read_connection() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        row = await (await connection.execute(waiting)).fetchone()
    return int(row[0]) if row else 0
