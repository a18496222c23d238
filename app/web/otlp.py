"""`/v1/traces`, OTLP/HTTP, and `/v1/ingest/openrouter`, where OpenRouter's Broadcast sends the same. Responses and errors are OTLP."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic import Field

from app.domain.errors import BadInputError, TokengraphError, UnsupportedEncodingError
from app.domain.usage import ParsedBatch, Quarantined
from app.http.envelopes import error_headers
from app.http.json import encode_json
from app.ingest.fields import ID_PATTERN, FieldRules
from app.ingest.sources.conventions import CONVENTIONS, EXCLUSIVE, INCLUSIVE, TokenConvention
from app.ingest.sources.genai import TENANT_HEADER
from app.ingest.sources.traces import Delivery, Encoding, parse_traces
from app.ingest.weight import weigh_json, weigh_protobuf
from app.rest.bodies import Body
from app.rest.models import error_responses
from app.web.ingest_endpoint import IngestEndpoint, Parser, named_tenant
from app.write.receipt import Receipt

log = logging.getLogger(__name__)

TRACES: Final = "/v1/traces"
OPENROUTER: Final = "/v1/ingest/openrouter"
PATHS: Final = (TRACES, OPENROUTER)
CONVENTION_HEADER: Final = "X-Token-Convention"
TEST_HEADER: Final = "X-Test-Connection"

_CONVENTIONS: Final = {"": CONVENTIONS["otlp"], "inclusive": INCLUSIVE, "exclusive": EXCLUSIVE}

# google.rpc.Code. 413 and 415 are errors of the request too: no code may request a retry that the HTTP status excludes.
_INVALID_ARGUMENT: Final = 3
_INTERNAL: Final = 13
_RPC_CODES: Final = {401: 16, 403: 7, 404: 5, 429: 8, 500: _INTERNAL, 503: 14}


class PartialSuccess(Body):
    """Rejected spans, or a warning about accepted ones."""

    rejected_spans: str | None = Field(
        default=None, alias="rejectedSpans", pattern=r"^\d+$", description="Spans that are lost: a 64-bit integer, so a string."
    )
    error_message: str = Field(alias="errorMessage", description="What is wrong with them.")


class ExportedTraces(Body):
    """ExportTraceServiceResponse: every span was accepted, unless `partialSuccess` is present."""

    partial_success: PartialSuccess | None = Field(default=None, alias="partialSuccess")


class RpcStatus(Body):
    """google.rpc.Status."""

    code: int
    message: str


_OTLP_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: Final = {
    "required": True,
    "content": {
        Encoding.JSON.value: {
            "schema": {
                "type": "object",
                "description": "ExportTraceServiceRequest in OTLP/JSON.",
                "properties": {"resourceSpans": {"type": "array", "items": {"type": "object"}}},
                "example": {"resourceSpans": []},
            }
        },
        Encoding.PROTOBUF.value: _OTLP_BINARY,
    },
}
_HEADERS: Final = [
    {
        "name": TENANT_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"},
        "description": "The tenant of spans that name none. It does not override the tenant that a key is bound to.",
    },
    {
        "name": CONVENTION_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": ["inclusive", "exclusive"]},
        "description": "Whether cached and reasoning tokens are part of the input and output tokens (default), or reported beside them.",
    },
]


def encode_exported(rejected: int, message: str, encoding: Encoding) -> bytes:
    """Return an ExportTraceServiceResponse, empty unless there is a message. `rejected`: spans that are lost."""
    if encoding is Encoding.JSON:
        shown = ({"rejectedSpans": str(rejected)} if rejected else {}) | {"errorMessage": message}
        return encode_json({"partialSuccess": shown} if message else {})
    exported = ExportTraceServiceResponse()
    if message:
        exported.partial_success.rejected_spans = rejected
        exported.partial_success.error_message = message
    return exported.SerializeToString()


def encode_status(code: int, message: str, encoding: Encoding) -> bytes:
    """Return a google.rpc.Status. Encoded by hand, because it has only two fields: 1, the code, and 2, the message."""
    if encoding is Encoding.JSON:
        return encode_json({"code": code, "message": message})
    text = message.encode()
    return bytes((1 << 3, code, 2 << 3 | 2)) + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _encoding_of(content_type: str, default: Encoding | None) -> Encoding | None:
    """Return the encoding of a Content-Type; None: unknown."""
    kind = content_type.partition(";")[0].strip().lower()
    if not kind:
        return default
    return next((encoding for encoding in Encoding if encoding.value == kind), None)


def _convention(request: Request) -> TokenConvention:
    named = request.headers.get(CONVENTION_HEADER, "").strip().lower()
    if named not in _CONVENTIONS:
        raise BadInputError(f"the header {CONVENTION_HEADER} must be inclusive or exclusive")
    return _CONVENTIONS[named]


def describe_outcome(receipt: Receipt, quarantined: Sequence[Quarantined]) -> str:
    """Return a message about rejected and quarantined spans; empty if there are none."""
    told = []
    if receipt.rejected:
        first = receipt.errors[0].message if receipt.errors else "no reason is known"
        told.append(f"{receipt.rejected} of {receipt.received} spans of model calls were rejected and are lost; the first: {first}")
    if receipt.quarantined:
        reasons = next((item.reasons for item in quarantined if item.reasons), ())
        first = "; ".join(f"{reason.field} {reason.message}" if reason.field else reason.message for reason in reasons)
        told.append(
            f"{receipt.quarantined} of {receipt.received} spans of model calls are quarantined until an administrator decides"
            f" (nothing is lost, do not send them again); the first: {first}"
        )
    return ". ".join(told)


def _answer(content: bytes, encoding: Encoding, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type=encoding.value)


def _refusal(error: TokengraphError, encoding: Encoding) -> Response:
    message = "Internal Server Error" if error.status == 500 else error.message
    code = _RPC_CODES.get(error.status, _INVALID_ARGUMENT)
    return _answer(encode_status(code, message, encoding), encoding, error.status, error_headers(error))


def refuse(content_type: str, error: TokengraphError) -> Response:
    """Return a refusal in the encoding of the request."""
    return _refusal(error, _encoding_of(content_type, None) or Encoding.JSON)


async def _export(ingest: IngestEndpoint, request: Request, *, from_openrouter: bool) -> Response:
    known = _encoding_of(request.headers.get("content-type", ""), default=Encoding.JSON if from_openrouter else None)
    encoding = known or Encoding.JSON
    try:
        await ingest.admit(request)
        if known is None:
            raise UnsupportedEncodingError("Content-Type must be application/x-protobuf or application/json")
        if request.headers.get(TEST_HEADER, "").strip().lower() == "true":
            return _answer(encode_exported(0, "", encoding), encoding)
        delivery = Delivery(encoding, _convention(request), named_tenant(request), all_openrouter=from_openrouter)
        parsed: list[ParsedBatch] = []

        def parse(body: bytes, now: datetime, tenant_id: str | None) -> ParsedBatch:
            parsed.append(parse_traces(body, delivery, FieldRules(now, tenant_id)))
            return parsed[-1]

        receipt = await ingest.take(request, Parser(parse, weigh_json if encoding is Encoding.JSON else weigh_protobuf))
        message = describe_outcome(receipt, parsed[-1].quarantined)
        return _answer(encode_exported(receipt.rejected, message, encoding), encoding)
    except TokengraphError as error:
        return _refusal(error, encoding)
    except Exception:
        log.exception("request %s failed", getattr(request.state, "request_id", ""))
        return _refusal(TokengraphError(), encoding)


def build_otlp_router(ingest: IngestEndpoint) -> APIRouter:
    """Return the ingest endpoints of traces."""
    router = APIRouter(tags=["Ingest"])

    async def traces(request: Request) -> Response:
        return await _export(ingest, request, from_openrouter=False)

    async def openrouter(request: Request) -> Response:
        return await _export(ingest, request, from_openrouter=True)

    answers = error_responses(RpcStatus, 400, 401, 403, 408, 413, 415)
    taken: dict[int | str, dict[str, Any]] = {
        200: {
            "model": ExportedTraces,
            "description": "The spans were taken",
            "content": {Encoding.PROTOBUF.value: _OTLP_BINARY},
        }
    }
    for path, endpoint, name, words in (
        (
            TRACES,
            traces,
            "Write traces by OTLP/HTTP",
            "Spans of model calls, by the GenAI semantic conventions; others are passed over.",
        ),
        (
            OPENROUTER,
            openrouter,
            "Write what OpenRouter's Broadcast sends",
            "OTLP/JSON, as OpenRouter's Webhook destination sends it.",
        ),
    ):
        for method in ("POST", "PUT"):
            router.add_api_route(
                path,
                endpoint,
                methods=[method],
                operation_id=f"{endpoint.__name__}_{method.lower()}",
                summary=name,
                description=f"{words} A key of role `ingest` or `admin`. With `X-Test-Connection: true` nothing is read. Errors are"
                " google.rpc.Status. Answers are in the encoding of the request.",
                responses=taken | answers,
                openapi_extra={"requestBody": _REQUEST_BODY, "parameters": _HEADERS},
            )
    return router
