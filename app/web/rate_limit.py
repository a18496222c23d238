"""What the application counts its limits by, and the limits as they are set."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.auth.quota import CallerLimits, parse_limit
from app.auth.shared_windows import RedisWindows, WindowCounts
from app.auth.windows import LocalWindows
from app.settings import Settings


def build_counts(redis_url: str | None, on_change: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> WindowCounts:
    """Return what every limit of the product is counted by: Redis if a URL is given, and this process's memory."""
    return WindowCounts(LocalWindows(clock), None if redis_url is None else RedisWindows(redis_url), on_change)


def build_caller_limits(settings: Settings, counts: WindowCounts) -> CallerLimits:
    """Return the general limits as they are set."""
    return CallerLimits(
        counts,
        per_key=parse_limit("key", settings.key_rate_limit),
        per_address=parse_limit("address", settings.address_rate_limit),
        failed=parse_limit("failed-auth", settings.failed_auth_rate_limit),
        cost=parse_limit("cost", settings.key_cost_limit),
    )
