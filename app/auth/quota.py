"""The documented limits on reading the rankings, counted at the field: GraphQL and REST draw on one account."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from limits import RateLimitItemPerDay, RateLimitItemPerMinute
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from app.domain.errors import RateLimitedError
from app.domain.principal import Principal
from app.domain.time_range import midnight

T = TypeVar("T")

_PER_MINUTE = RateLimitItemPerMinute(30)
_PER_DAY = RateLimitItemPerDay(500)


class RankingsQuota:
    """30 reads in any 60 seconds a key, 500 a UTC day an account (the key's tenant), in the storage that the limiter shares."""

    def __init__(self, storage: Storage) -> None:
        self._minute = MovingWindowRateLimiter(storage)
        self._day = FixedWindowRateLimiter(storage)
        self._in_memory = isinstance(storage, MemoryStorage)

    async def consume(self, principal: Principal, now: datetime) -> None:
        """Count one read. RateLimitedError: none is left; it says of which limit and until when."""
        await self._run(lambda: self._consume(principal, now))

    async def _run(self, call: Callable[[], T]) -> T:
        # A storage on the network blocks its thread, which must not be the event loop's.
        return call() if self._in_memory else await asyncio.to_thread(call)

    def _consume(self, principal: Principal, now: datetime) -> None:
        key = ("rankings", "key", principal.key_id)
        if not self._minute.hit(_PER_MINUTE, *key):
            raise _refusal(_PER_MINUTE.amount, self._minute.get_window_stats(_PER_MINUTE, *key).reset_time, now)
        today = now.astimezone(UTC).date()
        if not self._day.hit(_PER_DAY, "rankings", "account", principal.account, today.isoformat()):
            raise _refusal(_PER_DAY.amount, (midnight(today) + timedelta(days=1)).timestamp(), now)


def _refusal(limit: int, reset_at: float, now: datetime) -> RateLimitedError:
    return RateLimitedError(limit=limit, remaining=0, reset_at=reset_at, retry_after=max(1, math.ceil(reset_at - now.timestamp())))
