"""`POST /v1/ingest/usage`: usage records in JSON or NDJSON."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.domain.errors import UnsupportedEncodingError
from app.http.answer import answer, json_response
from app.http.envelopes import typed
from app.ingest.parse import parse_json, parse_ndjson
from app.rest.models import ReceiptResponse, TypedError, error_responses
from app.rest.usage_record import RECORD_EXAMPLE, RECORD_REFERENCE
from app.web.direct_routes import DirectRoute
from app.web.ingest_endpoint import IngestEndpoint, Parser

_RECORDS = {"type": "array", "items": RECORD_REFERENCE, "example": [RECORD_EXAMPLE]}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    _RECORDS,
                    {"type": "object", "required": ["records"], "properties": {"records": _RECORDS}},
                ]
            }
        },
        "application/x-ndjson": {"schema": {"type": "string", "description": "One record per line."}},
    },
}
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_JSON = ("application/json", "")


def _pick_parser(content_type: str) -> Parser:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _NDJSON:
        return Parser(lambda body, now, tenant: parse_ndjson(body, now=now, tenant_id=tenant))
    if kind in _JSON:
        return Parser(lambda body, now, tenant: parse_json(body, now=now, tenant_id=tenant))
    raise UnsupportedEncodingError("Content-Type must be application/json or application/x-ndjson")


PATH = "/v1/ingest/usage"


def build_usage_route(ingest: IngestEndpoint) -> DirectRoute:
    """Return the ingest endpoint of usage records."""

    async def post_usage(request: Request) -> Response:
        async def respond() -> Response:
            await ingest.admit(request)  # permission before Content-Type
            parser = _pick_parser(request.headers.get("content-type", ""))
            return json_response((await ingest.take(request, parser)).as_json())

        return await answer(typed, request, respond)

    return DirectRoute("POST", PATH, post_usage)


def build_ingest_router(route: DirectRoute) -> APIRouter:
    """Return the router that describes the route in OpenAPI."""
    router = APIRouter(tags=["Ingest"])

    @router.post(
        PATH,
        summary="Write usage records",
        description='A JSON array, `{"records": [...]}`, or NDJSON (`application/x-ndjson`), plain, gzip or zstd. '
        "A key of role `ingest` or `admin`. A record is identified by (`tenant_id`, `request_id`): sending it again changes nothing. "
        "The receipt is sent after the commit.",
        responses={
            200: {"model": ReceiptResponse, "description": "The receipt"},
            **error_responses(TypedError, 400, 401, 403, 408, 413, 415),
        },
        openapi_extra={"requestBody": _REQUEST_BODY},
    )
    async def post_usage(request: Request) -> Response:
        return await route.respond(request)

    return router
