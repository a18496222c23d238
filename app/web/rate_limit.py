"""The limiter (slowapi's) of the application, what limits are counted by, and the limits as they are set."""

from __future__ import annotations

import time
from collections.abc import Callable

from slowapi import Limiter
from slowapi.util import get_remote_address

from app.auth.quota import CallerLimits, parse_limit
from app.auth.shared_windows import RedisWindows, WindowCounts
from app.auth.windows import LocalWindows
from app.settings import Settings


def build_limiter(redis_url: str | None) -> Limiter:
    """Return slowapi's limiter over the same storage, for routes that an application adds; ConfigurationError: the URL is none of Redis.

    Its middleware sees no included router and no GraphQL, and its client blocks: `build_counts` counts the limits of the product.
    """
    return Limiter(key_func=get_remote_address, storage_uri=redis_url or "memory://", strategy="moving-window")


def build_counts(redis_url: str | None, on_change: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> WindowCounts:
    """Return the counter of all limits: Redis if a URL is set, and this process's memory."""
    return WindowCounts(LocalWindows(clock), None if redis_url is None else RedisWindows(redis_url), on_change)


def build_caller_limits(settings: Settings, counts: WindowCounts) -> CallerLimits:
    """Return the request limits of the settings."""
    return CallerLimits(
        counts,
        per_key=parse_limit("key", settings.key_rate_limit),
        per_address=parse_limit("address", settings.address_rate_limit),
        failed=parse_limit("failed-auth", settings.failed_auth_rate_limit),
        cost=parse_limit("cost", settings.key_cost_limit),
    )
