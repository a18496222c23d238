"""Makes the pictures of the docs: `python -m tests.browser.screenshots [NAME...]`, on demo records, in this machine's Chromium."""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page

from app.web.pages.assets import Assets
from tests.browser.conftest import CHROMIUM, DESKTOP, PHONE, chromium
from tests.browser.sites import Site, open_site
from tests.conftest import running_server

FOLDER = Path("docs/images")
MOST_BYTES = 150_000
RECORDS = 120_000


@dataclass(frozen=True)
class Picture:
    """A picture. `height`: pixels of the page from its top on; None: the window's."""

    name: str
    path: str
    scheme: str
    size: tuple[int, int] = DESKTOP
    height: int | None = None
    point: str | None = None
    """What the pointer rests on, if anything."""
    button: str | None = None
    """What is pressed first, if anything, by its name."""


PICTURES = (
    Picture("home", "/", "light"),
    Picture("network", "/network", "light", height=1560, point=".range[data-range='30d'] .reader"),
    Picture("network-dark", "/network", "dark", height=1560),
    Picture("network-phone", "/network", "dark", PHONE, height=1500),
    Picture("rankings", "/rankings", "light", height=1500),
    Picture("rankings-dark", "/rankings", "dark", height=1500, point=".reader"),
    Picture("rankings-phone", "/rankings", "light", PHONE, height=1500),
    Picture("graphiql", "/graphql", "dark", button="Execute query"),
)


async def take(browser: Browser, site: Site, key: str, picture: Picture) -> bytes:
    """Return a picture as PNG."""
    viewport = {"width": picture.size[0], "height": picture.height or picture.size[1]}
    scale = 2 if picture.size == PHONE else 1.5
    context = await browser.new_context(viewport=viewport, color_scheme=picture.scheme, device_scale_factor=scale)  # type: ignore[arg-type]
    await context.add_init_script(f"sessionStorage.setItem('tokengraph.key', {key!r})")
    page = await context.new_page()
    await page.goto(site.url + picture.path, wait_until="networkidle")
    if picture.button is not None:
        async with page.expect_response(lambda answer: answer.request.method == "POST"):
            await page.get_by_role("button", name=picture.button).click()
        await page.wait_for_load_state("networkidle")
        await page.wait_for_timeout(1000)  # the answer is laid out in steps
    await _rest_on(page, picture.point)
    png = await page.screenshot()
    await context.close()
    return png


async def _rest_on(page: Page, selector: str | None) -> None:
    box = None if selector is None else await page.locator(selector).bounding_box()
    if box is not None:
        await page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] * 0.5)


def small(png: bytes) -> bytes:
    """Return the picture with as many colours as keep it small."""
    with Image.open(io.BytesIO(png)) as picture:
        for colours in (256, 128, 64, 32):
            packed = io.BytesIO()
            picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
            if packed.tell() <= MOST_BYTES:
                break
    return packed.getvalue()


async def take_all(server_url: str, names: list[str]) -> None:
    """Write the named pictures, all if none is named."""
    async with open_site(server_url, address_rate_limit="off") as site, chromium() as browser:
        await site.fill(RECORDS)
        await site.snapshot()
        key = await site.key()
        for picture in PICTURES:
            if not names or picture.name in names:
                content = small(await take(browser, site, key, picture))
                path = FOLDER / f"{picture.name}.png"
                path.write_bytes(content)
                sys.stdout.write(f"{path}: {len(content) / 1000:.0f} kB\n")


def main() -> None:
    """Run the command."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt install chromium")
    if not Assets().built:
        sys.exit("the pages are not built: make pages")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), None) as url:
        asyncio.run(take_all(url, sys.argv[1:]))


if __name__ == "__main__":
    main()
