"""How bodies come in, without a server: their length, their pace, the memory that they hold."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterable
from contextlib import ExitStack

import pytest
import zstandard
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.domain.errors import BadInputError, BodyTooLargeError, OverloadedError, SlowSenderError
from app.ingest.decompress import FREE_BYTES, MAX_RATIO
from app.web.bodies import LEAST, BodyBudget, BodyReader, Decoding, Held, Pace

MEGABYTE = 2**20


def request_of(pieces: Iterable[bytes], *, ends: str = "whole", **headers: str) -> Request:
    """Return a request that arrives in pieces; then it is `whole`, `gone` or `silent`."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if ends == "whole":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    elif ends == "gone":
        messages.append({"type": "http.disconnect"})
    messages.reverse()

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Event().wait()  # type: ignore[return-value]

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": given}, receive)


async def read(request: Request, limit: int = MEGABYTE, budget: BodyBudget | None = None, pace: Pace | None = None) -> bytes:
    budget = budget or BodyBudget(8 * MEGABYTE)
    with budget.hold() as held:
        body = await BodyReader(pace or Pace()).read(request, limit, held)
        assert budget.taken >= max(LEAST, len(body))
    assert budget.taken == 0
    return body


async def test_a_body_is_joined_and_decompressed() -> None:
    text = b"some text, " * 1000
    assert await read(request_of([])) == b""
    assert await read(request_of([text])) == text
    assert await read(request_of([text[:5], b"", text[5:]])) == text
    for packed, encoding in ((gzip.compress(text), "gzip"), (zstandard.compress(text), "zstd")):
        assert await read(request_of([packed[:7], packed[7:]], content_encoding=encoding)) == text


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_its_limit_is_refused_before_it_is_whole(announced: bool) -> None:
    request = request_of([b"x" * 1000] * 9, ends="silent", **({"content_length": "9000"} if announced else {}))
    with pytest.raises(BodyTooLargeError, match="larger than 5000 bytes"):
        await read(request, 5000)


async def test_a_body_that_stops_coming_is_refused_however_it_drips() -> None:
    pace = Pace(grace=0.05, rate=10_000)
    with pytest.raises(SlowSenderError):
        await read(request_of([], ends="silent"), pace=pace)
    with pytest.raises(SlowSenderError):
        await read(request_of([b"x"] * 100, ends="silent"), pace=pace)


def test_every_byte_buys_a_little_time_and_all_of_them_no_more_than_the_total() -> None:
    pace = Pace()
    assert pace.seconds(0) == pace.grace
    assert pace.seconds(60) < pace.grace + 1, "a byte a minute ends in the first minute"
    assert pace.seconds(64 * 1024) == pace.grace + 4
    assert pace.seconds(2**40) == pace.total


async def test_a_sender_that_goes_away_is_not_taken_for_one_that_ended() -> None:
    with pytest.raises(ClientDisconnect):
        await read(request_of([b"x" * 100], ends="gone"))


async def test_a_body_that_waits_when_the_process_stops_is_answered() -> None:
    budget = BodyBudget(MEGABYTE)
    reading = asyncio.create_task(read(request_of([b"x"], ends="silent"), budget=budget))
    while not budget.taken:  # noqa: ASYNC110
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(SlowSenderError):
        await reading
    assert budget.taken == 0


async def test_what_becomes_much_longer_by_decompression_is_refused_before_it_is() -> None:
    budget = BodyBudget(64 * MEGABYTE)
    largest = 0

    class Watched(BodyBudget):
        def take(self, size: int, held: Held) -> None:
            nonlocal largest
            super().take(size, held)
            largest = max(largest, self.taken)

    for packed, encoding in (
        (gzip.compress(b"{}," * (16 * MEGABYTE)), "gzip"),
        (zstandard.compress(b"\n" * (48 * MEGABYTE)), "zstd"),
    ):
        budget, largest = Watched(64 * MEGABYTE), 0
        with pytest.raises(BodyTooLargeError, match=f"more than {MAX_RATIO} times"):
            await read(request_of([packed], content_encoding=encoding), 64 * MEGABYTE, budget)
        assert largest <= FREE_BYTES + MAX_RATIO * len(packed) + 128 * 1024
    ordinary = b"\n".join(b'{"request_id":"%d","occurred_at":"2026-06-26T12:00:00Z","model_id":"a/b"}' % number for number in range(50_000))
    packed = zlib.compress(ordinary, 9, wbits=31)
    assert await read(request_of([packed], content_encoding="gzip"), 64 * MEGABYTE, BodyBudget(64 * MEGABYTE)) == ordinary


async def test_the_memory_of_all_is_bounded_and_one_alone_may_have_what_it_needs() -> None:
    budget = BodyBudget(10 * LEAST)
    with budget.hold() as first:
        first.grow_to(20 * LEAST)  # records of a body that was within its limit
        with pytest.raises(OverloadedError), budget.hold():
            raise AssertionError("there is no room")
    assert budget.taken == 0
    with budget.hold() as first, budget.hold() as second:
        first.grow_to(5 * LEAST)
        with pytest.raises(OverloadedError):
            second.grow_to(6 * LEAST)
        second.grow_to(5 * LEAST)
    assert budget.taken == 0


async def test_of_heavy_bodies_one_is_decoded_at_a_time_and_light_ones_pass_by() -> None:
    decoding, running, most = Decoding(), 0, 0
    loop = asyncio.get_running_loop()
    go = asyncio.Event()
    body = b"x" * 2**17

    def work(body: bytes) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(30)
        running -= 1
        return "done"

    heavy = [asyncio.create_task(decoding.run(body, lambda _: 2**30, work)) for _ in range(4)]
    while not running:  # noqa: ASYNC110 - another thread
        await asyncio.sleep(0)
    assert await decoding.run(body, len, lambda _: "light") == "light"
    assert await decoding.run(b"x", lambda _: 2**30, lambda _: "short") == "short"
    go.set()
    assert await asyncio.gather(*heavy) == ["done"] * 4
    assert most == 1


async def test_errors_of_decoding_are_its_callers() -> None:
    def work(_: bytes) -> None:
        raise BadInputError("no")

    for size in (1, 2**17):
        with pytest.raises(BadInputError, match="no"):
            await Decoding().run(b"x" * size, len, work)


def test_the_requests_of_one_sender_leave_room_for_those_of_others() -> None:
    budget = BodyBudget(100 * LEAST)
    with ExitStack() as held:
        for _ in range(50):
            held.enter_context(budget.hold("flood"))
        with pytest.raises(OverloadedError, match="of this key"), budget.hold("flood"):
            pass
        other = held.enter_context(budget.hold("other"))
        other.grow_to(50 * LEAST)
        with pytest.raises(OverloadedError), budget.hold("third"):
            pass
    assert budget.taken == 0
    with budget.hold("flood") as alone:
        alone.grow_to(200 * LEAST)
    assert budget.taken == 0
