"""Methods and paths: HEAD is GET without a body, other methods are told which there are, and each surface refuses in its own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.web.gate import Gate
from tests.contract.test_answer_headers import ALSO
from tests.factories import make_record
from tests.gateway import Gateway

VARIABLE = {"x-request-id", "content-security-policy", "x-ratelimit-remaining"}
POINTS = {"ratelimit", "ratelimit-policy"}
"""On an answer that cost points: not on the next one, which comes from the cache."""
"""Headers that differ from one answer to the next."""


def numbered(body: Any, status: int) -> bool:
    return bool(body["error"].keys() == {"code", "message"} and body["error"]["code"] == status)


def detailed(body: Any, _: int) -> bool:
    return bool(body.keys() == {"detail"})


def typed(body: Any, _: int) -> bool:
    return bool(body["error"].keys() == {"message", "type", "code"})


def rpc(body: Any, status: int) -> bool:
    return bool(body.keys() == {"code", "message"} and body["code"] == {404: 5, 405: 3}[status])


def graphql(body: Any, status: int) -> bool:
    return bool(body["errors"][0]["extensions"]["code"] == {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}[status])


FORMS: dict[str, tuple[str, Callable[[Any, int], bool]]] = {
    "/api/v1/analytics/network": ("GET", numbered),
    "/api/v1/datasets/rankings-daily": ("GET", numbered),
    "/api/usage/analytics": ("GET", detailed),
    "/v1/analytics": ("GET", typed),
    "/v1/customer/analytics": ("GET", typed),
    "/v1/customer/analytics/export.csv": ("GET", typed),
    "/v1/customer/logs": ("GET", typed),
    "/v1/customer/billing/usage-statement.csv": ("GET", typed),
    "/v1/ingest/usage": ("POST", typed),
    "/v1/ingest/litellm": ("POST", typed),
    "/v1/ingest/openrouter": ("POST, PUT", rpc),
    "/v1/traces": ("POST, PUT", rpc),
    "/graphql": ("GET, POST", graphql),
    "/healthz": ("GET", typed),
    "/metrics": ("GET", typed),
    "/": ("GET", typed),
}


def allowed(methods: str) -> str:
    return f"{methods}, HEAD, OPTIONS" if "GET" in methods else f"{methods}, OPTIONS"


async def test_head_is_get_without_a_body_wherever_there_is_get(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id="acme") for _ in range(3)])
    await gateway.snapshot()
    paths = [path for path, operations in gateway.app.openapi()["paths"].items() if "get" in operations] + list(ALSO)
    statuses = set()
    for headers in ({}, await gateway.key("admin"), await gateway.key("tenant", "acme")):
        for path in (*paths, "/graphql?query={__typename}", "/v1/none"):
            get = await gateway.client.get(path, headers=headers)
            head = await gateway.client.head(path, headers=headers)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            same = [{name: value for name, value in answer.headers.items() if name not in VARIABLE | POINTS} for answer in (head, get)]
            if path not in ("/metrics", "/docs", "/graphql"):  # they differ each time: counts, and the nonce of a page
                assert same[0] == same[1], path
            assert set(head.headers) - POINTS == set(get.headers) - POINTS, path
            statuses.add(get.status_code)
            if "etag" in get.headers:
                again = await gateway.client.head(path, headers=headers | {"If-None-Match": get.headers["etag"]})
                assert (again.status_code, again.content) == (304, b"")
    assert {200, 401, 403, 404} <= statuses
    metrics = (await gateway.client.get("/metrics")).text
    assert 'tokengraph_http_requests_total{method="HEAD",route="/v1/customer/analytics",status="200"}' in metrics


async def test_head_of_a_download_makes_none_of_its_rows(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.store([make_record(tenant_id="acme") for _ in range(3)])
    headers = await gateway.key("tenant", "acme")
    asked = 0

    async def endless(*_: Any) -> Any:
        nonlocal asked
        while True:
            asked += 1
            yield []

    monkeypatch.setattr("app.rest.customer.iterate_requests", endless)
    head = await gateway.client.head("/v1/customer/billing/usage-statement.csv", headers=headers)
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "text/csv; charset=utf-8", b"")
    assert "attachment" in head.headers["content-disposition"]
    assert asked <= 2


@pytest.mark.parametrize("path", FORMS)
async def test_another_method_is_told_which_there_are_in_the_surfaces_form(gateway: Gateway, path: str) -> None:
    methods, has_form = FORMS[path]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "BREW"):
        if method in methods:
            continue
        answer = await gateway.client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed(methods)), method
        assert has_form(answer.json(), 405), answer.text
    if "GET" not in methods:
        assert (await gateway.client.head(path)).headers["allow"] == allowed(methods)
    asked = await gateway.client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allowed(methods), b"")


@pytest.mark.parametrize("path", FORMS)
async def test_a_path_below_a_surface_is_not_found_in_its_form(gateway: Gateway, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await gateway.client.request(method, f"{path.rstrip('/')}/nothing")
        assert answer.status_code == 404
        assert FORMS[path][1](answer.json(), 404), answer.text


async def test_refusals_of_otlp_are_in_the_encoding_of_the_request(gateway: Gateway) -> None:
    body = ExportTraceServiceRequest().SerializeToString()
    answer = await gateway.client.patch("/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/x-protobuf")


@pytest.mark.parametrize("path", ["/graphql/", "/v1/analytics/", "/v1/customer/logs/", "/v1/ingest/usage/", "/docs/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_trailing_slash_leads_back_by_a_relative_reference(gateway: Gateway, path: str, method: str) -> None:
    """Behind a proxy that ends TLS the gateway does not know the URL that the client sees."""
    answer = await gateway.client.request(method, path, params={"a": "b"}, headers={"Host": "evil.example", "X-Forwarded-Proto": "gopher"})
    assert answer.status_code == 307
    location = answer.headers["location"]
    assert ":" not in location
    assert not location.startswith("/")
    assert httpx.URL(f"https://seen.example/prefix{path}").join(location) == f"https://seen.example/prefix{path.rstrip('/')}?a=b"


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/graphql/", "/nothing/", "/graphql//", "/\\evil.example/"])
async def test_no_redirect_leads_anywhere_else(gateway: Gateway, path: str) -> None:
    answer = await gateway.client.get(httpx.URL("http://gateway", raw_path=path.encode()))
    assert (answer.status_code, "location" in answer.headers) == (404, False)


@pytest.mark.parametrize("path", FORMS)
async def test_what_fails_before_any_route_is_told_in_the_surfaces_form(
    gateway: Gateway, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("internals")

    gate: Any = gateway.app.gate  # type: ignore[attr-defined]
    assert isinstance(gate, Gate)
    monkeypatch.setattr(gate, "_app", broken)
    answer = await gateway.client.get(path, headers=await gateway.key("admin"))
    assert (answer.status_code, answer.headers["cache-control"]) == (500, "private, no-store")
    assert len(answer.headers["x-request-id"]) == 16
    assert "internals" not in answer.text
    assert FORMS[path][1] is graphql or FORMS[path][1] is rpc or FORMS[path][1](answer.json(), 500)
