"""GraphiQL in Chromium: its examples, key field, panels, links, and what it says when something fails."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.async_api import Page, Request, Route, expect

from app.demo.generate import DEMO_TENANT
from app.domain.principal import Role
from tests.browser.conftest import DESKTOP, PHONE, Visits
from tests.browser.sites import Site
from tests.saved_queries import CALLERS, NAMES_NOTHING, saved_queries

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
KEY_FIELD = "API key"


async def open_graphiql(visit: Visits, site: Site, size: tuple[int, int] = DESKTOP, path: str = "/graphql", **more: Any) -> Page:
    page = await visit(site.url + path, size, **more)
    await expect(page.locator(".graphiql-query-editor .view-line").first).to_be_visible(timeout=30_000)
    return page


async def text_of(page: Page, name: str) -> str:
    """Return an editor's whole text, by the end of its model's name: what the page shows may be a part of it."""
    script = "name => window.__MONACO.editor.getModels().find(model => model.uri.path.endsWith(name)).getValue()"
    text: str = await page.evaluate(script, name)
    return text


async def run(page: Page) -> dict[str, Any]:
    """Run the query in the editor and return the answer that is shown."""
    await page.evaluate("window.__MONACO.editor.getModels().find(model => model.uri.path.endsWith('response.json')).setValue('')")
    async with page.expect_response("**/graphql"):
        await page.get_by_role("button", name="Execute query").click()
    await expect(page.locator(".graphiql-response .view-lines")).to_contain_text("{")
    answer: dict[str, Any] = json.loads(await text_of(page, "response.json"))
    return answer


async def open_panel(page: Page, title: str) -> None:
    await page.get_by_role("button", name=f"Show {title}").click()


async def test_every_example_runs_with_its_caller_and_shows_its_answer(site: Site, visit: Visits) -> None:
    await site.fill(600)
    await site.snapshot()
    page = await open_graphiql(visit, site)
    queries = saved_queries()
    titles = await page.locator(".example-name").all_inner_texts()
    assert sorted(titles) == sorted(query.name for query in queries)
    for query in queries:
        role = CALLERS[query.caller]
        key = "" if role is None else await site.key(role, DEMO_TENANT if role is Role.TENANT else None)
        await page.get_by_label(KEY_FIELD).fill(key)
        await page.locator(".examples button", has=page.get_by_text(query.name, exact=True)).click()
        await expect(page.locator(".graphiql-tab-active")).to_contain_text(query.name)
        assert await text_of(page, "operation.graphql") == query.text
        answer = await run(page)
        if query.name in NAMES_NOTHING:
            assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        else:
            assert "errors" not in answer, query.file
            assert set(answer["data"]) == query.roots
        if query.name in ("Network", "TenantUsage"):  # the second with yesterday's date, which is filled in
            assert answer["data"][min(query.roots)], query.file
        await expect(page.locator(".graphiql-response .view-lines")).to_contain_text(re.compile(r"data|errors"))


async def test_questions_are_tabs_on_the_first_visit_and_changes_are_not(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site)
    tabs = await page.locator(".graphiql-tab-button").all_inner_texts()
    assert sorted(tabs) == sorted(query.name for query in saved_queries() if not query.writes)
    assert tabs[0] == "Network"
    await page.get_by_role("tab", name="ModelPrices").get_by_role("button").first.click()
    await expect(page.locator(".graphiql-tab-active")).to_contain_text("ModelPrices")
    assert json.loads(await text_of(page, "variables.json")) == {"model": "openai/gpt-4o", "provider": "openai"}


async def test_the_answer_is_the_apis(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site)
    (network,) = (query for query in saved_queries() if query.name == "Network")
    async with httpx.AsyncClient(base_url=full_site.url, timeout=60) as client:
        assert await run(page) == (await client.post("/graphql", json={"query": network.text})).json()


async def test_the_key_is_sent_and_stays_in_the_tab(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("{ viewer { role } }"))
    sent: list[str | None] = []

    async def note(request: Request) -> None:
        if request.url.endswith("/graphql") and request.method == "POST":
            sent.append((await request.all_headers()).get("authorization"))

    page.on("request", note)
    notice = page.locator(".key-note")
    field = page.get_by_label(KEY_FIELD)
    await run(page)
    await expect(notice).to_have_text("This query needs an API key.")
    await field.fill("wrong")
    await expect(notice).to_contain_text("Stored in this tab")
    await run(page)
    await expect(notice).to_have_text("The gateway does not know this key.")
    key = await full_site.key(Role.GATEWAY)
    await field.fill(f"  {key} ")
    assert (await run(page))["data"] == {"viewer": {"role": "GATEWAY"}}
    await expect(notice).to_contain_text("Stored in this tab")
    assert await page.evaluate("sessionStorage.getItem('tokengraph.key')") == key
    assert key not in await page.evaluate("JSON.stringify(localStorage) + document.cookie")
    await expect(field).to_have_attribute("type", "password")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(field).to_have_attribute("type", "text")
    await page.reload()
    await expect(field).to_have_value(key)
    await page.get_by_role("button", name="Forget").click()
    assert await page.evaluate("sessionStorage.getItem('tokengraph.key')") is None
    assert sent == [None, "Bearer wrong", f"Bearer {key}"]


async def test_a_key_that_may_not_ask(full_site: Site, visit: Visits) -> None:
    key = await full_site.key(Role.GATEWAY)
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("{ apiKeys { nodes { id } } }"), key=key)
    await run(page)
    await expect(page.locator(".key-note")).to_contain_text("Not permitted for this key")


async def test_a_link_opens_its_query_and_does_not_run_it(full_site: Site, visit: Visits) -> None:
    query = "query Linked($first: Int!) { models(first: $first) { nodes { modelId } } }"
    path = f"/graphql?query={quote(query)}&variables={quote(json.dumps({'first': 3}))}"
    asked: list[str] = []
    page = await open_graphiql(visit, full_site, path=path)
    page.on("request", lambda request: asked.append(request.method))
    await expect(page.locator(".graphiql-tab-active")).to_contain_text("Linked")
    assert await text_of(page, "operation.graphql") == query
    assert json.loads(await text_of(page, "variables.json")) == {"first": 3}
    assert await text_of(page, "response.json") == ""
    assert page.url == full_site.url + "/graphql"
    assert "POST" not in asked
    await page.wait_for_timeout(700)  # GraphiQL stores its tabs half a second late
    await page.goto(full_site.url + "/graphql?query=" + quote("query Later { __typename }"))
    await expect(page.locator(".graphiql-tab-active")).to_contain_text("Later")
    await expect(page.get_by_text("Linked", exact=True)).to_be_visible()


async def test_a_link_is_made(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, permissions=["clipboard-read", "clipboard-write"])
    text = await text_of(page, "operation.graphql")
    await page.get_by_role("button", name="Copy a link to this query").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText().then(text => new URL(text).searchParams.get('query'))") == text


async def test_history_keeps_what_was_run(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("query Remembered { __typename }"))
    assert await run(page) == {"data": {"__typename": "Query"}}
    await open_panel(page, "History")
    await expect(page.locator(".graphiql-history-items")).to_contain_text("Remembered")
    await page.reload()
    await expect(page.locator(".graphiql-history-items")).to_contain_text("Remembered")


async def test_the_docs_panel_describes_the_schema(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site)
    await open_panel(page, "Documentation Explorer")
    panel = page.locator(".graphiql-doc-explorer")
    await panel.get_by_text("Query", exact=True).click()
    await panel.get_by_text("rankingsDaily", exact=True).click()
    await expect(panel).to_contain_text("Daily token totals of the top 50 public models")


async def test_the_explorer_writes_the_query(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("query Mine { network { generatedAt } }"))
    await open_panel(page, "GraphiQL Explorer")
    await page.locator(".graphiql-explorer-root").get_by_text("totals", exact=True).click()
    await page.locator(".graphiql-explorer-root").get_by_text("requests", exact=True).first.click()
    await expect(page.locator(".graphiql-query-editor .view-lines")).to_contain_text("totals")
    assert set((await run(page))["data"]["network"]) == {"generatedAt", "totals"}


async def test_the_editor_completes_and_marks_mistakes(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("{ network { generatedAt  } nothing }"))
    await expect(page.locator(".graphiql-query-editor .squiggly-error")).to_be_visible(timeout=20_000)
    await page.evaluate("window.__MONACO.editor.getEditors()[0].setPosition({ lineNumber: 1, column: 25 })")
    await page.evaluate("window.__MONACO.editor.getEditors()[0].focus()")
    await page.keyboard.press("Control+Space")
    await expect(page.locator(".suggest-widget")).to_contain_text("topModels", timeout=20_000)


async def test_dialogs_and_editor_commands(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote("{network{generatedAt}}"))
    for button, title in (("Open short keys dialog", "Short Keys"), ("Open settings dialog", "Settings")):
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_role("dialog")).to_contain_text(title)
        await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Prettify query").click()
    await expect(page.locator(".graphiql-query-editor .view-line").nth(2)).to_contain_text("generatedAt")
    await page.evaluate("window.__MONACO.editor.getEditors()[0].focus()")
    await page.keyboard.press("Control+f")
    await expect(page.locator(".find-widget.visible")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("F1")
    await expect(page.locator(".quick-input-widget")).to_be_visible()


async def test_what_axe_finds_is_upstreams(full_site: Site, visit: Visits, axe: str) -> None:
    page = await open_graphiql(visit, full_site)
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    # GraphiQL puts each tab's close button into the tab itself.
    places = {(rule["id"], "graphiql-tab" in node["html"]) for rule in found for node in rule["nodes"]}
    assert places <= {("nested-interactive", True)}


async def test_text_that_looks_like_markup_is_shown_as_it_is(full_site: Site, visit: Visits) -> None:
    text = '# <b style="color:red" onclick="no()">bold</b> <img src=x onerror=no()>'
    page = await open_graphiql(visit, full_site, path="/graphql?query=" + quote(text + "\n{ __typename }"))
    lines = await page.locator(".graphiql-query-editor .view-line").all_inner_texts()
    assert text.replace(" ", "") in "".join(lines).replace("\xa0", "")
    assert await page.locator(".graphiql-query-editor img, .graphiql-query-editor b").count() == 0


@SIZES
@SCHEMES
async def test_each_size_in_each_light(full_site: Site, visit: Visits, size: tuple[int, int], scheme: str) -> None:
    page = await open_graphiql(visit, full_site, size, scheme=scheme)
    assert (await run(page))["data"]["network"]["totals"]["requests"] > 0
    overflow = "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
    assert await page.evaluate(overflow) == [0, 0]
    for place in (".graphiql-query-editor", ".graphiql-response", ".graphiql-sidebar", ".key-bar"):
        box = await page.locator(place).bounding_box()
        assert box is not None
        assert box["width"] > 40
        assert 0 <= box["x"] <= box["x"] + box["width"] <= size[0] + 1
        assert box["y"] + box["height"] <= size[1] + 1
    await expect(page.locator("body")).to_have_class(re.compile(rf"\bgraphiql-{scheme}\b"))
    dark = await page.evaluate("getComputedStyle(document.querySelector('#graphiql')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", dark)[:3])) < 200) is (scheme == "dark")
    for title in ("Documentation Explorer", "History", "GraphiQL Explorer"):
        await open_panel(page, title)
        await expect(page.locator(".graphiql-plugin")).to_be_visible()


async def test_on_a_phone_an_example_closes_the_panel_over_the_editors(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, PHONE)
    await open_panel(page, "Examples")
    await page.locator(".examples button", has_text="GatewayStats").click()
    await expect(page.locator(".examples")).to_have_count(0)
    await expect(page.locator(".graphiql-tab-active")).to_contain_text("GatewayStats")


async def test_the_readers_choice_of_colours_holds_here(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site, scheme="light")
    button = page.locator("[data-theme-button]")
    await button.click()
    await button.click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.locator("body")).to_have_class(re.compile("graphiql-dark"))


async def test_without_data(site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, site)
    network = (await run(page))["data"]["network"]
    assert (network["generatedAt"], network["totals"]["totalTokens"], network["topModels"]) == (None, 0, [])


async def test_what_fails_is_said_in_words(full_site: Site, visit: Visits) -> None:
    page = await open_graphiql(visit, full_site)
    shown = page.locator(".graphiql-response .view-lines")
    visit.expect_console("Failed to load resource")

    async def cut(route: Route) -> None:
        await route.abort()

    async def proxy(route: Route) -> None:
        await route.fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>")

    await page.route("**/graphql", cut)
    await page.get_by_role("button", name="Execute query").click()
    await expect(shown).to_contain_text("The gateway does not answer")
    await page.unroute("**/graphql", cut)
    await page.route("**/graphql", proxy)
    await page.get_by_role("button", name="Execute query").click()
    await expect(shown).to_contain_text("status 502")
    await page.unroute("**/graphql", proxy)
    assert "data" in await run(page)


async def test_the_schema_that_cannot_be_loaded_is_asked_for_otherwise(full_site: Site, visit: Visits) -> None:
    visit.expect_console("Failed to load resource")
    page = await visit(full_site.url + "/healthz")

    async def cut(route: Route) -> None:
        await route.abort()

    await page.route("**/schema.graphql", cut)
    async with page.expect_request(lambda request: "IntrospectionQuery" in (request.post_data or "")):
        await page.goto(full_site.url + "/graphql")
    await open_panel(page, "Documentation Explorer")
    await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("TenantAnalytics")


async def test_without_scripts_the_page_says_so(full_site: Site, visit: Visits) -> None:
    page = await visit(full_site.url + "/graphql", java_script_enabled=False)
    await expect(page.locator("main")).to_contain_text("The editor needs JavaScript")


@SIZES
@SCHEMES
async def test_the_api_reader(full_site: Site, visit: Visits, size: tuple[int, int], scheme: str) -> None:
    page = await visit(full_site.url + "/docs", size, scheme=scheme, key=await full_site.key(Role.TENANT, DEMO_TENANT))
    operation = page.locator(".opblock", has_text="/v1/customer/analytics").first
    await expect(operation).to_be_visible(timeout=30_000)
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_role("button", name="Execute").click()
    await expect(operation.locator(".responses-table.live-responses-table")).to_contain_text("timeseries")
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
