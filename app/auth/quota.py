"""Rate limits and point budgets: subjects, limits, response headers. `windows` and `shared_windows` count."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from limits import parse_many

from app.auth.shared_windows import WindowCounts
from app.auth.windows import Check, Limit
from app.domain.errors import RateLimitedError
from app.domain.principal import Principal
from app.domain.time_range import midnight

RANKINGS_PER_KEY = Limit("rankings-key", 30, 60)
"""Documented: 30 reads of the rankings in any 60 seconds, for each key."""

RANKINGS_PER_ACCOUNT = Limit("rankings-account", 500, 24 * 3600)
"""Documented: 500 reads of the rankings a UTC day, for each account (the key's tenant)."""

_LARGEST_AMOUNT = 10**9
_LONGEST_SECONDS = 366 * 24 * 3600
_LONGEST_ADDRESS = 64

answer_headers: ContextVar[dict[str, str] | None] = ContextVar("answer_headers", default=None)
"""Headers that limits add to the current answer; None outside of a request."""


def parse_limit(name: str, text: str) -> Limit | None:
    """Parse a limit such as `600/minute` or `1000 per 5 minutes`; None: `off`, or empty. ValueError: anything else."""
    if text.strip().lower() in ("", "off"):
        return None
    try:
        (item,) = parse_many(text)
    except ValueError:
        raise ValueError("must be like 600/minute, or off") from None
    if not (1 <= item.amount <= _LARGEST_AMOUNT and 1 <= item.get_expiry() <= _LONGEST_SECONDS):
        raise ValueError("must admit 1 to 1000000000 requests in at most a year")
    return Limit(name, item.amount, item.get_expiry())


def address_subject(host: str) -> str:
    """Return the subject of an address: itself, or the /64 network of an IPv6 address. Anything else is `unknown`."""
    return _address_subject(host) if len(host) <= _LONGEST_ADDRESS else "unknown"


@lru_cache(maxsize=4096)
def _address_subject(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


def _note_limit(limit: Limit, remaining: int, seconds: float) -> None:
    """Set a limit in `RateLimit-Policy` and `RateLimit`, by draft-ietf-httpapi-ratelimit-headers-11."""
    headers = answer_headers.get()
    if headers is None:
        return
    for name, parameters in (
        ("RateLimit-Policy", f"q={limit.amount};w={limit.seconds}"),
        ("RateLimit", f"r={remaining};t={max(0, ceil(seconds))}"),
    ):
        items = {item.partition(";")[0]: item for item in headers.get(name, "").split(", ") if item}
        items[f'"{limit.name}"'] = f'"{limit.name}";{parameters}'
        headers[name] = ", ".join(items.values())


def _note_headers(limit: Limit, remaining: int, now: datetime, seconds: float, retry_after: int | None = None) -> None:
    headers = answer_headers.get()
    if headers is None or "Retry-After" in headers:
        return  # of several reads in one request, the refused one is reported
    headers["X-RateLimit-Limit"] = str(limit.amount)
    headers["X-RateLimit-Remaining"] = str(remaining)
    headers["X-RateLimit-Reset"] = str(ceil(now.timestamp() + seconds))
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    _note_limit(limit, remaining, seconds)


def _refusal(limit: Limit, seconds: float, now: datetime, remaining: int = 0, message: str | None = None) -> RateLimitedError:
    retry_after = max(1, ceil(seconds))
    _note_headers(limit, remaining, now, seconds, retry_after)
    reset_at = ceil(now.timestamp() + seconds)
    return RateLimitedError(message, limit=limit.amount, remaining=remaining, reset_at=reset_at, retry_after=retry_after)


class RankingsQuota:
    """The documented limits on reading the rankings, counted at the field, for GraphQL and REST together."""

    def __init__(self, counts: WindowCounts) -> None:
        self._counts = counts

    async def consume(self, principal: Principal, now: datetime) -> None:
        """Count one read, for both limits or for neither. RateLimitedError: one of them is exceeded."""
        today = now.astimezone(UTC).date()
        verdict = await self._counts.take(
            Check(RANKINGS_PER_KEY, principal.key_id),
            Check(RANKINGS_PER_ACCOUNT, f"{today.isoformat()}:{principal.account}"),  # the date in the subject ends the window at midnight
        )
        minute, day = verdict.standings
        day_ends_in = (midnight(today) + timedelta(days=1) - now).total_seconds()
        if not verdict.refused:
            _note_headers(RANKINGS_PER_KEY, minute.remaining, now, minute.frees_in)
            _note_limit(RANKINGS_PER_ACCOUNT, day.remaining, day_ends_in)
        elif 1 in verdict.refused:
            raise _refusal(RANKINGS_PER_ACCOUNT, day_ends_in, now)
        else:
            raise _refusal(RANKINGS_PER_KEY, minute.frees_in, now)


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """The limits on requests; None: no limit. A request counts once: for its key, else for its address."""

    counts: WindowCounts
    per_key: Limit | None
    per_address: Limit | None
    failed: Limit | None
    cost: Limit | None = None
    """Points per key, or per address if there is no key."""

    async def count_key(self, principal: Principal, now: datetime) -> None:
        """Count a request with a valid key. RateLimitedError: too many."""
        await self._count(self.per_key, principal.key_id, now)

    async def count_anonymous(self, host: str, now: datetime) -> None:
        """Count a request without a key. RateLimitedError: too many from this address."""
        await self._count(self.per_address, address_subject(host), now)

    async def count_failure(self, host: str, now: datetime) -> None:
        """Count an invalid key. RateLimitedError: too many from this address. Valid keys are neither counted nor refused here."""
        await self._count(self.failed, address_subject(host), now)

    async def charge(self, caller: str, points: int, now: datetime) -> int | None:
        """Count points, at most the limit's amount, and return how many are left; None: no limit. RateLimitedError: fewer are left."""
        if self.cost is None:
            return None
        verdict = await self.counts.take(Check(self.cost, caller, points))
        standing = verdict.standings[0]
        if verdict.refused:
            message = f"This costs {points} points, and {standing.remaining} are left of {self.cost.amount} in {self.cost.seconds} seconds"
            raise _refusal(self.cost, verdict.wait, now, standing.remaining, message)
        _note_limit(self.cost, standing.remaining, standing.frees_in)
        return standing.remaining

    def expects_failure(self, host: str) -> bool:
        """Tell whether the address exceeds its limit of invalid keys. Uses this worker's memory only, without a round trip."""
        return self.failed is not None and not self.counts.local.standing(Check(self.failed, address_subject(host))).remaining

    async def _count(self, limit: Limit | None, subject: str, now: datetime) -> None:
        if limit is not None:
            verdict = await self.counts.take(Check(limit, subject))
            if verdict.refused:
                raise _refusal(limit, verdict.standings[0].frees_in, now)
