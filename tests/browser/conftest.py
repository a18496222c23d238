"""Fixtures of the browser tests: Chromium, gateways to look at, and visits that notice whatever goes wrong on a page."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from app.web.pages.assets import Assets
from tests.browser.sites import Site, open_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP = (1280, 800)
PHONE = (390, 844)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the machine's Chromium, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as Debian packages it."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt install chromium")
    if not Assets().built:
        pytest.skip("the pages are not built: make pages")
    async with chromium() as started:
        yield started


@pytest.fixture(scope="session")
async def full_site(server_url: str) -> AsyncIterator[Site]:
    """A gateway with demo records and a snapshot of now. For reading only."""
    async with open_site(server_url, gateway_api_key="gateway-secret", address_rate_limit="off", key_rate_limit="off") as site:
        await site.fill()
        await site.snapshot()
        yield site


@pytest.fixture(scope="session")
async def bare_site(server_url: str) -> AsyncIterator[Site]:
    """A gateway without any record, but with a snapshot. For reading only."""
    async with open_site(server_url, address_rate_limit="off", key_rate_limit="off") as site:
        await site.snapshot()
        yield site


@pytest.fixture
async def site(server_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A gateway of this test's own, with nothing in it; `@pytest.mark.parametrize("site", [{...}], indirect=True)` gives settings."""
    async with open_site(server_url, **getattr(request, "param", {})) as opened:
        yield opened


@dataclass
class Visits:
    """Opens pages, and keeps what went wrong on them. `expected`: patterns of what may be said on the console."""

    browser: Browser
    trouble: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    async def __call__(self, url: str, size: tuple[int, int] = DESKTOP, scheme: Any = "light", *, key: str = "", **context: Any) -> Page:
        """Open a page in a context of its own. `key`: what the tab's session holds as API key."""
        viewport = {"width": size[0], "height": size[1]}
        opened = await self.browser.new_context(viewport=viewport, color_scheme=scheme, **context)  # type: ignore[arg-type]
        if key:
            await opened.add_init_script(f"sessionStorage.setItem('tokengraph.key', {key!r})")
        page = await opened.new_page()
        host = urlsplit(url).netloc

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not any(re.search(pattern, message.text) for pattern in self.expected):
                self.trouble.append(f"console: {message.text} ({message.location['url']})")

        def asked(sent: Request) -> None:
            parts = urlsplit(sent.url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
                self.trouble.append(f"leaves the host: {sent.url}")

        page.on("console", heard)
        page.on("pageerror", lambda error: self.trouble.append(f"page: {error}"))
        page.on("request", asked)
        await page.goto(url)
        return page

    def expect_console(self, pattern: str) -> None:
        """Let the browser say this: it reports a failed request however well the page deals with it."""
        self.expected.append(pattern)


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visits]:
    """Visits that fail the test on an error on the console, in a script, or a request to another host."""
    visits = Visits(browser)
    yield visits
    for context in browser.contexts:
        await context.close()
    assert not visits.trouble, "\n".join(visits.trouble)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    path = Path("frontend/node_modules/axe-core/axe.min.js")
    if not path.exists():
        pytest.skip("axe-core is not installed: make pages")
    return path.read_text(encoding="utf-8")


async def assert_accessible(page: Page, axe: str) -> None:
    """Let axe look at the page; it must find nothing."""
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    said = [f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes'][:4]]}" for rule in found]
    assert not said, "\n".join(said)
