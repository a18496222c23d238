"""Bodies that are not answers of stored documents, as OpenAPI describes them: receipts, errors, headers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.rest.bodies import Body

_COUNT = Field(ge=0)


class RecordError(Body):
    """Why a record was rejected."""

    index: int = Field(ge=0, description="Position in the request, from 0.")
    field: str | None
    message: str


class ReceiptResponse(Body):
    """What became of a batch: `received` = `inserted` + `duplicates` + `rejected` + `quarantined`."""

    received: int = _COUNT
    inserted: int = _COUNT
    duplicates: int = _COUNT
    rejected: int = _COUNT
    quarantined: int | None = Field(None, ge=0, description="Quarantined records; absent if there are none.")
    errors: list[RecordError] = Field(max_length=1000)
    unknown_fields: list[str] | None = Field(None, description="Fields that were not stored; absent if there were none.")
    private_models: list[str] | None = Field(
        None,
        max_length=1000,
        description="New models, which are private. Only for admin keys without a tenant; absent if there are none.",
    )


class NumberedErrorData(Body):
    """An HTTP status and words."""

    code: int
    message: str


class NumberedError(Body):
    """Errors of network and rankings."""

    error: NumberedErrorData


class DetailedError(Body):
    """Errors of usage analytics."""

    detail: str


class TypedErrorData(Body):
    """Words, kind and code."""

    message: str
    type: str
    code: str


class TypedError(Body):
    """Errors of gateway statistics, customer analytics and the ingest endpoints."""

    error: TypedErrorData


_WORDS = {
    400: "A parameter or the body breaks a rule, which the message names",
    401: "No key, or an invalid one",
    403: "The key's role may not do this",
    404: "Not there, or not the caller's",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "Content-Type or Content-Encoding is not supported",
    429: "Rate limit exceeded: wait for Retry-After seconds",
    500: "Unexpected error: the log has the X-Request-ID",
    503: "The database cannot be reached, or is too busy: try again after Retry-After seconds",
}

_WAITING = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
}
STANDARD_LIMITS = {
    "RateLimit-Policy": {
        "description": 'The limits that this answer was counted under, `"cost";q=100000;w=60`: how much in how many seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of each, `"cost";r=99926;t=60`: for how many seconds at least.',
        "schema": {"type": "string"},
    },
}
"""Headers of the answers that were counted."""

LIMITS = {
    "X-RateLimit-Limit": {"description": "Requests that the window allows.", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Requests left.", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {"description": "Unix time at which there are more.", "schema": {"type": "integer"}},
    **STANDARD_LIMITS,
}
"""Headers of refusals and of reads of the rankings."""


def error_responses(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answers of a route for these statuses, and 429, 500 and 503, which every route has."""
    answers: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 429, 500, 503}):
        headers = _WAITING | LIMITS if status == 429 else _WAITING if status == 503 else None
        answers[status] = {"description": _WORDS[status], "model": model} | ({} if headers is None else {"headers": headers})
    return answers


def csv_response_description(description: str) -> dict[str, Any]:
    """Return the OpenAPI answer of a CSV download."""
    return {"description": description, "headers": STANDARD_LIMITS, "content": {"text/csv": {"schema": {"type": "string"}}}}
