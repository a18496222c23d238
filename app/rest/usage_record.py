"""The usage record as OpenAPI describes it, derived from the table of its fields."""

from __future__ import annotations

from typing import Any, Final, assert_never

from app.domain.describe import describe
from app.domain.fields import MAX_COUNT, Amount, Choice, Cost, Count, DisplayName, Flag, Instant, Kind, ModelName, Name, SmallNumber, Text
from app.domain.usage import FIELDS

RECORD_SCHEMA: Final = "UsageRecord"
RECORD_REFERENCE: Final = {"$ref": f"#/components/schemas/{RECORD_SCHEMA}"}
RECORD_EXAMPLE: Final = {
    "request_id": "req-1",
    "occurred_at": "2026-06-26T12:00:00Z",
    "tenant_id": "acme",
    "model_id": "openai/gpt-4o",
    "prompt_tokens": 1200,
    "completion_tokens": 80,
}


def _value_schema(kind: Kind) -> dict[str, Any]:
    match kind:
        case Instant():
            return {"type": "string", "format": "date-time"}
        case Name(is_id=True, limit=limit):
            return {"type": "string", "pattern": f"^[A-Za-z0-9._:@/-]{{1,{limit}}}$"}
        case Text(limit=limit) | Name(limit=limit) | ModelName(limit=limit) | DisplayName(limit=limit):
            return {"type": "string", "minLength": 1, "maxLength": limit}
        case Choice(words=words):
            return {"type": "string", "enum": list(words)}
        case Count():
            return {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
        case SmallNumber(minimum=minimum, maximum=maximum):
            return {"type": "integer", "minimum": minimum, "maximum": maximum}
        case Flag():
            return {"type": "boolean"}
        case Amount() | Cost():
            return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
        case _:
            assert_never(kind)


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record."""
    properties = {
        field.name: {
            **_value_schema(field.kind),
            "description": describe(field),
            **({} if field.default is None else {"default": field.default}),
        }
        for field in FIELDS
    }
    return {
        "title": RECORD_SCHEMA,
        "description": "One request at the router. Null is as good as not given. An invalid record is rejected; the others are written.",
        "type": "object",
        "required": [field.name for field in FIELDS if field.is_required],
        "properties": properties,
        "example": RECORD_EXAMPLE,
    }
