"""The numbers that any question about usage may ask for: name, unit, definition, SQL, who may. Declared here and nowhere else. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from app.cube.metrics import (
    AGENT_RUNTIME_FEE,
    BYOK_PLATFORM_FEE,
    CACHE_HIT_COUNT,
    CACHED_TOKENS,
    COMPLETION_TOKENS,
    COST_USD,
    INTERRUPTED_COUNT,
    LATENCY_COUNT,
    LATENCY_SUM_MS,
    MANAGED_TOOL_FEE,
    MEASURES,
    PRICED_COUNT,
    PROMPT_TOKENS,
    REASONING_TOKENS,
    REQUEST_COUNT,
    RETRY_COUNT,
    SEARCH_REQUESTS,
    SHARED_MODEL_SPEND,
    SUCCESSFUL_COUNT,
    Measure,
)
from app.domain.fields import Unit

RATE_PLACES: Final = 4
MILLISECOND_PLACES: Final = 3
SPEED_PLACES: Final = 3
PERCENTILES: Final = (50, 90, 95, 99)

_FORMS: Final = (
    (re.compile(r"count\(\*\)"), "1"),
    (re.compile(r"count\(\*\) FILTER \(WHERE (.+)\)"), r"(\1)::integer"),
    (re.compile(r"sum\((\w+)\)"), r"\1"),
    (re.compile(r"count\((\w+)\)"), r"(\1 IS NOT NULL)::integer"),
    (re.compile(r"coalesce\(sum\((\w+)\), 0\)"), r"coalesce(\1, 0)"),
)


def of_one_record(measure: Measure) -> str:
    """Return SQL over the columns of `usage_records`: what one record adds to a measure. ValueError: its aggregate has another form."""
    for form, one in _FORMS:
        match = form.fullmatch(measure.aggregate)
        if match is not None:
            return match.expand(one)
    raise ValueError(f"{measure.name}: {measure.aggregate} is no sum over records")


@dataclass(frozen=True, slots=True, eq=False)
class ScanColumn:
    """What a scanned row brings. `of_record`: SQL over `usage_records`; `is_stored`: rollups have a column of this name."""

    name: str
    of_record: str
    is_stored: bool


SCAN_COLUMNS: Final = {
    **{measure.name: ScanColumn(measure.name, of_one_record(measure), is_stored=True) for measure in MEASURES},
    **{key: ScanColumn(key, key, is_stored=True) for key in ("user_id", "caller_key_id", "model_id", "tenant_id")},
    "occurred_at": ScanColumn("occurred_at", "occurred_at", is_stored=False),
    "latency_ms": ScanColumn("latency_ms", "latency_ms", is_stored=False),
    # A router that does not stream reports the duration as the time to the first token, which it is not.
    "ttft_ms": ScanColumn("ttft_ms", "CASE WHEN ttft_ms IS DISTINCT FROM latency_ms THEN ttft_ms END", is_stored=False),
    "tokens_per_second": ScanColumn(
        "tokens_per_second",
        "CASE WHEN completion_tokens > 0 AND latency_ms > ttft_ms"
        f" THEN round(completion_tokens * 1000 / (latency_ms - ttft_ms), {SPEED_PLACES}) END",
        is_stored=False,
    ),
}
"""By name. `model_id` is also a dimension's key, as the other ids are."""


FRACTIONS: Final = (Unit.RATE, Unit.MILLISECONDS, Unit.TOKENS_PER_SECOND)
"""Units of numbers with decimals other than money; null where there is nothing to compute them from."""


@dataclass(frozen=True, slots=True, eq=False)
class UsageMetric:
    """A number of a group of requests. `expression`: SQL, an aggregate over scanned rows that have `columns`.

    `group`: the object of the answer that holds it, and `field` its name there. `is_additive`: numbers of disjoint groups add up,
    so that each is a share of their sum.
    `is_private`: gateway keys may not read it.
    """

    name: str
    unit: Unit
    description: str
    expression: str
    columns: tuple[str, ...]
    is_additive: bool = False
    is_private: bool = False
    group: str | None = None
    field: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the fields that lead to it in an answer."""
        return (self.field,) if self.group is None else (*self.group.split("."), self.field)

    @property
    def is_comparable(self) -> bool:
        """Whether it is a number that can be larger or smaller by a part of another."""
        return self.unit is not Unit.INSTANT

    @property
    def is_zero_of_nothing(self) -> bool:
        """Whether it is 0 where there is no request; otherwise it is null."""
        return self.unit not in (*FRACTIONS, Unit.INSTANT)

    @property
    def needs_records(self) -> bool:
        """Whether it is computed from single records only."""
        return not all(SCAN_COLUMNS[name].is_stored for name in self.columns)


def _sum(
    name: str, description: str, plus: tuple[Measure, ...], minus: tuple[Measure, ...] = (), *, is_private: bool = False
) -> UsageMetric:
    terms = " + ".join(f"coalesce(sum({measure.name}), 0)" for measure in plus)
    less = "".join(f" - coalesce(sum({measure.name}), 0)" for measure in minus)
    columns = tuple(measure.name for measure in (*plus, *minus))
    return UsageMetric(name, plus[0].unit, description, terms + less, columns, is_additive=True, is_private=is_private, field=name)


def _rate(name: str, description: str, part: str, columns: tuple[Measure, ...]) -> UsageMetric:
    expression = f"round(({part})::numeric / nullif(sum({REQUEST_COUNT.name}), 0), {RATE_PLACES})"
    return UsageMetric(name, Unit.RATE, description, expression, tuple(measure.name for measure in columns), field=name)


def _distribution(name: str, column: str, what: str, each: Unit, places: int) -> tuple[UsageMetric, ...]:
    def metric(field: str, unit: Unit, description: str, expression: str, *, is_additive: bool = False) -> UsageMetric:
        return UsageMetric(f"{name}_{field}", unit, description, expression, (column,), is_additive=is_additive, group=name, field=field)

    # A fraction of a row less than p: in floating point, p times the count may lie above the whole number that it is.
    ranks = {p: f"percentile_disc({p / 100} - 1e-12) WITHIN GROUP (ORDER BY {column})" for p in PERCENTILES}
    return (
        metric("count", Unit.COUNT, f"Requests of which {what} is known.", f"count({column})", is_additive=True),
        metric("avg", each, f"Mean of {what}, {places} decimal places.", f"round(avg({column}), {places})"),
        metric("min", each, f"Minimum of {what}.", f"min({column})"),
        metric("max", each, f"Maximum of {what}.", f"max({column})"),
        *(metric(f"p{p}", each, f"Exact {p}th percentile of {what}, by nearest rank.", rank) for p, rank in ranks.items()),
    )


def _from_sums(metrics: tuple[UsageMetric, ...], count: Measure, total: Measure, places: int) -> tuple[UsageMetric, ...]:
    """Return a distribution that is counted and averaged from stored measures, which need no single records."""
    counted, mean, *others = metrics
    quotient = f"round(sum({total.name}) / nullif(sum({count.name}), 0), {places})"
    return (
        replace(counted, expression=f"coalesce(sum({count.name}), 0)", columns=(count.name,)),
        replace(mean, expression=quotient, columns=(count.name, total.name)),
        *others,
    )


def _distinct(name: str, description: str, column: str, *, is_private: bool = False) -> UsageMetric:
    expression = f"count(DISTINCT {column}) FILTER (WHERE {column} <> 0)"
    return UsageMetric(name, Unit.COUNT, description, expression, (column,), is_private=is_private, field=name)


REQUESTS = _sum("requests", "Requests, including failed ones.", (REQUEST_COUNT,))
COST = replace(_sum("cost", "Cost in US dollars; unpriced requests contribute 0.", (COST_USD,), is_private=True), group="cost", field="usd")
PRICED = replace(
    _sum(
        "priced_requests", "Requests with a known cost: sent with the record, or priced from the catalog.", (PRICED_COUNT,), is_private=True
    ),
    group="cost.coverage",
    field="priced",
)
UNPRICED = replace(
    _sum("unpriced_requests", "Requests without a known cost; they contribute 0.", (REQUEST_COUNT,), (PRICED_COUNT,), is_private=True),
    group="cost.coverage",
    field="unpriced",
)
_CREDITS = (SHARED_MODEL_SPEND, BYOK_PLATFORM_FEE, MANAGED_TOOL_FEE, AGENT_RUNTIME_FEE)

_NAMED: Final = (
    REQUESTS,
    _sum("successful", "Requests with a 2xx status.", (SUCCESSFUL_COUNT,)),
    _sum("failed", "Requests without a 2xx status.", (REQUEST_COUNT,), (SUCCESSFUL_COUNT,)),
    _sum("retries", RETRY_COUNT.description, (RETRY_COUNT,)),
    _sum("cache_hits", CACHE_HIT_COUNT.description, (CACHE_HIT_COUNT,)),
    _sum("interrupted", INTERRUPTED_COUNT.description, (INTERRUPTED_COUNT,)),
    _sum("prompt_tokens", PROMPT_TOKENS.description, (PROMPT_TOKENS,)),
    _sum("completion_tokens", COMPLETION_TOKENS.description, (COMPLETION_TOKENS,)),
    _sum("total_tokens", "Input and output tokens.", (PROMPT_TOKENS, COMPLETION_TOKENS)),
    _sum("fresh_prompt_tokens", "Input tokens without cached tokens.", (PROMPT_TOKENS,), (CACHED_TOKENS,)),
    _sum("cached_tokens", CACHED_TOKENS.description, (CACHED_TOKENS,)),
    _sum("visible_completion_tokens", "Output tokens without reasoning tokens.", (COMPLETION_TOKENS,), (REASONING_TOKENS,)),
    _sum("reasoning_tokens", REASONING_TOKENS.description, (REASONING_TOKENS,)),
    COST,
    PRICED,
    UNPRICED,
    _sum("shared_model_spend", SHARED_MODEL_SPEND.description, (SHARED_MODEL_SPEND,), is_private=True),
    _sum("byok_platform_fees", BYOK_PLATFORM_FEE.description, (BYOK_PLATFORM_FEE,), is_private=True),
    _sum("managed_tool_fees", MANAGED_TOOL_FEE.description, (MANAGED_TOOL_FEE,), is_private=True),
    _sum("agent_runtime_fees", AGENT_RUNTIME_FEE.description, (AGENT_RUNTIME_FEE,), is_private=True),
    _sum("spend", "Total credits charged: the sum of the four charges.", _CREDITS, is_private=True),
    _sum("search_requests", SEARCH_REQUESTS.description, (SEARCH_REQUESTS,)),
    _rate(
        "success_rate",
        "Successful divided by all requests, 0 to 1, 4 decimal places; null without requests.",
        f"sum({SUCCESSFUL_COUNT.name})",
        (SUCCESSFUL_COUNT, REQUEST_COUNT),
    ),
    _rate(
        "error_rate",
        "Failed divided by all requests, 0 to 1, 4 decimal places; null without requests.",
        f"sum({REQUEST_COUNT.name}) - sum({SUCCESSFUL_COUNT.name})",
        (SUCCESSFUL_COUNT, REQUEST_COUNT),
    ),
    _rate(
        "cache_hit_rate",
        "Requests answered by the router's own cache divided by all requests, 0 to 1, 4 decimal places; null without requests.",
        f"sum({CACHE_HIT_COUNT.name})",
        (CACHE_HIT_COUNT, REQUEST_COUNT),
    ),
    *_from_sums(
        _distribution("latency", "latency_ms", "the latency in milliseconds", Unit.MILLISECONDS, MILLISECOND_PLACES),
        LATENCY_COUNT,
        LATENCY_SUM_MS,
        MILLISECOND_PLACES,
    ),
    *_distribution(
        "ttft",
        "ttft_ms",
        "the time to the first token in milliseconds, where it is not the whole duration",
        Unit.MILLISECONDS,
        MILLISECOND_PLACES,
    ),
    *_distribution(
        "tokens_per_second",
        "tokens_per_second",
        "output tokens a second from the first token to the last",
        Unit.TOKENS_PER_SECOND,
        SPEED_PLACES,
    ),
    _distinct("users", "End users.", "user_id", is_private=True),
    _distinct("api_keys", "API keys at the router.", "caller_key_id", is_private=True),
    _distinct("models", "Models as served: dated models and variants count each.", "model_id"),
    _distinct("tenants", "Tenants.", "tenant_id", is_private=True),
    UsageMetric("first_seen", Unit.INSTANT, "Time of the first request.", "min(occurred_at)", ("occurred_at",), field="first_seen"),
    UsageMetric("last_seen", Unit.INSTANT, "Time of the last request.", "max(occurred_at)", ("occurred_at",), field="last_seen"),
)

_SHOWN: Final = {column for metric in _NAMED for column in metric.columns}

USAGE_METRICS: Final = (
    *_NAMED,
    # The sums of fields that nothing above shows, by the names of the fields.
    *(
        _sum(measure.name, measure.description, (measure,), is_private=measure.unit in (Unit.CREDITS, Unit.USD))
        for measure in MEASURES
        if measure.is_field and measure.name not in _SHOWN
    ),
)

METRICS_BY_NAME: Final = {metric.name: metric for metric in USAGE_METRICS}
