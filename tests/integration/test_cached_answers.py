"""Kept answers through HTTP, by two workers on one database: never another caller's, never older than they may be, never uncounted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any, Protocol

import httpx
import pytest

from app.analytics.usage import fetch_gateway
from app.auth.store import revoke_key
from app.domain.errors import UnavailableError
from app.settings import Settings
from app.web.answer_cache import WatchedDatabase
from app.web.app import Wiring, create_app
from tests.clock import FakeClock
from tests.conftest import running_server
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import Statements, recorded

NETWORK = "/api/v1/analytics/network"
USAGE = "/api/usage/analytics"
STATS = "/v1/analytics"
TENANT = "/v1/customer/analytics"
GRAPHQL_STATS = {"query": "query S($days: Int) { gatewayStats(days: $days) { requests } }", "variables": {"days": 30}}
VALIDATORS = {"etag", "cache-control", "vary"}


class Seconds:
    """The workers' clock of seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Opener(Protocol):
    """Opens a worker."""

    def __call__(self, age: float = 0.0, **settings: Any) -> AbstractAsyncContextManager[Gateway]: ...


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def worker(database_url: str, clock: FakeClock, seconds: Seconds) -> Opener:
    @asynccontextmanager
    async def open_worker(age: float = 0.0, **settings: Any) -> AsyncIterator[Gateway]:
        wiring = Wiring(clock=clock, jobs=False, answer_age=age, seconds=seconds)
        app = create_app(Settings(database_url=database_url, gateway_api_key="gateway-secret", **settings), wiring)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("203.0.113.1", 4711))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(app, client, app.state.services.database, clock)

    return open_worker


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of this module's own: a commit in any of a server's databases makes the gateway look again."""
    with running_server(tmp_path_factory.mktemp("server"), request.config.getoption("--postgres")) as url:
        yield url


async def total(gateway: Gateway, headers: dict[str, str]) -> set[int]:
    """Return the number of requests by every surface that is kept: they must agree, unless some are older than others."""
    stats = (await gateway.client.get(STATS, headers=headers)).json()
    graph = (await gateway.client.post("/graphql", json=GRAPHQL_STATS, headers=headers)).json()
    usage = (await gateway.client.get(USAGE, headers=headers)).json()
    counted = sum(point["request_count"] for point in usage["time_series"])
    return {stats["total_requests"], graph["data"]["gatewayStats"]["requests"], counted}


def made(statements: Statements) -> Counter[str]:
    """Count the statements that answers are made by: not those that look up a key or ask for the version."""
    apart = ("authenticate", "data_version", "network_version")
    return Counter(name for name in statements.names() if name not in apart)


async def test_a_commit_by_another_worker_is_seen_at_once_where_answers_may_have_no_age(worker: Opener) -> None:
    async with worker() as one, worker() as other:
        headers = await one.key("admin")
        for number in range(5):
            await one.store([make_record()])
            for reader in (other, one):
                with recorded() as first:
                    assert await total(reader, headers) == {number + 1}
                with recorded() as again:
                    assert await total(reader, headers) == {number + 1}
                assert made(first)
                assert not made(again)


async def test_an_answer_is_older_than_another_workers_commit_for_its_age_at_most(worker: Opener, seconds: Seconds) -> None:
    async with worker(5.0) as one, worker(5.0) as other:
        headers = await one.key("admin")
        await one.store([make_record()])
        await one.snapshot()
        assert await total(other, headers) == {1}
        etag = (await other.client.get(NETWORK)).headers["etag"]
        await one.store([make_record()])
        one.clock.advance(timedelta(minutes=10))
        await one.snapshot()
        assert await total(one, headers) == {2}, "its own commit it knows at once"
        with recorded() as statements:
            assert await total(other, headers) == {1}
            assert (await other.client.get(NETWORK)).headers["etag"] == etag
        assert set(statements.names()) == {"authenticate"}
        seconds.now += 5.0
        assert await total(other, headers) == {2}
        assert (await other.client.get(NETWORK)).headers["etag"] != etag


async def test_a_kept_answer_is_renewed_ahead_without_anybody_waiting(worker: Opener, seconds: Seconds) -> None:
    async with worker(5.0) as gateway:
        await gateway.snapshot()
        await gateway.client.get(NETWORK)
        with recorded() as statements:
            for _ in range(12):
                seconds.now += 2.5
                assert (await gateway.client.get(NETWORK)).status_code == 200
                await asyncio.sleep(0.02)
        assert set(statements.names()) == {"network_version"}


async def test_a_worker_sees_what_it_commits_at_once_by_every_way(worker: Opener) -> None:
    async with worker(60.0) as gateway:
        headers = await gateway.key("admin")
        record = {"request_id": "r1", "occurred_at": "2026-06-25T10:00:00Z", "tenant_id": "acme", "model_id": "openai/gpt-4o"}
        assert await total(gateway, headers) == {0}
        assert (await gateway.client.post("/v1/ingest/usage", json=[record], headers=headers)).json()["inserted"] == 1
        assert await total(gateway, headers) == {1}
        document = "mutation($r: [UsageRecordInput!]!) { ingestUsage(records: $r) { inserted } }"
        given = {"requestId": "r2", "occurredAt": "2026-06-25T10:00:00Z", "tenantId": "acme", "modelId": "openai/gpt-4o"}
        answer = await gateway.graphql(document, headers, r=[given])
        assert answer["data"]["ingestUsage"] == {"inserted": 1}, answer
        assert await total(gateway, headers) == {2}


async def test_a_question_after_a_commit_joins_none_that_began_before_it(worker: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, begun, gate = 0, asyncio.Event(), asyncio.Event()

    async def slow_once(*arguments: Any) -> Any:
        nonlocal runs
        runs += 1
        first = runs == 1
        rows = await fetch_gateway(*arguments)
        if first:
            begun.set()
            await gate.wait()
        return rows

    monkeypatch.setattr("app.resolvers.gateway.fetch_gateway", slow_once)
    async with worker() as one, worker() as other:
        headers = await one.key("admin")
        early = asyncio.create_task(one.client.get(STATS, headers=headers))
        await begun.wait()
        await other.store([make_record()])
        late = (await one.client.get(STATS, headers=headers)).json()
        gate.set()
        assert (await early).json()["total_requests"] == 0
        assert late["total_requests"] == 1
        assert (await one.client.get(STATS, headers=headers)).json()["total_requests"] == 1, "the slow one replaced nothing"
        assert runs == 2


@pytest.mark.parametrize("graphql", [False, True])
async def test_many_equal_questions_at_once_run_once(worker: Opener, graphql: bool) -> None:
    async with worker() as gateway:
        headers = await gateway.key("admin")
        await gateway.store([make_record()])

        async def ask(client: httpx.AsyncClient) -> httpx.Response:
            if graphql:
                return await client.post("/graphql", json=GRAPHQL_STATS, headers=headers)
            return await client.get(STATS, params={"days": "30"}, headers=headers)

        with recorded() as alone:
            await ask(gateway.client)
        await gateway.store([make_record()])
        with recorded() as together:
            answers = await asyncio.gather(*(ask(gateway.client) for _ in range(40)))
        assert made(together) == made(alone)
        assert len({str(answer.json().get("data", answer.json())) for answer in answers}) == 1
        assert len({answer.headers["x-request-id"] for answer in answers}) == 40
        assert sum("ratelimit" in answer.headers for answer in answers) == 1, "one of them costs points"


async def test_validators_are_those_of_what_is_there_now(worker: Opener) -> None:
    async with worker() as one, worker() as other:
        headers = await one.key("tenant", "acme") | {"Accept": "application/json"}
        admin = await one.key("admin")
        await one.store([make_record()])
        query = {"query": '{ tenantAnalytics(tenantId: "acme") { summary { requests } } }'}
        cases = [(STATS, {}, admin), (USAGE, {}, admin), (TENANT, {}, headers), ("/graphql", query, admin)]
        for number, (url, parameters, key) in enumerate(cases):
            first = await one.client.get(url, params=parameters, headers=key)
            assert first.status_code == 200
            assert first.headers["cache-control"] == "private, no-cache, max-age=0"
            assert {"Authorization", "X-API-Key"} <= set(first.headers["vary"].split(", "))
            for _ in range(2):
                same = await one.client.get(url, params=parameters, headers=key | {"If-None-Match": f'"x", W/{first.headers["etag"]}'})
                assert (same.status_code, same.content) == (304, b"")
                assert {name: same.headers[name] for name in VALIDATORS} == {name: first.headers[name] for name in VALIDATORS}
                assert "content-type" not in same.headers
            await other.store([make_record() for _ in range(number + 1)])
            changed = await one.client.get(url, params=parameters, headers=key | {"If-None-Match": first.headers["etag"]})
            assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
        refused = await one.client.get(TENANT, headers=admin | {"If-None-Match": "*"})
        assert (refused.status_code, VALIDATORS & set(refused.headers)) == (403, {"cache-control", "vary"})


async def test_the_network_says_what_is_documented_with_and_without_memory(worker: Opener) -> None:
    async with worker(60.0) as keeping, worker(0.0, cache_memory=0) as plain:
        before = await keeping.client.get(NETWORK)
        assert (before.headers["cache-control"], "etag" in before.headers) == ("no-store", False)
        await plain.store([make_record()])
        await plain.snapshot()
        keeping.app.front._versions.invalidate()  # type: ignore[attr-defined]
        miss, hit, without = [await gateway.client.get(NETWORK) for gateway in (keeping, keeping, plain)]
        assert miss.content == hit.content == without.content
        for answer in (miss, hit, without):
            assert answer.headers["cache-control"] == "public, max-age=600, s-maxage=600"
            assert len(answer.headers["x-request-id"]) == 16
        assert [sorted(set(answer.headers) - {"x-request-id"}) for answer in (hit, without)] == [
            [
                *("access-control-allow-origin", "access-control-expose-headers", "cache-control", "content-encoding", "content-length"),
                *("content-type", "etag", "vary", "x-content-type-options"),
            ]
        ] * 2
        assert hit.headers["x-request-id"] != miss.headers["x-request-id"]
        for gateway in (keeping, plain):
            for given in (hit.headers["etag"], f'"x", W/{hit.headers["etag"]}', "*"):
                same = await gateway.client.get(NETWORK, headers={"If-None-Match": given})
                assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", hit.headers["etag"])
            other = await gateway.client.get(NETWORK, headers={"If-None-Match": '"other"', "X-Request-ID": "mine"})
            assert (other.status_code, other.headers["x-request-id"]) == (200, "mine")
        assert (await keeping.client.post(NETWORK)).status_code == 405
        counted = (await keeping.client.get("/metrics")).text
        assert 'requests_total{method="GET",route="/api/v1/analytics/network",status="304"} 3.0' in counted
        assert 'requests_total{method="GET",route="/api/v1/analytics/network",status="200"} 4.0' in counted


async def test_hits_count_against_every_limit(worker: Opener) -> None:
    async with worker(60.0, address_rate_limit="150/minute", key_rate_limit="5/minute") as gateway:
        await gateway.snapshot()
        statuses = Counter([(await gateway.client.get(NETWORK)).status_code for _ in range(152)])
        assert statuses == {200: 150, 429: 2}
        refused = await gateway.client.get(NETWORK)
        assert refused.json() == {"error": {"code": 429, "message": "Rate limit exceeded"}}
        assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("150", "0")
        assert int(refused.headers["retry-after"]) >= 1
        headers = await gateway.key("admin")
        answers = [await gateway.client.get(url, headers=headers) for url in (STATS, STATS, NETWORK, STATS, NETWORK, STATS, NETWORK)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert answers[5].json()["error"]["code"] == "rate_limited"
        wrong = await gateway.client.get(NETWORK, headers={"Authorization": "Bearer tg_wrong"})
        assert wrong.status_code == 200, "public, whatever is shown"


async def test_rankings_are_counted_and_dated_each_time(worker: Opener) -> None:
    async with worker(60.0) as gateway:
        headers = await gateway.key("tenant", "acme")
        left, dates = [], set()
        for _ in range(3):
            answer = await gateway.client.get("/api/v1/datasets/rankings-daily", headers=headers)
            left.append(answer.headers["x-ratelimit-remaining"])
            dates.add(answer.json()["meta"]["as_of"])
            gateway.clock.advance(timedelta(seconds=1))
        assert (left, len(dates)) == (["29", "28", "27"], 3)


async def test_a_key_that_another_worker_revoked_opens_no_kept_answer(worker: Opener, database: Any) -> None:
    async with worker(60.0) as gateway:
        headers = await gateway.key("admin")
        kept = await gateway.client.get(STATS, headers=headers)
        assert (await gateway.client.post("/graphql", json=GRAPHQL_STATS, headers=headers)).json()["data"]
        async with database.read_connection() as connection:
            ((key_id,),) = await (await connection.execute("SELECT id FROM api_keys")).fetchall()
        await revoke_key(database, key_id, gateway.clock())
        for given in ({}, {"If-None-Match": kept.headers["etag"]}):
            assert (await gateway.client.get(STATS, headers=headers | given)).status_code == 401
        answer = (await gateway.client.post("/graphql", json=GRAPHQL_STATS, headers=headers)).json()
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_no_caller_ever_gets_what_was_kept_for_another(worker: Opener) -> None:
    """Every answer of a worker that keeps equals that of one that does not, whoever asked what before."""
    async with worker(60.0) as keeping, worker(cache_memory=0) as plain:
        await plain.store([make_record(tenant_id=f"t{number % 3}", prompt_tokens=number) for number in range(30)])
        keys = [await plain.key("tenant", f"t{number}") for number in range(3)]
        keys += [await plain.key("admin"), await plain.key("gateway"), await plain.key("ingest", "t0"), {}]
        keys += [{"Authorization": "Bearer gateway-secret"}, {"Authorization": "Bearer tg_wrong"}, {"X-API-Key": "tg_wrong"}]
        own = "{ tenantAnalytics { summary { totalTokens } } }"
        named = '{ tenantAnalytics(tenantId: "t1") { summary { totalTokens } } }'
        requests: list[tuple[str, dict[str, str]]] = [(STATS, {}), (USAGE, {}), (TENANT, {}), (TENANT, {"start_date": "2026-06-25"})]
        requests += [(TENANT, {"from": "2026-06-25"}), (USAGE, {"aggregation": "year"}), (NETWORK, {})]
        requests += [("/graphql", {"query": text}) for text in (own, named, "{ network { generatedAt } }", "{ viewer { keyId } }")]
        asked = [(url, given, key) for url, given in requests for key in keys] * 3
        Random(7).shuffle(asked)

        async def ask(gateway: Gateway, url: str, given: dict[str, str], key: dict[str, str]) -> tuple[int, bytes]:
            answer = await gateway.client.get(url, params=given, headers=key)
            return answer.status_code, answer.content

        for begin in range(0, len(asked), 30):
            part = asked[begin : begin + 30]
            kept = await asyncio.gather(*(ask(keeping, *one) for one in part))
            expected = await asyncio.gather(*(ask(plain, *one) for one in part))
            for one, found, right in zip(part, kept, expected, strict=True):
                assert found == right, one


async def test_windows_that_depend_on_the_day_change_at_midnight(worker: Opener) -> None:
    async with worker(60.0) as gateway:
        admin, tenant = await gateway.key("admin"), await gateway.key("tenant", "acme")
        await gateway.store([make_record(occurred_at=gateway.clock())])
        query = {"query": "{ gatewayStats(days: 1) { requests } }"}

        async def today() -> tuple[Any, ...]:
            stats = (await gateway.client.get(STATS, params={"days": "1"}, headers=admin)).json()
            graph = (await gateway.client.get("/graphql", params=query, headers=admin)).json()
            period = (await gateway.client.get(TENANT, headers=tenant)).json()["period"]
            return stats["total_requests"], graph["data"]["gatewayStats"]["requests"], period["end_date"]

        gateway.clock.advance(timedelta(hours=11, minutes=59, seconds=59))
        assert await today() == await today() == (1, 1, "2026-06-26T00:00:00.000Z")
        gateway.clock.advance(timedelta(seconds=1))
        assert await today() == (0, 0, "2026-06-27T00:00:00.000Z")


async def test_what_is_not_to_be_kept_is_made_each_time(worker: Opener) -> None:
    async with worker(60.0) as gateway:
        headers = await gateway.key("tenant", "acme")
        await gateway.store([make_record()])
        documents = (
            "{ viewer { tenantId tenant { tenantId } } }",
            "{ tenantRequests { nodes { id } } }",
            "{ models { nodes { modelId } } }",
        )
        for document in (*documents, "{ rankingsDaily { meta { version } } }"):
            made_each_time = []
            for _ in range(2):
                with recorded() as statements:
                    assert "errors" not in await gateway.graphql(document, headers)
                made_each_time.append(made(statements))
            assert made_each_time[0] == made_each_time[1] != Counter(), document
        for url in (f"{TENANT}/export.csv", "/v1/customer/logs"):
            for _ in range(2):
                with recorded() as statements:
                    answer = await gateway.client.get(url, headers=headers)
                assert answer.status_code == 200
                assert "etag" not in answer.headers
                assert made(statements)


async def test_without_the_database_answers_live_out_their_age_and_come_back(
    worker: Opener, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(5.0) as gateway:
        await gateway.store([make_record()])
        await gateway.snapshot()
        headers = await gateway.key("admin")
        kept = (await gateway.client.get(NETWORK)).content
        await gateway.client.get(STATS, headers=headers)

        @asynccontextmanager
        async def away(_: WatchedDatabase) -> AsyncIterator[Any]:
            raise UnavailableError
            yield

        with monkeypatch.context() as patch:
            patch.setattr(WatchedDatabase, "read_connection", away)
            seconds.now += 4.9
            assert (await gateway.client.get(NETWORK)).content == kept
            assert (await gateway.client.get(STATS, headers=headers)).status_code == 503, "a key cannot be looked up"
            await asyncio.sleep(0.02)
            seconds.now += 0.1
            gone = await gateway.client.get(NETWORK)
            assert (gone.status_code, gone.json()["error"]["code"]) == (503, 503)
            assert int(gone.headers["retry-after"]) >= 1
            graph = await gateway.graphql("{ network { generatedAt } }")
            assert graph["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        assert (await gateway.client.get(NETWORK)).content == kept
        assert (await gateway.client.get(STATS, headers=headers)).status_code == 200


async def test_memory_stays_within_its_bound(worker: Opener) -> None:
    async with worker(60.0, cache_memory=200_000) as gateway:
        headers = await gateway.key("tenant", "acme")
        memory = gateway.app.front._answers.memory  # type: ignore[attr-defined]
        for number in range(120):
            await gateway.client.get(TENANT, params={"x": str(number)}, headers=headers)
            assert memory.used <= 200_000
        assert 10 < len(memory) < 120
        held = len(memory)
        long = await gateway.client.get(TENANT, params={"start_date": "2020-01-01", "end_date": "2021-12-31"}, headers=headers)
        assert (long.status_code, len(long.content) > 25_000, len(memory)) == (200, True, held)
