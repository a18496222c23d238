"""The public URLs: network and rankings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from app.resolvers.context import RequestContext, Services
from app.rest.answer import answer, json_response
from app.rest.envelopes import numbered
from app.rest.execute import StoredDocuments
from app.rest.json import encode_json, etag_matches, etag_of

NETWORK_CACHE_CONTROL = "public, max-age=600, s-maxage=600"
_RANGES = {"24h": "h24", "7d": "d7", "30d": "d30"}


def shape_network_body(network: dict[str, Any]) -> dict[str, Any]:
    """Return the documented body: the trend's ranges by the names that GraphQL cannot spell."""
    return {**network, "trend": {name: network["trend"][field] for name, field in _RANGES.items()}}


def build_public_router(services: Services, documents: StoredDocuments) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get(
        "/api/v1/analytics/network",
        tags=["Network"],
        summary="Aggregate statistics of the network",
        description="Total tokens, top models and activity of the last 30 days, computed every 10 minutes. No authentication.",
    )
    async def get_network(request: Request, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        async def respond() -> Response:
            body = shape_network_body(await documents.run("network", RequestContext.of(request, services), {}))
            encoded = encode_json(body)
            if body["generated_at"] is None:
                return Response(encoded, media_type="application/json", headers={"Cache-Control": "no-store"})
            headers = {"Cache-Control": NETWORK_CACHE_CONTROL, "ETag": etag_of(encoded)}
            if etag_matches(if_none_match, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            return Response(encoded, media_type="application/json", headers=headers)

        return await answer(numbered, request, respond)

    @router.get(
        "/api/v1/datasets/rankings-daily",
        tags=["Datasets"],
        operation_id="getRankingsDaily",
        summary="Daily token totals for top 50 models",
        description="The top 50 public models of each UTC day by total tokens, and one `other` row. Any API key; 30 requests a minute per "
        "key, 500 a UTC day per account.",
    )
    async def get_rankings_daily(
        request: Request,
        start_date: Annotated[str | None, Query(description="First date, YYYY-MM-DD (UTC), inclusive.")] = None,
        end_date: Annotated[str | None, Query(description="Last date, YYYY-MM-DD (UTC), inclusive.")] = None,
    ) -> Response:
        async def respond() -> Response:
            variables = {"startDate": start_date, "endDate": end_date}
            return json_response(await documents.run("rankings_daily", RequestContext.of(request, services), variables))

        return await answer(numbered, request, respond)

    return router
