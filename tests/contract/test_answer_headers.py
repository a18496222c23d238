"""What every answer tells caches and browsers: every URL, every method, with and without a key, whatever becomes of the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.db.engine import Database
from app.domain.errors import UnavailableError
from app.execution.engine import Engine
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import FakeClock
from tests.factories import make_record
from tests.gateway import Gateway

ALSO = ("/", "/network", "/rankings", "/docs", "/graphql", "/icon.svg", "/openapi.json", "/static/none.js")
UNKNOWN = ("/api/v1/none", "/api/usage/none", "/v1/none", "/v1/customer/none", "/v1/ingest/none", "/graphql/", "/none", "/v1/analytics/")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
PUBLIC = {"/", "/network", "/rankings", "/icon.svg", "/schema.graphql", "/api/v1/analytics/network"}
"""URLs whose answers are the same for everybody."""


def urls(gateway: Gateway) -> list[str]:
    """Every URL that the gateway describes, and those that it does not."""
    return [*gateway.app.openapi()["paths"], *ALSO, *UNKNOWN]


def check(answer: httpx.Response) -> None:
    """Assert what holds of every answer."""
    request = answer.request
    where = f"{request.method} {request.url.path} {answer.status_code} {dict(answer.headers)}"
    keyed = not {"authorization", "x-api-key"}.isdisjoint(request.headers)
    (control,) = answer.headers.get_list("cache-control")
    (varies,) = answer.headers.get_list("vary") or [""]
    vary = [name.strip().lower() for name in varies.split(",")]
    assert len(set(vary)) == len(vary), where
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"], where
    if control.startswith("public"):
        assert answer.status_code in (200, 304), where
        assert request.url.path in PUBLIC, where
        return
    assert {"authorization", "x-api-key"} <= set(vary), where
    assert "no-store" in control or (control.startswith("private") and "etag" in answer.headers), where
    assert not keyed or control.startswith("private"), where


@asynccontextmanager
async def opened(database_url: str, **settings: Any) -> AsyncIterator[Gateway]:
    """Open a gateway with some records."""
    clock = FakeClock()
    app = create_app(Settings(database_url=database_url, gateway_api_key="gateway-secret", **settings), Wiring(clock=clock, jobs=False))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("203.0.113.1", 4711))
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        gateway = Gateway(app, client, app.state.services.database, clock)
        await gateway.store([make_record(tenant_id="acme") for _ in range(3)])
        yield gateway


async def keys(gateway: Gateway) -> list[dict[str, str]]:
    """Every kind of caller: nobody, wrong ones, each role, by either header."""
    made = [await gateway.key(role, "acme" if role in ("tenant", "ingest") else None) for role in ("admin", "gateway", "tenant", "ingest")]
    other = {"X-API-Key": made[2]["Authorization"].removeprefix("Bearer ")}
    return [{}, {"X-API-Key": "wrong"}, {"Authorization": "Basic dXNlcjpwdw=="}, other, *made]


async def test_nothing_but_what_everybody_may_see_may_be_stored_by_a_shared_cache(database_url: str) -> None:
    statuses: Counter[int] = Counter()
    async with opened(database_url, failed_auth_rate_limit="off") as gateway:
        await gateway.snapshot()
        for headers in await keys(gateway):
            for url in urls(gateway):
                for method in METHODS:
                    body = "not JSON" if method in ("POST", "PUT", "PATCH") else None
                    answer = await gateway.client.request(method, url, headers=headers, content=body)
                    check(answer)
                    statuses[answer.status_code] += 1
                    if "etag" in answer.headers:
                        again = await gateway.client.get(url, headers=headers | {"If-None-Match": answer.headers["etag"]})
                        check(again)
                        assert again.status_code == 304
                        statuses[304] += 1
    assert {200, 304, 400, 401, 403, 404, 405, 415} <= set(statuses), statuses


def hostile_requests() -> Iterator[dict[str, Any]]:
    """Requests that are refused for what they hold."""
    for url in ("/v1/customer/logs", "/v1/customer/analytics", "/api/usage/analytics", "/v1/customer/billing/usage-statement.csv"):
        for parameters in ({"from": "2026-01-01"}, {"limit": "x"}, {"month": "x"}, {"start_date": "x"}, {"date_from": "x"}):
            yield {"method": "GET", "url": url, "params": parameters}
    yield {"method": "GET", "url": "/v1/customer/analytics", "params": {"api_key_id": "nobody's"}}
    yield {"method": "GET", "url": "/v1/customer/analytics/export.csv"}
    for url in ("/v1/ingest/usage", "/v1/ingest/litellm", "/v1/traces", "/v1/ingest/openrouter", "/graphql"):
        json = {"Content-Type": "application/json"}
        yield {"method": "POST", "url": url, "content": b" " * (9 * 2**20), "headers": json}
        yield {"method": "POST", "url": url, "content": b"{}", "headers": {"Content-Type": "text/plain"}}
        yield {"method": "POST", "url": url, "content": b"{}", "headers": json | {"Content-Encoding": "x"}}
        yield {"method": "POST", "url": url, "content": b"[]", "headers": json}
        yield {"method": "POST", "url": url, "content": b"{", "headers": json}
    for document in ("{ tenantRequests { nodes { id } } }", "{ none }", "mutation { none }", "{ network { generatedAt } }"):
        yield {"method": "GET", "url": "/graphql", "params": {"query": document}}
        yield {"method": "POST", "url": "/graphql", "json": {"query": document}}


async def test_no_refusal_and_no_download_may_be_stored(database_url: str) -> None:
    statuses: Counter[int] = Counter()
    async with opened(database_url, ingest_body_limit=8 * 2**20) as gateway:
        for headers in await keys(gateway):
            for request in hostile_requests():
                answer = await gateway.client.request(**{**request, "headers": headers | request.get("headers", {})})
                check(answer)
                statuses[answer.status_code] += 1
    assert {200, 400, 401, 403, 404, 413, 415} <= set(statuses), statuses


async def test_whoever_asks_too_often_is_told_so_alone(database_url: str) -> None:
    async with opened(database_url, key_rate_limit="1/minute", address_rate_limit="1/minute", failed_auth_rate_limit="1/minute") as gateway:
        for headers in await keys(gateway):
            statuses: Counter[int] = Counter()
            for url in urls(gateway):
                for method in ("GET", "POST"):
                    answer = await gateway.client.request(method, url, headers=headers)
                    check(answer)
                    statuses[answer.status_code] += 1
            assert statuses[429] > 5


async def test_failures_of_ours_may_not_be_stored(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(database_url) as gateway:
        headers = (await keys(gateway))[-2]

        async def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("internals")

        statuses: Counter[int] = Counter()
        for error in (RuntimeError("internals"), UnavailableError()):
            for target, name in ((Engine, "run_prepared"), (Database, "read_connection")):
                with monkeypatch.context() as patch:

                    def broken(*_: Any, shown: Exception = error, **__: Any) -> Any:
                        raise shown

                    patch.setattr(target, name, broken)
                    for url in urls(gateway):
                        for caller in ({}, headers):
                            answer = await gateway.client.get(url, headers=caller)
                            assert "internals" not in answer.text
                            check(answer)
                            statuses[answer.status_code] += 1
        assert {200, 500, 503} <= set(statuses), statuses
