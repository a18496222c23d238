"""The `usage` root: any question about usage. Grouping is an argument, and the numbers are what is selected."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from strawberry import UNSET

from app.cube.usage_dimensions import USAGE_DIMENSIONS, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME, UsageMetric
from app.domain.calendar import Bucket, Interval, parse_zone, split_buckets
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant
from app.execution.selection import selected_names, selections_of
from app.query.bind import Reader, bind, reader_of
from app.query.cover import cover
from app.query.filters import All, Condition
from app.query.question import MAX_GROUPED, MAX_ROWS, MAX_TOP, Grouping, Having, Order, Question, Top
from app.query.run import Answer, Asked, expect_rows
from app.resolvers.arguments import read_decimal_argument
from app.resolvers.connections import PageInfo, decode_position, encode_position
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.points import points_for_question
from app.resolvers.scalars import BigInt, ExactNumber, Instant
from app.resolvers.usage_arguments import Range, TimeZone, Where
from app.resolvers.usage_enums import DimensionName, Direction, IntervalName, MetricName, TopScope, Weekday
from app.resolvers.usage_filter import read_filter
from app.resolvers.usage_numbers import UsageMetrics, selected_metrics, shape_numbers
from app.resolvers.usage_range import TimeRangeInput, resolve_range
from app.resolvers.usage_rows import TimeBucket, UsageRow, shape_row

DEFAULT_ROWS: Final = 100
_MAX_CONDITIONS: Final = 8
_OPERATORS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
_PLAN_ONLY: Final = {"plan", "__typename"}
_BY_NAME: Final = {dimension.name: dimension for dimension in USAGE_DIMENSIONS}


@strawberry.input(name="Top", description="Only the first groups by a number, highest first, ties by name.")
class TopInput:
    count: int = strawberry.field(description=f"How many, 1 to {MAX_TOP}.")
    order_by: MetricName = strawberry.field(default=MetricName["COST"], description="By which number.")
    per: TopScope = strawberry.field(default=TopScope.RANGE, description="Chosen over the whole range, or in each bucket.")
    other: bool = strawberry.field(default=True, description="Whether all others make one more group, `isOther`.")


@strawberry.input(description="What rows are ordered by: exactly one of the first three.")
class UsageOrder:
    metric: MetricName | None = strawberry.field(default=UNSET, description="By a number; null comes last.")
    dimension: DimensionName | None = strawberry.field(default=UNSET, description="By a dimension of `by`, in code point order.")
    bucket: bool | None = strawberry.field(default=UNSET, description="By time, if true.")
    direction: Direction = strawberry.field(default=Direction.DESC, description="Greatest or least first.")


@strawberry.input(description="Bounds that a row's number must pass; a null passes none. All that are given hold.")
class MetricCondition:
    metric: MetricName = strawberry.field(description="Which number.")
    gt: ExactNumber | None = strawberry.field(default=UNSET, description="Greater than.")
    gte: ExactNumber | None = strawberry.field(default=UNSET, description="At least.")
    lt: ExactNumber | None = strawberry.field(default=UNSET, description="Less than.")
    lte: ExactNumber | None = strawberry.field(default=UNSET, description="At most.")
    eq: ExactNumber | None = strawberry.field(default=UNSET, description="Equal to.")


@strawberry.type(description="The range of a report, as resolved; half-open.")
class ResolvedRange:
    start: Instant = strawberry.field(description="First instant.")
    end: Instant = strawberry.field(description="The instant after the last one.")
    time_zone: str = strawberry.field(description="The time zone whose calendar counts.")


@strawberry.type(description="A row and its place in the list.")
class UsageRowEdge:
    cursor: str = strawberry.field(description="Its place, opaque; for the same arguments.")
    node: UsageRow = strawberry.field(description="The row.")


@strawberry.type(description="A stored table that a question is answered from, and the stretches of time that are read there.")
class UsageSource:
    name: str = strawberry.field(description="The table: `usage_records`, the single records, or a rollup of them.")
    ranges: list[InstantSpan] = strawberry.field(description="What is read there, ascending.")


@strawberry.type(description="A stretch of time, half-open.")
class InstantSpan:
    start: Instant = strawberry.field(description="First instant.")
    end: Instant = strawberry.field(description="The instant after the last one.")


@strawberry.type(description="How rows are computed. If nothing else is selected beside it, nothing is read and nothing paid.")
class UsagePlan:
    sources: list[UsageSource] = strawberry.field(description="From where; each instant of the range is read in one of them.")
    rows: BigInt = strawberry.field(description="Rows of them that are expected to be read.")
    points: BigInt = strawberry.field(description="What it costs.")


@strawberry.type(description="One page of rows.")
class UsageRowConnection:
    edges: list[UsageRowEdge] = strawberry.field(description="The rows with their cursors.")
    nodes: list[UsageRow] = strawberry.field(description="The rows.")
    page_info: PageInfo = strawberry.field(description="Whether there are more, and how to ask for them.")
    total_count: BigInt = strawberry.field(description="Rows on all pages.")
    rest: UsageMetrics = strawberry.field(description="Numbers of all requests of the report that are in no row of this page.")
    plan: UsagePlan = strawberry.field(description="From where they are answered, and what that costs.")


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a report is about, and for whom."""

    window: TimeRange
    zone: str
    where: Condition
    reader: Reader

    def question(self, metrics: tuple[UsageMetric, ...]) -> Question:
        return Question(self.window, metrics, self.where)


By = Annotated[list[DimensionName], strawberry.argument(description=f"What rows are grouped by, at most {MAX_GROUPED}; none: one row.")]
IntervalArgument = Annotated[IntervalName | None, strawberry.argument(description="Rows for each bucket of time of this width.")]
WeekStart = Annotated[Weekday, strawberry.argument(description="Where weeks begin, with `interval: WEEK`.")]
Fill = Annotated[bool, strawberry.argument(description="Whether each group has a row in every bucket, of zeros where it has no request.")]
TopArgument = Annotated[TopInput | None, strawberry.argument(description="Only the first groups, the others as one.")]
HavingArgument = Annotated[list[MetricCondition] | None, strawberry.argument(description="Only rows whose numbers pass all of these.")]
OrderArgument = Annotated[
    list[UsageOrder] | None,
    strawberry.argument(description="Order of the rows. What is left open is ordered by time, then by names in code point order."),
]
First = Annotated[int, strawberry.argument(description=f"Rows at most, 1 to {MAX_ROWS}.")]
After = Annotated[str | None, strawberry.argument(description="Only rows behind this cursor of the same arguments.")]


async def resolve_totals(root: UsageReport, info: ResolverInfo) -> UsageMetrics:
    """Compute the numbers that are selected, over all the report is about."""
    raw = info._raw_info
    metrics = selected_metrics([node.selection_set for node in raw.field_nodes], raw.fragments)
    answer = await loaders_of(info.context).questions.load(Asked(bind(root.subject.question(metrics), None, root.subject.reader)))
    return shape_numbers(answer.totals or {})


async def resolve_rows(
    root: UsageReport,
    info: ResolverInfo,
    by: By = [],  # noqa: B006  strawberry prints it as the default, and nobody changes it
    interval: IntervalArgument = None,
    week_start: WeekStart = Weekday.MONDAY,
    fill: Fill = False,
    top: TopArgument = None,
    having: HavingArgument = None,
    order_by: OrderArgument = None,
    first: First = DEFAULT_ROWS,
    after: After = None,
) -> UsageRowConnection:
    """Compute one page of rows, with the numbers that are selected."""
    if not 1 <= first <= MAX_ROWS:
        raise BadInputError(f"first must be from 1 to {MAX_ROWS}", "first")
    dimensions = _dimensions(by)
    buckets = None
    if interval is not None:
        width = Interval(interval.value)
        buckets = tuple(split_buckets(root.subject.window, width, parse_zone(root.subject.zone), list(Weekday).index(week_start)))
    elif fill:
        raise BadInputError("fill needs interval", "fill")
    grouping = Grouping(
        by=dimensions,
        buckets=buckets,
        fill=fill,
        top=_top(top, dimensions, buckets),
        having=tuple(condition for given in having or () for condition in _having(given)),
        order=tuple(_order(given, dimensions, buckets) for given in order_by or ()),
        first=first,
    )
    if len(grouping.having) > _MAX_CONDITIONS or len(grouping.order) > _MAX_CONDITIONS:
        raise BadInputError(f"having and order_by may hold at most {_MAX_CONDITIONS} conditions each", "having")
    list_name = _list_name(root.subject, grouping, interval, week_start)
    skip = 0 if after is None else decode_position(list_name, after)
    raw = info._raw_info
    selected = [node.selection_set for node in raw.field_nodes]
    rest = selections_of(selected, raw.fragments, "rest")
    shown = [
        *selections_of(selected, raw.fragments, "nodes", "metrics"),
        *selections_of(selected, raw.fragments, "edges", "node", "metrics"),
        *rest,
    ]
    question = root.subject.question(selected_metrics(shown, raw.fragments))
    asked = Asked(bind(question, replace(grouping, skip=skip), root.subject.reader), with_rest=bool(rest))
    is_plan_only = selected_names(selected, raw.fragments) <= _PLAN_ONLY
    answer = Answer() if is_plan_only else await loaders_of(info.context).questions.load(asked)
    return _connect(root.subject, asked, list_name, answer, info)


@strawberry.type(description="The answer to a question about usage: every number of it is of one state of the data.")
class UsageReport:
    subject: strawberry.Private[_Subject]
    range: ResolvedRange = strawberry.field(description="The range, as resolved.")
    totals: UsageMetrics = strawberry.field(
        resolver=resolve_totals, description="Numbers of all requests in range that pass `where`, whatever the grouping, order or page."
    )
    rows: UsageRowConnection = strawberry.field(
        resolver=resolve_rows, description="The requests by groups: rows of all pages, and `rest`, sum to `totals` where numbers add up."
    )


async def resolve_usage(info: ResolverInfo, range_: Range, time_zone: TimeZone = "UTC", where: Where = None) -> UsageReport:
    """Resolve what the report is about; its numbers are computed by its fields."""
    return await report_on(info, All(()), range_, time_zone, where)


async def report_on(info: ResolverInfo, subject: Condition, range_: TimeRangeInput, time_zone: str, where: Any) -> UsageReport:
    """Return the report on the requests of a subject that pass a filter. ForbiddenError: the key asks no questions of its own."""
    window = resolve_range(range_, parse_zone(time_zone), info.context.now)
    condition = All((subject, read_filter(where)))
    start, end = (Instant(format_instant(instant)) for instant in (window.start, window.end))
    return UsageReport(
        subject=_Subject(window, time_zone, condition, reader_of(await info.context.principal())),
        range=ResolvedRange(start=start, end=end, time_zone=time_zone),
    )


def _dimensions(by: list[Any]) -> tuple[UsageDimension, ...]:
    dimensions = tuple(_BY_NAME[name.value] for name in by)
    if len(dimensions) > MAX_GROUPED or len(set(dimensions)) < len(dimensions):
        raise BadInputError(f"by may hold at most {MAX_GROUPED} dimensions, each once", "by")
    return dimensions


def _top(given: TopInput | None, by: tuple[UsageDimension, ...], buckets: tuple[Bucket, ...] | None) -> Top | None:
    if given is None:
        return None
    if not by:
        raise BadInputError("top needs dimensions in by", "top")
    if not 1 <= given.count <= MAX_TOP:
        raise BadInputError(f"top.count must be from 1 to {MAX_TOP}", "top")
    if given.per is TopScope.BUCKET and buckets is None:
        raise BadInputError("top.per BUCKET needs interval", "top")
    return Top(given.count, METRICS_BY_NAME[given.order_by.value], given.per is TopScope.BUCKET, given.other)


def _having(given: MetricCondition) -> list[Having]:
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


def _order(given: UsageOrder, by: tuple[UsageDimension, ...], buckets: tuple[Bucket, ...] | None) -> Order:
    chosen = [name for name in ("metric", "dimension", "bucket") if getattr(given, name) not in (UNSET, None, False)]
    if len(chosen) != 1:
        raise BadInputError("order_by needs exactly one of metric, dimension and bucket", "order_by")
    descending = given.direction is Direction.DESC
    if chosen == ["metric"]:
        return Order(descending, metric=METRICS_BY_NAME[_chosen(given.metric).value])
    if chosen == ["bucket"]:
        if buckets is None:
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


def _list_name(subject: _Subject, grouping: Grouping, interval: Any, week_start: Weekday) -> str:
    """Return a digest of what decides the rows and their order; not the range, which may end now."""
    decisive = (subject.zone, subject.where, subject.reader, replace(grouping, buckets=None, first=0), interval, week_start)
    return hashlib.blake2b(repr(decisive).encode(), digest_size=9).hexdigest()


def _connect(subject: _Subject, asked: Asked, list_name: str, answer: Answer, info: ResolverInfo) -> UsageRowConnection:
    grouping = asked.bound.grouping or Grouping()
    buckets = [_shape_bucket(bucket, subject.window, info) for bucket in grouping.buckets or ()]
    nodes = [shape_row(row, grouping.by, None if row.bucket is None else buckets[row.bucket]) for row in answer.rows]
    edges = [UsageRowEdge(cursor=encode_position(list_name, place), node=node) for place, node in enumerate(nodes, grouping.skip + 1)]
    return UsageRowConnection(
        edges=edges,
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=grouping.skip + len(nodes) < answer.row_count,
            has_previous_page=grouping.skip > 0,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        total_count=BigInt(answer.row_count),
        rest=shape_numbers(answer.rest or {}),
        plan=_shape_plan(asked),
    )


def _shape_plan(asked: Asked) -> UsagePlan:
    sources = [
        UsageSource(
            name=scan.table,
            ranges=[InstantSpan(start=Instant(format_instant(span.start)), end=Instant(format_instant(span.end))) for span in scan.spans],
        )
        for scan in cover(asked.bound)
    ]
    rows = expect_rows(asked)
    return UsagePlan(sources=sources, rows=BigInt(rows), points=BigInt(points_for_question(rows)))


def _shape_bucket(bucket: Bucket, window: TimeRange, info: ResolverInfo) -> TimeBucket:
    is_complete = window.start <= bucket.start and bucket.end <= min(window.end, info.context.now)
    return TimeBucket(
        start=Instant(format_instant(bucket.start)), end=Instant(format_instant(bucket.end)), label=bucket.label, is_complete=is_complete
    )
