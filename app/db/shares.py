"""Who gets a connection to the database, and when: every purpose has connections of its own, and questions take turns by caller.

Decides, lends nothing itself: `engine` has the pool. For one event loop.
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
"""How long anybody waits for a connection before being told that none is free."""


FREE_QUESTIONS: Final = 4
"""Questions of one request that begin as soon as there is a connection, as a dashboard's do."""

PACE_SECONDS: Final = 0.02
"""How far apart all other questions begin while records are being written: what many aliases ask must not fill the event loop."""

_WRITING_SECONDS: Final = 1.0
"""For so long after a write began, records count as being written: the next one is likely on its way."""


class Purpose(IntEnum):
    """What a connection is for. Each but questions has connections that no number of questions takes."""

    SERVICE = 0
    """Authentication, readiness, whether cached answers are still right: short, and every request waits for them."""
    INGEST = 1
    """The write of usage records."""
    BACKGROUND = 2
    """Jobs and commands: whatever no caller waits for."""
    QUESTION = 3
    """What a caller asks or changes."""


@dataclass(slots=True, eq=False)
class Request:
    """One request of a caller; `begun`: its questions that got a connection so far."""

    begun: int = 0


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf work is done. `caller`: a key or an address."""

    purpose: Purpose
    caller: Hashable = None
    request: Request | None = None


SERVICE: Final = Asker(Purpose.SERVICE)
INGEST: Final = Asker(Purpose.INGEST)
BACKGROUND: Final = Asker(Purpose.BACKGROUND)

asker: ContextVar[Asker] = ContextVar("asker", default=BACKGROUND)
"""Of the work under way. A task that is started by a request works for it, until it says otherwise."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of a pool's connections may be held at a time, by purpose. Questions and background together hold `common` at most."""

    service: int
    ingest: int
    common: int
    background: int
    questions: int
    caller: int
    """Of the questions' connections, those of one caller."""
    request: int
    """Of a caller's connections, those of one request."""

    @classmethod
    def of(cls, connections: int) -> Shares:
        """Return the shares of a pool of so many connections, 4 or more: questions get 4 of 10, and of more all but 6."""
        # Two write at a time. One look of the service that hangs, at a table that is locked, is not to stop authentication.
        service = ingest = 1 if connections < 8 else 2
        common = connections - service - ingest
        questions = max(1, common - 2)
        # A job may hold two, one for its lock: with 4 connections it takes the questions' only one for that while.
        background = max(2, common - 1)
        return cls(service, ingest, common, background, questions, caller=(questions + 1) // 2, request=(questions + 2) // 3)


@dataclass(slots=True, eq=False)
class _Waiter:
    asker: Asker
    turn: asyncio.Future[None]
    is_in_line: bool = True


class _Line:
    """Who waits for a purpose: callers take turns, and so do the requests of one caller; within a request, first come first served."""

    def __init__(self) -> None:
        self._callers: OrderedDict[Hashable, OrderedDict[Request | None, deque[_Waiter]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._callers)

    def add(self, waiter: _Waiter) -> None:
        """Let one wait."""
        requests = self._callers.setdefault(waiter.asker.caller, OrderedDict())
        requests.setdefault(waiter.asker.request, deque()).append(waiter)

    def remove(self, waiter: _Waiter) -> None:
        """Take one out who waits no more."""
        waiter.is_in_line = False
        self._callers[waiter.asker.caller][waiter.asker.request].remove(waiter)
        self._clear(waiter.asker)

    def pop(self, may_have: Callable[[Hashable], bool], may_have_for: Callable[[Request | None], bool]) -> _Waiter | None:
        """Take out whose turn it is, of the callers and the requests that may have more; None: none of them may.

        Those that may not are passed over. They are few: each holds a connection.
        """
        for caller, requests in self._callers.items():
            for request, waiters in requests.items() if may_have(caller) else ():
                if may_have_for(request):
                    waiter = waiters.popleft()
                    waiter.is_in_line = False
                    requests.move_to_end(request)
                    self._callers.move_to_end(caller)
                    self._clear(waiter.asker)
                    return waiter
        return None

    def _clear(self, left: Asker) -> None:
        requests = self._callers[left.caller]
        if not requests[left.request]:
            del requests[left.request]
        if not requests:
            del self._callers[left.caller]


class Turns:
    """The connections of one pool, by who holds them."""

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
        self._lines = [_Line() for _ in Purpose]

    def held(self, purpose: Purpose) -> int:
        """Return how many connections a purpose holds."""
        return self._held[purpose]

    async def take(self, asked_by: Asker) -> None:
        """Return when there is a connection for who asks; `give_back` it. NoConnectionFreeError: not in time."""
        line = self._lines[asked_by.purpose]
        if not line and self._has_room(asked_by.purpose) and self._may_have(asked_by.caller) and self._may_have_for(asked_by.request):
            self._count(asked_by, 1)
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(asked_by, loop.create_future())
        line.add(waiter)
        self._serve()  # others in the line may be there because they hold as much as they may
        patience = loop.call_later(self._wait_seconds, self._give_up, waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.is_in_line:
                line.remove(waiter)
            elif not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.give_back(asked_by)  # its turn came as it went
            raise
        finally:
            patience.cancel()

    def give_back(self, asked_by: Asker) -> None:
        """Let others have the connection that was taken."""
        self._count(asked_by, -1)
        if any(self._lines):
            self._serve()

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.is_in_line and not waiter.turn.done():
            self._lines[waiter.asker.purpose].remove(waiter)
            waiter.turn.set_exception(NoConnectionFreeError())

    def _serve(self) -> None:
        for purpose in Purpose:
            line = self._lines[purpose]
            while line and self._has_room(purpose):
                waiter = line.pop(self._may_have, self._may_have_for)
                if waiter is None:
                    break
                if not waiter.turn.done():  # it may be cancelled, and not have noticed yet
                    self._count(waiter.asker, 1)
                    waiter.turn.set_result(None)

    def _has_room(self, purpose: Purpose) -> bool:
        shares, held = self._shares, self._held
        if purpose is Purpose.SERVICE:
            return held[purpose] < shares.service
        if purpose is Purpose.INGEST:
            return held[purpose] < shares.ingest
        at_most = shares.questions if purpose is Purpose.QUESTION else shares.background
        return held[purpose] < at_most and held[Purpose.BACKGROUND] + held[Purpose.QUESTION] < shares.common

    def _may_have(self, caller: Hashable) -> bool:
        return caller is None or self._callers.get(caller, 0) < self._shares.caller

    def _may_have_for(self, request: Request | None) -> bool:
        if request is None:
            return True
        return self._requests.get(request, 0) < self._shares.request and (request.begun < FREE_QUESTIONS or self._keeps_pace())

    def _keeps_pace(self) -> bool:
        """Tell whether a question that is not free may begin now; if not, look again when it may."""
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

    def _note(self, asked_by: Asker) -> None:
        if asked_by.purpose is Purpose.INGEST:
            self._writing_until = asyncio.get_running_loop().time() + _WRITING_SECONDS
        elif asked_by.request is not None:
            asked_by.request.begun += 1
            if asked_by.request.begun > FREE_QUESTIONS:
                self._paced_until = asyncio.get_running_loop().time() + self._pace_seconds

    def _count(self, asked_by: Asker, change: int) -> None:
        if change > 0:
            self._note(asked_by)
        self._held[asked_by.purpose] += change
        for counts, key in ((self._callers, asked_by.caller), (self._requests, asked_by.request)):
            if key is not None:
                count = counts[key] = counts.get(key, 0) + change
                if not count:
                    del counts[key]
