"""`POST /v1/ingest/litellm`: what LiteLLM's generic API callback sends."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request, Response

from app.domain.errors import BadInputError, OverloadedError, UnavailableError
from app.domain.usage import ParsedBatch
from app.http.answer import answer, json_response
from app.http.envelopes import typed
from app.ingest.fields import ID_PATTERN, FieldRules
from app.ingest.sources.genai import TENANT_HEADER
from app.ingest.sources.litellm import Delivery, TenantFrom, parse_payloads
from app.rest.models import ReceiptResponse, TypedError, error_responses
from app.web.ingest_endpoint import IngestEndpoint, Parser, named_tenant

TENANT_FROM_HEADER: Final = "X-Tokengraph-Tenant-From"

_PAYLOAD: Final = {
    "type": "object",
    "description": "LiteLLM's StandardLoggingPayload. Messages and responses are not read.",
    "example": {
        "id": "chatcmpl-1",
        "call_type": "acompletion",
        "status": "success",
        "custom_llm_provider": "openai",
        "model": "gpt-4o",
        "startTime": 1782475200.25,
        "endTime": 1782475201.5,
        "prompt_tokens": 1200,
        "completion_tokens": 80,
        "total_tokens": 1280,
        "response_cost": 0.0038,
        "metadata": {"user_api_key_team_id": "acme"},
    },
}
_REQUEST_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {"schema": {"oneOf": [{"type": "array", "items": _PAYLOAD}, _PAYLOAD]}},
        "application/x-ndjson": {"schema": {"type": "string", "description": "A payload a line."}},
    },
}
_HEADERS: Final = [
    {
        "name": TENANT_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"},
        "description": "The tenant of payloads that name none. It does not override the tenant that a key is bound to.",
    },
    {
        "name": TENANT_FROM_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": [word.value for word in TenantFrom]},
        "description": "What of a payload names its tenant; default `team`.",
    },
]


def _tenant_from(request: Request) -> TenantFrom:
    word = request.headers.get(TENANT_FROM_HEADER, "").strip().lower()
    try:
        return TenantFrom(word) if word else TenantFrom.TEAM
    except ValueError:
        words = ", ".join(known.value for known in TenantFrom)
        raise BadInputError(f"the header {TENANT_FROM_HEADER} must be one of {words}") from None


def build_litellm_router(ingest: IngestEndpoint) -> APIRouter:
    """Return the ingest endpoint of LiteLLM's logs."""
    router = APIRouter(tags=["Ingest"])

    @router.post(
        "/v1/ingest/litellm",
        summary="Write what LiteLLM's generic API callback sends",
        description="LiteLLM's logging payloads: an array, one of them, or one a line, told apart by the body; plain, gzip or zstd. "
        "A key of role `ingest` or `admin`. A payload that is sent again changes nothing; one that contradicts itself or names no tenant "
        "is quarantined. The receipt follows the commit.",
        responses={
            200: {"model": ReceiptResponse, "description": "The receipt"},
            **error_responses(TypedError, 400, 401, 403, 408, 413, 415, 503),
        },
        openapi_extra={"requestBody": _REQUEST_BODY, "parameters": _HEADERS},
    )
    async def post_litellm(request: Request) -> Response:
        async def respond() -> Response:
            await ingest.admit(request)
            default_tenant, tenant_from = named_tenant(request), _tenant_from(request)

            def parse(body: bytes, now: datetime, tenant_id: str | None) -> ParsedBatch:
                return parse_payloads(body, Delivery(tenant_from, default_tenant, tenant_id), FieldRules(now, tenant_id))

            try:
                receipt = await ingest.take(request, Parser(parse))
            except OverloadedError as error:
                # LiteLLM retries only after a 5xx; after a 429 it drops the payload.
                raise UnavailableError(error.message) from None
            return json_response(receipt.as_json())

        return await answer(typed, request, respond)

    return router
