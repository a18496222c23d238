"""The `usageCatalog` root: what `usage` can be asked for, from the declarations, so that a program needs no list of its own."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Annotated, Final

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.cube.usage_dimensions import USAGE_DIMENSIONS, Kind, UsageDimension
from app.cube.usage_metrics import (
    METRICS_BY_NAME,
    MILLISECOND_PLACES,
    RATE_PLACES,
    SPEED_PLACES,
    USAGE_METRICS,
    UsageMetric,
)
from app.domain.calendar import MAX_BUCKETS
from app.domain.errors import BadInputError
from app.domain.fields import Unit
from app.domain.time_range import RECORDS_FLOOR, TimeRange, format_instant, latest_date, midnight
from app.money.rounding import USD_PLACES
from app.query.bind import Reader, bind, reader_of
from app.query.filters import All, Condition, Match, Named
from app.query.plan import Asked
from app.query.question import MAX_CONDITIONS, MAX_FILLED, MAX_GROUPED, MAX_ROWS, MAX_TOP, Grouping, Order, Question
from app.query.run import STATEMENT_SECONDS
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.points import MAX_POINTS
from app.resolvers.scalars import CalendarDate, Instant
from app.resolvers.usage_enums import DimensionName, MetricName
from app.resolvers.usage_filter import MAX_COMPARISONS, MAX_DEPTH, MAX_VALUES
from app.resolvers.usage_rows import text_of
from app.write.state import fetch_write_state

_PICKED_DAYS: Final = 30
MAX_PICKED: Final = 1_000

_KINDS: Final = {
    Kind.TEXT: "A name; filtered by `TextFilter`.",
    Kind.NUMBER: "An integer; filtered by `IntegerFilter`.",
    Kind.CHOICE: "One of `choices`; filtered by a specific input type.",
    Kind.FLAG: "True or false; filtered by a Boolean.",
}
_UNITS: Final = {
    Unit.COUNT: "A count.",
    Unit.TOKENS: "Tokens.",
    Unit.USD: "US dollars.",
    Unit.CREDITS: "Credits.",
    Unit.MILLISECONDS: "Milliseconds.",
    Unit.TOKENS_PER_SECOND: "Tokens a second.",
    Unit.RATE: "A ratio, 0 to 1.",
    Unit.INSTANT: "An instant.",
}


_DECIMALS: Final = {
    Unit.COUNT: 0,
    Unit.TOKENS: 0,
    Unit.CREDITS: 0,
    Unit.USD: USD_PLACES,
    Unit.MILLISECONDS: MILLISECOND_PLACES,
    Unit.TOKENS_PER_SECOND: SPEED_PLACES,
    Unit.RATE: RATE_PLACES,
}


def _described(name: str, description: str, values: dict[str, tuple[object, str]]) -> type[Enum]:
    members = {member: strawberry.enum_value(value, description=text) for member, (value, text) in values.items()}
    made: type[Enum] = strawberry.enum(Enum(name, members), description=description)  # type: ignore[call-overload]
    return made


ValueKind = _described(
    "UsageValueKind", "Kind of the values of a dimension.", {kind.name: (kind.value, text) for kind, text in _KINDS.items()}
)
MetricUnit = _described("UsageUnit", "Unit of a metric.", {unit.name: (unit.value, text) for unit, text in _UNITS.items()})


@strawberry.type(description="A metric of `usage`.")
class MetricInfo:
    name: MetricName = strawberry.field(description="Name in `orderBy`, `having` and `top`.")
    field: str = strawberry.field(description="Path in `UsageMetrics`, such as `latency.p95`.")
    description: str = strawberry.field(description="Definition.")
    unit: MetricUnit = strawberry.field(description="The unit.")  # type: ignore[valid-type]
    decimals: int | None = strawberry.field(description="Decimal places at most; null: it is an instant.")
    is_additive: bool = strawberry.field(description="Whether numbers of rows add up to that of all, so that it has a `share`.")
    is_comparable: bool = strawberry.field(description="Whether it has a `change`: all but instants.")
    needs_records: bool = strawberry.field(description="Whether it is computed from single records, which are retained from `recordsFrom`.")


Search = Annotated[str | None, strawberry.argument(description="Only names that contain this text, case-sensitive.")]
FirstValues = Annotated[int, strawberry.argument(description=f"Maximum number of values, 1 to {MAX_PICKED}.")]


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
    name: DimensionName = strawberry.field(description="Name in `by` and `orderBy`.")
    field: str = strawberry.field(description="Field of `UsageRow` and `UsageFilter`.")
    description: str = strawberry.field(description="Definition.")
    kind: ValueKind = strawberry.field(description="Kind of its values.")  # type: ignore[valid-type]
    needs_records: bool = strawberry.field(description="Whether it needs single records, which are retained from `recordsFrom`.")
    choices: list[str] = strawberry.field(description="The values of a choice; else empty.")
    values: list[str] = strawberry.field(
        resolver=resolve_values,
        description=f"The values with the most requests in the last {_PICKED_DAYS} days, in descending order. Costs points as `rows`.",
    )


@strawberry.type(description="Limits of one use of `usage`.")
class QuestionLimits:
    dimensions: int = strawberry.field(description="Dimensions in `by`.")
    rows: int = strawberry.field(description="Rows of a page.")
    top: int = strawberry.field(description="Groups of a `top`.")
    buckets: int = strawberry.field(description="Buckets of time.")
    filled: int = strawberry.field(description="Rows that `fill` makes: groups times buckets.")
    conditions: int = strawberry.field(description="Bounds in `having`, and keys in `orderBy`.")
    comparisons: int = strawberry.field(description="Comparisons in `where`.")
    values: int = strawberry.field(description="Values in all comparisons of `where` together.")
    depth: int = strawberry.field(description="How deep `where` may be nested.")
    seconds: int = strawberry.field(description="Seconds that one statement may take.")
    points: int = strawberry.field(description="Points that one operation may cost.")


async def resolve_records_from(root: UsageCatalog, info: ResolverInfo) -> Instant | None:
    """Return the first retained instant of single records."""
    since = (await fetch_write_state(info.context.services.database)).records_since
    return None if since is None else Instant(format_instant(since))


@strawberry.type(description="What `usage` can be asked for by this key, and over which span of time.")
class UsageCatalog:
    metrics: list[MetricInfo] = strawberry.field(description="The metrics.")
    dimensions: list[DimensionInfo] = strawberry.field(description="The dimensions.")
    limits: QuestionLimits = strawberry.field(description="The limits.")
    first_date: CalendarDate = strawberry.field(description="No request occurred before; a `range` that begins earlier is cut.")
    last_date: CalendarDate = strawberry.field(description="No request can have occurred after it yet: tomorrow.")
    records_from: Instant | None = strawberry.field(
        resolver=resolve_records_from,
        description="First retained instant of single records: earlier times are refused for `needsRecords`. Null: all are retained.",
    )


async def resolve_usage_catalog(info: ResolverInfo) -> UsageCatalog:
    """Return the declarations that the caller may use. ForbiddenError: it asks no questions of its own."""
    reader = reader_of(await info.context.principal())
    return UsageCatalog(
        metrics=[_shape_metric(metric) for metric in USAGE_METRICS if reader.sees_private or not metric.is_private],
        dimensions=[
            _shape_dimension(dimension, reader) for dimension in USAGE_DIMENSIONS if reader.sees_private or not dimension.is_private
        ],
        limits=QuestionLimits(
            dimensions=MAX_GROUPED,
            rows=MAX_ROWS,
            top=MAX_TOP,
            buckets=MAX_BUCKETS,
            filled=MAX_FILLED,
            conditions=MAX_CONDITIONS,
            comparisons=MAX_COMPARISONS,
            values=MAX_VALUES,
            depth=MAX_DEPTH,
            seconds=STATEMENT_SECONDS,
            points=MAX_POINTS,
        ),
        first_date=CalendarDate(RECORDS_FLOOR.isoformat()),
        last_date=CalendarDate(latest_date(info.context.now).isoformat()),
    )


def _shape_metric(metric: UsageMetric) -> MetricInfo:
    return MetricInfo(
        name=MetricName(metric.name),
        field=".".join(map(to_camel_case, metric.path)),
        description=metric.description,
        unit=MetricUnit(metric.unit.value),
        decimals=_DECIMALS.get(metric.unit),
        is_additive=metric.is_additive,
        is_comparable=metric.is_comparable,
        needs_records=metric.needs_records,
    )


def _shape_dimension(dimension: UsageDimension, reader: Reader) -> DimensionInfo:
    return DimensionInfo(
        dimension=dimension,
        reader=reader,
        name=DimensionName(dimension.name),
        field=to_camel_case(dimension.name),
        description=dimension.description,
        kind=ValueKind(dimension.kind.value),
        needs_records=dimension.needs_records,
        choices=[choice.upper() for choice in dimension.choices],
    )
