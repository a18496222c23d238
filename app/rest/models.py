"""The documented bodies, as OpenAPI describes them. They describe; the bodies themselves come from the stored documents."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.resolvers.limits import MAX_ROWS

Day = Field(description="UTC date, YYYY-MM-DD.", examples=["2026-06-25"])
_COUNT = Field(ge=0)


class Body(BaseModel):
    """An object with exactly the fields that it lists."""

    model_config = ConfigDict(extra="forbid")


class NetworkTotals(Body):
    """Sums of the last 30 UTC dates. The four parts are disjoint and add up to `tokens`."""

    tokens: int = _COUNT
    requests: int = _COUNT
    prompt_tokens: int = _COUNT
    completion_tokens: int = _COUNT
    cached_tokens: int = _COUNT
    reasoning_tokens: int = _COUNT


class NetworkModel(Body):
    """One of the 15 public models with the most tokens."""

    model_id: str
    model_name: str
    provider: str
    rank: int = Field(ge=1, le=15)
    tokens: int = _COUNT
    requests: int = _COUNT
    share: float = Field(ge=0, le=1, description="Fraction of all tokens, 4 decimal places.")


class NetworkPoint(Body):
    """One bucket of a trend."""

    bucket: str = Field(examples=["2026-06-26 11:00", "2026-06-25"])
    tokens: int = _COUNT
    requests: int = _COUNT


class NetworkTrend(Body):
    """Buckets, oldest first, none left out."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)
    h24: list[NetworkPoint] = Field(alias="24h")
    d7: list[NetworkPoint] = Field(alias="7d")
    d30: list[NetworkPoint] = Field(alias="30d")


class NetworkResponse(Body):
    """Aggregate statistics of the network."""

    generated_at: str | None = Field(description="When it was computed; null before the first time.", examples=["2026-06-26T12:00:00.000Z"])
    totals: NetworkTotals
    top_models: list[NetworkModel] = Field(max_length=15)
    trend: NetworkTrend


class RankingsDailyItem(Body):
    """The tokens of one model on one day."""

    date: str = Day
    model_permaslug: str = Field(examples=["openai/gpt-4o-2024-05-13"])
    total_tokens: str = Field(pattern=r"^\d+$", examples=["12345678"])


class RankingsDailyMeta(Body):
    """What the rows are of."""

    as_of: str = Field(examples=["2026-05-12T02:00:00Z"])
    version: Literal["v1"]
    start_date: str = Day
    end_date: str = Day


class RankingsDailyResponse(Body):
    """By date ascending, then by tokens descending, `other` last of its date."""

    data: list[RankingsDailyItem]
    meta: RankingsDailyMeta


class TimeSeriesPoint(Body):
    """Usage in one bucket."""

    period: str = Field(examples=["2026-03-12", "2026-W11", "2026-03"])
    input_tokens: int = _COUNT
    output_tokens: int = _COUNT
    cost: float = Field(ge=0, description="US dollars.")
    request_count: int = _COUNT


class ModelBreakdown(Body):
    """Usage of one model at one provider."""

    model_id: str
    provider: str
    input_tokens: int = _COUNT
    output_tokens: int = _COUNT
    cost: float = Field(ge=0, description="US dollars.")
    request_count: int = _COUNT


class TopUser(Body):
    """Usage of one user over the whole window."""

    user_id: str
    username: str | None
    total_cost: float = Field(ge=0, description="US dollars.")
    request_count: int = _COUNT


class UsageAnalyticsResponse(Body):
    """Usage over time, by model, and the users who cost most."""

    time_series: list[TimeSeriesPoint]
    by_model: list[ModelBreakdown] = Field(max_length=MAX_ROWS)
    top_users: list[TopUser] = Field(max_length=1000)


class Outcome(Body):
    """Requests and what became of them."""

    requests: int = _COUNT
    successful: int = _COUNT
    failed: int = _COUNT


class DailyOutcome(Outcome):
    """Requests of one day."""

    date: str = Day


class GatewayStatsResponse(Body):
    """Request counts. Objects are keyed by name, most requests first."""

    total_requests: int = _COUNT
    successful_requests: int = _COUNT
    failed_requests: int = _COUNT
    success_rate: float = Field(ge=0, le=1)
    providers: dict[str, Outcome] = Field(max_length=MAX_ROWS)
    models: dict[str, Outcome] = Field(max_length=MAX_ROWS)
    projects: dict[str, Outcome] = Field(max_length=MAX_ROWS)
    daily: list[DailyOutcome]


class TenantPeriod(Body):
    """The window, as resolved."""

    start_date: str = Field(examples=["2026-02-01T00:00:00.000Z"])
    end_date: str = Field(examples=["2026-02-07T00:00:00.000Z"])


class _Charges(Body):
    shared_model_spend: int = Field(ge=0, description="Credits.")
    byok_platform_fees: int = Field(ge=0, description="Credits.")
    managed_tool_fees: int = Field(ge=0, description="Credits.")
    agent_runtime_fees: int = Field(ge=0, description="Credits.")
    search_requests: int = _COUNT


class TenantSummary(_Charges):
    """Sums over the window."""

    total_requests: int = _COUNT
    successful_requests: int = _COUNT
    failed_requests: int = _COUNT
    error_rate: float = Field(ge=0, le=100, description="Percent, 2 decimal places.")
    total_tokens: int = _COUNT
    prompt_tokens: int = _COUNT
    completion_tokens: int = _COUNT
    total_spend: int = Field(ge=0, description="Credits: the four charges together.")
    avg_latency_ms: float | None


class TenantDay(_Charges):
    """One UTC date of the window."""

    date: str = Day
    requests: int = _COUNT
    prompt_tokens: int = _COUNT
    completion_tokens: int = _COUNT
    tokens: int = _COUNT
    spend: int = Field(ge=0, description="Credits: the four charges together.")


class TenantAnalyticsResponse(Body):
    """What a tenant used and was charged."""

    period: TenantPeriod
    summary: TenantSummary
    timeseries: list[TenantDay]


class RequestTokens(Body):
    """Tokens of one request."""

    prompt: int = _COUNT
    completion: int = _COUNT
    total: int = _COUNT


class CostBreakdown(Body):
    """Charges of one request, credits."""

    model_charge: int = _COUNT
    byok_platform_fee: int = _COUNT
    managed_tool_fee: int = _COUNT
    agent_runtime_fee: int = _COUNT
    total_charge: int = _COUNT


class LoggedRequest(Body):
    """One request."""

    id: str
    request_id: str
    created_at: str = Field(examples=["2026-02-01T09:00:00.000Z"])
    model: str
    provider: str
    status: Literal["success", "error"]
    traffic_mode: Literal["shared", "byok"]
    tokens: RequestTokens
    cost_breakdown: CostBreakdown
    latency_ms: float | None
    api_key_id: str = Field(description="The caller's key at the router; empty if the record named none.")
    cost_usd: float = Field(ge=0, description="US dollars, 6 decimal places; what is unpriced contributes 0.")
    cost_source: Literal["priced", "unpriced"]


class TenantLogsResponse(Body):
    """A page of requests, newest first."""

    data: list[LoggedRequest] = Field(max_length=100)
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class RecordError(Body):
    """Why a record was not taken."""

    index: int = Field(ge=0, description="Its position in what was sent, from 0.")
    field: str | None
    message: str


class ReceiptResponse(Body):
    """What became of a batch: `received` = `inserted` + `duplicates` + `rejected` + `quarantined`."""

    received: int = _COUNT
    inserted: int = _COUNT
    duplicates: int = _COUNT
    rejected: int = _COUNT
    quarantined: int | None = Field(None, ge=0, description="Records kept aside for a person to judge; absent if there were none.")
    errors: list[RecordError] = Field(max_length=1000)
    unknown_fields: list[str] | None = Field(None, description="Fields that were not stored; absent if there were none.")
    private_models: list[str] | None = Field(
        None,
        max_length=1000,
        description="Models seen first that are private. For an admin's key that belongs to no tenant only; absent if none were.",
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
    """Errors of gateway statistics, customer analytics and the ways in."""

    error: TypedErrorData


_WORDS = {
    400: "A parameter or the body breaks a rule, which the message names",
    401: "No key, or one that opens nothing",
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
