"""The `usageCatalog` root: what `usage` can be asked for, from the declarations, so that a program needs no list of its own."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Annotated, Final

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.cube.usage_dimensions import USAGE_DIMENSIONS, Kind, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME, USAGE_METRICS, UsageMetric
from app.domain.calendar import MAX_BUCKETS
from app.domain.errors import BadInputError
from app.domain.fields import Unit
from app.domain.time_range import TimeRange, latest_date, midnight
from app.query.bind import Reader, bind, reader_of
from app.query.filters import All, Condition, Match, Named
from app.query.question import MAX_GROUPED, MAX_ROWS, MAX_TOP, Grouping, Order, Question
from app.query.run import Asked
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.usage_enums import DimensionName, MetricName
from app.resolvers.usage_rows import text_of

_PICKED_DAYS: Final = 30
MAX_PICKED: Final = 1_000

_KINDS: Final = {
    Kind.TEXT: "A name; filtered by `TextFilter`.",
    Kind.NUMBER: "A whole number; filtered by `IntegerFilter`.",
    Kind.CHOICE: "One of `choices`; filtered by an input of its own.",
    Kind.FLAG: "True or false; filtered by a Boolean.",
}
_UNITS: Final = {
    Unit.COUNT: "Requests, or other things that are counted.",
    Unit.TOKENS: "Tokens.",
    Unit.USD: "US dollars.",
    Unit.CREDITS: "Credits.",
    Unit.MILLISECONDS: "Milliseconds.",
    Unit.RATE: "A part, 0 to 1.",
    Unit.INSTANT: "An instant.",
}


def _described(name: str, description: str, values: dict[str, tuple[object, str]]) -> type[Enum]:
    members = {member: strawberry.enum_value(value, description=text) for member, (value, text) in values.items()}
    made: type[Enum] = strawberry.enum(Enum(name, members), description=description)  # type: ignore[call-overload]
    return made


ValueKind = _described(
    "UsageValueKind", "What the values of a dimension are.", {kind.name: (kind.value, text) for kind, text in _KINDS.items()}
)
MetricUnit = _described("UsageUnit", "What one of a number is.", {unit.name: (unit.value, text) for unit, text in _UNITS.items()})


@strawberry.type(description="A number that `usage` can be asked for.")
class MetricInfo:
    name: MetricName = strawberry.field(description="Its name in `orderBy`, `having` and `top`.")
    field: str = strawberry.field(description="Where it stands in `UsageMetrics`: `latency.p95`.")
    description: str = strawberry.field(description="What it is.")
    unit: MetricUnit = strawberry.field(description="What one of it is.")  # type: ignore[valid-type]
    is_additive: bool = strawberry.field(description="Whether numbers of rows add up to that of all.")


Search = Annotated[str | None, strawberry.argument(description="Only values that hold this text, case-sensitive; of names only.")]
FirstValues = Annotated[int, strawberry.argument(description=f"Values at most, 1 to {MAX_PICKED}.")]


async def resolve_values(root: DimensionInfo, info: ResolverInfo, contains: Search = None, first: FirstValues = 20) -> list[str]:
    """Ask for the values with the most requests of the last days."""
    if not 1 <= first <= MAX_PICKED:
        raise BadInputError(f"first must be from 1 to {MAX_PICKED}", "first")
    end = midnight(latest_date(info.context.now)) + timedelta(days=1)
    window = TimeRange(end - timedelta(days=_PICKED_DAYS), end)
    conditions: list[Condition] = []
    if contains and root.dimension.kind is Kind.TEXT:
        conditions.append(Named(root.dimension, Match.CONTAINS, (contains,)))
    requests = METRICS_BY_NAME["requests"]
    grouping = Grouping(by=(root.dimension,), order=(Order(descending=True, metric=requests),), first=first)
    question = Question(window, (requests,), All(tuple(conditions)))
    answer = await loaders_of(info.context).questions.load(Asked(bind(question, grouping, root.reader)))
    return [text_of(root.dimension, row.labels[0]) for row in answer.rows if row.labels[0].value is not None]


@strawberry.type(description="A dimension that `usage` can be grouped and filtered by.")
class DimensionInfo:
    dimension: strawberry.Private[UsageDimension]
    reader: strawberry.Private[Reader]
    name: DimensionName = strawberry.field(description="Its name in `by` and `orderBy`.")
    field: str = strawberry.field(description="Where it stands in `UsageRow` and `UsageFilter`.")
    description: str = strawberry.field(description="What it is.")
    kind: ValueKind = strawberry.field(description="What its values are.")  # type: ignore[valid-type]
    choices: list[str] = strawberry.field(description="Its values, where they are a choice; else empty.")
    values: list[str] = strawberry.field(
        resolver=resolve_values,
        description=f"The values with the most requests of the last {_PICKED_DAYS} days, most first, for pickers. Costs points as `rows`.",
    )


@strawberry.type(description="What a question may be at most.")
class QuestionLimits:
    dimensions: int = strawberry.field(description="Dimensions in `by`.")
    rows: int = strawberry.field(description="Rows of a page.")
    top: int = strawberry.field(description="Groups of a `top`.")
    buckets: int = strawberry.field(description="Buckets of time.")


@strawberry.type(description="What `usage` can be asked for by this key.")
class UsageCatalog:
    metrics: list[MetricInfo] = strawberry.field(description="The numbers.")
    dimensions: list[DimensionInfo] = strawberry.field(description="The dimensions.")
    limits: QuestionLimits = strawberry.field(description="The limits.")


async def resolve_usage_catalog(info: ResolverInfo) -> UsageCatalog:
    """Return the declarations that the caller may use. ForbiddenError: it asks no questions of its own."""
    reader = reader_of(await info.context.principal())
    return UsageCatalog(
        metrics=[_shape_metric(metric) for metric in USAGE_METRICS if reader.sees_private or not metric.is_private],
        dimensions=[
            _shape_dimension(dimension, reader) for dimension in USAGE_DIMENSIONS if reader.sees_private or not dimension.is_private
        ],
        limits=QuestionLimits(dimensions=MAX_GROUPED, rows=MAX_ROWS, top=MAX_TOP, buckets=MAX_BUCKETS),
    )


def _shape_metric(metric: UsageMetric) -> MetricInfo:
    return MetricInfo(
        name=MetricName(metric.name),
        field=".".join(map(to_camel_case, metric.path)),
        description=metric.description,
        unit=MetricUnit(metric.unit.value),
        is_additive=metric.is_additive,
    )


def _shape_dimension(dimension: UsageDimension, reader: Reader) -> DimensionInfo:
    return DimensionInfo(
        dimension=dimension,
        reader=reader,
        name=DimensionName(dimension.name),
        field=to_camel_case(dimension.name),
        description=dimension.description,
        kind=ValueKind(dimension.kind.value),
        choices=[choice.upper() for choice in dimension.choices],
    )
