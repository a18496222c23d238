"""Answers kept in bounded memory for as long as the data is known to be what they were made of; equal questions at once run once.

Knows nothing of HTTP, GraphQL or databases: what a state of the data is, its reader says. For one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

OVERHEAD: Final = 1024
"""Bytes that an entry counts beside its own size: the objects around it."""

_LARGEST_PART: Final = 8


class Version:
    """One state of the data: the same object for as long as what is read of it stays the same. `number` grows."""

    __slots__ = ("number", "token")

    def __init__(self, token: Hashable, number: int) -> None:
        self.token = token
        self.number = number


class Versions:
    """The state of the data as it was last read. Reads run one at a time; each is for all who wait when it begins.

    `read` returns what tells states apart, None if that cannot be told; what it raises reaches whoever waits for it. `age`: seconds
    for which a state that was read may be taken for the present one; 0: a read must have begun after the question came.
    """

    def __init__(self, read: Callable[[], Awaitable[Hashable | None]], age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.age = age
        self.current: Version | None = None
        self.fresh_until = -inf
        self._read = read
        self._clock = clock
        self.refresh_at = -inf
        self._reading: asyncio.Task[Version | None] | None = None
        self._reads = 0
        self._least = 1

    def invalidate(self) -> None:
        """Trust no read that began before now: something was committed."""
        self.fresh_until = -inf
        self._least = self._reads + 1

    def refresh_ahead(self, now: float) -> None:
        """Begin a read, if half of the age is over, so that those who come later need not wait for one."""
        if now >= self.refresh_at and self._reading is None:
            self._begin()

    async def confirm(self) -> Version | None:
        """Return the state of the data, not older than `age` and after every `invalidate` before this call; None: it cannot be told."""
        asked = self._reads
        while not self._clock() < self.fresh_until:
            reading = self._reading or self._begin()
            number = self._reads
            # Shielded: one of those who wait for it going away must not take it from the others.
            version = await asyncio.shield(reading)
            if number > asked:
                return version
        return self.current

    async def close(self) -> None:
        """Give up what is being read."""
        if self._reading is not None:
            await _give_up({self._reading})

    def _begin(self) -> asyncio.Task[Version | None]:
        self._reads += 1
        self._reading = asyncio.create_task(self._read_once(self._reads))
        self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _read_once(self, number: int) -> Version | None:
        started = self._clock()
        self.refresh_at = started + self.age / 2
        try:
            token = await self._read()
        finally:
            self._reading = None
        if token is None:
            self.current = None
            self.fresh_until = -inf
            return None
        if self.current is None or self.current.token != token:
            self.current = Version(token, number)
        if number >= self._least:
            self.fresh_until = started + self.age
        return self.current


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """An answer as it was made. `size`: bytes that it takes; None: it is for those who wait for it, and not to be kept."""

    value: T
    size: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    version: Version
    value: Any
    size: int


class AnswerMemory:
    """Answers by key, at most `limit` bytes of them; those go first that were asked for least recently. 0: nothing is kept or shared."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._flights: dict[Hashable, tuple[Version, asyncio.Task[Any]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable, versions: Versions, now: float) -> Any:
        """Return a cached answer if it is known to be valid without waiting; else None."""
        entry = self._entries.get(key)
        if entry is None or entry.version is not versions.current or now >= versions.fresh_until:
            return None
        self._entries.move_to_end(key)
        versions.refresh_ahead(now)
        return entry.value

    async def obtain(self, key: Hashable, version: Version | None, make: Callable[[], Awaitable[Made[T]]]) -> T:
        """Return the answer of that state of the data: a kept one, or one that is being made, or a new one. Raises what `make` raises.

        `version` was confirmed before this call. `make` goes on if its caller goes away. None: the answer is nobody else's.
        """
        if version is None or not self.limit:
            return (await make()).value
        entry = self._entries.get(key)
        if entry is not None and entry.version is version:
            self._entries.move_to_end(key)
            value: T = entry.value
            return value
        flight = self._flights.get(key)
        if flight is None or flight[0] is not version:
            flight = self._flights[key] = (version, asyncio.create_task(self._fly(key, version, make)))
            flight[1].add_done_callback(_retrieve)
        made: T = await asyncio.shield(flight[1])
        return made

    async def close(self) -> None:
        """Give up what is being made: those who wanted it are gone."""
        await _give_up({task for _, task in self._flights.values()})

    async def _fly(self, key: Hashable, version: Version, make: Callable[[], Awaitable[Made[T]]]) -> T:
        try:
            made = await make()
        finally:
            # Not if a flight of a later state took the place.
            flight = self._flights.get(key)
            if flight is not None and flight[1] is asyncio.current_task():
                del self._flights[key]
        if made.size is not None:
            self._keep(key, _Entry(version, made.value, made.size + OVERHEAD))
        return made.value

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        held = self._entries.get(key)
        if held is not None:
            if held.version.number > entry.version.number:
                return
            self.used -= self._entries.pop(key).size
        if entry.size > self.limit // _LARGEST_PART:
            return  # one answer must not drive out all the others
        self._entries[key] = entry
        self.used += entry.size
        while self.used > self.limit:
            _, oldest = self._entries.popitem(last=False)
            self.used -= oldest.size


async def _give_up(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _retrieve(task: asyncio.Task[Any]) -> None:
    # Whoever asked may be gone; an exception that nobody takes would be reported when the task goes.
    if not task.cancelled():
        task.exception()
