"""The network page in Chromium: live, readable, right without data, and honest when something is wrong."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from app.domain.time_range import midnight, system_clock
from tests.browser.conftest import DESKTOP, PHONE, Visits, assert_accessible
from tests.browser.sites import Site
from tests.factories import make_record

API = "/api/v1/analytics/network"
SHORT = {"snapshot_seconds": 2, "address_rate_limit": "off"}
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def answer_of(site: Site) -> dict[str, Any]:
    """Return what the API answers."""
    body: dict[str, Any] = httpx.get(site.url + API, timeout=60).json()
    return body


async def digits(page: Page) -> int:
    """Return what the counter shows."""
    return int((await page.locator("[data-digits]").inner_text()).replace(",", ""))


async def fits(page: Page) -> bool:
    """Tell whether nothing reaches over the page's side."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@SIZES
@SCHEMES
async def test_with_data(full_site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    page = await visit(full_site.url + "/network", size, scheme)
    body = answer_of(full_site)
    await expect(page.locator(".burn tbody tr")).to_have_count(16)
    for model in body["top_models"]:
        row = page.locator(".burn tbody tr").nth(model["rank"] - 1)
        await expect(row).to_contain_text(model["model_name"])
        await expect(row.locator("data").first).to_have_attribute("value", str(model["tokens"]))
        await expect(row).to_contain_text(f"{model['share'] * 100:.2f}")
    for label, key in (("24 h", "24h"), ("7 d", "7d"), ("30 d", "30d")):
        await page.get_by_text(label, exact=True).click()
        figure = page.locator(f"[data-range='{key}']")
        await expect(figure).to_be_visible()
        await expect(page.locator(".range:visible")).to_have_count(1)
        await expect(figure.locator(".column")).to_have_count(len(body["trend"][key]))
    await expect(page.locator("[data-age]")).to_contain_text("ago")
    assert await fits(page)
    await assert_accessible(page, axe)
    await page.locator("[data-range='30d'] summary").click()
    await expect(page.locator("[data-live='sums-30d']")).to_contain_text(f"{body['totals']['tokens']:,}")
    await assert_accessible(page, axe)


@SIZES
@SCHEMES
@pytest.mark.parametrize("when", ["before the first snapshot", "without traffic"])
async def test_without_data(bare_site: Site, site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str, when: str) -> None:
    page = await visit((bare_site if when == "without traffic" else site).url + "/network", size, scheme)
    said = "No traffic in the last 30 days" if when == "without traffic" else "No snapshot yet"
    await expect(page.locator("#main")).to_contain_text(said)
    assert await digits(page) == 0
    await expect(page.locator("[data-estimate]")).to_be_hidden()
    assert await fits(page)
    await assert_accessible(page, axe)


async def test_without_javascript_the_numbers_are_there(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/network", java_script_enabled=False)
    body = answer_of(full_site)
    await expect(page.locator("[data-digits]")).to_have_text(f"{body['totals']['tokens']:,}")
    await expect(page.locator(".burn tbody tr")).to_have_count(16)
    await expect(page.locator(".range:visible .column")).to_have_count(30)
    await page.get_by_text("24 h", exact=True).click()
    await expect(page.locator(".range:visible .column")).to_have_count(24)
    await page.locator(".range:visible summary").click()
    await expect(page.locator("[data-live='rows-24h']")).to_contain_text(body["trend"]["24h"][0]["bucket"])
    await expect(page.get_by_role("button", name="colours")).to_be_hidden()


@pytest.mark.parametrize("site", [{"snapshot_seconds": 600}], indirect=True)
async def test_the_counter_runs_and_says_that_it_guesses(site: Site, visit: Visits) -> None:
    now = system_clock()
    await site.store(make_record(occurred_at=now - timedelta(minutes=5 * back), prompt_tokens=4_000_000) for back in range(200))
    await site.snapshot(timedelta(seconds=30))
    page = await visit(site.url + "/network")
    exact = answer_of(site)["totals"]["tokens"]
    await expect(page.locator("[data-estimate]")).to_contain_text(f"The snapshot is {exact:,}")
    first = await digits(page)
    await asyncio.sleep(1)
    second = await digits(page)
    assert exact < first < second < exact * 1.01
    assert answer_of(site)["totals"]["tokens"] == exact
    await expect(page.locator(".counter .sr")).to_have_text(f"{exact:,}")
    still = await visit(site.url + "/network", reduced_motion="reduce")
    assert await digits(still) == exact
    await expect(still.locator("[data-estimate]")).to_be_hidden()


@pytest.mark.parametrize("site", [{"snapshot_seconds": 600}], indirect=True)
async def test_the_counter_stops_when_the_next_snapshot_is_due(site: Site, visit: Visits) -> None:
    now = system_clock()
    await site.store(make_record(occurred_at=now - timedelta(minutes=5 * back), prompt_tokens=4_000_000) for back in range(200))
    taken = await site.snapshot(timedelta(seconds=597))
    page = await visit(site.url + "/network")
    rate = float(await page.locator("[data-counter]").get_attribute("data-rate") or 0)
    seconds = min(600.0, (midnight(taken.date() + timedelta(days=1)) - taken).total_seconds())
    await asyncio.sleep(4)
    assert rate > 0
    assert await digits(page) == answer_of(site)["totals"]["tokens"] + int(rate * seconds)
    await expect(page.locator("[data-estimate]")).to_be_visible()


@pytest.mark.parametrize("site", [{"snapshot_seconds": 600}], indirect=True)
async def test_the_counter_stands_on_an_old_snapshot(site: Site, visit: Visits) -> None:
    now = system_clock()
    await site.store(make_record(occurred_at=now - timedelta(minutes=5 * back), prompt_tokens=4_000_000) for back in range(200))
    await site.snapshot(timedelta(minutes=25, seconds=20))  # the page may see the clock up to a second behind: Date has whole seconds
    page = await visit(site.url + "/network")
    await expect(page.locator("[data-age]")).to_contain_text("25 minutes ago; the next one is late")
    assert await digits(page) == answer_of(site)["totals"]["tokens"]
    await expect(page.locator("[data-estimate]")).to_be_hidden()


@pytest.mark.parametrize("site", [SHORT], indirect=True)
async def test_a_new_snapshot_shows_without_a_reload(site: Site, visit: Visits) -> None:
    page = await visit(site.url + "/network")
    await expect(page.locator("#main")).to_contain_text("No snapshot yet")
    await page.get_by_text("24 h", exact=True).click()
    await page.evaluate("window.mark = 'the same page'")
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status) if response.url.endswith(API) else None)
    assert await page.evaluate("document.getElementById('network').dataset.etag") == ""
    await site.catalog({"model_id": "openai/gpt-4o", "name": "GPT-4o", "provider_name": "OpenAI", "public": True})
    await site.store([make_record(occurred_at=system_clock() - timedelta(minutes=1))])
    await site.snapshot()
    await expect(page.locator(".burn tbody tr").first).to_contain_text("GPT-4o", timeout=15_000)
    await expect(page.locator("[data-digits]")).to_have_text("120")
    await page.locator(".range:visible summary").click()
    await site.store([make_record(occurred_at=system_clock() - timedelta(minutes=1))])
    await site.snapshot()
    await expect(page.locator("[data-digits]")).to_have_text("240", timeout=15_000)
    await expect(page.locator(".range:visible .column")).to_have_count(24)  # the choice and the open table are kept
    await expect(page.locator("[data-live='rows-24h']")).to_be_visible()
    await expect(page.locator("[data-live='sums-24h']")).to_contain_text("240")
    assert await page.evaluate("window.mark") == "the same page"
    for _ in range(100):
        if 304 in statuses:
            break
        await asyncio.sleep(0.1)
    assert set(statuses) == {200, 304}


@pytest.mark.parametrize("site", [SHORT], indirect=True)
async def test_when_polling_fails_the_page_says_so_and_goes_on(site: Site, visit: Visits, axe: str) -> None:
    visit.expect_console(r"Failed to load resource")
    await site.store([make_record(occurred_at=system_clock() - timedelta(minutes=1))])
    await site.snapshot()
    page = await visit(site.url + "/network")
    tries = 0

    async def fail(route: Route) -> None:
        nonlocal tries
        tries += 1
        await (route.abort() if tries < 3 else route.fulfill(status=503, body="{}"))

    await page.route("**" + API, fail)
    trouble = page.get_by_role("status")
    await expect(trouble).to_contain_text(re.compile(r"cannot be reached since \d\d:\d\d:\d\d UTC"), timeout=15_000)
    await expect(trouble).to_contain_text("answers with an error (503) since", timeout=30_000)
    await assert_accessible(page, axe)
    assert await digits(page) == 120
    await page.unroute("**" + API)
    await site.store([make_record(occurred_at=system_clock() - timedelta(minutes=1))])
    await site.snapshot()
    await expect(trouble).to_be_empty(timeout=60_000)
    await expect(page.locator("[data-digits]")).to_have_text("240")


async def test_by_keyboard(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/network")
    points = answer_of(full_site)["trend"]["30d"]
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("radio", name="30 d")).to_be_focused()
    await page.keyboard.press("Tab")
    slider = page.get_by_role("slider", name="Values by day").locator("visible=true")
    await expect(slider).to_be_focused()
    await expect(slider).to_have_attribute("aria-valuenow", "30")
    await page.keyboard.press("ArrowLeft")
    await expect(slider).to_have_attribute(
        "aria-valuetext", re.compile(f"Tokens {points[28]['tokens']:,}, Requests {points[28]['requests']:,}")
    )
    tip = page.locator(".tip:visible")
    await expect(tip).to_contain_text(f"{points[28]['tokens']:,}")
    await page.keyboard.press("Home")
    await expect(tip).to_contain_text(f"{points[0]['tokens']:,}")
    await page.keyboard.press("Escape")
    await expect(tip).to_have_count(0)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-live='rows-30d']")).to_be_visible()


async def test_the_pointer_reads_a_column(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/network")
    points = answer_of(full_site)["trend"]["30d"]
    reader = page.locator(".range:visible .reader")
    await reader.scroll_into_view_if_needed()
    box = await reader.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 10.5 / 30, box["y"] + box["height"] / 2)
    await expect(page.locator(".tip:visible")).to_contain_text(f"{points[10]['tokens']:,}")
    await page.mouse.move(0, 0)
    await expect(page.locator(".tip:visible")).to_have_count(0)


async def test_colours_are_the_readers_choice(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/network", scheme="light")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(background)
    button = page.get_by_role("button", name="colours")
    await button.click()
    await expect(button).to_contain_text("Light")
    await button.click()
    await expect(button).to_contain_text("Dark")
    assert await page.evaluate(background) != light
    await page.goto(full_site.url + "/")
    assert await page.evaluate(background) != light
    await page.get_by_role("button", name="colours").click()
    assert await page.evaluate(background) == light
