"""A load generator: kept-alive connections, each waiting for its answer, as raw HTTP/1.1 over an asyncio protocol.

It parses no more of an answer than its status and length, so that it costs little beside the server on the same machine; `peers/fixed.py`
shows what it can do by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import cast

import orjson

from benchmarks.timing import BenchmarkError, Rate, percentile

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = (204, 304)
_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and the headers that every request carries."""

    port: int
    path: str
    headers: Mapping[str, str]

    def request(self, body: bytes) -> bytes:
        """Return a post as it goes over the wire."""
        return encode_request("POST", self.path, self.headers, body)


def encode_request(method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def encode_graphql(path: str, headers: Mapping[str, str], query: str, variables: Mapping[str, object] | None = None) -> bytes:
    """Return the post of a GraphQL document."""
    body = orjson.dumps({"query": query, "variables": variables or {}})
    return encode_request("POST", path, {"Content-Type": "application/json", **headers}, body)


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered, and the milliseconds of each request."""

    rate: Rate
    milliseconds: list[float]

    @property
    def p50(self) -> float:
        """Median in milliseconds."""
        return percentile(self.milliseconds, 0.5)

    @property
    def p99(self) -> float:
        """99th percentile in milliseconds."""
        return percentile(self.milliseconds, 0.99)


@dataclass(frozen=True, slots=True)
class Pressure:
    """How hard to ask: so many connections for so long; every answer must have the status."""

    connections: int
    seconds: float
    status: int = 200


@dataclass(slots=True)
class _Answer:
    """A whole answer."""

    status: int
    head: bytes
    body: bytes


def split_answer(data: bytes) -> tuple[int, int, bool] | None:
    """Return an answer's status, its length in bytes, head included, and whether it is chunked; None: it is not all there yet."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    status = int(head[9:12])
    start = end + len(_HEAD_END)
    if status in _BODILESS:
        return status, start, False
    at = head.find(_LENGTH)
    if at >= 0:
        stop = head.find(b"\r", at + len(_LENGTH))
        whole = start + int(head[at + len(_LENGTH) : stop if stop >= 0 else None])
        return (status, whole, False) if len(data) >= whole else None
    if _CHUNKED in head:
        return (status, len(data), True) if data.endswith(_LAST_CHUNK) else None
    raise BenchmarkError(f"an answer without a length: {data[:200]!r}")


class _Asker(asyncio.Protocol):
    """One connection: asks, waits for the answer, asks again, until the time is up or nothing is left to ask."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._data = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._ask()

    def _ask(self) -> None:
        request = next(self._run.requests, None)
        assert self._transport is not None
        if request is None:
            self._finish(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        try:
            found = split_answer(self._data)
        except (BenchmarkError, ValueError) as error:
            self._finish(error)
            return
        if found is None:
            return
        status, whole, _ = found
        now = time.perf_counter()
        if status != self._run.status or len(self._data) != whole:
            self._finish(BenchmarkError(f"answered {self._data[:400]!r}"))
            return
        self._run.samples.append((now - self._sent) * 1000)
        self._data = b""
        if now >= self._run.deadline:
            self._finish(None)
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or BenchmarkError("the server closed a connection"))

    def _finish(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class _Run:
    requests: Iterator[bytes]
    status: int
    deadline: float
    samples: list[float]


async def drive(port: int, requests: Iterable[bytes], pressure: Pressure) -> Load:
    """Ask until the time is up or there are no more requests. BenchmarkError: an answer of another status, a connection that was closed."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    run = _Run(iter(requests), pressure.status, started + pressure.seconds, [])
    askers = [(await loop.create_connection(lambda: _Asker(run), "127.0.0.1", port))[1] for _ in range(pressure.connections)]
    async with asyncio.timeout(pressure.seconds + _GRACE_SECONDS):
        await asyncio.gather(*(asker.done for asker in askers))
    return Load(Rate(len(run.samples), time.perf_counter() - started), run.samples)


async def drive_in_turn(port: int, requests: Sequence[bytes], pressure: Pressure) -> Load:
    """Ask as `drive`, the requests over and over."""
    return await drive(port, cycle(requests), pressure)


async def post_all(target: Target, bodies: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Post bodies over so many connections until the time is up or there are no more. BenchmarkError: not a 200."""
    return await drive(target.port, map(target.request, bodies), Pressure(connections, seconds))


async def fetch(port: int, request: bytes) -> _Answer:
    """Return one answer, whole and unchunked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        data = b""
        while (found := split_answer(data)) is None:
            received = await reader.read(1 << 20)
            if not received:
                raise BenchmarkError(f"the server closed the connection after {data[:200]!r}")
            data += received
    finally:
        writer.close()
    status, _, is_chunked = found
    head, _, body = data.partition(_HEAD_END)
    return _Answer(status, head, _unchunk(body) if is_chunked else body)


async def fetch_json(port: int, request: bytes) -> object:
    """Return the decoded body of one answer. BenchmarkError: not a 200."""
    answer = await fetch(port, request)
    if answer.status != 200:
        raise BenchmarkError(f"answered {answer.status}: {answer.body[:400]!r}")
    return orjson.loads(answer.body)


def _unchunk(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length == 0:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)
