"""`UsageMetrics`: the numbers of a group of requests, made from the declared metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import strawberry

from app.cube.usage_metrics import COST, FRACTIONS, METRICS_BY_NAME, PRICED, UNPRICED, USAGE_METRICS, UsageMetric
from app.domain.fields import Unit
from app.domain.time_range import format_instant
from app.money.rounding import SHARE_PLACES, quotient, usd
from app.query.run import Numbers
from app.resolvers.scalars import BigInt, ExactNumber, Instant
from app.resolvers.usage_enums import MetricName

COST_FIELD: Final = "cost"
SHARE_FIELD: Final = "share"
CHANGE_FIELD: Final = "change"

DISTRIBUTIONS: Final = {
    "latency": ("Latency", "Latencies in milliseconds, of requests that have one."),
    "ttft": ("TimeToFirstToken", "Times to the first token in milliseconds, except those that equal the total duration."),
    "tokens_per_second": (
        "TokensPerSecond",
        "Output tokens a second of the requests that tell it: those after the first token, so that waiting for it does not count.",
    ),
}


@strawberry.type(description="How many requests of a cost are priced.")
class CostCoverage:
    priced: BigInt = strawberry.field(description=PRICED.description)
    unpriced: BigInt = strawberry.field(description=UNPRICED.description)
    is_complete: bool = strawberry.field(description="Whether the cost of every request is known.")


@strawberry.type(description="A cost in US dollars and its coverage. Not for keys of role gateway.")
class Cost:
    usd: float = strawberry.field(description="US dollars, 6 decimal places; unpriced requests contribute 0.")
    exact: ExactNumber = strawberry.field(description="US dollars with all digits.")
    coverage: CostCoverage = strawberry.field(description="How many requests have a known cost.")


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The numbers of a group, and those beside which they are seen: of all groups, and of the group in the compared range."""

    own: Numbers
    totals: Numbers
    previous: Numbers


Of = Annotated[MetricName, strawberry.argument(description="The metric.")]


def resolve_share(root: UsageMetrics, of: Of) -> float | None:
    """Return a number divided by that of the totals."""
    return _part(root.numbers.own.get(of.value), root.numbers.totals.get(of.value))


def resolve_change(root: UsageMetrics, of: Of) -> float | None:
    """Return by which part of the compared number a number is larger."""
    own, previous = root.numbers.own.get(of.value), root.numbers.previous.get(of.value)
    return None if own is None or previous is None else _part(_exact(own) - _exact(previous), previous)


def _part(part: float | Decimal | None, whole: float | Decimal | None) -> float | None:
    return None if part is None or not whole else float(quotient(_exact(part), _exact(whole), SHARE_PLACES))


def _exact(number: float | Decimal) -> Decimal:
    """Return the number that is shown, without what binary fractions add to it."""
    return Decimal(str(number))


_DERIVED: Final = {
    SHARE_FIELD: (
        resolve_share,
        f"A metric divided by that of the report's `totals` (under `previous`: of `previousTotals`), {SHARE_PLACES} decimal places; null "
        "if that is 0. Only for additive metrics: `isAdditive` in `usageCatalog`.",
    ),
    CHANGE_FIELD: (
        resolve_change,
        f"Relative change of a metric to `previous`: 0.25 is 25 percent more; {SHARE_PLACES} decimal places, computed from the displayed "
        "values. Null without `compareTo`, or if the previous value is null or 0. For all metrics except instants.",
    ),
}


def _type_of(metric: UsageMetric) -> Any:
    match metric.unit:
        case Unit.INSTANT:
            return Instant | None
        case unit if unit in FRACTIONS:
            return float | None
        case _:
            return BigInt


def _output(
    name: str,
    description: str,
    metrics: Sequence[UsageMetric],
    beside: Mapping[str, tuple[Any, str]],
    derived: Mapping[str, tuple[Any, str]],
) -> Any:
    """Return an object type with a field for each metric; what is not selected is not computed, and stays None."""
    annotations = {metric.field: _type_of(metric) for metric in metrics} | {name: type_ for name, (type_, _) in beside.items()}
    texts = {metric.field: metric.description for metric in metrics} | {name: text for name, (_, text) in beside.items()}
    fields = {field: strawberry.field(default=None, description=text) for field, text in texts.items()}
    fields |= {field: strawberry.field(resolver=resolver, description=text) for field, (resolver, text) in derived.items()}
    if derived:
        annotations["numbers"], fields["numbers"] = strawberry.Private[_Numbers], _Numbers({}, {}, {})
    return strawberry.type(
        type(name, (), {"__annotations__": annotations, "__module__": __name__, "__doc__": description, **fields}), description=description
    )


DIRECT: Final = tuple(metric for metric in USAGE_METRICS if metric.group is None)
_DISTRIBUTION_TYPES: Final = {
    group: _output(name, text, [metric for metric in USAGE_METRICS if metric.group == group], {}, {})
    for group, (name, text) in DISTRIBUTIONS.items()
}

if TYPE_CHECKING:
    UsageMetrics = Any
else:
    UsageMetrics = _output(
        "UsageMetrics",
        "Metrics of a group of requests. Only the selected ones are computed.",
        DIRECT,
        {
            COST_FIELD: (Cost, "The cost and its coverage."),
            **{group: (type_, DISTRIBUTIONS[group][1]) for group, type_ in _DISTRIBUTION_TYPES.items()},
        },
        _DERIVED,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """Which fields the numbers of given names become, found once for all rows of a question."""

    plain: tuple[tuple[str, str], ...]
    instants: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, Any, tuple[tuple[str, str], ...]], ...]
    empty: dict[str, Any]
    has_cost: bool


@lru_cache(maxsize=1_024)
def _shape_of(names: tuple[str, ...]) -> _Shape:
    metrics = [METRICS_BY_NAME[name] for name in names]

    def fields(group: str | None, *, instants: bool = False) -> tuple[tuple[str, str], ...]:
        return tuple((one.field, one.name) for one in metrics if one.group == group and (one.unit is Unit.INSTANT) is instants)

    groups = tuple((group, type_, fields(group)) for group, type_ in _DISTRIBUTION_TYPES.items())
    return _Shape(
        plain=fields(None),
        instants=fields(None, instants=True),
        groups=tuple(group for group in groups if group[2]),
        # Of these nothing but __typename can be selected: one object serves all rows.
        empty={group: type_() for group, type_, found in groups if not found},
        has_cost={COST, PRICED, UNPRICED} <= set(metrics),
    )


def shape_numbers(numbers: Numbers, totals: Numbers | None = None, previous: Numbers | None = None) -> Any:
    """Return the `UsageMetrics` of what was computed, beside the totals and the compared numbers if shares and changes are asked for."""
    shape = _shape_of(tuple(numbers))
    values: dict[str, Any] = {field: numbers[name] for field, name in shape.plain}
    for field, name in shape.instants:
        values[field] = None if numbers[name] is None else format_instant(numbers[name])
    for group, type_, fields in shape.groups:
        values[group] = type_(**{field: numbers[name] for field, name in fields})
    if shape.has_cost:
        exact: Decimal = numbers[COST.name]
        priced, unpriced = numbers[PRICED.name], numbers[UNPRICED.name]
        values[COST_FIELD] = Cost(
            usd=usd(exact), exact=ExactNumber(exact), coverage=CostCoverage(priced=priced, unpriced=unpriced, is_complete=unpriced == 0)
        )
    if totals or previous:
        values["numbers"] = _Numbers(numbers, totals or {}, previous or {})
    return UsageMetrics(**values, **shape.empty)
