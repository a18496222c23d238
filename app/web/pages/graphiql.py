"""The pages that are programs: GraphiQL at `/graphql`, and the reader of the OpenAPI document at `/docs`. Only their frames; no answers."""

from __future__ import annotations

import secrets
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.web.pages.assets import Assets
from app.web.pages.headers import page_headers
from app.web.pages.rendering import Templates

DOCS: Final = "/docs"

_HTML: Final = "text/html; charset=utf-8"
_NONCE_BYTES: Final = 18


def prefers_html(accept: str) -> bool:
    """Tell whether an `Accept` header names HTML, and wants it more than any form of JSON. A browser's does; `*/*` names nothing."""
    weights = {"html": 0.0, "json": 0.0}
    for choice in accept.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        kind = "html" if name == "text/html" else "json" if name.endswith(("/json", "+json")) else None
        if kind is not None:
            weights[kind] = max(weights[kind], _read_weight(parameters))
    return weights["html"] > weights["json"]


def _read_weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(float(value), 1.0)
            except ValueError:
                return 0.0
    return 1.0


class ProgramPages:
    """The frames of both programs.

    Their libraries make style elements: each answer has a nonce for those, and so is never cached. Without a build there is nothing to run:
    503, which says what to do, and which a monitor sees.
    """

    def __init__(self, assets: Assets, templates: Templates) -> None:
        self._assets = assets
        self._templates = templates

    def graphiql(self) -> Response:
        """Return the page for GraphQL documents."""
        return self._frame("graphiql", workers=True)

    def docs(self) -> Response:
        """Return the page that describes the HTTP API."""
        return self._frame("docs")

    def _frame(self, entry: str, **allowed: Any) -> Response:
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        built = self._assets.has(entry)
        body = self._templates.html(f"{entry}.html", nonce=nonce, built=built)
        headers = page_headers(nonce, **allowed) | {"Cache-Control": "no-store", "Vary": "Accept"}
        return Response(body, 200 if built else 503, headers=headers, media_type=_HTML)


def build_docs_router(pages: ProgramPages) -> APIRouter:
    """Return the route of `/docs`. GraphiQL's is GraphQL's own."""
    router = APIRouter()

    @router.api_route(DOCS, methods=["GET"], include_in_schema=False, response_class=Response)
    async def get_docs(_: Request) -> Response:
        return pages.docs()

    return router
