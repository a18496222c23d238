"""Moving windows, counted for all workers in Redis where there is one, and in this worker's memory where it is down.

Nothing here fails or waits for long: a caller's request must not depend on the store that counts it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from app.auth.windows import Check, LocalWindows, Standing, Verdict

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

SOCKET_SECONDS = 0.25
"""How long Redis may take to accept a connection, and to answer on it."""

_WAIT_SECONDS = 0.5
_THREADS = 8

# Redis's own clock, so that hosts need not agree on the time. A log is one packed string, [instant, events, ...], oldest first.
# Instants ahead of the clock were counted before it was set back: they are taken as now, so they count for one window, not for hours.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local logs, stamps, corrected, answer, admitted = {}, {}, {}, {}, true
for i, key in ipairs(KEYS) do
    local limit, seconds = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
    local grain, amount = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
    local stamp = grain > 0 and math.ceil(now / grain) * grain or now
    local packed = redis.call('GET', key)
    local log, kept, used = packed and cmsgpack.unpack(packed) or {}, {}, 0
    for j = 1, #log, 2 do
        local instant = math.min(log[j], stamp)
        corrected[i] = corrected[i] or instant < log[j]
        if instant > now - seconds then
            kept[#kept + 1] = instant
            kept[#kept + 1] = log[j + 1]
            used = used + log[j + 1]
        end
    end
    logs[i], stamps[i] = kept, stamp
    admitted = admitted and used + amount <= limit
    answer[3 * i - 2] = used
    local free, frees = limit - used, now - seconds
    for j = 1, #kept, 2 do
        if free < amount then
            free, frees = free + kept[j + 1], kept[j]
        end
    end
    answer[3 * i] = math.max(0, math.ceil((frees + seconds - now) * 1000000))
end
for i, key in ipairs(KEYS) do
    local kept, seconds, amount = logs[i], tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i])
    if admitted then
        if kept[#kept - 1] == stamps[i] then
            kept[#kept] = kept[#kept] + amount
        else
            kept[#kept + 1] = stamps[i]
            kept[#kept + 1] = amount
        end
    end
    if admitted or corrected[i] then
        redis.call('SET', key, cmsgpack.pack(kept), 'PX', math.ceil((stamps[i] - now + seconds) * 1000) + 1)
    end
    answer[3 * i - 1] = kept[1] and math.ceil((kept[1] + seconds - now) * 1000000) or 0
end
answer[#answer + 1] = admitted and 1 or 0
return answer
"""


class RedisWindows:
    """The windows of all workers, in one Redis. Blocks its thread; raises whatever the client raises."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._take: Callable[..., Any] = connection.register_script(_TAKE)

    def take(self, checks: Sequence[Check]) -> Verdict:
        """Admit and count an event under every limit, or count it under none: one round trip."""
        keys = [f"tokengraph:{check.limit.name}:{check.limit.seconds}:{check.subject}" for check in checks]
        arguments = [number for check in checks for number in (check.limit.amount, check.limit.seconds, check.limit.grain, check.amount)]
        answer = self._take(keys=keys, args=arguments)
        admitted = answer[-1] == 1
        used = [count + admitted * check.amount for check, count in zip(checks, answer[:-1:3], strict=True)]
        standings = tuple(
            Standing(max(0, check.limit.amount - count), micros / 1e6)
            for check, count, micros in zip(checks, used, answer[1:-1:3], strict=True)
        )
        refused = () if admitted else tuple(i for i, check in enumerate(checks) if used[i] + check.amount > check.limit.amount)
        return Verdict(refused, standings, wait=max((answer[3 * i + 2] / 1e6 for i in refused), default=0.0))

    def close(self) -> None:
        """Give up the connections."""
        self._connection.close()


class WindowCounts:
    """What limits are counted by: memory alone, or memory and Redis.

    An event is admitted if this worker's own count and Redis's admit it. The own count never says no where Redis would say yes,
    unless Redis has been away or was emptied; so it saves Redis what floods ask, and takes over without a gap when Redis is gone.
    """

    pause: float = 5.0
    """Seconds that Redis is left alone after it has failed."""

    def __init__(
        self,
        local: LocalWindows,
        shared: RedisWindows | None = None,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`on_change` is told whether Redis counts, when that changes."""
        self.local = local
        self._shared = shared
        self._on_change = on_change
        self._state = threading.Lock()
        self._up = True
        self._retry_at = 0.0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rate-limits") if shared is not None else None

    async def __aenter__(self) -> WindowCounts:
        # Asked once with nothing to count, so that the log tells of a Redis that is not there when the process starts.
        if self._shared is not None:
            await self._ask(self._shared, ())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._threads is not None and self._shared is not None:
            self._threads.shutdown(cancel_futures=True)
            self._shared.close()

    async def take(self, *checks: Check) -> Verdict:
        """Admit and count an event under every limit, or count it under none. Never fails."""
        own = self.local.take(checks)
        if own.refused or self._shared is None:
            return own
        verdict = await self._ask(self._shared, checks)
        if verdict is None:
            return own
        for check, standing in zip(checks, verdict.standings, strict=True):
            if not standing.remaining:
                self.local.block(check, standing.frees_in)
        if verdict.refused:
            self.local.give_back(checks, own.at)
        return verdict

    async def _ask(self, shared: RedisWindows, checks: Sequence[Check]) -> Verdict | None:
        now = time.monotonic()
        if now < self._retry_at or self._threads is None:
            return None
        tries_again = not self._up
        if tries_again:
            self._retry_at = now + self.pause  # one request tries; the others go on meanwhile
        call = asyncio.get_running_loop().run_in_executor(self._threads, self._call, shared, checks, tries_again)
        done, _ = await asyncio.wait((call,), timeout=_WAIT_SECONDS)
        if not done:
            call.cancel()
            self._fail("no answer in time")
            return None
        return call.result()

    def _call(self, shared: RedisWindows, checks: Sequence[Check], tries_again: bool) -> Verdict | None:
        if not tries_again and time.monotonic() < self._retry_at:
            return None  # it failed for another request while this one stood in line
        try:
            verdict = shared.take(checks)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return None
        self._succeed()
        return verdict

    def _fail(self, reason: str) -> None:
        with self._state:
            self._retry_at = time.monotonic() + self.pause
            changed, self._up = self._up, False
        if changed:
            log.warning("Redis does not count rate limits (%s): each worker counts by itself until it does", reason)
            self._on_change(False)

    def _succeed(self) -> None:
        if self._up:
            return
        with self._state:
            changed, self._up = not self._up, True
            self._retry_at = 0.0
        if changed:
            log.warning("Redis counts rate limits again")
            self._on_change(True)
