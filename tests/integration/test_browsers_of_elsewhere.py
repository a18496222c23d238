"""Answers to pages of other origins, and compressed ones: on every way that an answer takes, the quick ones too."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from app.domain.errors import BadInputError
from app.settings import Settings, load
from app.web.app import Wiring, create_app
from app.web.cors import PUBLIC_PATHS, REQUEST_HEADERS
from tests.clock import FakeClock
from tests.factories import make_record
from tests.gateway import Gateway
from tests.unit.test_compression import DECODERS

NETWORK = "/api/v1/analytics/network"
TENANT = "/v1/customer/analytics?start_date=2026-05-01&end_date=2026-06-20"
EXPORT = "/v1/customer/analytics/export.csv"
PAGE = "https://dashboard.example"
KEYED = (
    TENANT,
    EXPORT,
    "/v1/customer/logs",
    "/v1/analytics",
    "/api/usage/analytics",
    "/api/v1/datasets/rankings-daily",
    "/graphql?query={x}",
)

Opener = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def opened(database_url: str) -> Opener:
    """Open a gateway that keeps answers, with other settings than the default ones."""

    @asynccontextmanager
    async def open_gateway(**settings: Any) -> AsyncIterator[Gateway]:
        clock = FakeClock()
        app = create_app(Settings(database_url=database_url, **settings), Wiring(clock=clock, jobs=False, answer_age=60.0))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("203.0.113.1", 4711))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            client.headers["Accept-Encoding"] = "identity"
            gateway = Gateway(app, client, app.state.services.database, clock)
            await gateway.store([make_record(tenant_id="acme", api_key_id=f"key-{number}") for number in range(30)])
            await gateway.snapshot()
            yield gateway

    return open_gateway


async def preflight(gateway: Gateway, path: str, origin: str = PAGE, method: str = "GET", *names: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(names).lower()}
    return await gateway.client.options(path, headers=headers)


def names_in(header: str) -> set[str]:
    return {name.strip() for name in header.lower().split(",")}


async def test_a_page_of_any_origin_may_read_what_is_public(opened: Opener) -> None:
    async with opened() as gateway:
        for path in PUBLIC_PATHS:
            asked = await preflight(gateway, path, "https://anywhere.example", "GET", *REQUEST_HEADERS)
            assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "*")
            first = await gateway.client.get(path)
            for headers in ({}, {"Origin": PAGE}, {"Origin": "null"}, {"If-None-Match": first.headers["etag"]}, {"X-Request-ID": "slow"}):
                for method in ("GET", "HEAD"):
                    answer = await gateway.client.request(method, path, headers=headers)
                    assert answer.headers["access-control-allow-origin"] == "*", "a shared cache has one answer for all"
                    assert "origin" not in names_in(answer.headers["vary"])
                    assert answer.headers["access-control-expose-headers"] == "*", "it is asked without credentials"
            assert (await preflight(gateway, path, PAGE, "POST")).status_code == 400
            assert "access-control-allow-credentials" not in {**asked.headers, **answer.headers}


async def test_pages_of_named_origins_may_call_with_a_key(opened: Opener) -> None:
    async with opened(cors_origins=f"{PAGE}, http://localhost:3000", address_rate_limit="1/minute") as gateway:
        tenant = await gateway.key("tenant", "acme")
        for path in KEYED:
            for origin in (PAGE, "http://localhost:3000"):
                asked = await preflight(gateway, path, origin, "POST", *REQUEST_HEADERS)
                assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, origin), "not authenticated, not counted"
                for headers in (tenant, {"X-API-Key": "wrong"}):
                    answer = await gateway.client.get(path, headers=headers | {"Origin": origin})
                    assert answer.headers["access-control-allow-origin"] == origin, "what refuses the page, too"
                    assert "origin" in names_in(answer.headers["vary"])
                    assert {"etag", "retry-after", "x-ratelimit-limit", "x-request-id", "content-disposition"} <= names_in(
                        answer.headers["access-control-expose-headers"]
                    )
                    assert "access-control-allow-credentials" not in {**asked.headers, **answer.headers}
            for origin in ("https://evil.example", "null", f"{PAGE}.evil.example", PAGE.upper(), "http://localhost:3001"):
                asked = await preflight(gateway, path, origin, "POST", "Authorization")
                answer = await gateway.client.get(path, headers=tenant | {"Origin": origin})
                assert "access-control-allow-origin" not in {**asked.headers, **answer.headers}
                assert "origin" in names_in(answer.headers["vary"])
            answer = await gateway.client.get(path, headers=tenant)
            assert "access-control-allow-origin" not in answer.headers
            assert "origin" in names_in(answer.headers["vary"]), "a cache of the browser must not give it to a page"
        assert (await preflight(gateway, TENANT, PAGE, "DELETE")).status_code == 400
        assert (await preflight(gateway, TENANT, PAGE, "GET", "X-Other")).status_code == 400
        for path in ("/metrics", "/readyz", "/", "/docs"):
            assert "access-control-allow-origin" not in (await gateway.client.get(path, headers={"Origin": PAGE})).headers


async def test_no_page_may_call_with_a_key_unless_it_is_said(opened: Opener) -> None:
    async with opened() as gateway:
        for path in KEYED:
            asked = await preflight(gateway, path, PAGE, "POST", "Authorization")
            answer = await gateway.client.get(path, headers={"Origin": PAGE, "X-API-Key": "wrong"})
            assert asked.status_code == 204
            assert not [name for name in {**asked.headers, **answer.headers} if name.startswith("access-control-")]


async def test_every_origin_can_be_allowed_but_never_a_cookie(opened: Opener) -> None:
    async with opened(cors_origins="*") as gateway:
        for path in KEYED:
            asked = await preflight(gateway, path, "https://any.example", "POST", "Authorization")
            answer = await gateway.client.get(path, headers={"Origin": "https://any.example"})
            assert asked.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in {**asked.headers, **answer.headers}


@pytest.mark.parametrize(
    "text",
    [
        *("app.example", "https://app.example/", "https://App.example", "https://app.example:443", "http://app.example:80", "null"),
        *("https://*.example", "*, https://app.example", "https://app.example,", "https://user@app.example", "https://app.example?x"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_at_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGRAPH_CORS_ORIGINS", text)
    with pytest.raises(BadInputError, match="TOKENGRAPH_CORS_ORIGINS: must be"):
        load()


@pytest.mark.parametrize("text", ["", "*", "https://app.example", "http://localhost:3000, https://[::1]:8443,tauri://localhost"])
def test_an_origin_as_a_browser_sends_it_is_taken(text: str) -> None:
    assert Settings(cors_origins=text).cors_origin_list == tuple(one.strip() for one in text.split(",") if one)


async def raw(gateway: Gateway, url: str, headers: dict[str, str], method: str = "GET", **request: Any) -> tuple[httpx.Response, bytes]:
    """Return an answer and its body as it went over the wire."""
    async with gateway.client.stream(method, url, headers=headers, **request) as answer:
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


@pytest.mark.parametrize("coding", DECODERS)
async def test_answers_are_compressed_as_the_caller_accepts(opened: Opener, coding: str) -> None:
    async with opened() as gateway:
        tenant, admin = await gateway.key("tenant", "acme"), await gateway.key("admin")
        query = "/graphql?query={tenantAnalytics(startDate:%222026-05-01%22,endDate:%222026-06-20%22){timeSeries{date requests promptTokens completionTokens totalTokens spend}}}"
        urls = [(NETWORK, {}), (TENANT, tenant), (EXPORT, tenant), ("/v1/customer/logs", tenant), ("/openapi.json", {}), (query, tenant)]
        for url, headers in (*urls, ("/", {}), ("/schema.graphql", {}), ("/metrics", admin)):
            plain, body = await raw(gateway, url, headers)
            assert (plain.status_code, "content-encoding" in plain.headers) == (200, False), url
            for _ in range(2):  # made, and from memory
                coded, packed = await raw(gateway, url, headers | {"Accept-Encoding": f"{coding}, identity;q=0.5"})
                assert coded.headers["content-encoding"] == coding, url
                assert len(packed) < len(body)
                if url not in ("/", "/metrics"):
                    assert DECODERS[coding](packed) == body
                for answer in (plain, coded):
                    assert "accept-encoding" in names_in(answer.headers["vary"])
                assert ("content-length" in coded.headers) == (url != EXPORT)
                assert coded.headers.get("etag") == plain.headers.get("etag")
                assert coded.headers["content-type"] == plain.headers["content-type"]
            if "etag" in plain.headers:
                for accepted in (coding, "identity"):
                    known = {"If-None-Match": plain.headers["etag"], "Accept-Encoding": accepted}
                    same, nothing = await raw(gateway, url, headers | known)
                    assert (same.status_code, nothing, same.headers["etag"]) == (304, b"", plain.headers["etag"])
                    assert "content-encoding" not in same.headers
            head = await gateway.client.head(url, headers=headers | {"Accept-Encoding": coding})
            assert head.headers["content-encoding"] == coding
        small, _ = await raw(gateway, "/healthz", {"Accept-Encoding": coding})
        assert "content-encoding" not in small.headers
        posted, packed = await raw(
            gateway, "/graphql", tenant | {"Accept-Encoding": coding}, "POST", json={"query": unquote(query.partition("=")[2])}
        )
        assert posted.headers["content-encoding"] == coding
        assert b'"data"' in DECODERS[coding](packed)


async def test_a_compressed_answer_from_memory_is_compressed_once(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = gzip.compress

    def compress(body: bytes, coding: str) -> bytes:
        made.append(coding)
        return real(body)

    monkeypatch.setattr("app.http.compression.compress", compress)
    async with opened() as gateway:
        tenant = await gateway.key("tenant", "acme")
        for url, headers in ((TENANT, tenant), (NETWORK, {}), ("/", {})):
            made.clear()
            await gateway.client.get(url, headers=headers)
            for _ in range(3):
                await gateway.client.get(url, headers=headers | {"Accept-Encoding": "gzip"})
            assert made == ["gzip"], url
        made.clear()
        await asyncio.gather(*(gateway.client.get(NETWORK, headers={"Accept-Encoding": "gzip"}) for _ in range(5)))
        assert made == []
