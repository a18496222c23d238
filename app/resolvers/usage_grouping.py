"""How rows of `usage` are grouped, chosen and ordered: the arguments of `rows`, read into a `Grouping`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from strawberry import UNSET

from app.cube.usage_dimensions import USAGE_DIMENSIONS, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME
from app.domain.errors import BadInputError
from app.query.question import MAX_GROUPED, MAX_ROWS, MAX_TOP, Having, Order, Top
from app.resolvers.arguments import read_decimal_argument
from app.resolvers.scalars import ExactNumber
from app.resolvers.usage_enums import DimensionName, Direction, IntervalName, MetricName, TopScope, Weekday

_OPERATORS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
_BY_NAME: Final = {dimension.name: dimension for dimension in USAGE_DIMENSIONS}


@strawberry.input(name="Top", description="Only the top groups by a metric, descending, ties by name.")
class TopInput:
    count: int = strawberry.field(description=f"Number of groups, 1 to {MAX_TOP}.")
    order_by: MetricName = strawberry.field(default=MetricName["COST"], description="The metric of the order.")
    per: TopScope = strawberry.field(default=TopScope.RANGE, description="Whether groups are chosen over the range or in each bucket.")
    other: bool = strawberry.field(default=True, description="Whether all other groups are one more row, with `isOther`.")


@strawberry.input(description="Order of rows: exactly one of the first three fields.")
class UsageOrder:
    metric: MetricName | None = strawberry.field(default=UNSET, description="By a metric; null is last.")
    dimension: DimensionName | None = strawberry.field(default=UNSET, description="By a dimension of `by`, in code point order.")
    bucket: bool | None = strawberry.field(default=UNSET, description="By time, if true.")
    direction: Direction = strawberry.field(default=Direction.DESC, description="Descending or ascending.")


@strawberry.input(description="Bounds of a row's metric; all of them must be true. Null is outside of all bounds.")
class MetricCondition:
    metric: MetricName = strawberry.field(description="The metric.")
    gt: ExactNumber | None = strawberry.field(default=UNSET, description="Greater than.")
    gte: ExactNumber | None = strawberry.field(default=UNSET, description="At least.")
    lt: ExactNumber | None = strawberry.field(default=UNSET, description="Less than.")
    lte: ExactNumber | None = strawberry.field(default=UNSET, description="At most.")
    eq: ExactNumber | None = strawberry.field(default=UNSET, description="Equal to.")


By = Annotated[
    list[DimensionName], strawberry.argument(description=f"Dimensions of the rows, at most {MAX_GROUPED}; default: none, one row.")
]
IntervalArgument = Annotated[IntervalName | None, strawberry.argument(description="Width of the time buckets of the rows.")]
WeekStart = Annotated[Weekday, strawberry.argument(description="First day of the week, with `interval: WEEK`.")]
Fill = Annotated[bool, strawberry.argument(description="Whether each group has a row in every bucket, with zeros if it has no request.")]
TopArgument = Annotated[TopInput | None, strawberry.argument(description="Only the top groups, the others as one.")]
HavingArgument = Annotated[
    list[MetricCondition] | None, strawberry.argument(description="Only rows with metrics within all of these bounds.")
]
OrderArgument = Annotated[
    list[UsageOrder] | None,
    strawberry.argument(description="Order of the rows. Ties are ordered by time, then by names in code point order."),
]
First = Annotated[int, strawberry.argument(description=f"Maximum number of rows, 1 to {MAX_ROWS}.")]
After = Annotated[str | None, strawberry.argument(description="Only rows after this cursor, which must be of the same arguments.")]


def read_dimensions(by: list[Any]) -> tuple[UsageDimension, ...]:
    dimensions = tuple(_BY_NAME[name.value] for name in by)
    if len(set(dimensions)) < len(dimensions):
        raise BadInputError("by may hold each dimension once", "by")
    return dimensions


def read_top(given: TopInput | None, by: tuple[UsageDimension, ...], *, is_by_time: bool) -> Top | None:
    if given is None:
        return None
    if not by:
        raise BadInputError("top needs dimensions in by", "top")
    if given.count < 1:
        raise BadInputError(f"top.count must be from 1 to {MAX_TOP}", "top")
    if given.per is TopScope.BUCKET and not is_by_time:
        raise BadInputError("top.per BUCKET needs interval", "top")
    return Top(given.count, METRICS_BY_NAME[given.order_by.value], given.per is TopScope.BUCKET, given.other)


def read_having(given: MetricCondition) -> list[Having]:
    metric = METRICS_BY_NAME[given.metric.value]
    found = []
    for name, operator in _OPERATORS.items():
        value = getattr(given, name)
        if value is not UNSET and value is not None:
            limit = read_decimal_argument(value, f"having.{name}")
            found.append(Having(metric, operator, limit))
    if metric.name in ("first_seen", "last_seen"):
        raise BadInputError("having compares numbers, not instants", "having")
    return found


def read_order(given: UsageOrder, by: tuple[UsageDimension, ...], *, is_by_time: bool) -> Order:
    chosen = [name for name in ("metric", "dimension", "bucket") if getattr(given, name) not in (UNSET, None, False)]
    if len(chosen) != 1:
        raise BadInputError("order_by needs exactly one of metric, dimension and bucket", "order_by")
    descending = given.direction is Direction.DESC
    if chosen == ["metric"]:
        return Order(descending, metric=METRICS_BY_NAME[_chosen(given.metric).value])
    if chosen == ["bucket"]:
        if not is_by_time:
            raise BadInputError("order_by.bucket needs interval", "order_by")
        return Order(descending)
    dimension = _BY_NAME[_chosen(given.dimension).value]
    if dimension not in by:
        raise BadInputError("order_by.dimension must be one of by", "order_by")
    return Order(descending, dimension=dimension)


def _chosen(value: Enum | None) -> Enum:
    if value is None:
        raise BadInputError("order_by needs exactly one of metric, dimension and bucket", "order_by")
    return value
