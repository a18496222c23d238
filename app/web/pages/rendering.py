"""Renders templates, and sends rendered pages: validator, compression, headers. Independent of their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from app import __version__
from app.http.compression import LEAST_BYTES, CodedBody, choose_coding
from app.http.json import etag_matches, etag_of
from app.web.pages.assets import Assets
from app.web.pages.headers import page_headers
from app.web.pages.wording import exact_number, percent, short_number

REVALIDATED: Final = "public, no-cache"
"""A page names its scripts by content hash: a cached page that is not revalidated could name files that no longer exist."""

_HTML: Final = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as it goes over the wire, whole and compressed."""

    body: CodedBody
    etag: str
    cache_control: str

    @property
    def size(self) -> int:
        """Bytes of both."""
        return self.body.size

    def respond(self, request: Request) -> Response:
        """Return the page, or 304 if the reader has it."""
        headers = {**page_headers(), "Cache-Control": self.cache_control, "ETag": self.etag}
        if etag_matches(request.headers.get("if-none-match"), self.etag):
            return Response(status_code=304, headers=headers)
        coding = choose_coding(request.headers.get("accept-encoding", ""))
        if coding is not None and len(self.body.plain) >= LEAST_BYTES:
            return Response(self.body.take(coding), headers=headers | {"Content-Encoding": coding}, media_type=_HTML)
        return Response(self.body.plain, headers=headers, media_type=_HTML)


def _breakable(text: str) -> Markup:
    """Return a model's id that may be broken after its slashes."""
    return Markup("/<wbr>").join(text.split("/"))


class Templates:
    """The templates of all pages."""

    def __init__(self, assets: Assets, *, graphiql: bool = True) -> None:
        """`graphiql`: whether a browser finds GraphiQL here, so that pages link to it."""
        self._environment = Environment(
            loader=PackageLoader("app.web.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.filters.update(short=short_number, exact=exact_number, percent=percent, breakable=_breakable)
        self._environment.globals.update(assets=assets, graphiql=graphiql, version=__version__)

    def html(self, template: str, **values: Any) -> bytes:
        """Return a template's HTML."""
        return self._environment.get_template(template).render(values).encode()

    def page(self, template: str, cache_control: str = REVALIDATED, **values: Any) -> RenderedPage:
        """Return a template's page, ready to be sent many times."""
        body = self.html(template, **values)
        return RenderedPage(CodedBody(body), etag_of(body), cache_control)
