"""`UsageMetrics`: the numbers of a group of requests, made from the declared metrics; and which of them a document selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import strawberry
from graphql import FragmentDefinitionNode, SelectionSetNode
from strawberry.utils.str_converters import to_camel_case

from app.cube.metrics import Unit
from app.cube.usage_metrics import COST, PRICED, REQUESTS, UNPRICED, USAGE_METRICS, UsageMetric
from app.domain.time_range import format_instant
from app.execution.selection import selected_names, selections_of
from app.money.rounding import usd
from app.query.run import Numbers
from app.resolvers.scalars import BigInt, ExactNumber, Instant

Selections = Sequence[SelectionSetNode | None]

_COST: Final = "cost"
_COST_METRICS: Final = (COST, PRICED, UNPRICED)
_GROUPS: Final = {
    "latency": ("Latency", "Durations of the requests that have one, in milliseconds."),
    "ttft": ("TimeToFirstToken", "Times to the first token, in milliseconds; those that equal the whole duration are left out."),
}


@strawberry.type(description="How much of a cost is known.")
class CostCoverage:
    priced: BigInt = strawberry.field(description=PRICED.description)
    unpriced: BigInt = strawberry.field(description=UNPRICED.description)
    is_complete: bool = strawberry.field(description="Whether the cost of every request is known.")


@strawberry.type(description="A cost in US dollars, and what it does not know. Keys that read the gateway's statistics may not.")
class Cost:
    usd: float = strawberry.field(description="US dollars, 6 decimal places; what is unpriced contributes 0.")
    exact: ExactNumber = strawberry.field(description="The same, every digit.")
    coverage: CostCoverage = strawberry.field(description="How much of it is known.")


def _type_of(metric: UsageMetric) -> Any:
    match metric.unit:
        case Unit.RATE | Unit.MILLISECONDS:
            return float | None
        case Unit.INSTANT:
            return Instant | None
        case _:
            return BigInt


def _output(name: str, description: str, metrics: Sequence[UsageMetric], beside: Mapping[str, tuple[Any, str]]) -> Any:
    """Return an object type with a field for each metric; what is not selected is not computed, and stays None."""
    annotations = {metric.field: _type_of(metric) for metric in metrics} | {name: type_ for name, (type_, _) in beside.items()}
    texts = {metric.field: metric.description for metric in metrics} | {name: text for name, (_, text) in beside.items()}
    fields = {field: strawberry.field(default=None, description=text) for field, text in texts.items()}
    return strawberry.type(
        type(name, (), {"__annotations__": annotations, "__module__": __name__, "__doc__": description, **fields}), description=description
    )


_DIRECT: Final = tuple(metric for metric in USAGE_METRICS if metric.group is None)
_DISTRIBUTIONS: Final = {
    group: _output(name, text, [metric for metric in USAGE_METRICS if metric.group == group], {}) for group, (name, text) in _GROUPS.items()
}

if TYPE_CHECKING:
    UsageMetrics = Any
else:
    UsageMetrics = _output(
        "UsageMetrics",
        "Numbers of a group of requests. Only those that are selected are computed.",
        _DIRECT,
        {
            _COST: (Cost, "The cost, and what it does not know."),
            **{group: (type_, _GROUPS[group][1]) for group, type_ in _DISTRIBUTIONS.items()},
        },
    )


def selected_metrics(selections: Selections, fragments: Mapping[str, FragmentDefinitionNode]) -> tuple[UsageMetric, ...]:
    """Return the metrics that `UsageMetrics` objects need for what is selected under them."""
    names = selected_names(selections, fragments)
    found = [metric for metric in _DIRECT if to_camel_case(metric.field) in names]
    if _COST in names:
        found += [*_COST_METRICS, REQUESTS]
    for group in _GROUPS:
        below = selected_names(selections_of(selections, fragments, group), fragments)
        found += [metric for metric in USAGE_METRICS if metric.group == group and to_camel_case(metric.field) in below]
    return tuple(dict.fromkeys(found))


def shape_numbers(numbers: Numbers) -> Any:
    """Return the `UsageMetrics` of what was computed."""
    values = {metric.field: _shape(metric, numbers[metric.name]) for metric in _DIRECT if metric.name in numbers}
    if COST.name in numbers:
        exact: Decimal = numbers[COST.name]
        priced, unpriced = numbers[PRICED.name], numbers[UNPRICED.name]
        values[_COST] = Cost(
            usd=usd(exact), exact=ExactNumber(exact), coverage=CostCoverage(priced=priced, unpriced=unpriced, is_complete=unpriced == 0)
        )
    for group, type_ in _DISTRIBUTIONS.items():
        found = {metric.field: numbers[metric.name] for metric in USAGE_METRICS if metric.group == group and metric.name in numbers}
        values[group] = type_(**found)
    return UsageMetrics(**values)


def _shape(metric: UsageMetric, value: Any) -> Any:
    return format_instant(value) if metric.unit is Unit.INSTANT and value is not None else value
