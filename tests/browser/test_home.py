"""The first page in Chromium: one screen, its facts, its links, and pages of errors."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.conftest import DESKTOP, PHONE, Visits, assert_accessible
from tests.browser.sites import Site

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@SIZES
@SCHEMES
async def test_with_data(full_site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    page = await visit(full_site.url + "/", size, scheme)
    async with httpx.AsyncClient(base_url=full_site.url, timeout=60) as client:
        totals = (await client.get("/api/v1/analytics/network")).json()["totals"]
    facts = page.locator(".facts data")
    await expect(facts.nth(0)).to_have_attribute("value", str(totals["tokens"]))
    await expect(facts.nth(1)).to_have_attribute("value", str(totals["requests"]))
    await expect(page.locator("time[data-ago]")).to_contain_text("ago")
    overflow = "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
    wide, high = await page.evaluate(overflow)
    assert wide <= 0
    assert size == PHONE or high <= 0, "not one screen"
    await assert_accessible(page, axe)


@SIZES
@SCHEMES
async def test_without_data(site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    page = await visit(site.url + "/", size, scheme)
    await expect(page.locator(".facts")).to_contain_text("None yet")
    await assert_accessible(page, axe)


async def test_every_link_leads_somewhere(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/")
    links = set(await page.eval_on_selector_all("a", "links => links.map(link => link.getAttribute('href'))")) - {"#main"}
    assert links == {"/", "/network", "/rankings", "/graphql", "/docs", "/schema.graphql", "/healthz"}
    async with httpx.AsyncClient(base_url=full_site.url, headers={"Accept": "text/html,*/*;q=0.8"}, timeout=60) as client:
        for link in links:
            assert (await client.get(link)).status_code == 200, link


async def test_by_keyboard(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/")
    reached = []
    for _ in range(14):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.tagName"))
    walk = ["#main", "/", "/network", "/rankings", "/graphql", "/docs", "BUTTON"]
    assert reached[:13] == [*walk, "/network", "/rankings", "/graphql", "/docs", "/schema.graphql", "/healthz"]


@SIZES
@SCHEMES
@pytest.mark.parametrize("site", [{"address_rate_limit": "1/minute"}], indirect=True)
async def test_an_error_is_a_page_too(site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    visit.expect_console("429")
    async with httpx.AsyncClient(base_url=site.url, timeout=60) as client:
        assert (await client.get("/")).status_code == 200
    for path in ("/", "/network", "/rankings"):
        page = await visit(site.url + path, size, scheme)
        await expect(page.locator("h1")).to_have_text("Rate limit exceeded.")
        await expect(page.get_by_text("load the page again")).to_be_visible()
        await assert_accessible(page, axe)


@pytest.mark.parametrize("path", ["/", "/network", "/rankings"])
async def test_a_page_is_light(full_site: Site, visit: Visits, path: str) -> None:
    page = await visit(full_site.url + path, key=await full_site.key())
    await page.wait_for_load_state("networkidle")
    entries = "performance.getEntriesByType('resource').map(entry => [new URL(entry.name).pathname, entry.encodedBodySize])"
    loaded = await page.evaluate(entries)
    assert sum(size for name, size in loaded if name.endswith(".js")) < 40_000
    assert sum(size for name, size in loaded if name.endswith(".css")) < 10_000
    assert 0 < await page.evaluate("performance.getEntriesByType('navigation')[0].encodedBodySize") < 20_000
