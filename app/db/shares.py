"""Fair shares of the connection pool: connections are reserved by purpose, and queries get them in turns by caller.

Only decides who is next: `engine` has the pool. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from app.domain.errors import NoConnectionFreeError

WAIT_SECONDS: Final = 10.0
"""How long a workload waits for a connection before NoConnectionFreeError, unless its own request holds one."""

UNPACED_QUERIES: Final = 4
"""Queries of one request that start as soon as a connection is free, such as those of a dashboard."""

PACE_SECONDS: Final = 0.02
"""Time between the starts of all other queries while records are written, so that many aliases cannot block the event loop."""

_WRITING_SECONDS: Final = 1.0
"""Records count as being written until this time after the start of a write: another write is likely to follow."""


class Purpose(IntEnum):
    """What a connection is used for. Each purpose except queries has reserved connections."""

    SERVICE = 0
    """Authentication, readiness, validity of cached answers: short, and every request waits for them."""
    INGEST = 1
    """The write of usage records."""
    BACKGROUND = 2
    """Jobs and commands: no caller waits for them."""
    QUERY = 3
    """Queries and mutations of a caller."""


@dataclass(slots=True, eq=False)
class Request:
    """One request of a caller. `begun`: number of its queries that have had a connection."""

    begun: int = 0


@dataclass(frozen=True, slots=True)
class Workload:
    """What needs a connection. `caller`: a key or an address."""

    purpose: Purpose
    caller: Hashable = None
    request: Request | None = None


SERVICE: Final = Workload(Purpose.SERVICE)
INGEST: Final = Workload(Purpose.INGEST)
BACKGROUND: Final = Workload(Purpose.BACKGROUND)

current_workload: ContextVar[Workload] = ContextVar("workload", default=BACKGROUND)
"""The workload of the current task. Tasks that a request starts inherit it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Maximum of connections in use, by purpose. Queries and background together use at most `common`."""

    service: int
    ingest: int
    common: int
    background: int
    queries: int
    caller: int
    """Maximum of one caller, of the connections for queries."""
    request: int
    """Maximum of one request, of the connections of its caller."""

    @classmethod
    def of(cls, connections: int) -> Shares:
        """Return the shares of a pool of 4 or more connections: queries get 4 of 10, and all but 6 of more."""
        # Two writes run at a time. One service query that hangs, such as on a locked table, must not stop authentication.
        service = ingest = 1 if connections < 8 else 2
        common = connections - service - ingest
        queries = max(1, common - 2)
        # A job may use two, one for its lock: with 4 connections it then takes the only one for queries.
        background = max(2, common - 1)
        return cls(service, ingest, common, background, queries, caller=(queries + 1) // 2, request=(queries + 2) // 3)


@dataclass(slots=True, eq=False)
class _Waiter:
    workload: Workload
    turn: asyncio.Future[None]
    is_queued: bool = True
    patience: asyncio.TimerHandle | None = None


class _Queue:
    """Workloads that wait for one purpose: callers take turns, and so do the requests of one caller; a request is first in, first out."""

    def __init__(self) -> None:
        self._callers: OrderedDict[Hashable, OrderedDict[Request | None, deque[_Waiter]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._callers)

    def add(self, waiter: _Waiter) -> None:
        """Append a waiter."""
        requests = self._callers.setdefault(waiter.workload.caller, OrderedDict())
        requests.setdefault(waiter.workload.request, deque()).append(waiter)

    def remove(self, waiter: _Waiter) -> None:
        """Remove a waiter that has given up."""
        waiter.is_queued = False
        self._callers[waiter.workload.caller][waiter.workload.request].remove(waiter)
        self._clear(waiter.workload)

    def pop(self, admits_caller: Callable[[Hashable], bool], admits_request: Callable[[Request | None], bool]) -> _Waiter | None:
        """Remove and return the next waiter, of the callers and requests that may use more connections; None: there is none.

        Others are skipped. They are few: each uses a connection.
        """
        for caller, requests in self._callers.items():
            for request, waiters in requests.items() if admits_caller(caller) else ():
                if admits_request(request):
                    waiter = waiters.popleft()
                    waiter.is_queued = False
                    requests.move_to_end(request)
                    self._callers.move_to_end(caller)
                    self._clear(waiter.workload)
                    return waiter
        return None

    def _clear(self, left: Workload) -> None:
        requests = self._callers[left.caller]
        if not requests[left.request]:
            del requests[left.request]
        if not requests:
            del self._callers[left.caller]


class Turns:
    """Counts the connections of one pool by workload, and decides who gets the next one."""

    def __init__(self, shares: Shares, *, wait_seconds: float = WAIT_SECONDS, pace_seconds: float = PACE_SECONDS) -> None:
        self._shares = shares
        self._wait_seconds = wait_seconds
        self._pace_seconds = pace_seconds
        self._held = [0] * len(Purpose)
        self._callers: dict[Hashable, int] = {}
        self._requests: dict[Hashable, int] = {}
        self._writing_until = 0.0
        self._paced_until = 0.0
        self._resuming: asyncio.TimerHandle | None = None
        self._queues = [_Queue() for _ in Purpose]

    def held(self, purpose: Purpose) -> int:
        """Return the number of connections in use for a purpose."""
        return self._held[purpose]

    async def take(self, workload: Workload) -> None:
        """Wait until the workload may use a connection; `give_back` it. NoConnectionFreeError: not in time."""
        queue = self._queues[workload.purpose]
        if (
            not queue
            and self._has_room(workload.purpose)
            and self._admits_caller(workload.caller)
            and self._admits_request(workload.request)
        ):
            self._count(workload, 1)
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(workload, loop.create_future())
        queue.add(waiter)
        self._serve()  # the queue may consist of workloads that are at their maximum
        waiter.patience = loop.call_later(self._wait_seconds, self._give_up, waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.is_queued:
                queue.remove(waiter)
            elif not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.give_back(workload)  # it got its turn while it was cancelled
            raise
        finally:
            waiter.patience.cancel()

    def give_back(self, workload: Workload) -> None:
        """Release a connection that `take` granted."""
        self._count(workload, -1)
        if any(self._queues):
            self._serve()

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.is_queued and not waiter.turn.done():
            request = waiter.workload.request
            if request is not None and self._requests.get(request):  # it waits for its own statements: each ends by its own limit
                waiter.patience = asyncio.get_running_loop().call_later(self._wait_seconds, self._give_up, waiter)
                return
            self._queues[waiter.workload.purpose].remove(waiter)
            waiter.turn.set_exception(NoConnectionFreeError())

    def _serve(self) -> None:
        for purpose in Purpose:
            queue = self._queues[purpose]
            while queue and self._has_room(purpose):
                waiter = queue.pop(self._admits_caller, self._admits_request)
                if waiter is None:
                    break
                if not waiter.turn.done():  # a cancelled waiter is removed later
                    self._count(waiter.workload, 1)
                    waiter.turn.set_result(None)

    def _has_room(self, purpose: Purpose) -> bool:
        shares, held = self._shares, self._held
        if purpose is Purpose.SERVICE:
            return held[purpose] < shares.service
        if purpose is Purpose.INGEST:
            return held[purpose] < shares.ingest
        at_most = shares.queries if purpose is Purpose.QUERY else shares.background
        return held[purpose] < at_most and held[Purpose.BACKGROUND] + held[Purpose.QUERY] < shares.common

    def _admits_caller(self, caller: Hashable) -> bool:
        return caller is None or self._callers.get(caller, 0) < self._shares.caller

    def _admits_request(self, request: Request | None) -> bool:
        if request is None:
            return True
        return self._requests.get(request, 0) < self._shares.request and (request.begun < UNPACED_QUERIES or self._is_in_pace())

    def _is_in_pace(self) -> bool:
        """Tell whether a paced query may start now; if not, schedule the time when it may."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._paced_until or not (self._held[Purpose.INGEST] or now < self._writing_until):
            return True
        if self._resuming is None:
            self._resuming = loop.call_at(self._paced_until, self._resume)
        return False

    def _resume(self) -> None:
        self._resuming = None
        self._serve()

    def _note(self, workload: Workload) -> None:
        if workload.purpose is Purpose.INGEST:
            self._writing_until = asyncio.get_running_loop().time() + _WRITING_SECONDS
        elif workload.request is not None:
            workload.request.begun += 1
            if workload.request.begun > UNPACED_QUERIES:
                self._paced_until = asyncio.get_running_loop().time() + self._pace_seconds

    def _count(self, workload: Workload, change: int) -> None:
        if change > 0:
            self._note(workload)
        self._held[workload.purpose] += change
        for counts, key in ((self._callers, workload.caller), (self._requests, workload.request)):
            if key is not None:
                count = counts[key] = counts.get(key, 0) + change
                if not count:
                    del counts[key]
