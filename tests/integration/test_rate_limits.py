"""Limits of one worker, through HTTP: what each request counts for, what its caller is told, and what nobody gets around."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from app.auth.authenticate import Authenticator
from app.domain.principal import Principal
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import NOW, FakeClock
from tests.gateway import Gateway

NETWORK = "/api/v1/analytics/network"
RANKINGS = "/api/v1/datasets/rankings-daily"
REFUSED = {"error": {"code": 429, "message": "Rate limit exceeded"}}
OPEN_GRAPHQL = "{ network { generatedAt } }"

Opener = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def opened(database_url: str) -> Opener:
    """Open a gateway with other limits than the default ones."""

    @asynccontextmanager
    async def open_gateway(**settings: Any) -> AsyncIterator[Gateway]:
        clock = FakeClock()
        app = create_app(Settings(database_url=database_url, gateway_api_key="gateway-secret", **settings), Wiring(clock=clock, jobs=False))
        async with app.router.lifespan_context(app), client_at(app) as client:
            yield Gateway(app, client, app.state.services.database, clock)

    return open_gateway


def client_at(app: Any, address: str = "203.0.113.1") -> httpx.AsyncClient:
    """A client whose connection comes from an address."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def assert_headers(headers: httpx.Headers, limit: int, remaining: int = 0) -> None:
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == (str(limit), str(remaining))
    assert headers["x-ratelimit-reset"].isdigit()
    assert 0 <= int(headers["x-ratelimit-reset"]) - int(NOW.timestamp()) <= 61
    assert [name for name, _ in headers.multi_items() if name.startswith("x-ratelimit")] == [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]
    if "retry-after" in headers:
        assert 1 <= int(headers["retry-after"]) <= 60
        assert headers["cache-control"] in ("no-store", "private, no-store")


async def test_rankings_say_what_is_left_through_every_surface(gateway: Gateway) -> None:
    headers = await gateway.key("tenant", "acme")
    for left in (29, 28):
        answer = await gateway.client.get(RANKINGS, headers=headers)
        assert_headers(answer.headers, 30, left)
        assert "retry-after" not in answer.headers
    asked = {"query": "{ a: rankingsDaily { meta { version } } b: rankingsDaily { meta { version } } }"}
    answer = await gateway.client.post("/graphql", json=asked, headers=headers)
    assert answer.headers["x-ratelimit-limit"] == "30"
    assert int(answer.headers["x-ratelimit-remaining"]) in (26, 27)
    for _ in range(13):
        answer = await gateway.client.post("/graphql", json=asked, headers=headers)
    assert_headers(answer.headers, 30, int(answer.headers["x-ratelimit-remaining"]))
    answer = await gateway.client.post("/graphql", json=asked, headers=headers)
    assert answer.status_code == 200
    assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"RATE_LIMITED"}
    assert answer.json()["errors"][0]["extensions"]["retryAfter"] >= 1
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert int(answer.headers["retry-after"]) >= 1
    refused = await gateway.client.get(RANKINGS, headers=headers)
    assert (refused.status_code, refused.json()) == (429, REFUSED)
    assert_headers(refused.headers, 30)
    assert not any(name.startswith("x-ratelimit") for name in (await gateway.client.get(NETWORK, headers=headers)).headers)


async def test_a_read_that_one_limit_refuses_counts_for_neither(gateway: Gateway) -> None:
    full = await gateway.key("tenant", "acme")
    for _ in range(40):
        await gateway.client.get(RANKINGS, params={"end_date": "2025-01-01"}, headers=full)
    for number in range(16):
        headers = await gateway.key("tenant", "acme")
        for _ in range(30 if number < 15 else 20):
            assert (await gateway.client.get(RANKINGS, params={"end_date": "2025-01-01"}, headers=headers)).status_code == 200
    refused = await gateway.client.get(RANKINGS, headers=headers)
    assert (refused.status_code, refused.headers["x-ratelimit-limit"]) == (429, "500")
    assert refused.headers["x-ratelimit-reset"] == str(int(NOW.timestamp()) + 12 * 3600), "midnight"


async def test_requests_of_a_key_count_once_each_whatever_the_surface(opened: Opener) -> None:
    async with opened(key_rate_limit="4/minute") as gateway:
        headers = await gateway.key("admin")
        several = "{ a: rankingsDaily { meta { version } } b: rankingsDaily { meta { version } } gatewayStats { total: __typename } }"
        assert "errors" not in await gateway.graphql(several, headers)
        assert (await gateway.client.get(NETWORK, headers=headers)).status_code == 200
        assert (await gateway.client.post("/v1/ingest/usage", json=[], headers=headers)).status_code == 200
        assert (await gateway.client.get("/v1/analytics", headers=headers)).status_code == 200
        refusals = {
            RANKINGS: REFUSED,
            "/api/usage/analytics": {"detail": "Rate limit exceeded"},
            "/v1/analytics": {
                "error": {"message": "Rate limit exceeded", "type": "invalid_request_error", "code": "rate_limited"},
            },
            "/v1/customer/logs": {"error": {"message": "Rate limit exceeded", "type": "rate_limit_error", "code": "rate_limited"}},
            NETWORK: REFUSED,
        }
        for url, body in refusals.items():
            refused = await gateway.client.get(url, headers=headers)
            assert (refused.status_code, refused.json()) == (429, body), url
            assert_headers(refused.headers, 4)
        assert (await gateway.client.post("/v1/ingest/usage", json=[], headers=headers)).status_code == 429
        for asked in (OPEN_GRAPHQL, "{ __typename }", "{ not even GraphQL"):
            response = await gateway.client.post("/graphql", json={"query": asked}, headers=headers)
            assert response.status_code == 200
            assert set(response.json()) == {"errors"}
            extensions = response.json()["errors"][0]["extensions"]
            assert (extensions.pop("retryAfter") in range(1, 61), extensions) == (
                True,
                {"code": "RATE_LIMITED", "limit": 4, "remaining": 0},
            )
            assert_headers(response.headers, 4)
        assert (await gateway.client.get(NETWORK)).status_code == 200, "nobody's key"
        assert (await gateway.client.get(RANKINGS, headers=await gateway.key("admin"))).status_code == 200
        assert (await gateway.client.get(RANKINGS, headers={"X-API-Key": "gateway-secret"})).status_code == 200


async def test_a_refused_request_writes_and_reads_nothing(opened: Opener) -> None:
    async with opened(key_rate_limit="1/minute") as gateway:
        headers = await gateway.key("admin")
        await gateway.client.get(RANKINGS, headers=headers)
        record = {"request_id": "r", "occurred_at": NOW.isoformat(), "tenant_id": "acme", "model_id": "m/x"}
        assert (await gateway.client.post("/v1/ingest/usage", json=[record], headers=headers)).status_code == 429
        async with gateway.database.read_connection() as connection:
            assert await (await connection.execute("SELECT count(*) FROM usage_records")).fetchone() == (0,)


async def test_requests_without_a_key_count_for_their_address(opened: Opener) -> None:
    async with opened(address_rate_limit="5/minute") as gateway, client_at(gateway.app, "203.0.113.2") as neighbour:
        for answer in (
            await gateway.client.get(NETWORK),
            await gateway.client.post("/graphql", json={"query": "{ __typename }"}),
            await gateway.client.get(RANKINGS),
            await gateway.client.post("/v1/ingest/usage", json=[]),
            await gateway.client.get("/api/nothing/here", headers={"Authorization": "Basic dXNlcjpwdw=="}),
        ):
            assert answer.status_code in (200, 401, 404)
            assert "x-ratelimit-limit" not in answer.headers
        refused = await gateway.client.get(NETWORK)
        assert (refused.status_code, refused.json()) == (429, REFUSED)
        assert_headers(refused.headers, 5)
        assert (await gateway.graphql("{ __typename }"))["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert (await gateway.client.get("/graphql", headers={"Accept": "text/html"})).json()["errors"]
        for open_to_all in ("/healthz", "/readyz", "/metrics", "/schema.graphql"):
            assert (await gateway.client.get(open_to_all)).status_code == 200
        assert (await gateway.client.get(NETWORK, headers=await gateway.key("ingest"))).status_code == 200, "a key of the same address"
        assert (await neighbour.get(NETWORK)).status_code == 200
        for spoofed in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP"):
            assert (await gateway.client.get(NETWORK, headers={spoofed: "198.51.100.7"})).status_code == 429


async def test_ipv6_addresses_count_by_their_network(opened: Opener) -> None:
    async with opened(address_rate_limit="10/minute") as gateway:
        statuses: Counter[int] = Counter()
        for number in range(30):
            async with client_at(gateway.app, f"2001:db8:7:7:{number:x}::{number:x}") as client:
                statuses[(await client.get(NETWORK)).status_code] += 1
        assert statuses == {200: 10, 429: 20}
        async with client_at(gateway.app, "2001:db8:7:8::1") as client:
            assert (await client.get(NETWORK)).status_code == 200


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that the database was asked for."""
    asked: list[str] = []
    real = Authenticator.authenticate

    async def authenticate(self: Authenticator, secret: str, now: Any, **how: Any) -> Principal:
        asked.append(secret)
        return await real(self, secret, now, **how)

    monkeypatch.setattr(Authenticator, "authenticate", authenticate)
    return asked


async def test_wrong_keys_are_refused_and_a_right_one_of_the_same_address_is_not(gateway: Gateway) -> None:
    good = await gateway.key("admin")
    statuses: Counter[int] = Counter()
    for number in range(1_000):
        statuses[(await gateway.client.get(RANKINGS, headers={"X-API-Key": f"key number {number}"})).status_code] += 1
    assert statuses == {401: 30, 429: 970}
    refused = await gateway.client.get(NETWORK, headers={"X-API-Key": "another"})
    assert (refused.status_code, refused.json()) == (429, REFUSED)
    assert_headers(refused.headers, 30)
    for url in (RANKINGS, NETWORK, "/v1/analytics", "/api/usage/analytics"):
        assert (await gateway.client.get(url, headers=good)).status_code == 200
    assert (await gateway.client.post("/v1/ingest/usage", json=[], headers=good)).status_code == 200
    assert "errors" not in await gateway.graphql("{ gatewayStats { requests } }", good)
    assert (await gateway.client.get(RANKINGS, headers={"X-API-Key": "gateway-secret"})).status_code == 200
    assert (await gateway.client.get(NETWORK)).status_code == 200, "to whom it shows none, it is as any other"
    assert len(gateway.app.state.services.limits.counts.local) < 12, "keys that open nothing leave nothing behind"


async def test_keys_tried_at_once_are_counted_one_by_one(opened: Opener) -> None:
    async with opened(failed_auth_rate_limit="7/minute") as gateway:
        answers = await asyncio.gather(*(gateway.client.get(RANKINGS, headers={"X-API-Key": f"bad {number}"}) for number in range(60)))
        assert Counter(answer.status_code for answer in answers) == {401: 7, 429: 53}


async def test_one_document_tries_its_key_once(opened: Opener, lookups: list[str]) -> None:
    async with opened(failed_auth_rate_limit="2/minute") as gateway:
        several = "{" + " ".join(f"r{number}: rankingsDaily {{ meta {{ version }} }}" for number in range(20)) + "}"
        for _ in range(2):
            answer = await gateway.graphql(several, {"X-API-Key": "bad"})
            assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        answer = await gateway.graphql(several, {"X-API-Key": "bad"})
        assert answer["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert lookups == ["bad"] * 3


@pytest.mark.parametrize("document", [OPEN_GRAPHQL, "{ __typename }"])
async def test_a_made_up_key_does_not_open_what_is_public_without_end(opened: Opener, document: str) -> None:
    async with opened(failed_auth_rate_limit="3/minute", address_rate_limit="off") as gateway:
        codes = []
        for number in range(5):
            answer = await gateway.graphql(document, {"Authorization": f"Bearer made-up-{number}"})
            codes.append(answer["errors"][0]["extensions"]["code"] if "errors" in answer else "fine")
        assert codes == ["fine"] * 3 + ["RATE_LIMITED"] * 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer " + "k" * 60_000},
        {"X-API-Key": b"\xff\xfe\x80"},
        {"Authorization": b"Bearer \xc3\xa9\x00\x01"},
        {"Authorization": "Bearer a b\tc"},
        {"X-API-Key": "'; DROP TABLE api_keys; --", "X-Forwarded-For": "x" * 10_000},
        [("X-API-Key", "one"), ("X-API-Key", "two")],
    ],
)
async def test_hostile_keys_are_failures_like_any_other(opened: Opener, headers: Any) -> None:
    async with opened(failed_auth_rate_limit="2/minute") as gateway:
        assert [(await gateway.client.get(RANKINGS, headers=headers)).status_code for _ in range(4)] == [401, 401, 429, 429]


@pytest.mark.parametrize("address", ["", "unix:", "not an address", "1.2.3.4, 5.6.7.8", "999.999.999.999", "x" * 100_000])
async def test_connections_of_no_known_address_share_one_count(opened: Opener, address: str) -> None:
    async with opened(address_rate_limit="2/minute") as gateway, client_at(gateway.app, address) as client:
        assert [(await client.get(NETWORK)).status_code for _ in range(3)] == [200, 200, 429]
        async with client_at(gateway.app, "also not one") as other:
            assert (await other.get(NETWORK)).status_code == 429


async def test_limits_can_be_switched_off(opened: Opener) -> None:
    async with opened(key_rate_limit="off", address_rate_limit="", failed_auth_rate_limit="off", key_cost_limit="off") as gateway:
        headers = await gateway.key("admin")
        for _ in range(40):
            assert (await gateway.client.get(NETWORK)).status_code == 200
            assert (await gateway.client.get(RANKINGS, headers={"X-API-Key": "bad"})).status_code == 401
            assert (await gateway.client.get("/v1/analytics", headers=headers)).status_code == 200
        assert len(gateway.app.state.services.limits.counts.local) == 0
        statuses = [(await gateway.client.get(RANKINGS, headers=headers)).status_code for _ in range(31)]
        assert statuses == [200] * 30 + [429], "what is documented cannot be"


async def test_the_metrics_tell_refusals_and_the_store(opened: Opener) -> None:
    async with opened(address_rate_limit="1/minute") as gateway:
        for _ in range(3):
            await gateway.client.get(NETWORK)
        metrics = (await gateway.client.get("/metrics")).text
        assert re.search(rf'tokengraph_http_requests_total{{method="GET",route="{NETWORK}",status="429"}} 2.0', metrics)
        assert "tokengraph_rate_limit_store_up 1.0" in metrics


async def test_an_authentication_that_breaks_is_told_by_each_surface(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def authenticate(*_: Any, **__: Any) -> Principal:
        raise RuntimeError("internals")

    monkeypatch.setattr(Authenticator, "authenticate", authenticate)
    headers = {"X-API-Key": "any"}
    refused = await gateway.client.get(RANKINGS, headers=headers)
    assert (refused.status_code, refused.json()) == (500, {"error": {"code": 500, "message": "Internal Server Error"}})
    assert (await gateway.client.get("/api/usage/analytics", headers=headers)).json() == {"detail": "Internal Server Error"}
    answer = await gateway.graphql("{ rankingsDaily { meta { version } } }", headers)
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert (await gateway.client.get(NETWORK, headers=headers)).status_code == 200, "what is public needs no caller"


@pytest.mark.parametrize("trusted", ["*", "203.0.113.0/24, 198.51.100.9"])
async def test_no_address_that_a_client_writes_itself_gets_around_a_limit(opened: Opener, trusted: str) -> None:
    async with opened(address_rate_limit="2/minute", trusted_proxies=trusted) as gateway:
        await gateway.snapshot()  # so that the network is answered from memory, before anything else

        async def statuses(*forwarded: str) -> list[int]:
            return [(await gateway.client.get(NETWORK, headers={"X-Forwarded-For": hops})).status_code for hops in forwarded]

        assert await statuses(*(f"6.6.6.{number}, 198.51.100.7" for number in range(4))) == [200, 200, 429, 429]
        assert await statuses("198.51.100.7, 198.51.100.8") == [200], "another client of the proxy"
        async with client_at(gateway.app, "192.0.2.77") as direct:
            answer = await direct.get(NETWORK, headers={"X-Forwarded-For": "198.51.100.7"})
            assert answer.status_code == (429 if trusted == "*" else 200)
