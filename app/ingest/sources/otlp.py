"""The wire format of OTLP/HTTP traces: a protobuf or JSON body to spans. Pure. It knows nothing of what the attributes mean.

Only the attributes and events that are asked for are taken out, cut to a length that no rule of a record allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.domain.errors import BadInputError, BodyTooLargeError
from app.ingest.parse import MAX_RECORDS, UTF8_BOM
from app.ingest.weight import refuse_heavy, weigh_json, weigh_protobuf

MAX_TEXT: Final = 512
MAX_ITEMS: Final = 16

ERROR_STATUS: Final = 2
"""`STATUS_CODE_ERROR` of a span's status."""

_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_TRACE_ID_DIGITS: Final = 32
_SPAN_ID_DIGITS: Final = 16
_KINDS: Final = ("stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")

NO_SCALAR: Final[Mapping[str, object]] = {}
"""Stands for a map or bytes: present, and refused by the rule of every field."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names of the attributes (of spans and resources) and of the span events to take out."""

    attributes: frozenset[str]
    events: frozenset[str]


@dataclass(frozen=True, slots=True)
class Span:
    """What was asked for of one span.

    Ids: hexadecimal, lower case, empty where they are invalid. Times: Unix nanoseconds, None where absent or 0. Attribute values: text,
    int, float, bool, a list of such, or NO_SCALAR.
    """

    trace_id: str
    span_id: str
    name: str
    scope: str
    start_ns: int | None
    end_ns: int | None
    failed: bool
    attributes: Mapping[str, object]
    resource: Mapping[str, object]
    first_event_ns: int | None
    """When the earliest of the wanted events was."""


class _Counter:
    """Bounds the parts of a body: what one costs does not depend on its length, so that bytes alone do not bound the work."""

    def __init__(self) -> None:
        self._left = MAX_RECORDS

    def take(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise BodyTooLargeError(f"the body holds more than {MAX_RECORDS} resources, scopes and spans: send several")


def parse_protobuf(body: bytes, wanted: Wanted) -> Iterator[Span]:
    """Read an ExportTraceServiceRequest. BadInputError: it is none; BodyTooLargeError: more than MAX_RECORDS parts, or too heavy."""
    refuse_heavy(body, weigh_protobuf)
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise BadInputError("the body is no ExportTraceServiceRequest in protobuf") from None
    counter = _Counter()
    counter.take(len(request.resource_spans))
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes, wanted.attributes)
        counter.take(len(resource_spans.scope_spans))
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name[:MAX_TEXT]
            counter.take(len(scope_spans.spans))
            for span in scope_spans.spans:
                yield Span(
                    trace_id=_bytes_id(span.trace_id, _TRACE_ID_DIGITS),
                    span_id=_bytes_id(span.span_id, _SPAN_ID_DIGITS),
                    name=span.name[:MAX_TEXT],
                    scope=scope,
                    start_ns=span.start_time_unix_nano or None,
                    end_ns=span.end_time_unix_nano or None,
                    failed=span.status.code == ERROR_STATUS,
                    attributes=_attributes(span.attributes, wanted.attributes),
                    resource=resource,
                    first_event_ns=_earliest(event.time_unix_nano or None for event in span.events if event.name in wanted.events),
                )


def _earliest(times: Iterator[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)


def _bytes_id(value: bytes, digits: int) -> str:
    return value.hex() if len(value) * 2 == digits and any(value) else ""


def _attributes(pairs: Any, wanted: frozenset[str]) -> dict[str, object]:
    return {pair.key: value for pair in pairs if pair.key in wanted and (value := _value(pair.value)) is not None}


def _value(value: Any, depth: int = 0) -> object:
    """An AnyValue; None where it is unset."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:MAX_TEXT]
    if kind in ("int_value", "double_value", "bool_value"):
        return getattr(value, kind)
    if kind == "array_value" and not depth:
        return [_value(item, 1) for item in value.array_value.values[:MAX_ITEMS]]
    return None if kind is None else NO_SCALAR


def parse_json(body: bytes, wanted: Wanted) -> Iterator[Span]:
    """Read the same in OTLP/JSON: ids in hexadecimal, 64-bit integers as strings or numbers, unknown fields ignored. Errors as above."""
    request = _decode_json(body)
    if not isinstance(request, dict):
        raise BadInputError('the body must be an object {"resourceSpans": [...]}')
    counter = _Counter()
    for resource_spans in _drained(_objects(request, "resourceSpans", counter)):
        resource = _json_attributes(_object(resource_spans, "resource"), wanted.attributes)
        for scope_spans in _drained(_objects(resource_spans, "scopeSpans", counter)):
            scope = _text(_object(scope_spans, "scope"), "name")
            for span in _drained(_objects(scope_spans, "spans", counter)):
                yield Span(
                    trace_id=_hex_id(span.get("traceId"), _TRACE_ID_DIGITS),
                    span_id=_hex_id(span.get("spanId"), _SPAN_ID_DIGITS),
                    name=_text(span, "name"),
                    scope=scope,
                    start_ns=_nanoseconds(span.get("startTimeUnixNano")),
                    end_ns=_nanoseconds(span.get("endTimeUnixNano")),
                    failed=_object(span, "status").get("code") in (ERROR_STATUS, "STATUS_CODE_ERROR"),
                    attributes=_json_attributes(span, wanted.attributes),
                    resource=resource,
                    first_event_ns=_earliest(
                        _nanoseconds(event.get("timeUnixNano"))
                        for event in _objects(span, "events")
                        if _text(event, "name") in wanted.events
                    ),
                )


def _long_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 20 else float(digits)


# Takes lone surrogates, which texts of models that were cut in the middle have.
_LENIENT: Final = json.JSONDecoder(parse_int=_long_integer)


def _decode_json(body: bytes) -> object:
    body = body.removeprefix(UTF8_BOM)
    if not body or body.isspace():
        raise BadInputError("the body is empty")
    refuse_heavy(body, weigh_json)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return _LENIENT.decode(body.decode())
        except (ValueError, RecursionError):
            raise BadInputError(f"the body is malformed JSON at line {error.lineno} column {error.colno}: {error.msg}") from None


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInputError(f"{name} must be an object")
    return value


def _objects(parent: Mapping[str, Any], name: str, counter: _Counter | None = None) -> list[Mapping[str, Any]]:
    values = parent.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise BadInputError(f"{name} must be an array of objects")
    if counter is not None:
        counter.take(len(values))
    for value in values:
        if type(value) is not dict:
            raise BadInputError(f"{name} must be an array of objects")
    return values


def _drained(values: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Give the values in order, letting go of each: what is gone, the garbage collector does not walk through again and again."""
    values.reverse()
    while values:
        yield values.pop()


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _hex_id(value: object, digits: int) -> str:
    if isinstance(value, str) and len(value) == digits and _HEX.fullmatch(value) and value.strip("0"):
        return value.lower()
    return ""


def _nanoseconds(value: object) -> int | None:
    number = _integer(value)
    return number if isinstance(number, int) and 0 < number < 2**64 else None


def _integer(value: object) -> object:
    """A 64-bit integer as JSON may write it; anything else as it is, for the rules to refuse."""
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else value[:MAX_TEXT]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float) else NO_SCALAR


def _json_attributes(owner: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, object]:
    taken: dict[str, object] = {}
    for pair in _objects(owner, "attributes"):
        name = pair.get("key")
        if isinstance(name, str) and name in wanted:
            value = _json_value(pair.get("value"))
            if value is not None:
                taken[name] = value
    return taken


def _json_value(value: object, depth: int = 0) -> object:
    """An AnyValue in JSON; None where it is unset or null."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return NO_SCALAR
    kind = next((kind for kind in _KINDS if value.get(kind) is not None), None)
    if kind is None:
        return None
    content = value[kind]
    if kind == "stringValue":
        return content[:MAX_TEXT] if isinstance(content, str) else NO_SCALAR
    if kind == "intValue":
        return _integer(content)
    if kind == "boolValue":
        return content if isinstance(content, bool) else NO_SCALAR
    if kind == "doubleValue":
        # A number without a fraction is a double all the same, as it is in protobuf.
        return content[:MAX_TEXT] if isinstance(content, str) else float(content) if isinstance(content, int | float) else NO_SCALAR
    if kind == "arrayValue" and not depth and isinstance(content, dict):
        items = content.get("values") or []
        return [_json_value(item, 1) for item in items[:MAX_ITEMS]] if isinstance(items, list) else NO_SCALAR
    return NO_SCALAR
