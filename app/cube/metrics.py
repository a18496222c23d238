"""Measures (additive columns of every rollup) and metrics (linear combinations of measures). Declared here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """What one of it is; decides the GraphQL scalar, the CSV form and the rounding at output."""

    COUNT = "count"
    TOKENS = "tokens"
    USD = "USD"
    CREDITS = "credits"
    MILLISECONDS = "ms"
    RATE = "0 to 1"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A column that every rollup may store. `aggregate`: SQL over columns of `usage_records`; additive over any grouping."""

    name: str
    aggregate: str
    unit: Unit
    description: str

    @property
    def column_type(self) -> str:
        """The PostgreSQL type: a count of rows is a bigint, a sum of what senders say a numeric, which cannot overflow."""
        return "bigint" if self.aggregate.startswith("count(") else "numeric"


def _summed(name: str, unit: Unit, description: str) -> Measure:
    return Measure(name, f"sum({name})", unit, description)


REQUEST_COUNT = Measure("request_count", "count(*)", Unit.COUNT, "Requests, failed ones included.")
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
INTERRUPTED_COUNT = Measure(
    "interrupted_count", "count(*) FILTER (WHERE interrupted)", Unit.COUNT, "Requests whose stream ended before its end."
)
PROMPT_TOKENS = _summed("prompt_tokens", Unit.TOKENS, "Input tokens, cached ones included.")
COMPLETION_TOKENS = _summed("completion_tokens", Unit.TOKENS, "Output tokens, reasoning included.")
CACHED_TOKENS = _summed("cached_tokens", Unit.TOKENS, "The part of the input tokens that the provider's prompt cache answered.")
REASONING_TOKENS = _summed("reasoning_tokens", Unit.TOKENS, "The part of the output tokens spent on reasoning.")
COST_USD = _summed("cost_usd", Unit.USD, "Cost in US dollars, as priced when the records came in.")
SHARED_MODEL_SPEND = _summed("shared_model_spend", Unit.CREDITS, "Credits charged for shared-capacity model usage.")
BYOK_PLATFORM_FEE = _summed("byok_platform_fee", Unit.CREDITS, "Credits charged as platform fee on bring-your-own-key requests.")
MANAGED_TOOL_FEE = _summed("managed_tool_fee", Unit.CREDITS, "Credits charged for managed tools such as web search.")
AGENT_RUNTIME_FEE = _summed("agent_runtime_fee", Unit.CREDITS, "Credits charged for agent runtime.")
SEARCH_REQUESTS = _summed("search_requests", Unit.COUNT, "Successful managed web tool invocations.")
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


def as_metric(measure: Measure) -> Metric:
    """Return the metric that is one measure."""
    return Metric(measure.name, (measure,), measure.unit, measure.description)


TOKENS = Metric("tokens", (PROMPT_TOKENS, COMPLETION_TOKENS), Unit.TOKENS, "Total tokens: prompt plus completion.")
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
    *(as_metric(measure) for measure in MEASURES),
)
