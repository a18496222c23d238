"""The limits' place in HTTP: the limiter (slowapi's) and its storage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry
from slowapi import Limiter
from slowapi.util import get_remote_address

from app.auth.quota import CallerLimits, parse_limit
from app.auth.shared_windows import SOCKET_SECONDS, RedisWindows, WindowCounts
from app.auth.windows import LocalWindows
from app.settings import Settings


def build_limiter(redis_url: str | None) -> Limiter:
    """Return the limiter: over Redis if a URL is given, else in this process's memory."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # a request waits once; `WindowCounts` says when Redis is tried again
        "client_name": f"tokengraph-{os.getpid()}",
        "protocol": 2,  # one round trip less on a new connection
    }
    return Limiter(
        key_func=get_remote_address,
        storage_uri=redis_url or "memory://",
        storage_options=options if redis_url else {},
        strategy="moving-window",
    )


def build_counts(limiter: Limiter, on_change: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> WindowCounts:
    """Return what every limit of the product is counted by: the limiter's Redis if it has one, and this process's memory.

    The library's storage in memory is not used: its thread scans every key, it keeps every key for ever, and it follows the wall clock.
    """
    storage = limiter.limiter.storage
    shared = RedisWindows(storage.storage) if isinstance(storage, RedisStorage) else None
    return WindowCounts(LocalWindows(clock), shared, on_change)


def build_caller_limits(settings: Settings, counts: WindowCounts) -> CallerLimits:
    """Return the general limits as they are set."""
    return CallerLimits(
        counts,
        per_key=parse_limit("key", settings.key_rate_limit),
        per_address=parse_limit("address", settings.address_rate_limit),
        failed=parse_limit("failed-auth", settings.failed_auth_rate_limit),
        cost=parse_limit("cost", settings.key_cost_limit),
    )
