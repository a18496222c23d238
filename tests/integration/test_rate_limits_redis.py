"""Limits of several workers, counted by a real Redis: exact over time and processes, and what is promised while it is away."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from app.auth.shared_windows import RedisWindows, WindowCounts
from app.auth.store import KeyRequest, create_key
from app.auth.windows import Check, Limit
from app.db.engine import Database
from app.domain.principal import Role
from app.embedded.server import EmbeddedServer
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.acceptance.test_main_job import CHECKOUT, environment, free_port, make_key, wait_until_ready
from tests.clock import NOW, FakeClock
from tests.redis_server import PROGRAM, Server

NETWORK = "/api/v1/analytics/network"
RANKINGS = "/api/v1/datasets/rankings-daily"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed: apt-get install redis-server")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("r"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def connection(server: Server) -> Iterator[redis.Redis]:
    with server.connect() as opened:
        yield opened


@pytest.fixture
async def windows(server: Server) -> AsyncIterator[RedisWindows]:
    async with aclosing(RedisWindows(server.url)) as made:
        yield made


async def hit(windows: RedisWindows, limit: Limit, subject: str = "s") -> bool:
    return not (await windows.take((Check(limit, subject),))).refused


async def test_no_second_ever_holds_more_than_the_limit(server: Server) -> None:
    limit, until = Limit("l", 5, 1), time.monotonic() + 3
    calls: list[tuple[float, float]] = []

    async def ask() -> None:
        async with aclosing(RedisWindows(server.url)) as windows:
            while (before := time.monotonic()) < until:
                if await hit(windows, limit):
                    calls.append((before, time.monotonic()))

    await asyncio.gather(*(ask() for _ in range(3)))
    calls.sort()
    assert len(calls) >= 10, "places come back"
    for first, sixth in zip(calls, calls[5:], strict=False):
        assert sixth[1] - first[0] >= 1, "six events were within less than a second"


async def test_a_thousand_at_once_from_several_connections_get_exactly_what_there_is(
    windows: RedisWindows, connection: redis.Redis
) -> None:
    limits = (Limit("small", 30, 60), Limit("large", 170, 60))

    async def ask() -> Counter[str]:
        return Counter([limit.name for _ in range(100) for limit in limits if await hit(windows, limit)])

    admitted = await asyncio.gather(*(ask() for _ in range(10)))
    assert sum(admitted, Counter()) == {"small": 30, "large": 170}
    assert len([client for client in connection.client_list() if client["name"]]) > 1


async def test_all_limits_of_an_event_count_or_none(windows: RedisWindows, connection: redis.Redis) -> None:
    wide, narrow = Limit("wide", 3, 60), Limit("narrow", 1, 600)
    first = await windows.take((Check(wide, "a"), Check(narrow, "b")))
    assert (first.refused, [standing.remaining for standing in first.standings]) == ((), [2, 0])
    for _ in range(5):
        verdict = await windows.take((Check(wide, "a"), Check(narrow, "b")))
        assert (verdict.refused, [standing.remaining for standing in verdict.standings]) == ((1,), [2, 0])
        assert 590 < verdict.standings[1].frees_in <= 600
    assert (await windows.take((Check(narrow, "c"), Check(wide, "none yet"), Check(narrow, "b")))).refused == (2,)
    assert connection.exists("tokengraph:narrow:600:c") == 0


async def test_events_that_come_together_are_admitted_together_or_not(windows: RedisWindows) -> None:
    limit, fresh = Limit("cost", 1_000, 600), Limit("key", 5, 600)
    first = await windows.take((Check(limit, "s", 700), Check(fresh, "s")))
    assert (first.refused, [standing.remaining for standing in first.standings], first.wait) == ((), [300, 4], 0.0)
    for _ in range(2):
        refused = await windows.take((Check(limit, "s", 301), Check(fresh, "s")))
        assert (refused.refused, [standing.remaining for standing in refused.standings]) == ((0,), [300, 4])
        assert 590 < refused.wait <= 606
    second = await windows.take((Check(limit, "s", 300),))
    assert (second.refused, second.standings[0].remaining) == ((), 0)
    assert (await windows.take((Check(limit, "s"),))).refused == (0,)
    assert (await windows.take((Check(limit, "another", 1_000),))).refused == ()


async def test_what_is_kept_is_small_and_goes_by_itself(windows: RedisWindows, connection: redis.Redis) -> None:
    limit = Limit("key", 6000, 2)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        await hit(windows, limit)
    (key,) = connection.keys()
    assert key == b"tokengraph:key:2:s"
    assert connection.strlen(key) < 2000
    assert 0 < int(connection.pttl(key)) <= 2100
    await asyncio.sleep(2.2)
    assert connection.keys() == []


async def test_a_clock_that_was_set_back_locks_nobody_out(windows: RedisWindows, connection: redis.Redis) -> None:
    limit = Limit("key", 3, 1)
    fill = "local n = redis.call('TIME')[1] redis.call('SET', KEYS[1], cmsgpack.pack({n + 3600, 2, n + 7200, 1}), 'PX', 10000000)"
    connection.eval(fill, 1, "tokengraph:key:1:s")
    verdict = await windows.take((Check(limit, "s"),))
    assert verdict.refused == (0,), "they still count"
    assert 0.9 < verdict.standings[0].frees_in <= 1
    await asyncio.sleep(1.1)
    assert await hit(windows, limit), "but for one window, not for hours"


async def test_scripts_that_the_server_lost_are_sent_again(windows: RedisWindows, connection: redis.Redis) -> None:
    limit = Limit("key", 2, 60)
    assert await hit(windows, limit)
    connection.script_flush()
    assert await hit(windows, limit)
    assert not await hit(windows, limit)


class Pair:
    """Two applications of one database and one Redis, as two workers are."""

    def __init__(self, apps: list[Any], clients: list[httpx.AsyncClient], database: Database) -> None:
        self.apps, self.clients, self.database = apps, clients, database

    async def key(self, tenant: str | None = None) -> dict[str, str]:
        made = await create_key(self.database, KeyRequest(Role.TENANT if tenant else Role.ADMIN, tenant_id=tenant), NOW)
        return {"X-API-Key": made.secret}

    async def ask(self, count: int, url: str, headers: dict[str, str] | None = None) -> Counter[int]:
        """Return the statuses of so many requests, in turn to both, eight at a time."""
        places = asyncio.Semaphore(8)

        async def one(number: int) -> int:
            async with places:
                return (await self.clients[number % 2].get(url, headers=headers)).status_code

        return Counter(await asyncio.gather(*(one(number) for number in range(count))))

    def counts(self) -> list[WindowCounts]:
        return [app.state.services.limits.counts for app in self.apps]

    async def until_counted_again(self) -> None:
        """Wait until both use Redis."""
        deadline = time.monotonic() + 20
        for client in self.clients:
            while "tokengraph_rate_limit_store_up 1.0" not in (await client.get("/metrics")).text:
                assert time.monotonic() < deadline
                await client.get(NETWORK)
                await asyncio.sleep(0.05)


Opener = Callable[..., Any]


@pytest.fixture
async def opened(database_url: str, server: Server) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:

        async def open_pair(**given: Any) -> Pair:
            clock, apps, clients = FakeClock(), [], []
            for _ in range(2):
                settings = Settings(**({"database_url": database_url, "redis_url": server.url} | given))
                app = create_app(settings, Wiring(clock=clock, jobs=False))
                app.state.services.limits.counts.pause = 0.3
                await stack.enter_async_context(app.router.lifespan_context(app))
                transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
                clients.append(await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway")))
                apps.append(app)
            return Pair(apps, clients, apps[0].state.services.database)

        yield open_pair


async def test_two_workers_count_together(opened: Opener) -> None:
    pair = await opened(key_rate_limit="40/minute", address_rate_limit="7/minute", failed_auth_rate_limit="5/minute")
    assert await pair.ask(35, RANKINGS, await pair.key("acme")) == {200: 30, 429: 5}
    assert await pair.ask(60, "/v1/analytics", await pair.key()) == {200: 40, 429: 20}
    assert await pair.ask(20, NETWORK) == {200: 7, 429: 13}
    assert await pair.ask(20, RANKINGS, {"X-API-Key": "bad"}) == {401: 5, 429: 15}
    refused = await pair.clients[1].get(NETWORK)
    assert refused.headers["x-ratelimit-limit"] == "7"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_the_day_of_an_account_is_shared(opened: Opener) -> None:
    pair = await opened()
    statuses: Counter[int] = Counter()
    for _ in range(20):
        statuses += await pair.ask(28, f"{RANKINGS}?end_date=2025-01-01", await pair.key("acme"))
    assert statuses == {200: 500, 429: 60}
    assert await pair.ask(2, RANKINGS, await pair.key("umbrella")) == {200: 2}


async def test_what_is_left_is_what_all_workers_left(opened: Opener) -> None:
    pair = await opened()
    headers = await pair.key("acme")
    left = [(await pair.clients[number % 2].get(RANKINGS, headers=headers)).headers["x-ratelimit-remaining"] for number in range(6)]
    assert left == ["29", "28", "27", "26", "25", "24"]


async def test_a_redis_that_dies_and_comes_back(opened: Opener, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    pair = await opened()
    before, fresh = await pair.key("acme"), await pair.key("umbrella")
    assert await pair.ask(20, RANKINGS, before) == {200: 20}
    server.stop()
    assert await pair.ask(80, RANKINGS, before) == {200: 40, 429: 40}, "no worker's own count passes the limit, what went before included"
    assert await pair.ask(80, RANKINGS, fresh) == {200: 60, 429: 20}, "workers times limit"
    assert [record.levelname for record in caplog.records if "rate limits" in record.message] == ["WARNING"] * 2, "once a worker"
    for client in pair.clients:
        assert "tokengraph_rate_limit_store_up 0.0" in (await client.get("/metrics")).text
    server.start()
    await pair.until_counted_again()
    assert await pair.ask(10, RANKINGS, before) == {429: 10}, "an empty Redis admits nothing that the workers know better"
    assert await pair.ask(60, RANKINGS, await pair.key("third")) == {200: 30, 429: 30}
    assert len([record for record in caplog.records if "counts rate limits again" in record.message]) == 2


async def test_a_redis_that_hangs_stalls_nothing(opened: Opener, server: Server) -> None:
    pair = await opened()
    headers = await pair.key("acme")
    assert await pair.ask(2, RANKINGS, headers) == {200: 2}
    server.signal(signal.SIGSTOP)
    async with asyncio.timeout(60):  # it would hang for ever
        assert await pair.ask(60, NETWORK) == {200: 60}
        assert (await pair.clients[0].get("/healthz")).status_code == 200
    server.signal(signal.SIGCONT)
    await pair.until_counted_again()
    assert await pair.ask(60, RANKINGS, await pair.key("umbrella")) == {200: 30, 429: 30}


async def test_a_redis_that_refuses_to_count_is_as_one_that_is_away(opened: Opener, connection: redis.Redis) -> None:
    pair = await opened()
    connection.config_set("maxmemory", "1")
    assert await pair.ask(80, RANKINGS, await pair.key("acme")) == {200: 60, 429: 20}
    connection.config_set("maxmemory", "0")
    await pair.until_counted_again()
    assert await pair.ask(60, RANKINGS, await pair.key("umbrella")) == {200: 30, 429: 30}


async def test_a_redis_that_is_not_there_at_the_start(opened: Opener, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    pair = await opened(redis_url=f"redis+unix://{tmp_path}/none")
    assert len([record for record in caplog.records if "Redis does not count rate limits" in record.message]) == 2, (
        "said before any request"
    )
    assert await pair.ask(80, RANKINGS, await pair.key("acme")) == {200: 60, 429: 20}


async def test_a_wrong_password_is_not_shown(
    opened: Opener, connection: redis.Redis, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    connection.config_set("requirepass", "right")
    pair = await opened(redis_url=f"redis+unix://:hunter2@{server.socket}")
    assert await pair.ask(4, NETWORK) == {200: 4}
    assert "Redis does not count rate limits" in caplog.text
    assert "hunter2" not in caplog.text


def descendants(pid: int) -> set[int]:
    """Every process that a process has started, and theirs."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            found |= {child} | descendants(child)
    return found


def left_of(pids: set[int], seconds: float = 10) -> list[str]:
    """The command lines of those that have not ended in time: the resource tracker of the workers ends just after their parent."""
    deadline = time.monotonic() + seconds
    while True:
        left = []
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        left = [command for command in left if command]  # an ended one that nobody has waited for has none
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


@contextmanager
def served(data_dir: Path, arguments: list[str], variables: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with data_dir.with_suffix(".log").open("wb") as output:  # not a pipe, which nobody here would empty
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port), *arguments],
            cwd=CHECKOUT,
            env=environment(data_dir) | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


async def statuses(url: str, count: int, headers: dict[str, str]) -> Counter[int]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=24), timeout=60) as client:
        return Counter(answer.status_code for answer in await asyncio.gather(*(client.get(url, headers=headers) for _ in range(count))))


async def test_two_real_workers_admit_exactly_thirty_and_leave_nobody_behind(
    tmp_path: Path, server: Server, connection: redis.Redis
) -> None:
    data_dir = tmp_path / "data"
    variables = {
        "TOKENGRAPH_REDIS_URL": server.url,
        "TOKENGRAPH_ADDRESS_RATE_LIMIT": "12/minute",
        "TOKENGRAPH_TRUSTED_PROXIES": "127.0.0.1",
    }
    with served(data_dir, ["--workers", "2"], variables) as (url, process):
        headers = {"X-API-Key": make_key(data_dir, "--role", "tenant", "--tenant", "acme")}
        assert await statuses(url + RANKINGS, 150, headers) == {200: 30, 429: 120}
        assert await statuses(url + NETWORK, 40, {"X-Forwarded-For": "10.0.0.1, 198.51.100.1"}) == {200: 12, 429: 28}
        assert await statuses(url + NETWORK, 1, {"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}) == {200: 1}, "what the proxy saw counts"
        asking = {str(client["name"]) for client in connection.client_list() if client["name"]}
        started = descendants(process.pid)
        assert len(asking) == 2, "both workers asked Redis"
        assert {int(name.removeprefix("tokengraph-")) for name in asking} <= started
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert left_of(started) == []
    assert not EmbeddedServer(data_dir).is_running()


async def test_nobodys_forwarded_address_is_believed_by_default(tmp_path: Path) -> None:
    with served(tmp_path / "data", [], {"TOKENGRAPH_ADDRESS_RATE_LIMIT": "3/minute"}) as (url, _):
        async with httpx.AsyncClient(timeout=60) as client:
            answers = [await client.get(url + NETWORK, headers={"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert json.loads(answers[-1].content) == {"error": {"code": 429, "message": "Rate limit exceeded"}}
