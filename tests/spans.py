"""Makes spans as OTLP/JSON writes them, and the same requests in protobuf."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
START = 1_782_400_000_123_456_789
SECOND = 10**9
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "tenant.id": "acme",
}


def any_value(value: object) -> dict[str, Any]:
    """Return an AnyValue as OTLP/JSON writes it; a dict is taken as one already."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [any_value(item) for item in value]}}
        case dict():
            return value
    raise TypeError(type(value))


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return attributes; those that are None are left out."""
    return [{"key": name, "value": any_value(value)} for name, value in values.items() if value is not None]


def span(values: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """Return a span of a chat that took a second; fields that are None are left out."""
    fields: dict[str, Any] = {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + SECOND),
        "attributes": attributes(CHAT if values is None else values),
        **given,
    }
    return {name: value for name, value in fields.items() if value is not None}


def request(*spans: dict[str, Any], resource: dict[str, Any] | None = None, scope: str = "") -> dict[str, Any]:
    """Return an ExportTraceServiceRequest."""
    scope_spans = {"scope": {"name": scope}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": [scope_spans]}]}


def to_protobuf(body: dict[str, Any]) -> bytes:
    """Return the same request in protobuf; the ids are hexadecimal in OTLP/JSON and base64 in protobuf's own."""
    copy = orjson.loads(orjson.dumps(body))
    for one in copy["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId"):
            if name in one:
                one[name] = base64.b64encode(bytes.fromhex(one[name])).decode()
    return json_format.ParseDict(copy, ExportTraceServiceRequest()).SerializeToString()
