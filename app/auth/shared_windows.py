"""Sliding windows of all workers in Redis, and of this worker in memory while Redis is unavailable.

Nothing here fails or waits for long: a caller's request must not depend on the store that counts it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.auth.windows import Check, LocalWindows, Standing, Verdict

log = logging.getLogger(__name__)

_WAIT_SECONDS: Final = 0.5
"""Timeout of counting an event in Redis, with a new connection or the wait for a free one."""

_CONNECTIONS: Final = 8

# Redis's own clock, so that the clocks of hosts may differ. A log is one packed string, [instant, events, ...], oldest first.
# Instants ahead of the clock were counted before it was set back: they are treated as now, and so count for one window, not for hours.
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
    """The windows of all workers in one Redis. Raises the client's errors without retries."""

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url.removeprefix("redis+"),
            max_connections=_CONNECTIONS,
            timeout=None,  # the caller limits the total time
            retry=Retry(NoBackoff(), 0),
            client_name=f"tokengraph-{os.getpid()}",
            protocol=2,  # saves a round trip on a new connection
        )
        self._redis = Redis.from_pool(pool)
        self._take: Callable[..., Any] = self._redis.register_script(_TAKE)

    async def take(self, checks: Sequence[Check]) -> Verdict:
        """Admit and count an event for every limit, or count it for none, in one round trip."""
        keys = [f"tokengraph:{check.limit.name}:{check.limit.seconds}:{check.subject}" for check in checks]
        arguments = [number for check in checks for number in (check.limit.amount, check.limit.seconds, check.limit.grain, check.amount)]
        answer = await self._take(keys=keys, args=arguments)
        admitted = answer[-1] == 1
        used = [count + admitted * check.amount for check, count in zip(checks, answer[:-1:3], strict=True)]
        standings = tuple(
            Standing(max(0, check.limit.amount - count), micros / 1e6)
            for check, count, micros in zip(checks, used, answer[1:-1:3], strict=True)
        )
        refused = () if admitted else tuple(i for i, check in enumerate(checks) if used[i] + check.amount > check.limit.amount)
        return Verdict(refused, standings, wait=max((answer[3 * i + 2] / 1e6 for i in refused), default=0.0))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class WindowCounts:
    """Counts events in memory, or in memory and Redis.

    An event is admitted if this worker's count and Redis admit it. The own count refuses only what Redis would refuse too, except after
    Redis was unavailable or emptied; so floods do not reach Redis, and the worker can take over at once when Redis fails.
    """

    pause: float = 5.0
    """Seconds until Redis is tried again after a failure."""

    def __init__(
        self,
        local: LocalWindows,
        shared: RedisWindows | None = None,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`on_change` is called with whether Redis counts, when that changes."""
        self.local = local
        self._shared = shared
        self._on_change = on_change
        self._up = True
        self._retry_at = 0.0

    async def __aenter__(self) -> WindowCounts:
        # One call without events, so that the log reports a missing Redis when the process starts.
        if self._shared is not None:
            await self._ask(self._shared, ())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._shared is not None:
            await self._shared.aclose()

    async def take(self, *checks: Check) -> Verdict:
        """Admit and count an event for every limit, or count it for none. Never fails."""
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
        if now < self._retry_at:
            return None
        if not self._up:
            self._retry_at = now + self.pause  # one request tries; the others do not wait
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                verdict = await shared.take(checks)
        except TimeoutError:
            self._fail("no answer in time")
            return None
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return None
        if not self._up:
            self._succeed()
        return verdict

    def _fail(self, reason: str) -> None:
        self._retry_at = time.monotonic() + self.pause
        if self._up:
            self._up = False
            log.warning("Redis does not count rate limits (%s): each worker counts separately until it does", reason)
            self._on_change(False)

    def _succeed(self) -> None:
        self._retry_at = 0.0
        self._up = True
        log.warning("Redis counts rate limits again")
        self._on_change(True)
