"""The rankings page in Chromium: the key, the range, the numbers of the API, and what to do when it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.async_api import Page, expect

from app.domain.time_range import system_clock
from tests.browser.conftest import DESKTOP, PHONE, Visits, assert_accessible
from tests.browser.sites import Site
from tests.factories import make_record

API = "/api/v1/datasets/rankings-daily"
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def answer_of(site: Site, key: str, window: str = "") -> dict[str, Any]:
    """Return what the API answers."""
    body: dict[str, Any] = httpx.get(site.url + API + window, headers={"Authorization": f"Bearer {key}"}, timeout=60).json()
    return body


def by_day(rows: list[dict[str, str]]) -> dict[str, dict[str, int]]:
    """Return each day's tokens by model, in the order of their places."""
    days: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        days[row["date"]][row["model_permaslug"]] = int(row["total_tokens"])
    return days


async def fits(page: Page) -> bool:
    """Tell whether nothing reaches over the page's side."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def days_ago(days: int) -> str:
    """Return a UTC date."""
    return (system_clock() - timedelta(days=days)).date().isoformat()


@SIZES
@SCHEMES
async def test_with_data(full_site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    key = await full_site.key()
    page = await visit(full_site.url + "/rankings", size, scheme, key=key)
    days = by_day(answer_of(full_site, key, f"?start_date={days_ago(30)}&end_date={days_ago(1)}")["data"])
    last, before = days[days_ago(1)], days[days_ago(2)]
    await expect(page.get_by_role("heading", name=f"Places of {days_ago(1)}")).to_be_visible()
    more = page.get_by_role("button", name=re.compile(r"Show \d+ more"))
    if await more.count():
        await more.click()
    rows = page.locator(".places tbody tr")
    await expect(rows).to_have_count(len(last))
    places = [model for model in before if model != "other"]
    for index, (model, tokens) in enumerate(last.items()):
        row = rows.nth(index)
        await expect(row.locator("data")).to_have_attribute("value", str(tokens))
        share = f"{tokens * 100 / sum(last.values()):.2f}"
        await expect(row.locator(".share")).to_contain_text(share[:-1])
        if model == "other":
            await expect(row).to_contain_text("All others")
            continue
        await expect(row.locator("th")).to_have_text(model)
        change = places.index(model) - index if model in places else None
        said = "new" if change is None else f"up {change} place" if change > 0 else f"down {-change} place" if change else "same place"
        await expect(row.locator(".change")).to_contain_text(said)
    await expect(page.locator(".series li")).to_have_count(11)
    assert await fits(page)
    await assert_accessible(page, axe)
    await page.get_by_text("Table: tokens by day and model").click()
    table = page.locator(".matrix tbody tr")
    await expect(table).to_have_count(30)
    shown = [int(text.replace(",", "")) for text in await table.last.locator("td").all_inner_texts()]
    assert sum(shown) == sum(last.values())
    await assert_accessible(page, axe)


async def test_the_key_is_asked_for_and_kept_in_the_tab_only(full_site: Site, visit: Visits, axe: str) -> None:
    visit.expect_console("401")
    page = await visit(full_site.url + "/rankings")
    field = page.get_by_label("API key")
    await expect(field).to_be_visible()
    await assert_accessible(page, axe)
    await field.fill("tg_of-somebody-else")
    await page.get_by_role("button", name="Open", exact=True).click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("mistyped, expired or revoked")
    await assert_accessible(page, axe)
    key = await full_site.key()
    await field.fill(f"  {key} ")
    await field.press("Enter")
    await expect(page.locator(".places tbody tr").first).to_be_visible()
    assert await page.evaluate("[{...sessionStorage}, {...localStorage}, document.cookie]") == [{"tokengraph.key": key}, {}, ""]
    assert key not in page.url
    await page.reload()
    await expect(page.locator(".places tbody tr").first).to_be_visible()
    await page.get_by_role("button", name="Forget the key").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_the_range_is_chosen_and_stays_in_the_url(full_site: Site, visit: Visits) -> None:
    key = await full_site.key()
    page = await visit(full_site.url + "/rankings", key=key)
    await page.get_by_text("7 days", exact=True).click()
    await expect(page).to_have_url(re.compile(f"start_date={days_ago(7)}&end_date={days_ago(1)}"))
    await page.get_by_text("Table: tokens by day and model").click()
    await expect(page.locator(".matrix tbody tr")).to_have_count(7)
    await page.get_by_label("First date, UTC").fill(days_ago(3))
    await page.get_by_label("First date, UTC").blur()
    await expect(page.locator(".matrix tbody tr")).to_have_count(3)
    await page.reload()
    await expect(page.get_by_label("First date, UTC")).to_have_value(days_ago(3))
    await page.get_by_label("First date, UTC").fill(days_ago(0))
    await expect(page.get_by_role("alert")).to_contain_text("Swap them")
    await page.get_by_text("All", exact=True).click()
    await expect(page.get_by_role("heading", name=f"Places of {days_ago(0)}")).to_be_visible()
    await expect(page.get_by_label("First date, UTC")).to_have_value("2025-01-01")


async def test_by_keyboard(full_site: Site, visit: Visits) -> None:
    key = await full_site.key()
    page = await visit(full_site.url + "/rankings", key=key)
    days = by_day(answer_of(full_site, key, f"?start_date={days_ago(30)}&end_date={days_ago(1)}")["data"])
    slider = page.get_by_role("slider")
    await slider.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", re.compile(days_ago(29)))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=f"Places of {days_ago(29)}")).to_be_visible()
    first = next(iter(days[days_ago(29)]))
    await expect(page.locator(".places tbody tr th").first).to_have_text(first)
    await page.get_by_role("button", name="The day before").press("Enter")
    await expect(page.get_by_role("heading", name=f"Places of {days_ago(30)}")).to_be_visible()
    await expect(page.locator(".places .change").first).to_have_text("–")
    await expect(page.get_by_role("button", name="The day before")).to_be_disabled()
    legend = page.locator(".series button").first
    await legend.press("Space")
    await expect(legend).to_have_attribute("aria-pressed", "true")
    await expect(page.locator(".stacked .faded")).to_have_count(10)


async def test_it_can_be_taken_away(full_site: Site, visit: Visits) -> None:
    key = await full_site.key()
    window = f"?start_date={days_ago(5)}&end_date={days_ago(1)}"
    page = await visit(full_site.url + "/rankings" + window, key=key, permissions=["clipboard-read", "clipboard-write"])
    body = answer_of(full_site, key, window)
    async with page.expect_download() as csv_download:
        await page.get_by_role("button", name="CSV").click()
    saved = await csv_download.value
    assert saved.suggested_filename == f"rankings-daily-{days_ago(5)}-to-{days_ago(1)}.csv"
    text = Path(await saved.path()).read_bytes().decode()  # noqa: ASYNC240
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == body["data"]
    async with page.expect_download() as json_download:
        await page.get_by_role("button", name="JSON").click()
    content = json.loads(Path(await (await json_download.value).path()).read_bytes())  # noqa: ASYNC240
    assert content["data"] == body["data"]
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == f'curl -H "Authorization: Bearer $KEY" "{full_site.url}{API}{window}"'
    link = urlsplit(await page.get_by_role("link", name="Open the query in GraphiQL").get_attribute("href") or "")
    asked = {name: values[0] for name, values in parse_qs(link.query).items()}
    request = {"query": asked["query"], "variables": json.loads(asked["variables"])}
    async with httpx.AsyncClient(base_url=full_site.url, timeout=60) as client:
        answer = (await client.post(link.path, json=request, headers={"Authorization": f"Bearer {key}"})).json()
    assert answer["data"]["rankingsDaily"]["data"] == body["data"]


@SIZES
@SCHEMES
async def test_an_empty_range_says_what_to_do(bare_site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    page = await visit(bare_site.url + "/rankings", size, scheme, key=await bare_site.key())
    await expect(page.locator(".empty")).to_contain_text(f"No model has used a token from {days_ago(30)} to {days_ago(1)}")
    assert await fits(page)
    await assert_accessible(page, axe)


@SIZES
@SCHEMES
async def test_a_network_error_says_what_to_do(full_site: Site, visit: Visits, axe: str, size: tuple[int, int], scheme: str) -> None:
    visit.expect_console("Failed to load resource")
    page = await visit(full_site.url + "/rankings", size, scheme)
    await page.route("**" + API + "*", lambda route: route.abort())
    await page.get_by_label("API key").fill(await full_site.key())
    await page.get_by_label("API key").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("The gateway cannot be reached")
    assert await fits(page)
    await assert_accessible(page, axe)
    await page.unroute("**" + API + "*")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".places tbody tr").first).to_be_visible()


async def test_what_is_asked_too_often_says_when_to_come_back(full_site: Site, visit: Visits, axe: str) -> None:
    visit.expect_console("429")
    key = await full_site.key(tenant="eager")
    for _ in range(30):
        answer_of(full_site, key)
    page = await visit(full_site.url + "/rankings", key=key)
    await expect(page.get_by_role("alert")).to_contain_text("Rate limit exceeded")
    again = page.get_by_role("button", name=re.compile(r"Try again in \d+ second"))
    await expect(again).to_be_disabled()
    await assert_accessible(page, axe)


async def test_a_refusal_is_told_in_the_gateways_words(full_site: Site, visit: Visits) -> None:
    visit.expect_console("400")
    key = await full_site.key()
    body = json.dumps(answer_of(full_site, key, "?start_date=2026-02-30"))
    page = await visit(full_site.url + "/rankings")
    await page.route("**" + API + "*", lambda route: route.fulfill(status=400, content_type="application/json", body=body))
    await page.get_by_label("API key").fill(key)
    await page.get_by_label("API key").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("start_date is not a calendar date: 2026-02-30")


async def test_a_url_that_names_no_dates_gets_thirty_days(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/rankings?start_date=2026-02-30&end_date=soon", key=await full_site.key())
    await expect(page.get_by_label("First date, UTC")).to_have_value(days_ago(30))


async def test_numbers_past_64_bits_and_names_of_markup(site: Site, visit: Visits) -> None:
    yesterday = system_clock() - timedelta(days=1)
    slug = "evil/<img src=x onerror=alert(1)>"
    await site.catalog({"model_id": slug, "public": True}, {"model_id": "=HYPERLINK/x", "public": True})
    huge = 2**53 - 1
    await site.store(make_record(model_id=slug, occurred_at=yesterday, prompt_tokens=huge, completion_tokens=huge) for _ in range(3))
    await site.store([make_record(model_id="=HYPERLINK/x", occurred_at=yesterday)])
    key = await site.key()
    page = await visit(site.url + "/rankings", key=key)
    row = page.locator(".places tbody tr").first
    await expect(row.locator("data")).to_have_attribute("value", str(6 * huge))
    await expect(row.locator("th")).to_have_text(slug)
    async with page.expect_download() as downloaded:
        await page.get_by_role("button", name="CSV").click()
    text = Path(await (await downloaded.value).path()).read_text(encoding="utf-8")  # noqa: ASYNC240
    assert f"{6 * huge}" in text
    assert "'=HYPERLINK/x" in text


async def test_without_javascript_it_says_how_to_ask(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/rankings", java_script_enabled=False)
    await expect(page.locator("noscript code")).to_be_visible()
