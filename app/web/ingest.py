"""Ways in over HTTP: a bounded body, decompressed as it arrives, parsed, written; the receipt is sent after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, Request, Response

from app.domain.errors import BodyTooLargeError, ForbiddenError, UnsupportedEncodingError
from app.domain.usage import ParsedBatch
from app.ingest.batch import Ingestor
from app.ingest.decompress import BodyDecoder
from app.ingest.parse import parse_json, parse_ndjson
from app.resolvers.context import RequestContext, Services
from app.rest.answer import answer, json_response
from app.rest.envelopes import typed
from app.rest.models import ReceiptResponse, TypedError, error_responses
from app.web.metrics import Metrics

_RECORD = {
    "type": "object",
    "required": ["request_id", "occurred_at"],
    "properties": {
        "request_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "occurred_at": {"type": "string", "format": "date-time"},
        "tenant_id": {"type": "string"},
        "model_id": {"type": "string"},
        "prompt_tokens": {"type": "integer", "minimum": 0},
        "completion_tokens": {"type": "integer", "minimum": 0},
    },
    "example": {
        "request_id": "req-1",
        "occurred_at": "2026-06-26T12:00:00Z",
        "tenant_id": "acme",
        "model_id": "openai/gpt-4o",
        "prompt_tokens": 1200,
        "completion_tokens": 80,
    },
}
_RECORDS = {
    "type": "array",
    "items": {"description": "A usage record; one that breaks a rule is rejected by itself."},
    "example": [_RECORD["example"]],
}
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
        "application/x-ndjson": {"schema": {"type": "string", "description": "A record a line."}},
    },
}
_INLINE_BYTES = 64 * 1024

_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_JSON = ("application/json", "")


async def read_body(request: Request, limit: int) -> bytes:
    """Return the decompressed body. BodyTooLargeError as soon as more than `limit` bytes came, compressed or not."""
    decoder = BodyDecoder(request.headers.get("content-encoding", ""), limit)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLargeError(f"the body is larger than {limit} bytes")
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        if arrived > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
        if chunk:
            decoder.feed(chunk)
    return decoder.finish()


def _pick_parser(content_type: str) -> Callable[[bytes, datetime, str | None], ParsedBatch]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _NDJSON:
        return lambda body, now, tenant: parse_ndjson(body, now=now, tenant_id=tenant)
    if kind in _JSON:
        return lambda body, now, tenant: parse_json(body, now=now, tenant_id=tenant)
    raise UnsupportedEncodingError("Content-Type must be application/json or application/x-ndjson")


def build_ingest_router(services: Services, ingestor: Ingestor, metrics: Metrics, body_limit: int) -> APIRouter:
    """Return the ways in. `body_limit`: bytes, of the body as sent and as decompressed."""
    router = APIRouter(tags=["Ingest"])

    @router.post(
        "/v1/ingest/usage",
        summary="Write usage records",
        description='A JSON array, `{"records": [...]}`, or NDJSON (`application/x-ndjson`), plain, gzip or zstd. '
        "A key of role `ingest` or `admin`. A record is known by (`tenant_id`, `request_id`): sending it again changes nothing. "
        "The receipt follows the commit.",
        responses={200: {"model": ReceiptResponse, "description": "The receipt"}, **error_responses(TypedError, 400, 401, 403, 413, 415)},
        openapi_extra={"requestBody": _REQUEST_BODY},
    )
    async def post_usage(request: Request) -> Response:
        async def respond() -> Response:
            context = RequestContext.of(request, services)
            principal = await context.principal()
            if not principal.may_ingest:
                raise ForbiddenError("a key of role ingest or admin is needed to write")
            parse = _pick_parser(request.headers.get("content-type", ""))
            body = await read_body(request, body_limit)
            tenant = principal.tenant_id
            if len(body) <= _INLINE_BYTES:
                batch = parse(body, context.now, tenant)
            else:
                batch = await asyncio.to_thread(parse, body, context.now, tenant)
            receipt = await ingestor.ingest(batch)
            metrics.observe_receipt(receipt)
            return json_response(receipt.as_json())

        return await answer(typed, request, respond)

    return router
