"""The public URLs: network and rankings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from app.http.answer import answer, json_response
from app.http.envelopes import numbered
from app.request.context import RequestContext, Services
from app.rest.bodies import model_of
from app.rest.execute import StoredDocuments
from app.rest.models import LIMITS, STANDARD_LIMITS, NumberedError, error_responses
from app.rest.query import RankingsEnd, RankingsStart
from app.surfaces.declare import Surface
from app.surfaces.network import NETWORK
from app.surfaces.rankings import RANKINGS_DAILY

NETWORK_CACHE_CONTROL = "public, max-age=600, s-maxage=600"
VALIDATORS: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "Validators of copies that the client holds.",
            "required": False,
            "schema": {"type": "string"},
        }
    ]
}
"""What OpenAPI says more of a URL whose answers have validators; they are judged before the routes, in `app.web.answer_cache`."""

CACHE_HEADERS = {
    "Cache-Control": {"description": "How long the answer may be kept.", "schema": {"type": "string"}},
    "ETag": {"description": "Validator of the body.", "schema": {"type": "string"}},
}


def validated_responses(
    documents: StoredDocuments, surface: Surface, description: str, limits: Mapping[str, Any] = STANDARD_LIMITS
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answers of a URL whose answers have validators: 200 and 304. `limits`: the headers that say what is left."""
    return {
        200: {"model": model_of(documents.roots[surface.root]), "description": description, "headers": {**CACHE_HEADERS, **limits}},
        304: {"description": "The answer is one that If-None-Match names", "headers": CACHE_HEADERS},
    }


def build_public_router(services: Services, documents: StoredDocuments) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get(
        NETWORK.path,
        tags=["Network"],
        summary="Aggregate statistics of the network",
        description="Total tokens, top models and activity of the last 30 days, computed every 10 minutes. No authentication.",
        responses={**validated_responses(documents, NETWORK, "The newest snapshot"), **error_responses(NumberedError)},
        openapi_extra=VALIDATORS,
    )
    async def get_network(request: Request) -> Response:
        async def respond() -> Response:
            body = await documents.run("network", RequestContext.of(request, services), {})
            cache_control = "no-store" if body["generated_at"] is None else NETWORK_CACHE_CONTROL
            return json_response(body, headers={"Cache-Control": cache_control})

        return await answer(numbered, request, respond)

    @router.get(
        RANKINGS_DAILY.path,
        tags=["Datasets"],
        operation_id="getRankingsDaily",
        summary="Daily token totals for top 50 models",
        description="The top 50 public models of each UTC day by total tokens, and one `other` row. Any API key; 30 requests a minute per "
        "key, 500 a UTC day per account.",
        responses={
            **validated_responses(documents, RANKINGS_DAILY, "Up to 51 rows a day", LIMITS),
            **error_responses(NumberedError, 400, 401),
        },
        openapi_extra=VALIDATORS,
    )
    async def get_rankings_daily(
        request: Request,
        start_date: RankingsStart = None,
        end_date: RankingsEnd = None,
    ) -> Response:
        async def respond() -> Response:
            context = RequestContext.of(request, services)
            await documents.authorize("rankings_daily", context)
            variables = {"startDate": start_date, "endDate": end_date}
            return json_response(await documents.run("rankings_daily", context, variables))

        return await answer(numbered, request, respond)

    return router
