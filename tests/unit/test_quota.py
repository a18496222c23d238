"""Limits without a store: moving windows against a list of instants, what an operator may write, whom an address counts for."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.quota import (
    RANKINGS_PER_KEY,
    CallerLimits,
    RankingsQuota,
    address_subject,
    answer_headers,
    parse_limit,
)
from app.auth.shared_windows import RedisWindows, WindowCounts
from app.auth.windows import Check, Limit, LocalWindows, Standing, Verdict
from app.domain.errors import BadInputError, RateLimitedError
from app.domain.principal import Principal, Role
from app.settings import load
from app.web.rate_limit import build_limiter
from tests.clock import NOW


class Ticks:
    """A clock of seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def in_window(instants: list[float], end: float, seconds: float) -> int:
    return sum(end - seconds < instant <= end for instant in instants)


@given(amount=st.integers(1, 5), steps=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80))
def test_a_small_limit_is_exact_at_every_instant(amount: int, steps: list[tuple[int, bool]]) -> None:
    ticks = Ticks()
    windows, check, admitted = LocalWindows(ticks), (Check(Limit("l", amount, 10), "s"),), list[float]()
    for quarters, taken_back in steps:
        ticks.now += quarters / 4
        before = in_window(admitted, ticks.now, 10)
        verdict = windows.take(check)
        assert bool(verdict.refused) == (before >= amount)
        if verdict.refused:
            oldest = next(instant for instant in admitted if instant > ticks.now - 10)
            assert verdict.standings == (Standing(0, oldest + 10 - ticks.now),)
        elif taken_back:
            windows.give_back(check, verdict.at)
        else:
            admitted.append(ticks.now)
            assert verdict.standings[0].remaining == amount - before - 1
        assert windows.standing(check[0]).remaining == amount - in_window(admitted, ticks.now, 10)


@given(amount=st.integers(101, 130), bursts=st.lists(st.tuples(st.floats(0, 6), st.integers(1, 90)), max_size=30))
def test_a_large_limit_admits_no_more_than_it_says_and_forgets_a_hundredth_late_at_most(
    amount: int, bursts: list[tuple[float, int]]
) -> None:
    ticks = Ticks()
    limit = Limit("l", amount, 10)
    windows, admitted = LocalWindows(ticks), list[float]()
    for seconds, count in bursts:
        ticks.now += seconds
        for _ in range(count):
            if windows.take((Check(limit, "s"),)).refused:
                assert in_window(admitted, ticks.now, 10 + limit.grain + 1e-6) >= amount
            else:
                admitted.append(ticks.now)
                assert in_window(admitted, ticks.now, 10) <= amount


def test_an_event_counts_under_all_of_its_limits_or_under_none() -> None:
    windows = LocalWindows(Ticks())
    wide, narrow = Limit("wide", 3, 60), Limit("narrow", 1, 60)
    assert windows.take((Check(wide, "a"), Check(narrow, "b"))).refused == ()
    for _ in range(5):
        assert windows.take((Check(wide, "a"), Check(narrow, "b"))).refused == (1,)
    assert windows.standing(Check(wide, "a")).remaining == 2
    assert windows.standing(Check(wide, "another")).remaining == 3
    windows.block(Check(wide, "a"), 7)
    verdict = windows.take((Check(wide, "a"),))
    assert (verdict.refused, verdict.standings) == ((0,), (Standing(0, 7.0),))


def test_memory_is_bounded_however_many_subjects_come() -> None:
    ticks = Ticks()
    windows = LocalWindows(ticks, most_subjects=1000)
    limit, other = Limit("address", 600, 60), Check(Limit("key", 6000, 60), "k")
    windows.take((other,))
    for number in range(20_000):
        windows.take((Check(limit, str(number)),))
    assert len(windows) == 1001, "no other limit's subjects make room"
    ticks.now += 61
    for number in range(1000):
        windows.take((Check(limit, f"later {number}"),))
    assert len(windows) <= 1001
    tracemalloc.start()
    for _ in range(200):
        ticks.now += 0.5
        for _ in range(100):
            windows.take((other,))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert windows.standing(other).remaining == 0
    assert size < 20_000, "6000 events are no more than a hundred instants"


def test_the_idle_are_forgotten_as_others_come() -> None:
    ticks = Ticks()
    windows, limit = LocalWindows(ticks), Limit("address", 5, 60)
    for number in range(500):
        windows.take((Check(limit, str(number)),))
    ticks.now += 60
    for number in range(500):
        windows.take((Check(limit, f"later {number % 250}"),))
    assert len(windows) == 250


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("600/minute", Limit("x", 600, 60)),
        (" 5 per 2 Hours ", Limit("x", 5, 7200)),
        ("1/second", Limit("x", 1, 1)),
        ("100000/day", Limit("x", 100_000, 86400)),
        ("", None),
        ("off", None),
        (" OFF ", None),
    ],
)
def test_what_an_operator_may_write(text: str, limit: Limit | None) -> None:
    assert parse_limit("x", text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "6000",
        "-1/minute",
        "0/minute",
        "lots",
        "1/minute;2/hour",
        "5/fortnight",
        "1e3/minute",
        "9" * 5000 + "/minute",
        "1/9 years",
    ],
)
@pytest.mark.parametrize("name", ["KEY_RATE_LIMIT", "ADDRESS_RATE_LIMIT", "FAILED_AUTH_RATE_LIMIT"])
def test_what_cannot_be_a_limit_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"TOKENGRAPH_{name}", text)
    with pytest.raises(BadInputError, match=rf"^TOKENGRAPH_{name}: must [^\n]+$"):
        load()


@pytest.mark.parametrize("text", ["proxy.internal", "10.0.0.1/8", "10.0.0.0/8,", "*, 10.0.0.1"])
def test_what_cannot_be_a_proxy_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOKENGRAPH_TRUSTED_PROXIES", text)
    with pytest.raises(BadInputError, match=r"^TOKENGRAPH_TRUSTED_PROXIES: [^\n]+$"):
        load()


def test_proxies_limits_and_a_store_as_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"TRUSTED_PROXIES": "10.0.0.0/8, ::1", "KEY_RATE_LIMIT": "", "REDIS_URL": "redis+unix:///run/redis"}.items():
        monkeypatch.setenv(f"TOKENGRAPH_{name}", text)
    settings = load()
    assert (settings.trusted_proxies, settings.key_rate_limit, settings.redis_url) == ("10.0.0.0/8, ::1", "", "redis+unix:///run/redis")
    monkeypatch.setenv("TOKENGRAPH_REDIS_URL", "memcached://x")
    with pytest.raises(BadInputError, match="TOKENGRAPH_REDIS_URL must begin with redis://"):
        load()


@pytest.mark.parametrize(
    ("host", "subject"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("1.2.3.4\r\nX: y", "unknown"),
        ("9" * 100_000, "unknown"),
    ],
)
def test_whom_an_address_counts_for(host: str, subject: str) -> None:
    assert address_subject(host) == subject


class Store:
    """Stands for Redis: does what the test says."""

    def __init__(self) -> None:
        self.windows = LocalWindows()
        self.asked = 0
        self.fails = False
        self.hangs: asyncio.Event | None = None
        self.closed = False

    async def take(self, checks: Sequence[Check]) -> Verdict:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails:
            raise ConnectionError("gone")
        return self.windows.take(checks)

    async def aclose(self) -> None:
        self.closed = True

    def counts(self, changes: list[bool], pause: float = 60) -> WindowCounts:
        counts = WindowCounts(LocalWindows(), cast(RedisWindows, self), changes.append)
        counts.pause = pause
        return counts


FIVE = Limit("five", 5, 60)


async def test_what_the_store_refuses_is_not_asked_again_before_it_can_change() -> None:
    store = Store()
    for _ in range(5):
        store.windows.take((Check(FIVE, "s"),))
    async with store.counts([]) as counts:
        first = await counts.take(Check(FIVE, "s"))
        asked = store.asked
        for _ in range(100):
            assert (await counts.take(Check(FIVE, "s"))).refused == (0,)
        assert first.refused == (0,)
        assert store.asked == asked
        assert not (await counts.take(Check(FIVE, "another"))).refused
    assert store.closed


async def test_a_worker_alone_goes_on_from_what_it_has_counted(caplog: pytest.LogCaptureFixture) -> None:
    store, changes = Store(), list[bool]()
    async with store.counts(changes, pause=0.2) as counts:
        admitted = [not (await counts.take(Check(FIVE, "s"))).refused for _ in range(3)]
        store.fails = True
        admitted += [not (await counts.take(Check(FIVE, "s"))).refused for _ in range(10)]
        assert admitted.count(True) == 5
        assert store.asked == 5, "once at the start, thrice while it was there, once to find it gone"
        await asyncio.sleep(0.25)
        store.fails = False
        assert not (await counts.take(Check(FIVE, "another"))).refused
        assert (await counts.take(Check(FIVE, "s"))).refused, "the store missed two, the worker did not"
    assert changes == [False, True]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "gone" in caplog.text


async def test_a_store_that_hangs_holds_up_neither_the_loop_nor_a_request_for_long() -> None:
    store, changes = Store(), list[bool]()
    async with store.counts(changes) as counts:
        store.hangs = asyncio.Event()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with asyncio.timeout(60):  # the store itself takes for ever
            verdicts = await asyncio.gather(*(counts.take(Check(FIVE, "s")) for _ in range(200)))
            asked = store.asked
            await counts.take(Check(FIVE, "another"))
        ticking.cancel()
        store.hangs.set()
    assert sum(not verdict.refused for verdict in verdicts) == 5
    assert ticks >= 10
    assert store.asked == asked, "it is left alone for a while"
    assert changes[0] is False


async def test_what_a_caller_is_told_of_the_rankings() -> None:
    ticks = Ticks()
    quota = RankingsQuota(WindowCounts(LocalWindows(ticks)))
    principal = Principal("k", Role.TENANT, "acme", 1)
    headers: dict[str, str] = {}
    token = answer_headers.set(headers)
    for left in reversed(range(30)):
        await quota.consume(principal, NOW)
        assert headers["X-RateLimit-Remaining"] == str(left)
        ticks.now += 1
    assert headers == {
        "X-RateLimit-Limit": "30",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(NOW.timestamp()) + 31),
        "RateLimit-Policy": '"rankings-key";q=30;w=60, "rankings-account";q=500;w=86400',
        "RateLimit": '"rankings-key";r=0;t=31, "rankings-account";r=470;t=43200',
    }
    with pytest.raises(RateLimitedError) as caught:
        await quota.consume(principal, NOW)
    assert (caught.value.limit, caught.value.retry_after) == (RANKINGS_PER_KEY.amount, 30)
    ticks.now += 29.5
    with pytest.raises(RateLimitedError):
        await quota.consume(principal, NOW)
    ticks.now += 0.5
    await quota.consume(principal, NOW)
    for step in range(469):
        await quota.consume(Principal(f"k{step}", Role.TENANT, "acme", 1), NOW)
    with pytest.raises(RateLimitedError) as caught:
        await quota.consume(Principal("new", Role.TENANT, "acme", 1), NOW)
    assert (caught.value.limit, caught.value.retry_after) == (500, 12 * 3600)
    await quota.consume(Principal("new", Role.TENANT, "acme", 1), NOW + timedelta(hours=12))
    assert headers["X-RateLimit-Limit"] == "30", "the first refusal of a request is what its headers tell"
    answer_headers.reset(token)


async def test_what_a_caller_is_told_of_its_points() -> None:
    ticks = Ticks()
    limits = CallerLimits(WindowCounts(LocalWindows(ticks)), None, None, None, cost=Limit("cost", 1_000, 60))
    headers: dict[str, str] = {}
    token = answer_headers.set(headers)
    assert await limits.charge("key:k", 600, NOW) == 400
    ticks.now += 20
    assert await limits.charge("key:k", 300, NOW) == 100
    assert headers == {"RateLimit-Policy": '"cost";q=1000;w=60', "RateLimit": '"cost";r=100;t=41'}
    with pytest.raises(RateLimitedError, match="This costs 101 points, and 100 are left of 1000 in 60 seconds") as caught:
        await limits.charge("key:k", 101, NOW)
    assert (caught.value.limit, caught.value.remaining, caught.value.retry_after) == (1_000, 100, 41)
    assert (headers["Retry-After"], headers["X-RateLimit-Remaining"], headers["RateLimit"]) == ("41", "100", '"cost";r=100;t=41')
    with pytest.raises(RateLimitedError) as caught:
        await limits.charge("key:k", 701, NOW)
    assert caught.value.retry_after == 60, "it waits for both"
    assert await limits.charge("key:k", 100, NOW) == 0
    assert await limits.charge("address:1.2.3.4", 1_000, NOW) == 0
    ticks.now += 41
    assert await limits.charge("key:k", 600, NOW) == 0
    answer_headers.reset(token)


@given(
    amount=st.integers(1, 30),
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.booleans()), max_size=60),
)
def test_events_that_come_together_are_admitted_together_or_not(amount: int, steps: list[tuple[int, int, bool]]) -> None:
    ticks = Ticks()
    windows, limit, admitted = LocalWindows(ticks), Limit("l", amount, 10), list[float]()
    for quarters, together, taken_back in steps:
        ticks.now += quarters / 4
        check = Check(limit, "s", min(together, amount))
        room = amount - in_window(admitted, ticks.now, 10)
        verdict = windows.take((check,))
        assert bool(verdict.refused) == (check.amount > room)
        if verdict.refused:
            needed = check.amount - room
            kept = sorted(instant for instant in admitted if instant > ticks.now - 10)
            assert verdict.wait == kept[needed - 1] + 10 - ticks.now
        elif taken_back:
            windows.give_back((check,), verdict.at)
        else:
            admitted += [ticks.now] * check.amount
        assert windows.standing(check).remaining == amount - in_window(admitted, ticks.now, 10)


async def test_limits_that_are_off_count_nothing() -> None:
    counts = WindowCounts(LocalWindows())
    limits = CallerLimits(counts, per_key=None, per_address=None, failed=None)
    for _ in range(3):
        await limits.count_anonymous("1.2.3.4", NOW)
        await limits.count_failure("1.2.3.4", NOW)
        await limits.count_key(Principal("k", Role.ADMIN), NOW)
        assert not limits.expects_failure("1.2.3.4")
    assert len(counts.local) == 0


@pytest.mark.parametrize(
    ("url", "storage"), [(None, "MemoryStorage"), ("redis://127.0.0.1:1/0", "RedisStorage"), ("redis+unix:///x.sock", "RedisStorage")]
)
def test_a_limiter_of_ones_own_routes_is_over_the_same_storage(url: str | None, storage: str) -> None:
    assert type(build_limiter(url).limiter.storage).__name__ == storage
