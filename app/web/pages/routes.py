"""Routes of the pages: cached per snapshot, counted like the API, with HTML errors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.domain.errors import RateLimitedError, TokengraphError, UnavailableError
from app.execution.cache import Made
from app.http.envelopes import error_headers
from app.http.json import encode_json, etag_matches, etag_of
from app.request.context import RequestContext, Services
from app.rest.execute import StoredDocuments
from app.rest.public import CACHE_HEADERS, VALIDATORS
from app.web.answer_cache import AnswerCache
from app.web.pages.headers import page_headers
from app.web.pages.home import view_home
from app.web.pages.network import view_network
from app.web.pages.rankings import view_rankings
from app.web.pages.rendering import REVALIDATED, RenderedPage, Templates

log = logging.getLogger(__name__)

HOME: Final = "/"
NETWORK: Final = "/network"
RANKINGS: Final = "/rankings"
PAGES: Final = frozenset({HOME, NETWORK, RANKINGS})

_NO_STORE: Final = "no-store"
_SCHEMA_ANSWERS: Final[dict[int | str, str]] = {200: "SDL", 304: "The schema is one that If-None-Match names"}


@dataclass(frozen=True, slots=True)
class PageParts:
    """What pages are made of. `snapshot_every`: how long a snapshot is the newest one."""

    services: Services
    documents: StoredDocuments
    answers: AnswerCache
    templates: Templates
    snapshot_every: timedelta


class Pages:
    """The pages of one process."""

    def __init__(self, parts: PageParts) -> None:
        self._parts = parts
        self._rankings = parts.templates.page("rankings.html", view=view_rankings())

    async def network(self, request: Request) -> Response:
        """Answer with the newest snapshot."""
        return await self._answer(request, NETWORK, self._render_network)

    async def home(self, request: Request) -> Response:
        """Answer with what there is; without facts if the database does not answer."""
        return await self._answer(request, HOME, self._render_home)

    async def rankings(self, request: Request) -> Response:
        """Answer with the frame, which is the same for everybody."""
        try:
            RequestContext.of(request, self._parts.services)
        except TokengraphError as error:
            return self._refuse(request, error)
        return self._rankings.respond(request)

    async def _answer(self, request: Request, path: str, render: Any) -> Response:
        try:
            context = RequestContext.of(request, self._parts.services)
            try:
                page = await self._obtain(path, context, render)
            except UnavailableError:
                if path != HOME:
                    raise
                page = self._parts.templates.page("home.html", _NO_STORE, view=view_home(None))
        except TokengraphError as error:
            return self._refuse(request, error)
        except Exception:
            log.exception("request %s failed", getattr(request.state, "request_id", ""))
            return self._refuse(request, TokengraphError())
        return page.respond(request)

    async def _obtain(self, path: str, context: RequestContext, render: Any) -> RenderedPage:
        """Return the page of the stored snapshot: rendered once, for as long as that is the newest."""
        answers = self._parts.answers

        async def make() -> Made[RenderedPage]:
            page: RenderedPage = render(await self._parts.documents.run("network", context, {}))
            return Made(page, page.size)

        version = await answers.network.confirm() if answers.memory.limit else None
        return await answers.memory.obtain(("page", path), version, make)

    def _render_network(self, network: dict[str, Any]) -> RenderedPage:
        return self._parts.templates.page(
            "network.html",
            REVALIDATED if network["generated_at"] else _NO_STORE,
            view=view_network(network),
            etag=etag_of(encode_json(network)) if network["generated_at"] else "",
            period=round(self._parts.snapshot_every.total_seconds()),
        )

    def _render_home(self, network: dict[str, Any]) -> RenderedPage:
        return self._parts.templates.page("home.html", REVALIDATED if network["generated_at"] else _NO_STORE, view=view_home(network))

    def _refuse(self, request: Request, error: TokengraphError) -> Response:
        values = {
            "status": error.status,
            "message": "Something went wrong here" if error.status == 500 else error.message,
            "retry_after": error.retry_after if isinstance(error, RateLimitedError | UnavailableError) else None,
            "request_id": getattr(request.state, "request_id", ""),
            "path": request.url.path,
        }
        body = self._parts.templates.html("error.html", **values)
        return Response(body, error.status, headers=page_headers() | error_headers(error), media_type="text/html; charset=utf-8")


def build_pages_router(parts: PageParts, schema: str) -> APIRouter:
    """Return the routes. `schema`: the SDL."""
    router = APIRouter()
    pages = Pages(parts)
    for path, respond in ((HOME, pages.home), (NETWORK, pages.network), (RANKINGS, pages.rankings)):
        router.add_api_route(path, respond, methods=["GET"], include_in_schema=False, response_class=Response)
    text = (schema + "\n").encode()
    headers = {"ETag": etag_of(text), "Cache-Control": REVALIDATED}

    described = {status: {"description": words, "headers": CACHE_HEADERS} for status, words in _SCHEMA_ANSWERS.items()}

    @router.get(
        "/schema.graphql",
        tags=["GraphQL"],
        summary="The schema as SDL",
        response_class=Response,
        responses=described | {200: described[200] | {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        openapi_extra=VALIDATORS,
    )
    async def get_schema(request: Request) -> Response:
        if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(text, headers=headers, media_type="text/plain; charset=utf-8")

    return router
