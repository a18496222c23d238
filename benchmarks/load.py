"""A load generator for posts over kept-alive connections: raw HTTP/1.1 on asyncio, so that it costs little beside the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.timing import BenchmarkError, Rate


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post, and the headers that every post carries."""

    port: int
    path: str
    headers: dict[str, str]

    def request(self, body: bytes) -> bytes:
        """Return a post as it goes over the wire."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered, and the milliseconds of each request."""

    rate: Rate
    milliseconds: list[float]


async def post_all(target: Target, bodies: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Post bodies over so many connections, each waiting for its answer, until the time is up. BenchmarkError: not a 200."""
    samples: list[float] = []
    started = time.perf_counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        try:
            for body in bodies:
                before = time.perf_counter()
                writer.write(target.request(body))
                await writer.drain()
                await _read_answer(reader)
                now = time.perf_counter()
                samples.append((now - before) * 1000)
                if now - started >= seconds:
                    break
        finally:
            writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return Load(Rate(len(samples), time.perf_counter() - started), samples)


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchmarkError(f"a post was answered {head[:60]!r} {body[:300]!r}")
    return body
