"""The URLs that tenants call: analytics, its grouped export, request logs and the monthly statement."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, create_model

from app.domain.errors import BadInputError, ForbiddenError
from app.domain.time_range import parse_month
from app.http.answer import answer, json_response
from app.http.envelopes import typed
from app.request.context import RequestContext, Services
from app.rest.bodies import Body, Table, model_of
from app.rest.csv import encode_rows
from app.rest.execute import StoredDocuments
from app.rest.models import STANDARD_LIMITS, TypedError, csv_response_description, error_responses
from app.rest.parameters import parse_choice, parse_integer, refuse_parameters
from app.rest.public import VALIDATORS, validated_responses
from app.rest.query import (
    MAX_LOGS,
    STATUSES,
    ApiKeyId,
    Cursor,
    EndDate,
    Limit,
    LogEnd,
    LogStart,
    ModelId,
    Month,
    Offset,
    StartDate,
    Status,
)
from app.surfaces.limits import MAX_ROWS
from app.surfaces.readers import TENANT_READERS
from app.surfaces.tenant import MAX_OFFSET, TENANT_ANALYTICS, TENANT_REQUESTS

log = logging.getLogger(__name__)

PAGE = 1000
EXPORTED_DAYS = 31
"""Maximum number of dates in one question of the export."""

_WRONG_NAMES = {"from": "start_date", "to": "end_date"}


async def iterate_requests(
    documents: StoredDocuments, context: RequestContext, variables: dict[str, Any]
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield pages of requests, newest first, until there are no more."""
    after: str | None = None
    while True:
        page = await documents.run("tenant_requests", context, {**variables, "first": PAGE, "after": after})
        context.waits_for_points = True  # an answer that has begun must not break off
        yield page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


def statement_table(documents: StoredDocuments) -> Table:
    """Return the columns of the statement: the fields of a request."""
    return Table(documents.roots["tenant_requests"].find("nodes"))


def export_table(documents: StoredDocuments) -> Table:
    """Return the columns of the grouped export: the fields of a group, but for its place."""
    return Table(documents.roots["tenant_usage"], frozenset({"cursor"}))


async def stream_statement(table: Table, pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """Yield the statement: a header, a row a request, and the total of each amount."""
    totals = table.total([])
    count = 0
    yield encode_rows([table.names])
    async for nodes in pages:
        rows = [table.cells(node) for node in nodes]
        totals = table.total([totals, *rows])
        count += len(rows)
        yield encode_rows(rows)
    yield encode_rows([["total", f"{count} requests", *totals[2:]]])


async def stream_export(
    documents: StoredDocuments, context: RequestContext, dates: list[str], api_key_id: str | None
) -> AsyncIterator[bytes]:
    """Yield the grouped export: a header, then the groups of `dates`, ascending, of several at once.

    After a full page the next question is about as many dates as the page had, since each page sums all the dates that it asks for.
    """
    table = export_table(documents)
    yield encode_rows([table.names])
    days = EXPORTED_DAYS
    after: str | None = None
    while dates:
        asked = dates[:days]
        variables = {"date": asked[0], "endDate": asked[-1], "apiKeyId": api_key_id, "limit": MAX_ROWS, "after": after}
        rows = await documents.run("tenant_usage", context, variables)
        context.waits_for_points = True  # as above
        yield encode_rows(map(table.cells, rows))
        if len(rows) < MAX_ROWS:
            finished, after = len(asked), None
            days = min(EXPORTED_DAYS, 2 * days)
        else:
            finished, after = bisect_left(dates, rows[-1]["date"]), rows[-1]["cursor"]
            days = min(EXPORTED_DAYS, finished + 1)
        dates = dates[finished:]


async def _started(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the stream after its first parts were made, so that what fails at once can still be told as an error."""
    head = [await anext(stream)]
    second = await anext(stream, None)
    if second is not None:
        head.append(second)

    async def whole() -> AsyncIterator[bytes]:
        for part in head:
            yield part
        async for part in stream:
            yield part

    return whole()


async def csv_response(stream: AsyncIterator[bytes], filename: str) -> Response:
    """Return a streamed CSV download."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return StreamingResponse(await _started(stream), media_type="text/csv; charset=utf-8", headers=headers)


def page_model(documents: StoredDocuments) -> type[BaseModel]:
    """Return the body of a page of the request log."""
    rows: Any = model_of(documents.roots["tenant_requests"].find("nodes"))
    return create_model(
        "TenantRequestPage",
        __base__=Body,
        __doc__="A page of requests, newest first.",
        data=(list[rows], Field(max_length=MAX_LOGS)),
        limit=(int, ...),
        offset=(int, ...),
        has_more=(bool, ...),
        next_cursor=(str | None, Field(description="Give it as `cursor` for the next page; null on the last.")),
    )


def build_customer_router(services: Services, documents: StoredDocuments) -> APIRouter:
    """Return the routes. All ask for a key that belongs to a tenant and see that tenant only."""
    router = APIRouter(tags=["Customer"])

    async def enter(request: Request, document: str) -> RequestContext:
        context = RequestContext.of(request, services)
        await documents.authorize(document, context)
        refuse_parameters(request.query_params.keys(), _WRONG_NAMES)
        if (await context.principal()).tenant_id is None:  # an admin's: these URLs have no parameter that names a tenant
            raise ForbiddenError(TENANT_READERS.message)
        return context

    @router.get(
        TENANT_ANALYTICS.path,
        summary="What the tenant used and was charged, by day",
        responses={**validated_responses(documents, TENANT_ANALYTICS, "Analytics"), **error_responses(TypedError, 400, 401, 403, 404)},
        openapi_extra=VALIDATORS,
    )
    async def get_tenant_analytics(
        request: Request, start_date: StartDate = None, end_date: EndDate = None, api_key_id: ApiKeyId = None
    ) -> Response:
        async def respond() -> Response:
            context = await enter(request, "tenant_analytics")
            variables = {"startDate": _plus(start_date), "endDate": _plus(end_date), "apiKeyId": api_key_id}
            return json_response(await documents.run("tenant_analytics", context, variables))

        return await answer(typed, request, respond)

    @router.get(
        "/v1/customer/analytics/export.csv",
        summary="The same by date, model, provider, API key and traffic mode, as CSV",
        response_class=Response,
        responses={200: csv_response_description("A row a group"), **error_responses(TypedError, 400, 401, 403, 404)},
    )
    async def get_tenant_export(
        request: Request, start_date: StartDate = None, end_date: EndDate = None, api_key_id: ApiKeyId = None
    ) -> Response:
        async def respond() -> Response:
            context = await enter(request, "tenant_days")
            variables = {"startDate": _plus(start_date), "endDate": _plus(end_date), "apiKeyId": api_key_id}
            days = (await documents.run("tenant_days", context, variables))["timeseries"]
            dates = [day["date"] for day in days if day["requests"]]
            name = f"usage-{days[0]['date']}-to-{days[-1]['date']}.csv"
            return await csv_response(stream_export(documents, context, dates, api_key_id), name)

        return await answer(typed, request, respond)

    @router.get(
        TENANT_REQUESTS.path,
        summary="The tenant's requests, newest first",
        responses={
            200: {"model": page_model(documents), "description": "A page", "headers": STANDARD_LIMITS},
            **error_responses(TypedError, 400, 401, 403, 404),
        },
    )
    async def get_tenant_logs(
        request: Request,
        limit: Limit = None,
        offset: Offset = None,
        cursor: Cursor = None,
        status: Status = None,
        model: ModelId = None,
        start_date: LogStart = None,
        end_date: LogEnd = None,
        api_key_id: ApiKeyId = None,
    ) -> Response:
        async def respond() -> Response:
            context = await enter(request, "tenant_requests")
            if cursor and offset is not None:
                raise BadInputError("give cursor or offset, not both")
            chosen = parse_choice(status, "status", STATUSES)
            first = parse_integer(limit, "limit", 1, MAX_LOGS, 50)
            skip = parse_integer(offset, "offset", 0, MAX_OFFSET, 0)
            variables = {
                "first": first,
                "after": cursor,
                "offset": skip,
                "outcome": None if chosen is None else chosen.upper(),
                "modelId": model,
                "startDate": _plus(start_date),
                "endDate": _plus(end_date),
                "apiKeyId": api_key_id,
            }
            page = await documents.run("tenant_requests", context, variables)
            more = page["pageInfo"]["hasNextPage"]
            return json_response(
                {
                    "data": page["nodes"],
                    "limit": first,
                    "offset": skip,
                    "has_more": more,
                    "next_cursor": page["pageInfo"]["endCursor"] if more else None,
                }
            )

        return await answer(typed, request, respond)

    @router.get(
        "/v1/customer/billing/usage-statement.csv",
        summary="Every request of a month with its charges, and their total, as CSV",
        response_class=Response,
        responses={200: csv_response_description("A row a request, and the total"), **error_responses(TypedError, 400, 401, 403)},
    )
    async def get_usage_statement(
        request: Request,
        month: Month = None,
    ) -> Response:
        async def respond() -> Response:
            context = await enter(request, "tenant_requests")
            name = context.now.strftime("%Y-%m") if month is None else month
            window = parse_month(name, "month")
            variables = {"startDate": window.start_date.isoformat(), "endDate": window.end_date.isoformat()}
            pages = iterate_requests(documents, context, variables)
            try:
                return await csv_response(stream_statement(statement_table(documents), pages), f"usage-statement-{name}.csv")
            except BadInputError as error:  # of the window, which the caller gave as a month
                raise BadInputError(error.spelled(lambda _: "month"), "month") from None

        return await answer(typed, request, respond)

    return router


def _plus(text: str | None) -> str | None:
    """Undo what a form decoder does to the offset of an instant that was not escaped: `+02:00` arrives as ` 02:00`."""
    return None if text is None else text.replace(" ", "+")
