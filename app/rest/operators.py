"""The URLs that operators call: usage analytics and gateway statistics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.domain.errors import ForbiddenError, UnauthenticatedError
from app.domain.time_range import MAX_DAYS_BACK
from app.http.answer import answer, json_response
from app.http.envelopes import detailed, gateway
from app.request.context import RequestContext, Services
from app.rest.execute import StoredDocuments
from app.rest.models import DetailedError, TypedError, error_responses
from app.rest.parameters import parse_choice, parse_integer
from app.rest.public import VALIDATORS, validated_responses
from app.rest.query import (
    AGGREGATIONS,
    WEEK_NUMBERINGS,
    Aggregation,
    DateFrom,
    DateTo,
    Days,
    ModelId,
    ProjectId,
    TopUsersLimit,
    WeekNumbering,
)
from app.surfaces.gateway import GATEWAY_STATS
from app.surfaces.limits import MAX_ROWS
from app.surfaces.usage import DEFAULT_TOP_USERS, MAX_TOP_USERS, USAGE_ANALYTICS


def build_operator_router(services: Services, documents: StoredDocuments) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get(
        USAGE_ANALYTICS.path,
        tags=["Usage"],
        summary="Usage over time, by model, and the users who cost most",
        description="A key of role admin. Without dates the answer covers all there is. `by_model` has the "
        f"{MAX_ROWS:,} rows of the highest cost at most; `time_series` covers all.",
        responses={**validated_responses(documents, USAGE_ANALYTICS, "Usage"), **error_responses(DetailedError, 400, 401, 403)},
        openapi_extra=VALIDATORS,
    )
    async def get_usage_analytics(
        request: Request,
        date_from: DateFrom = None,
        date_to: DateTo = None,
        aggregation: Aggregation = None,
        model_id: ModelId = None,
        week_numbering: WeekNumbering = None,
        top_users_limit: TopUsersLimit = None,
    ) -> Response:
        async def respond() -> Response:
            context = RequestContext.of(request, services)
            await documents.authorize("usage_analytics", context)
            variables = {
                "dateFrom": date_from,
                "dateTo": date_to,
                "aggregation": (parse_choice(aggregation, "aggregation", AGGREGATIONS) or "day").upper(),
                "modelId": model_id,
                "weekNumbering": (parse_choice(week_numbering, "week_numbering", WEEK_NUMBERINGS) or "iso").upper(),
                "byModelLimit": MAX_ROWS,
                "topUsersLimit": parse_integer(top_users_limit, "top_users_limit", 1, MAX_TOP_USERS, DEFAULT_TOP_USERS),
            }
            return json_response(await documents.run("usage_analytics", context, variables))

        return await answer(detailed, request, respond)

    @router.get(
        GATEWAY_STATS.path,
        tags=["Gateway"],
        summary="Request counts and outcomes of the gateway",
        description="The GATEWAY_API_KEY, or a key of role gateway or admin. `providers`, `models` and `projects` have the "
        f"{MAX_ROWS:,} with most requests at most; the totals cover all.",
        responses={**validated_responses(documents, GATEWAY_STATS, "Counts"), **error_responses(TypedError, 400, 401)},
        openapi_extra=VALIDATORS,
    )
    async def get_gateway_stats(
        request: Request,
        project_id: ProjectId = None,
        days: Days = None,
    ) -> Response:
        async def respond() -> Response:
            context = RequestContext.of(request, services)
            try:
                await documents.authorize("gateway_stats", context)
            except ForbiddenError as error:  # the document knows one key, and tells every other one the same
                raise UnauthenticatedError(error.message) from None
            variables = {"projectId": project_id, "days": parse_integer(days, "days", 1, MAX_DAYS_BACK), "limit": MAX_ROWS}
            return json_response(await documents.run("gateway_stats", context, variables))

        return await answer(gateway, request, respond)

    return router
