"""The built files over HTTP, the pages' headers, and a gateway whose pages are not built or whose GraphiQL is off."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.web.app import Wiring, create_app
from app.web.pages.assets import Assets
from app.web.pages.graphiql import prefers_html

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
SCRIPT = b"export const answer = 42;\n" * 40
MANIFEST = {
    "src/graphiql/main.tsx": {
        "file": "assets/graphiql-1.js",
        "name": "graphiql",
        "src": "src/graphiql/main.tsx",
        "isEntry": True,
        "imports": ["_shared-2.js"],
        "css": ["assets/graphiql-3.css"],
    },
    "_shared-2.js": {"file": "assets/shared-2.js", "imports": ["_deep-4.js"], "css": ["assets/shared-5.css"]},
    "_deep-4.js": {"file": "assets/deep-4.js"},
}
WITH_EXTRAS = ("index-6.html", "notes")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A folder as the build leaves it, with a secret beside it."""
    folder = tmp_path / "static"
    assets = folder / "assets"
    assets.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    for name in ("graphiql-1.js", "shared-2.js", "deep-4.js"):
        (assets / name).write_bytes(SCRIPT)
    for name in ("graphiql-3.css", "shared-5.css", *WITH_EXTRAS):
        (assets / name).write_bytes(b"body{margin:0}")
    (assets / "graphiql-1.js.br").write_bytes(b"brotli's form")
    (assets / "graphiql-1.js.gz").write_bytes(gzip.compress(SCRIPT))
    (assets / "shared-2.js.gz").write_bytes(gzip.compress(SCRIPT))
    (tmp_path / "secret.js").write_text("no")
    return folder


@asynccontextmanager
async def served(database_url: str, assets: Path, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(database_url=database_url, **settings), Wiring(jobs=False, assets=assets))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def client(database_url: str, build: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with served(database_url, build) as opened:
        yield opened


async def test_a_file_may_be_kept_for_ever(client: httpx.AsyncClient) -> None:
    response = await client.get("/static/assets/deep-4.js")
    assert (response.status_code, response.content) == (200, SCRIPT)
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    again = await client.get("/static/assets/deep-4.js", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head("/static/assets/deep-4.js")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(SCRIPT)))


@pytest.mark.parametrize(
    ("accepted", "name", "coding"),
    [
        ("gzip, deflate, br, zstd", "graphiql-1.js", "br"),
        ("gzip", "graphiql-1.js", "gzip"),
        ("br;q=0, gzip;q=0.5", "graphiql-1.js", "gzip"),
        ("*", "graphiql-1.js", "br"),
        ("*;q=0.2, br;q=0.000", "graphiql-1.js", "gzip"),
        ("gzip;q=0", "graphiql-1.js", None),
        ("identity", "graphiql-1.js", None),
        ("br", "shared-2.js", None),
        ("br, gzip", "shared-2.js", "gzip"),
        ("br, gzip", "deep-4.js", None),
    ],
)
async def test_it_is_sent_as_the_build_compressed_it(client: httpx.AsyncClient, accepted: str, name: str, coding: str | None) -> None:
    async with client.stream("GET", f"/static/assets/{name}", headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert response.headers.get("content-encoding") == coding
    assert response.headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(raw) if coding == "gzip" else raw) == (b"brotli's form" if coding == "br" else SCRIPT)


async def test_each_form_has_its_own_validator(client: httpx.AsyncClient) -> None:
    etags = set()
    for accepted in ("br", "gzip", "identity"):
        async with client.stream("GET", "/static/assets/graphiql-1.js", headers={"Accept-Encoding": accepted}) as response:
            etags.add(response.headers["etag"])
    assert len(etags) == 3


@pytest.mark.parametrize(
    "path",
    [
        "assets/nothing.js",
        "assets/../../secret.js",
        "../secret.js",
        "%2e%2e/secret.js",
        "..%2fsecret.js",
        "assets/%2e%2e/%2e%2e/secret.js",
        "//etc/passwd",
        "%00",
        "manifest.json",
        "assets/graphiql-1.js.br",
        "assets/index-6.html",
        "assets/notes",
        "",
        "assets",
    ],
)
async def test_nothing_but_what_was_built_is_found(client: httpx.AsyncClient, path: str) -> None:
    for prefix in ("/static/", "/static/assets/"):
        response = await client.get(httpx.URL("http://gateway", raw_path=(prefix + path).encode()))
        assert response.status_code == 404
        assert response.headers["cache-control"] in ("no-store", "private, no-store")
        assert response.content != b"no"


async def test_a_file_that_a_new_build_took_away(client: httpx.AsyncClient, build: Path) -> None:
    (build / "assets" / "deep-4.js").unlink()
    response = await client.get("/static/assets/deep-4.js")
    assert (response.status_code, response.headers["cache-control"]) == (404, "no-store")


def test_the_tags_of_an_entry(build: Path) -> None:
    assert Assets(build).tags("graphiql").split("\n") == [
        '<link rel="stylesheet" href="/static/assets/shared-5.css">',
        '<link rel="stylesheet" href="/static/assets/graphiql-3.css">',
        '<link rel="modulepreload" href="/static/assets/deep-4.js">',
        '<link rel="modulepreload" href="/static/assets/shared-2.js">',
        '<script type="module" src="/static/assets/graphiql-1.js"></script>',
    ]
    assert Assets(build).tags("other") == ""
    assert Assets(build / "missing").tags("graphiql") == ""
    assert not Assets(build / "missing").built


async def test_a_browser_gets_graphiql_and_may_load_only_what_is_ours(client: httpx.AsyncClient) -> None:
    page = await client.get("/graphql", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"], page.headers["cache-control"]) == (200, "text/html; charset=utf-8", "no-store")
    assert "/static/assets/graphiql-1.js" in page.text
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    nonce = re.search(r'<meta property="csp-nonce" nonce="([^"]+)">', page.text)
    assert nonce is not None
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'self' 'nonce-{nonce[1]}'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "worker-src": "'self'",
    }
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page.text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page.text)
    assert (await client.get("/graphql", headers=BROWSER)).headers["content-security-policy"] != page.headers["content-security-policy"]


async def test_a_link_opens_a_query_in_a_browser_and_answers_other_clients(client: httpx.AsyncClient) -> None:
    asked = {"query": "{ network { totals { totalTokens } } }"}
    assert (await client.get("/graphql", params=asked, headers=BROWSER)).headers["content-type"] == "text/html; charset=utf-8"
    answer = {"data": {"network": {"totals": {"totalTokens": 0}}}}
    for accept in (
        "application/json",
        "application/graphql-response+json, application/json;q=0.9",
        "*/*",
        "application/json, text/html;q=0.5",
    ):
        assert (await client.get("/graphql", params=asked, headers={"Accept": accept})).json() == answer
    assert (await client.post("/graphql", json=asked, headers=BROWSER)).json() == answer


async def test_without_a_build_the_api_works_and_pages_say_what_is_missing(database_url: str, tmp_path: Path) -> None:
    async with served(database_url, tmp_path) as client:
        for path in ("/graphql", "/docs"):
            page = await client.get(path, headers=BROWSER)
            assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
            assert "make pages" in page.text
            assert "/static/" not in page.text
        assert (await client.post("/graphql", json={"query": "{ network { generatedAt } }"})).status_code == 200
        assert (await client.get("/static/assets/graphiql-1.js")).status_code == 404
        assert (await client.get("/icon.svg")).headers["content-type"] == "image/svg+xml"
        assert (await client.get("/openapi.json")).status_code == 200


async def test_graphiql_can_be_off(database_url: str, build: Path) -> None:
    async with served(database_url, build, graphiql=False) as client:
        refused = await client.get("/graphql", headers=BROWSER)
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")
        asked = await client.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER)
        assert asked.json() == {"data": {"__typename": "Query"}}


async def test_fastapis_own_pages_are_gone(client: httpx.AsyncClient) -> None:
    assert (await client.get("/redoc")).status_code == 404
    docs = await client.get("/docs")
    assert "swagger-ui@" not in docs.text
    assert "cdn" not in docs.text


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        (BROWSER["Accept"], True),
        ("text/html", True),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("application/json, text/html", False),
        ("TEXT/HTML", True),
        ("application/json, text/html;q=0.9", False),
        ("application/graphql-response+json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;q=much", False),
        ("*/*", False),
        ("application/json", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_who_wants_html(accept: str, wants: bool) -> None:
    assert prefers_html(accept) is wants
