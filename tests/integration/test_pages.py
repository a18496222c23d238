"""The pages as they leave the server: the API's numbers without a script, validators, limits, errors, nothing inline."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from app.domain.errors import UnavailableError
from app.settings import Settings
from app.web.answer_cache import WatchedDatabase
from app.web.app import Wiring, create_app
from app.web.pages.wording import percent
from tests.clock import NOW, FakeClock
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

URL = "/api/v1/analytics/network"
SCHEMA = Path("schema.graphql").read_text(encoding="utf-8")
PAGES = ("/", "/network", "/rankings")
CATALOG = [
    {"model_id": "openai/gpt-4o", "name": "GPT-4o", "provider_name": "OpenAI", "public": True},
    {"model_id": "zeta/last", "name": "<b>Last</b>", "provider_name": "Zeta & Sons", "public": True},
    {"model_id": "acme/secret", "name": "Secret", "public": False},
]


class Page(HTMLParser):
    """What a page says: its text, the exact numbers of its sections by their live names, its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.numbers: dict[str, list[int]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._live: list[tuple[str, str]] = []
        self._depth: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag not in ("meta", "link", "input", "br", "wbr"):
            self._depth.append(given.get("data-live") or (self._depth[-1] if self._depth else ""))
        if tag == "data" and given.get("value"):
            self.numbers.setdefault(self._depth[-1], []).append(int(given["value"] or 0))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._depth.pop()

    def handle_data(self, data: str) -> None:
        self.text += data

    def one(self, tag: str, **wanted: str) -> dict[str, str | None]:
        """Return the attributes of the only such element."""
        (found,) = [given for name, given in self.elements if name == tag and wanted.items() <= given.items()]
        return found


async def read(gateway: Gateway, path: str) -> Page:
    response = await gateway.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Page(response.text)


async def fill(gateway: Gateway) -> None:
    await gateway.catalog(*CATALOG)
    records = []
    for back in range(40):
        for number, model in enumerate(("openai/gpt-4o", "zeta/last", "acme/secret")):
            many = {"prompt_tokens": 7_654_321 * (number + 1), "completion_tokens": 99_999 * back, "cached_tokens": 1_234}
            records.append(make_record(model_id=model, occurred_at=NOW - timedelta(hours=18 * back, minutes=5), **many))
    await gateway.store(records)


async def test_the_network_page_has_every_number_of_the_api(gateway: Gateway) -> None:
    await fill(gateway)
    await gateway.snapshot()
    answer = await gateway.client.get(URL)
    body = answer.json()
    page = await read(gateway, "/network")
    assert page.one("div", id="network")["data-etag"] == answer.headers["etag"]
    totals = body["totals"]
    assert page.one("p", **{"data-tokens": str(totals["tokens"])})
    assert f"{totals['tokens']:,}" in page.text
    parts = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    assert page.numbers["parts"] == [totals[name] for name in parts]
    for key in ("24h", "7d", "30d"):
        points = body["trend"][key]
        assert page.numbers[f"rows-{key}"] == [number for point in points for number in (point["tokens"], point["requests"])]
        assert page.numbers[f"tile-tokens-{key}"] == [sum(point["tokens"] for point in points)]
        for point in points:
            assert point["bucket"] in page.text
    assert page.numbers["tile-requests"] == [totals["requests"]]
    models = body["top_models"]
    rest = totals["tokens"] - sum(model["tokens"] for model in models)
    assert page.numbers["burn"] == [number for model in models for number in (model["tokens"], model["requests"])] + [rest]
    for model in models:
        for name in ("model_name", "model_id", "provider"):
            assert model[name] in page.text
        assert percent(model["tokens"], totals["tokens"], 2).removesuffix("\u202f%") == f"{model['share'] * 100:.2f}"


async def test_names_are_escaped_and_private_models_stay_private(gateway: Gateway) -> None:
    await fill(gateway)
    await gateway.snapshot()
    html = (await gateway.client.get("/network")).text
    assert "<b>Last</b>" not in html
    assert "&lt;b&gt;Last&lt;/b&gt;" in html
    assert "Zeta &amp; Sons" in html
    assert "acme" not in html
    assert "Secret" not in html


async def test_before_the_first_snapshot_the_pages_say_so(gateway: Gateway) -> None:
    response = await gateway.client.get("/network")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    page = Page(response.text)
    assert "No snapshot yet" in page.text
    assert page.one("div", id="network")["data-generated-at"] == ""
    assert set(page.numbers["parts"]) == {0}
    home = await gateway.client.get("/")
    assert home.headers["cache-control"] == "no-store"
    assert "None yet" in home.text


async def test_a_network_without_traffic_says_what_to_do(gateway: Gateway) -> None:
    await gateway.snapshot()
    page = await read(gateway, "/network")
    assert "No traffic in the last 30 days" in page.text
    assert "No model has used a token in the last 30 days" in page.text
    assert page.numbers["rows-30d"] == [0] * 60
    assert page.one("p", **{"data-tokens": "0"})["data-rate"] == "0.000"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_sent_once_to_who_has_it(gateway: Gateway, path: str) -> None:
    await fill(gateway)
    await gateway.snapshot()
    first = await gateway.client.get(path, headers={"Accept-Encoding": "identity"})
    assert first.headers["cache-control"] == "public, no-cache"
    etag = first.headers["etag"]
    again = await gateway.client.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    async with gateway.client.stream("GET", path, headers={"Accept-Encoding": "br;q=0.8, gzip;q=1.0"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "Accept-Encoding"
        body = b"".join([part async for part in packed.aiter_raw()])
    assert gzip.decompress(body) == first.content
    refused = await gateway.client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    assert (await gateway.client.head(path)).status_code == 200
    await gateway.store([make_record(occurred_at=NOW - timedelta(hours=1), prompt_tokens=5_000_000)])
    gateway.clock.advance(timedelta(minutes=10))
    await gateway.snapshot()
    changed = await gateway.client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == (304 if path == "/rankings" else 200)


class Opener(Protocol):
    """Opens a gateway of its own settings."""

    def __call__(self, *, assets: Path | None = None, age: float = 0.0, **settings: Any) -> AbstractAsyncContextManager[Gateway]: ...


@pytest.fixture
def opened(database_url: str, clock: FakeClock) -> Opener:
    @asynccontextmanager
    async def open_gateway(*, assets: Path | None = None, age: float = 0.0, **settings: Any) -> AsyncIterator[Gateway]:
        wiring = Wiring(clock=clock, jobs=False, answer_age=age, seconds=lambda: 1000.0)
        if assets is not None:
            wiring = Wiring(clock=clock, jobs=False, assets=assets)
        app = create_app(Settings(database_url=database_url, **settings), wiring)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(app, client, app.state.services.database, clock)

    return open_gateway


async def test_many_requests_cost_one_rendering_and_no_sql(opened: Opener) -> None:
    async with opened(age=60.0) as gateway:
        await fill(gateway)
        await gateway.snapshot()
        with recorded() as statements:
            for _ in range(20):
                for path in PAGES:
                    assert (await gateway.client.get(path)).status_code == 200
        assert statements.names() == ["network", "network", "network_version"]


async def test_pages_are_counted_like_the_api(opened: Opener) -> None:
    async with opened(address_rate_limit="5/minute") as gateway:
        for path in (*PAGES, URL, "/network"):
            assert (await gateway.client.get(path)).status_code == 200
        for path in PAGES:
            refused = await gateway.client.get(path)
            assert refused.status_code == 429
            assert refused.headers["content-type"] == "text/html; charset=utf-8"
            assert refused.headers["cache-control"] == "no-store"
            assert 0 < int(refused.headers["retry-after"]) <= 60
            assert f"Wait {refused.headers['retry-after']} seconds" in refused.text
        assert (await gateway.client.get(URL)).status_code == 429


async def test_without_its_database_the_gateway_still_has_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def nothing(_: WatchedDatabase) -> AsyncIterator[None]:
        raise UnavailableError
        yield

    monkeypatch.setattr(WatchedDatabase, "read_connection", nothing)
    away = await gateway.client.get("/network")
    assert away.status_code == 503
    assert away.headers["retry-after"] == "2"
    assert "The database cannot be reached" in away.text
    home = await gateway.client.get("/")
    assert home.status_code == 200
    assert home.headers["cache-control"] == "no-store"
    assert "Does not answer right now" in home.text
    assert (await gateway.client.get("/rankings")).status_code == 200


async def test_an_unexpected_error_shows_its_id_and_nothing_else(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def broken(_: WatchedDatabase) -> AsyncIterator[None]:
        raise RuntimeError("the secret of the pool")
        yield

    monkeypatch.setattr(WatchedDatabase, "read_connection", broken)
    response = await gateway.client.get("/network", headers={"X-Request-ID": "seen-by-me"})
    assert response.status_code == 500
    assert "seen-by-me" in response.text
    assert "secret" not in response.text


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_of_a_page_is_inline_or_from_elsewhere(gateway: Gateway, path: str) -> None:
    await fill(gateway)
    await gateway.snapshot()
    response = await gateway.client.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = Page(response.text)
    for tag, given in page.elements:
        assert tag != "style"
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        assert tag != "script" or given.get("src")
        for name in ("src", "href", "action"):
            if given.get(name) is not None:
                assert re.match(r"/(?!/)|#", given[name] or ""), given
    assert page.one("html")["lang"] == "en"


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_build_a_page_has_its_numbers_and_says_what_is_missing(opened: Opener, tmp_path: Path, path: str) -> None:
    async with opened(assets=tmp_path) as gateway:
        await fill(gateway)
        await gateway.snapshot()
        page = await read(gateway, path)
        assert "make pages" in page.text
        assert not [tag for tag, _ in page.elements if tag == "script"]
        if path == "/network":
            body = (await gateway.client.get(URL)).json()
            assert f"{body['totals']['tokens']:,}" in page.text


async def test_pages_link_to_graphiql_only_where_it_is(opened: Opener) -> None:
    async with opened(graphiql=False) as gateway:
        for path in PAGES:
            assert 'href="/graphql"' not in (await gateway.client.get(path)).text
        assert (await read(gateway, "/rankings")).one("div", id="rankings")["data-query"] == ""
    async with opened() as gateway:
        assert 'href="/graphql"' in (await gateway.client.get("/")).text
        query = (await read(gateway, "/rankings")).one("div", id="rankings")["data-query"] or ""
        answer = await gateway.graphql(query, await gateway.key("tenant", "acme"), startDate="2026-06-01", endDate="2026-06-02")
        assert answer["data"]["rankingsDaily"]["meta"]["start_date"] == "2026-06-01"


async def test_the_schema_has_a_validator(gateway: Gateway) -> None:
    response = await gateway.client.get("/schema.graphql")
    assert response.status_code == 200
    assert response.text == SCHEMA
    again = await gateway.client.get("/schema.graphql", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
