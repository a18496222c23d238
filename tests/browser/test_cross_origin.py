"""The gateway called by pages of other origins, as a browser lets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, Page

from app.domain.principal import Role
from app.domain.time_range import system_clock
from tests.browser.sites import Site, open_site
from tests.factories import make_record
from tests.live import listening

FETCH = """async ([url, init]) => {
    try {
        const answer = await fetch(url, init);
        const names = ["etag", "x-request-id", "retry-after", "x-ratelimit-limit", "content-disposition", "www-authenticate"];
        const headers = Object.fromEntries(names.filter((name) => answer.headers.has(name)).map((name) => [name, answer.headers.get(name)]));
        return {status: answer.status, body: await answer.text(), headers};
    } catch (error) {
        return {refused: String(error)};
    }
}"""
REFUSED = {"refused": "TypeError: Failed to fetch"}


def elsewhere() -> FastAPI:
    """A site that is not the gateway."""
    app = FastAPI()

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>Elsewhere</title>")

    return app


@asynccontextmanager
async def page_at(browser: Browser, url: str) -> AsyncIterator[Page]:
    """Open a page of a site in a context of its own."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(url)
    yield page
    await context.close()


async def fetch(page: Page, url: str, **init: Any) -> dict[str, Any]:
    """Let the page fetch a URL; return what its script can read."""
    answer: dict[str, Any] = await page.evaluate(FETCH, [url, init])
    return answer


@pytest.fixture
async def pages(browser: Browser, server_url: str) -> AsyncIterator[tuple[Site, Page, Page]]:
    """A gateway, a page of an origin that it names, and a page of one that it does not."""
    with listening(elsewhere()) as named, listening(elsewhere()) as other:
        async with (
            open_site(server_url, cors_origins=named, address_rate_limit="off") as site,
            page_at(browser, named) as friend,
            page_at(browser, other) as stranger,
        ):
            await site.store([make_record(tenant_id="acme", occurred_at=system_clock()) for _ in range(3)])
            await site.snapshot()
            yield site, friend, stranger


async def test_a_page_of_any_origin_reads_what_is_public(pages: tuple[Site, Page, Page]) -> None:
    site, *both = pages
    for page in both:
        for path in ("/api/v1/analytics/network", "/schema.graphql"):
            first = await fetch(page, site.url + path)
            assert (first["status"], len(first["headers"]["x-request-id"])) == (200, 16)
            known = {"If-None-Match": first["headers"]["etag"], "X-Request-ID": "mine"}
            assert (await fetch(page, site.url + path, headers=known, cache="no-store"))["status"] == 304
            assert await fetch(page, site.url + path, credentials="include") == REFUSED, "never with cookies"


async def test_a_page_of_a_named_origin_calls_with_its_key(pages: tuple[Site, Page, Page]) -> None:
    site, friend, stranger = pages
    key = {"Authorization": f"Bearer {await site.key(Role.TENANT)}"}
    url = f"{site.url}/v1/customer/analytics"
    first = await fetch(friend, url, headers=key)
    assert (first["status"], '"total_requests":3' in first["body"]) == (200, True)
    assert (await fetch(friend, url, headers=key | {"If-None-Match": first["headers"]["etag"]}, cache="no-store"))["status"] == 304
    document = {"method": "POST", "body": '{"query": "{ tenantAnalytics { summary { requests } } }"}'}
    asked = key | {"Content-Type": "application/json", "Accept": "application/graphql-response+json", "traceparent": "00-1-2-01"}
    answer = await fetch(friend, f"{site.url}/graphql", headers=asked, **document)
    assert (answer["status"], '"requests":3' in answer["body"]) == (200, True)
    download = await fetch(friend, f"{site.url}/v1/customer/analytics/export.csv", headers={"X-API-Key": key["Authorization"][7:]})
    assert download["headers"]["content-disposition"].startswith("attachment")
    limited = await fetch(friend, f"{site.url}/api/v1/datasets/rankings-daily", headers=key)
    assert limited["headers"]["x-ratelimit-limit"] == "30"
    for path in ("/v1/customer/analytics", "/v1/none", "/v1/customer/logs?limit=x"):
        refused = await fetch(friend, site.url + path, headers={"X-API-Key": "wrong"})
        assert (refused["status"] >= 400, "error" in refused["body"]) == (True, True), "a page can tell its reader what is wrong"
    assert await fetch(friend, url, method="DELETE", headers=key) == REFUSED

    assert await fetch(stranger, url, headers=key) == REFUSED
    assert await fetch(stranger, f"{site.url}/graphql", headers=asked, **document) == REFUSED
    assert await fetch(stranger, f"{site.url}/graphql?query=%7B__typename%7D") == REFUSED
