"""Customer analytics: what one tenant used and was charged, by day and by group; and its single requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from app.cube.metrics import (
    AGENT_RUNTIME_FEE,
    BYOK_PLATFORM_FEE,
    COMPLETION_TOKENS,
    FAILED,
    LATENCY_COUNT,
    LATENCY_SUM_MS,
    MANAGED_TOOL_FEE,
    PROMPT_TOKENS,
    REQUESTS,
    SEARCH_REQUESTS,
    SHARED_MODEL_SPEND,
    SPEND,
    SUCCESSFUL,
    TOKENS,
    as_metric,
)
from app.domain.fields import Unit
from app.domain.time_range import resolve_days, resolve_log_window, resolve_tenant_window
from app.domain.usage import TRAFFIC_MODES
from app.money.rounding import percentage, round_half_up
from app.surfaces.declare import Caching, Column, Part, Scalar, Section, Surface, computed, labelled, measured, settled
from app.surfaces.readers import TENANT_READERS
from app.surfaces.reading import daily_rows

MAX_PAGE: Final = 1000
"""Requests of a page of `tenantRequests`."""
MAX_OFFSET: Final = 10_000
"""Requests that a page may skip."""


def _mean(count: int, total: Decimal) -> float | None:
    return float(round_half_up(Decimal(total) / count, 1)) if count else None


_TOKENS: Final = (measured("prompt_tokens", as_metric(PROMPT_TOKENS)), measured("completion_tokens", as_metric(COMPLETION_TOKENS)))
_CHARGES: Final = tuple(
    measured(name, as_metric(measure))
    for name, measure in (
        ("shared_model_spend", SHARED_MODEL_SPEND),
        ("byok_platform_fees", BYOK_PLATFORM_FEE),
        ("managed_tool_fees", MANAGED_TOOL_FEE),
        ("agent_runtime_fees", AGENT_RUNTIME_FEE),
        ("search_requests", SEARCH_REQUESTS),
    )
)

PERIOD: Final = Section(
    "TenantPeriod",
    "A window of whole UTC days, both inclusive.",
    (
        settled("start_date", "First instant of the first day.", Scalar.INSTANT, examples=("2026-02-01T00:00:00.000Z",)),
        settled("end_date", "First instant of the last day.", Scalar.INSTANT, examples=("2026-02-07T00:00:00.000Z",)),
    ),
)
SUMMARY: Final = Section(
    "TenantSummary",
    "Sums over the window. Charges are integer credits.",
    (
        measured("requests", REQUESTS),
        measured("successful", SUCCESSFUL),
        measured("failed", FAILED),
        computed(
            "error_percentage",
            "Failed requests in percent of all, 2 decimal places; 0 without requests.",
            Unit.PERCENT,
            (FAILED, REQUESTS),
            percentage,
            most=100,
        ),
        measured("total_tokens", TOKENS),
        *_TOKENS,
        *_CHARGES,
        measured("spend", SPEND),
        computed(
            "avg_latency_ms",
            "Mean latency in milliseconds, 1 decimal place, of requests that have one; null if none has.",
            Unit.MILLISECONDS,
            (as_metric(LATENCY_COUNT), as_metric(LATENCY_SUM_MS)),
            _mean,
            is_nullable=True,
        ),
    ),
)
DAY: Final = Section(
    "TenantDay",
    "One day of a tenant. Charges are integer credits.",
    (
        labelled("date", 0, "UTC date.", Scalar.DATE),
        measured("requests", REQUESTS),
        *_TOKENS,
        measured("total_tokens", TOKENS),
        *_CHARGES,
        measured("spend", SPEND),
    ),
)
DAY_METRICS: Final = tuple(dict.fromkeys(SUMMARY.metrics + DAY.metrics))
"""What is asked of each day, so that the summary is the sum of the days."""

REQUEST_TOKENS: Final = Section(
    "RequestTokens",
    "Tokens of one request.",
    (
        measured("prompt", as_metric(PROMPT_TOKENS)),
        measured("completion", as_metric(COMPLETION_TOKENS)),
        measured("total", TOKENS),
    ),
)
REQUEST_CHARGES: Final = Section(
    "RequestCharges",
    "Charges of one request, integer credits.",
    (
        measured("model_charge", as_metric(SHARED_MODEL_SPEND)),
        measured("byok_platform_fee", as_metric(BYOK_PLATFORM_FEE)),
        measured("managed_tool_fee", as_metric(MANAGED_TOOL_FEE)),
        measured("agent_runtime_fee", as_metric(AGENT_RUNTIME_FEE)),
        measured("total_charge", SPEND),
    ),
)
REQUEST_TRAFFIC_MODE: Final = Column("traffic_mode", "Shared capacity or bring-your-own-key.", choices=TRAFFIC_MODES)
REQUEST_COST: Final = Column(
    "cost_usd",
    "Cost in US dollars, 6 decimal places; 0 if unpriced.",
    Scalar.NUMBER,
    Unit.USD,
    least=0,
)

GROUP: Final = Section(
    "TenantUsageRow",
    "A tenant's usage of one day by model, provider, caller key and traffic mode. Charges are integer credits.",
    (
        labelled("date", 0, "UTC date.", Scalar.DATE),
        labelled("model_id", 1, "Public model id."),
        labelled("provider_id", 2, "Slug of the provider that served it."),
        labelled("api_key_id", 3, "The API key at the router; empty if the records have none."),
        labelled("traffic_mode", 4, "Shared capacity or bring-your-own-key.", choices=TRAFFIC_MODES),
        measured("requests", REQUESTS),
        measured("successful", SUCCESSFUL),
        measured("failed", FAILED),
        *_TOKENS,
        measured("total_tokens", TOKENS),
        *_CHARGES,
        measured("spend", SPEND),
        settled("cursor", "Cursor of the row, for `after`."),
    ),
)
ANALYTICS: Final = Section(
    "TenantAnalytics",
    "Analytics of one tenant. The columns of the time series sum to the summary.",
    (
        Part("period", PERIOD, "The window, as resolved.", is_list=False, is_settled=True),
        Part("summary", SUMMARY, "Sums over the window.", is_list=False, is_settled=True),
        Part("time_series", DAY, "Every UTC date of the window, ascending, including dates without requests.", is_settled=True),
    ),
)


def _page(arguments: Mapping[str, Any]) -> int:
    """Return the rows that a page of requests may read: its own, and those that it skips."""
    first: int = arguments["first"]
    offset: int = arguments["offset"]
    return max(0, min(first, MAX_PAGE)) + 1 + max(0, min(offset, MAX_OFFSET))


TENANT_ANALYTICS: Final = Surface(
    root="tenant_analytics",
    description="Usage and charges of one tenant. Role tenant: its own; role admin: the named one.",
    readers=TENANT_READERS,
    window=resolve_tenant_window,
    dates=("startDate", "endDate"),
    reads=daily_rows,
    answers=ANALYTICS,
    caching=Caching.PER_SCOPE,
    path="/v1/customer/analytics",
    has_validator=True,
)
TENANT_USAGE: Final = Surface(
    root="tenant_usage",
    description="Usage of one tenant by date, model, provider, API key and traffic mode, in this order. Role tenant: its own; role admin: "
    "the named one.",
    readers=TENANT_READERS,
    window=resolve_days,
    dates=("date", "endDate"),
    reads=daily_rows,
    answers=GROUP,
    caching=Caching.PER_SCOPE,
)
TENANT_REQUESTS: Final = Surface(
    root="tenant_requests",
    description="The single requests of a tenant, newest first. Role tenant: its own; role admin: the named one.",
    readers=TENANT_READERS,
    window=resolve_log_window,
    dates=("startDate", "endDate"),
    reads_more=_page,
    path="/v1/customer/logs",
)
