"""`python -m benchmarks.pages`: what each page weighs over the wire and when it is first painted, in this machine's Chromium, as a table.

Each figure is the median of several first visits. The slow line has 1.6 Mbit/s, 150 ms to the gateway and a quarter of the processor.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from playwright.async_api import Browser

from app.web.pages.assets import Assets
from tests.browser.conftest import CHROMIUM, DESKTOP, chromium
from tests.browser.sites import Site, open_site
from tests.conftest import running_server

PAGES: Final = ("/", "/network", "/rankings", "/graphql", "/docs")
VISITS: Final = 5
SLOW: Final = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 93_750}
KINDS: Final = ("Document", "Stylesheet", "Script")
_SETTLED: Final = 1500.0
"""Milliseconds after which a page has loaded what it opens with."""

Visit = tuple[dict[str, float], float]
"""Bytes over the wire by kind, headers included, and milliseconds to the first paint."""


async def visit(browser: Browser, url: str, key: str, *, slow: bool) -> Visit:
    """Open a page in a browser that has nothing of it."""
    context = await browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    await context.add_init_script(f"sessionStorage.setItem('tokengraph.key', {key!r})")
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    if slow:
        await session.send("Network.emulateNetworkConditions", SLOW)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    kinds: dict[str, str] = {}
    sizes = dict.fromkeys(KINDS, 0.0)

    def answered(event: dict[str, Any]) -> None:
        kinds[event["requestId"]] = event["type"]

    def ended(event: dict[str, Any]) -> None:
        kind = kinds.get(event["requestId"], "")
        if kind in sizes:
            sizes[kind] += event["encodedDataLength"]

    session.on("Network.responseReceived", answered)
    session.on("Network.loadingFinished", ended)
    await page.goto(url)
    await page.wait_for_timeout(_SETTLED)
    painted: float = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    await context.close()
    return sizes, painted


async def measure(browser: Browser, site: Site, key: str, path: str) -> str:
    """Return a page's row of the table."""
    fast = [await visit(browser, site.url + path, key, slow=False) for _ in range(VISITS)]
    slow = [await visit(browser, site.url + path, key, slow=True) for _ in range(VISITS)]
    sizes = [f"{median(sizes[kind] for sizes, _ in fast) / 1000:.1f} kB" for kind in KINDS]
    paints = [f"{median(painted for _, painted in visits):.0f} ms" for visits in (fast, slow)]
    return f"| `{path}` | {' | '.join((*sizes, *paints))} |"


async def measure_all(server_url: str) -> None:
    """Print the table."""
    sys.stdout.write("| page | HTML | CSS | script | first paint | on a slow line |\n|---|---|---|---|---|---|\n")
    async with open_site(server_url, address_rate_limit="off") as site, chromium() as browser:
        await site.fill()
        await site.snapshot()
        key = await site.key()
        await visit(browser, site.url + "/", key, slow=False)
        for path in PAGES:
            sys.stdout.write(await measure(browser, site, key, path) + "\n")


def main() -> None:
    """Run the command."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt install chromium")
    if not Assets().built:
        sys.exit("the pages are not built: make pages")
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), None) as url:
        asyncio.run(measure_all(url))


if __name__ == "__main__":
    main()
