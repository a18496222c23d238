"""Rows of `usage`: from their arguments to one page of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

import strawberry

from app.domain.calendar import Bucket, Interval, first_buckets, parse_zone, split_buckets
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant
from app.execution.selection import selected_names, selections_of
from app.query.bind import Bound, bind
from app.query.cover import cover
from app.query.question import MAX_ROWS, Grouping, Question
from app.query.run import Answer, Asked, Numbers, expect_rows
from app.resolvers.connections import PageInfo, decode_position, encode_position
from app.resolvers.context import ResolverInfo
from app.resolvers.points import points_for_question
from app.resolvers.scalars import BigInt, Instant
from app.resolvers.usage_enums import Weekday
from app.resolvers.usage_grouping import (
    After,
    By,
    Fill,
    First,
    HavingArgument,
    IntervalArgument,
    OrderArgument,
    TopArgument,
    WeekStart,
    read_dimensions,
    read_having,
    read_order,
    read_top,
)
from app.resolvers.usage_numbers import UsageMetrics, shape_numbers
from app.resolvers.usage_rows import TimeBucket, UsageRow, shape_row
from app.resolvers.usage_selection import SelectedMetrics, joined, read_metrics
from app.resolvers.usage_subject import Subject, load

DEFAULT_ROWS: Final = 100
_MAX_CONDITIONS: Final = 8
_PLAN_ONLY: Final = {"plan", "__typename"}


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
    previous_rest: UsageMetrics | None = strawberry.field(
        description="Numbers of all requests of the compared range that are in no row's `previous` on this page, such as those of groups"
        " that have none in the report's range; null without `compareTo`."
    )
    plan: UsagePlan = strawberry.field(description="From where they are answered, and what that costs.")


@dataclass(frozen=True, slots=True)
class _Selected:
    """What a document selects of the numbers of a page."""

    rows: SelectedMetrics
    rest: SelectedMetrics
    previous: SelectedMetrics
    previous_rest: SelectedMetrics
    names: frozenset[str]
    has_previous: bool

    @classmethod
    def of(cls, info: ResolverInfo) -> _Selected:
        raw = info._raw_info
        selected = [node.selection_set for node in raw.field_nodes]

        def under(*paths: tuple[str, ...]) -> list[Any]:
            return [found for path in paths for found in selections_of(selected, raw.fragments, *path)]

        previous = under(("nodes", "previous"), ("edges", "node", "previous"))
        return cls(
            rows=read_metrics(raw, under(("nodes", "metrics"), ("edges", "node", "metrics"))),
            rest=read_metrics(raw, under(("rest",))),
            previous=read_metrics(raw, previous),
            previous_rest=read_metrics(raw, under(("previousRest",))),
            names=selected_names(selected, raw.fragments),
            has_previous=bool(previous),
        )

    @property
    def together(self) -> SelectedMetrics:
        return joined(self.rows, self.rest, self.previous, self.previous_rest)


async def resolve_rows(
    root: Any,
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
    subject: Subject = root.subject
    if not 1 <= first <= MAX_ROWS:
        raise BadInputError(f"first must be from 1 to {MAX_ROWS}", "first")
    dimensions = read_dimensions(by)
    buckets = None
    if interval is not None:
        width = Interval(interval.value)
        buckets = tuple(split_buckets(subject.ranges.range, width, parse_zone(subject.zone), list(Weekday).index(week_start)))
    elif fill:
        raise BadInputError("fill needs interval", "fill")
    grouping = Grouping(
        by=dimensions,
        buckets=buckets,
        fill=fill,
        top=read_top(top, dimensions, buckets),
        having=tuple(condition for given in having or () for condition in read_having(given)),
        order=tuple(read_order(given, dimensions, buckets) for given in order_by or ()),
        first=first,
    )
    if len(grouping.having) > _MAX_CONDITIONS or len(grouping.order) > _MAX_CONDITIONS:
        raise BadInputError(f"having and order_by may hold at most {_MAX_CONDITIONS} conditions each", "having")
    list_name = _list_name(subject, grouping, interval, week_start)
    grouping = replace(grouping, skip=0 if after is None else decode_position(list_name, after))
    selected = _Selected.of(info)
    question = subject.question(selected.together)
    asked = Asked(
        bind(question, grouping, subject.reader),
        with_rest="rest" in selected.names,
        compared=_compared(subject, selected, question, grouping, interval, week_start),
        with_previous_rest=subject.ranges.previous is not None and ("previousRest" in selected.names or bool(selected.rest.changes)),
    )
    if selected.names <= _PLAN_ONLY:
        return _connect(subject, asked, list_name, _Answers(Answer(), {}, {}), info)
    current = (*selected.rows.shares, *selected.rest.shares)
    earlier = (*selected.previous.shares, *selected.previous_rest.shares) if subject.ranges.previous is not None else ()
    answer, totals, previous = await load(
        info,
        asked,
        subject.totals(tuple(dict.fromkeys(current))) if current else None,
        subject.totals(tuple(dict.fromkeys(earlier)), subject.ranges.previous) if earlier else None,
    )
    return _connect(subject, asked, list_name, _Answers(answer, totals.totals or {}, previous.totals or {}), info)


def _compared(
    subject: Subject, selected: _Selected, question: Question, grouping: Grouping, interval: Any, week_start: Weekday
) -> Bound | None:
    """Return the question of the compared range, if anything of it is shown. Its buckets are those of the report, by position."""
    window, uncut = subject.ranges.previous, subject.ranges.previous_uncut
    is_shown = selected.has_previous or "previousRest" in selected.names or selected.rows.changes or selected.rest.changes
    if window is None or uncut is None or not is_shown:
        return None
    buckets = None
    if grouping.buckets is not None:
        # One more than there are, for all that comes later and so belongs to none.
        count = len(grouping.buckets) + 1
        buckets = tuple(first_buckets(uncut, Interval(interval.value), parse_zone(subject.zone), list(Weekday).index(week_start), count))
    return bind(replace(question, range=window), Grouping(by=grouping.by, buckets=buckets), subject.reader)


def _list_name(subject: Subject, grouping: Grouping, interval: Any, week_start: Weekday) -> str:
    """Return a digest of what decides the rows and their order; not the range, which may end now."""
    decisive = (subject.zone, subject.where, subject.reader, replace(grouping, buckets=None, first=0), interval, week_start)
    return hashlib.blake2b(repr(decisive).encode(), digest_size=9).hexdigest()


@dataclass(frozen=True, slots=True)
class _Answers:
    """A page of rows, and the totals that its shares are of."""

    page: Answer
    totals: Numbers
    previous_totals: Numbers


def _connect(subject: Subject, asked: Asked, list_name: str, answers: _Answers, info: ResolverInfo) -> UsageRowConnection:
    grouping, answer = asked.bound.grouping or Grouping(), answers.page
    buckets = [_shape_bucket(bucket, subject.ranges.range, info) for bucket in grouping.buckets or ()]
    nodes = [
        shape_row(
            row,
            grouping.by,
            None if row.bucket is None else buckets[row.bucket],
            shape_numbers(row.numbers, answers.totals, row.previous),
            None if row.previous is None else shape_numbers(row.previous, answers.previous_totals),
        )
        for row in answer.rows
    ]
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
        rest=shape_numbers(answer.rest or {}, answers.totals, answer.previous_rest),
        previous_rest=None if answer.previous_rest is None else shape_numbers(answer.previous_rest, answers.previous_totals),
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
