"""Measures (additive columns of every rollup) and metrics (linear combinations of measures). Declared here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from app.domain.fields import Summed, Unit
from app.domain.usage import FIELDS, UsageRecord, name_of


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A column that every rollup may store. `aggregate`: SQL over columns of `usage_records`; additive over any grouping."""

    name: str
    aggregate: str
    unit: Unit
    description: str

    @property
    def is_field(self) -> bool:
        """Whether it is the sum of the record's field of the same name."""
        return self.aggregate == f"sum({self.name})"

    @property
    def column_type(self) -> str:
        """The PostgreSQL type: a count of rows is a bigint, a sum of what senders say a numeric, which cannot overflow."""
        return "bigint" if self.aggregate.startswith("count(") else "numeric"


_KINDS: Final = {field.name: field.kind for field in FIELDS}


def summed(read: Callable[[UsageRecord], object], description: str | None = None) -> Measure:
    """Return the sum of a field that has a unit, in the field's own words if no others are given. TypeError: it has none."""
    name = name_of(read)
    kind = _KINDS[name]
    if not isinstance(kind, Summed):
        raise TypeError(f"{name} cannot be summed")
    return Measure(name, f"sum({name})", kind.unit, description or kind.description)


REQUEST_COUNT = Measure("request_count", "count(*)", Unit.COUNT, "Requests, including failed ones.")
SUCCESSFUL_COUNT = Measure(
    "successful_count", "count(*) FILTER (WHERE status_code BETWEEN 200 AND 299)", Unit.COUNT, "Requests with a 2xx status."
)
PRICED_COUNT = Measure(
    "priced_count",
    "count(*) FILTER (WHERE is_priced)",
    Unit.COUNT,
    "Requests whose cost is known: given, or priced from the catalog.",
)
RETRY_COUNT = Measure(
    "retry_count", "count(*) FILTER (WHERE attempt > 1)", Unit.COUNT, "Requests that are a further attempt: a retry or a fallback."
)
CACHE_HIT_COUNT = Measure(
    "cache_hit_count", "count(*) FILTER (WHERE cache_hit)", Unit.COUNT, "Requests answered by the router's own cache."
)
INTERRUPTED_COUNT = Measure("interrupted_count", "count(*) FILTER (WHERE interrupted)", Unit.COUNT, "Requests with an interrupted stream.")
PROMPT_TOKENS = summed(lambda record: record.prompt_tokens)
COMPLETION_TOKENS = summed(lambda record: record.completion_tokens)
CACHED_TOKENS = summed(lambda record: record.cached_tokens)
REASONING_TOKENS = summed(lambda record: record.reasoning_tokens)
COST_USD = summed(lambda record: record.cost_usd, "Cost in US dollars, as priced when the records came in.")
SHARED_MODEL_SPEND = summed(lambda record: record.shared_model_spend)
BYOK_PLATFORM_FEE = summed(lambda record: record.byok_platform_fee)
MANAGED_TOOL_FEE = summed(lambda record: record.managed_tool_fee)
AGENT_RUNTIME_FEE = summed(lambda record: record.agent_runtime_fee)
SEARCH_REQUESTS = summed(lambda record: record.search_requests)
LATENCY_COUNT = Measure("latency_count", "count(latency_ms)", Unit.COUNT, "Requests that have a latency.")
LATENCY_SUM_MS = Measure("latency_sum_ms", "coalesce(sum(latency_ms), 0)", Unit.MILLISECONDS, "Sum of the known latencies.")

TRAFFIC_MEASURES = (
    REQUEST_COUNT,
    SUCCESSFUL_COUNT,
    PRICED_COUNT,
    RETRY_COUNT,
    CACHE_HIT_COUNT,
    INTERRUPTED_COUNT,
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    CACHED_TOKENS,
    REASONING_TOKENS,
    COST_USD,
)
"""What a question about models asks."""

BILLING_MEASURES = (
    SHARED_MODEL_SPEND,
    BYOK_PLATFORM_FEE,
    MANAGED_TOOL_FEE,
    AGENT_RUNTIME_FEE,
    SEARCH_REQUESTS,
    LATENCY_COUNT,
    LATENCY_SUM_MS,
)
"""What a tenant's question asks beside."""

MEASURES = TRAFFIC_MEASURES + BILLING_MEASURES


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A number that a question may ask for: the sum of `plus` less the sum of `minus`, over measures; so it adds up as they do."""

    name: str
    plus: tuple[Measure, ...]
    unit: Unit
    description: str
    minus: tuple[Measure, ...] = ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Every measure that a rollup must store to answer this."""
        return self.plus + self.minus


@cache
def as_metric(measure: Measure) -> Metric:
    """Return the one metric that is a measure as it is."""
    return Metric(measure.name, (measure,), measure.unit, measure.description)


TOKENS = Metric("tokens", (PROMPT_TOKENS, COMPLETION_TOKENS), Unit.TOKENS, "Total tokens: prompt plus completion.")
SPEND = Metric(
    "spend",
    (SHARED_MODEL_SPEND, BYOK_PLATFORM_FEE, MANAGED_TOOL_FEE, AGENT_RUNTIME_FEE),
    Unit.CREDITS,
    "Total credits charged: the sum of the four charges.",
)
REQUESTS = as_metric(REQUEST_COUNT)
SUCCESSFUL = as_metric(SUCCESSFUL_COUNT)
FAILED = Metric("failed_count", (REQUEST_COUNT,), Unit.COUNT, "Requests without a 2xx status.", (SUCCESSFUL_COUNT,))
RETRIES = as_metric(RETRY_COUNT)
CACHE_HITS = as_metric(CACHE_HIT_COUNT)
INTERRUPTED = as_metric(INTERRUPTED_COUNT)
CACHED = as_metric(CACHED_TOKENS)
REASONING = as_metric(REASONING_TOKENS)
FRESH_PROMPT = Metric(
    "fresh_prompt_tokens",
    (PROMPT_TOKENS,),
    Unit.TOKENS,
    "Input tokens less the cached ones, so that the four parts are disjoint.",
    (CACHED_TOKENS,),
)
VISIBLE_COMPLETION = Metric(
    "visible_completion_tokens",
    (COMPLETION_TOKENS,),
    Unit.TOKENS,
    "Output tokens less reasoning, so that the four parts are disjoint.",
    (REASONING_TOKENS,),
)

METRICS = (
    TOKENS,
    FAILED,
    FRESH_PROMPT,
    VISIBLE_COMPLETION,
    SPEND,
    *(as_metric(measure) for measure in MEASURES),
)
