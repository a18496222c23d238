"""The built scripts and styles: the manifest read once, the tags of an entry, the files over HTTP. Builds and compresses nothing itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from app.http.compression import choose_coding
from app.http.json import etag_matches
from app.web.pages.headers import page_headers

BUILT: Final = Path(__file__).resolve().parent.parent / "static"
"""Output folder of `make pages`, also in the wheel."""
PREFIX: Final = "/static/"
ICON: Final = "/icon.svg"

_MANIFEST: Final = "manifest.json"
_SCRIPT: Final = "text/javascript; charset=utf-8"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": _SCRIPT,
    ".json": "application/json",
    ".mjs": _SCRIPT,
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
_CODINGS: Final = {"br": ".br", "gzip": ".gz"}
"""Content codings and what the build calls such a file, the smallest first."""
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_NOT_FOUND: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A file of the build. `codings`: the same content compressed, by the name of the coding."""

    path: Path
    media_type: str
    codings: Mapping[str, Path]


class Assets:
    """What a build left in a folder, as it was when this was made."""

    def __init__(self, folder: Path = BUILT) -> None:
        try:
            manifest: dict[str, dict[str, Any]] = json.loads((folder / _MANIFEST).read_bytes())
        except FileNotFoundError:
            manifest = {}
        self._manifest = manifest
        self._entries = {chunk["src"].split("/")[-2]: key for key, chunk in manifest.items() if chunk.get("isEntry")}
        self._files = {path.relative_to(folder).as_posix(): built for path, built in _find_files(folder)} if manifest else {}
        self.icon = ICON

    @property
    def built(self) -> bool:
        """Whether there is a build at all."""
        return bool(self._entries)

    def has(self, entry: str) -> bool:
        """Tell whether the build has an entry, named by its folder in `frontend/src`."""
        return entry in self._entries

    def script(self, entry: str) -> str | None:
        """Return the URL of an entry's own script; None: it is not built."""
        key = self._entries.get(entry)
        return None if key is None else PREFIX + self._manifest[key]["file"]

    def tags(self, entry: str) -> Markup:
        """Return what a page's head loads an entry by: styles, what its script imports, its script. Empty if it is not built."""
        script = self.script(entry)
        if script is None:
            return Markup()
        key = self._entries[entry]
        chunks = list(dict.fromkeys(self._imports(key)))
        styles = dict.fromkeys(name for chunk in (*chunks, key) for name in self._manifest[chunk].get("css", ()))
        lines = [Markup('<link rel="stylesheet" href="{}">').format(PREFIX + name) for name in styles]
        lines += [Markup('<link rel="modulepreload" href="{}">').format(PREFIX + self._manifest[chunk]["file"]) for chunk in chunks]
        lines.append(Markup('<script type="module" src="{}"></script>').format(script))
        return Markup("\n").join(lines)

    def find(self, name: str) -> BuiltFile | None:
        """Return a file by its path below the folder. Only what the build left there is found, whatever the path says."""
        return self._files.get(name)

    def _imports(self, key: str) -> Iterator[str]:
        """Yield what a chunk imports before it runs, the deepest first."""
        for imported in self._manifest[key].get("imports", ()):
            yield from self._imports(imported)
            yield imported


def _find_files(folder: Path) -> Iterator[tuple[Path, BuiltFile]]:
    for path in sorted(folder.rglob("*")):
        media_type = _MEDIA_TYPES.get(path.suffix)
        if media_type is not None and path.name != _MANIFEST and path.is_file():
            codings = {name: path.with_name(path.name + suffix) for name, suffix in _CODINGS.items()}
            yield path, BuiltFile(path, media_type, {name: coded for name, coded in codings.items() if coded.is_file()})


async def _respond(request: Request, file: BuiltFile) -> Response:
    coding = choose_coding(request.headers.get("accept-encoding", ""), tuple(file.codings))
    path = file.path if coding is None else file.codings[coding]
    # The name has a hash of the content, so it is a validator; each coding is another representation.
    etag = f'"{path.name}"'
    headers = {"Cache-Control": _FOR_EVER, "ETag": etag}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:  # the pages are being rebuilt
        return _not_found()
    if coding is not None:
        headers["Content-Encoding"] = coding
    return Response(content, headers=headers | {"Cross-Origin-Resource-Policy": "same-origin"}, media_type=file.media_type)


def _not_found() -> Response:
    return Response("Not found\n", 404, headers=_NOT_FOUND, media_type="text/plain")


def build_assets_router(assets: Assets) -> APIRouter:
    """Return the routes of the built files and of the icon, which is there without a build."""
    router = APIRouter()
    icon = (Path(__file__).parent / "icon.svg").read_bytes()

    @router.api_route(PREFIX + "{name:path}", methods=["GET"], include_in_schema=False, response_class=Response)
    async def get_file(request: Request, name: str) -> Response:
        file = assets.find(name)
        return _not_found() if file is None else await _respond(request, file)

    @router.api_route(ICON, methods=["GET"], include_in_schema=False, response_class=Response)
    async def get_icon() -> Response:
        headers = page_headers() | {"Cache-Control": "public, max-age=86400"}
        return Response(icon, headers=headers, media_type="image/svg+xml")

    return router
