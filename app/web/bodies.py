"""Reading of request bodies: limits of size, total memory and time, decompression, and threads for decoding."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect, Request

from app.domain.errors import BodyTooLargeError, OverloadedError, SlowSenderError
from app.http.request_headers import read_header
from app.ingest.decompress import BodyDecoder
from app.ingest.weight import LIGHT_BYTES, Weigh

T = TypeVar("T")

LEAST: Final = 4 * 1024
"""Minimum bytes that a request counts."""

_LARGE_WEIGHT: Final = 32 * 2**20
_SLICE: Final = 16 * 1024
"""Bytes that are decompressed in one turn of the event loop."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Time limits of a body: seconds until its first byte, one more for each `rate` bytes, and `total` at most."""

    grace: float = 20.0
    rate: int = 16 * 1024
    total: float = 600.0

    def seconds(self, arrived: int) -> float:
        """Return the time limit of the next byte after `arrived` bytes, in seconds from the start."""
        return min(self.grace + arrived / self.rate, self.total)


class Held:
    """The share of a budget that one request uses, until the block ends or `release`."""

    def __init__(self, budget: BodyBudget, sender: Hashable) -> None:
        self._budget = budget
        self.sender = sender
        self.size = 0

    def grow_to(self, size: int) -> None:
        """Grow the share to `size` bytes, if that is more. OverloadedError: the budget is used up."""
        if size > self.size:
            self._budget.take(size - self.size, self)
            self.size = size

    def release(self) -> None:
        """Return the share to the budget."""
        self._budget.give_back(self)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class BodyBudget:
    """Bytes of decompressed bodies and decoded records, from their arrival to the end of their answer.

    The requests of one sender may use as much as is still free, as in the ingest queue; a single request may use everything.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._senders: Counter[Hashable] = Counter()
        self.taken = 0

    def take(self, size: int, held: Held) -> None:
        """Grow the share of a request. OverloadedError: other requests use the budget."""
        room = self._limit - self.taken
        others = self._senders[held.sender] - held.size if held.sender is not None else 0
        if others and self._senders[held.sender] + size > room:
            raise OverloadedError("Too many requests of this key are in progress; try again")
        if size > room and self.taken > held.size:
            raise OverloadedError("Too many requests are in progress; try again")
        self._count(size, held.sender)

    def hold(self, sender: Hashable = None) -> Held:
        """Return a share to be released at the end. `sender`: the key of the request, if any. OverloadedError."""
        held = Held(self, sender)
        held.grow_to(LEAST)
        return held

    def give_back(self, held: Held) -> None:
        """Release the share of a request."""
        self._count(-held.size, held.sender)
        held.size = 0

    def _count(self, size: int, sender: Hashable) -> None:
        self.taken += size
        if sender is not None:
            self._senders[sender] += size
            if not self._senders[sender]:
                del self._senders[sender]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decodes bodies: short ones directly, others in two threads, of which one decodes heavy bodies."""

    light: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def run(self, body: bytes, weigh: Weigh, work: Callable[[bytes], T]) -> T:
        """Return the result of `work` on a body. Raises the errors of `work`."""
        if len(body) <= LIGHT_BYTES:
            return work(body)
        weight = await asyncio.to_thread(weigh, body)
        async with self.light if weight <= _LARGE_WEIGHT else self.heavy:
            return await asyncio.to_thread(work, body)


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads bodies. One per process."""

    pace: Pace = field(default_factory=Pace)
    decoding: Decoding = field(default_factory=Decoding)

    async def read(self, request: Request, limit: int, held: Held) -> bytes:
        """Return the decompressed body.

        BodyTooLargeError: it exceeds `limit`, as sent or decompressed; SlowSenderError: it does not arrive in time, or the process stops;
        OverloadedError; BadInputError and UnsupportedEncodingError: its compression.
        """
        encoding = read_header(request.scope, b"content-encoding")
        decoder = BodyDecoder(encoding, limit)
        announced = read_header(request.scope, b"content-length")
        if announced.isdigit() and int(announced[:20]) > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
        clock = asyncio.get_running_loop().time
        began = clock()
        arrived = 0
        try:
            async with asyncio.timeout_at(began + self.pace.seconds(0)) as timer:
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] != "http.request":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    arrived += len(chunk)
                    if arrived > limit:
                        raise BodyTooLargeError(f"the body is larger than {limit} bytes")
                    if not more and arrived == len(chunk) and not encoding:
                        held.grow_to(arrived)
                        return chunk
                    timer.reschedule(began + self.pace.seconds(arrived))
                    for start in range(0, len(chunk), _SLICE):
                        decoder.feed(chunk[start : start + _SLICE])
                        held.grow_to(max(arrived, decoder.size))
                        if encoding and start:
                            await asyncio.sleep(0)
        except TimeoutError:
            raise SlowSenderError from None
        except asyncio.CancelledError:  # the process stops, and its requests had time to end
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            raise SlowSenderError from None
        return decoder.finish()
