"""Rows of `usage`: from their arguments to one page of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import strawberry

from app.domain.calendar import Bucket, Interval, first_buckets, parse_zone
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant
from app.execution.selection import selected_names, selections_of
from app.query.bind import Bound, bind
from app.query.labels import Labelled
from app.query.limits import LimitError, Timing, TooManyFilledError, check_conditions, check_counts, check_filled, split
from app.query.order import sort_keys
from app.query.plan import Asked
from app.query.question import MAX_ROWS, Grouping, Question
from app.query.run import Answer, Numbers
from app.resolvers.connections import PageInfo
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.scalars import BigInt, Instant
from app.resolvers.usage_cursors import Cursors
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
from app.resolvers.usage_plan import NO_PLAN, UsagePlan, shape_plan, shape_refused
from app.resolvers.usage_rows import TimeBucket, UsageRow, shape_row
from app.resolvers.usage_selection import SelectedMetrics, joined, read_metrics
from app.resolvers.usage_subject import Subject, load

DEFAULT_ROWS: Final = 100
_PLAN_ONLY: Final = {"plan", "__typename"}


@strawberry.type(description="A row and its cursor.")
class UsageRowEdge:
    cursor: str = strawberry.field(description="Opaque cursor, for the same arguments; by values of the row, not by an offset.")
    node: UsageRow = strawberry.field(description="The row.")


@strawberry.type(description="One page of rows.")
class UsageRowConnection:
    edges: list[UsageRowEdge] = strawberry.field(description="The rows with their cursors.")
    nodes: list[UsageRow] = strawberry.field(description="The rows.")
    page_info: PageInfo = strawberry.field(description="Whether there are more pages, and their cursors.")
    total_count: BigInt = strawberry.field(description="Number of rows on all pages.")
    rest: UsageMetrics = strawberry.field(description="Metrics of all requests of the report that are in no row of this page.")
    previous_rest: UsageMetrics | None = strawberry.field(
        description="Metrics of all requests of the compared range that are in no `previous` of this page, such as those of groups "
        "without requests in the report's range; null without `compareTo`."
    )
    plan: UsagePlan = strawberry.field(description="Sources of the rows, and their cost.")


@dataclass(frozen=True, slots=True)
class _Selected:
    """What a document selects of the numbers of a page."""

    rows: SelectedMetrics
    rest: SelectedMetrics
    previous: SelectedMetrics
    previous_rest: SelectedMetrics
    names: frozenset[str]
    of_edges: frozenset[str]
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
            of_edges=selected_names(under(("edges",)), raw.fragments),
            has_previous=bool(previous),
        )

    @property
    def is_compared(self) -> bool:
        """Whether anything is shown of a compared range."""
        return bool(self.has_previous or "previousRest" in self.names or self.rows.changes or self.rest.changes)

    @property
    def together(self) -> SelectedMetrics:
        """What all of them need."""
        return joined(self.rows, self.rest, self.previous, self.previous_rest)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The arguments of rows, read."""

    subject: Subject
    grouping: Grouping
    timing: Timing | None

    @property
    def cursors(self) -> Cursors:
        """The cursors of all pages of the same rows; the range counts as it was given, since it may end now."""
        grouping, timing, subject = replace(self.grouping, buckets=None, first=0, after=None), self.timing, self.subject
        width = None if timing is None else (timing.interval, timing.week_start)
        labelled = [Labelled(dimension, place, subject.reader.sees_private) for place, dimension in enumerate(grouping.by)]
        kinds = [key.kind for key in sort_keys(self.grouping, labelled, grouping.metrics())]
        return Cursors((subject.given, subject.zone, subject.where, subject.reader, grouping, width), kinds)

    def asked(self, selected: _Selected) -> Asked:
        """Return the question with what is asked beside it."""
        subject, question = self.subject, self.subject.question(selected.together)
        is_compared = subject.ranges.previous is not None
        return Asked(
            bind(question, self.grouping, subject.reader),
            with_rest="rest" in selected.names,
            compared=self._compared(question) if is_compared and selected.is_compared else None,
            with_previous_rest=is_compared and ("previousRest" in selected.names or bool(selected.rest.changes)),
        )

    def _compared(self, question: Question) -> Bound | None:
        """Return the question of the compared range. Its buckets are those of the report, by position."""
        window, uncut = self.subject.ranges.previous, self.subject.ranges.previous_uncut
        if window is None or uncut is None:
            return None
        buckets, timing = None, self.timing
        if timing is not None:
            # One more than there are, for all that comes later and so belongs to none.
            count = len(self.grouping.buckets or ()) + 1
            buckets = tuple(first_buckets(uncut, timing.interval, timing.zone, timing.week_start, count))
        return bind(replace(question, range=window), Grouping(by=self.grouping.by, buckets=buckets), self.subject.reader)


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
    selected = _Selected.of(info)
    is_plan_only = selected.names <= _PLAN_ONLY
    try:
        if first < 1:
            raise BadInputError(f"first must be from 1 to {MAX_ROWS}", "first")
        if fill and interval is None:
            raise BadInputError("fill needs interval", "fill")
        dimensions = read_dimensions(by)
        kept = read_top(top, dimensions, is_by_time=interval is not None)
        conditions = [read_having(given) for given in having or ()]
        order = [read_order(given, dimensions, is_by_time=interval is not None) for given in order_by or ()]
        check_counts(first, dimensions, kept)
        check_conditions(conditions, order)
        timing = None
        if interval is not None:
            zone = parse_zone(subject.zone)
            timing = Timing(subject.ranges.range, Interval(interval.value), zone, list(Weekday).index(week_start))
        grouping = Grouping(
            by=dimensions,
            buckets=None if timing is None else split(timing),
            fill=fill,
            top=kept,
            having=tuple(condition for given in conditions for condition in given),
            order=tuple(order),
            first=first,
        )
        if timing is not None:
            check_filled(grouping, timing)
        rows = _Rows(subject, grouping, timing)
        if after is not None:
            rows = replace(rows, grouping=replace(grouping, after=rows.cursors.decode(after)))
        asked = rows.asked(selected)
        if is_plan_only:
            planned = await loaders_of(info.context).plans.load(asked)
            return _connect(rows, selected, _Answers(Answer(), {}, {}), shape_plan(planned), info)
        answers = await _load(rows, selected, asked, info)
        answered = answers.page.planned
        return _connect(rows, selected, answers, shape_plan(answered) if answered and "plan" in selected.names else NO_PLAN, info)
    except LimitError as error:
        if not is_plan_only:
            raise
        return _connect(_Rows(subject, Grouping(), None), selected, _Answers(Answer(), {}, {}), shape_refused(error.refusal), info)


@dataclass(frozen=True, slots=True)
class _Answers:
    """A page of rows, and the totals that its shares are of."""

    page: Answer
    totals: Numbers
    previous_totals: Numbers


async def _load(rows: _Rows, selected: _Selected, asked: Asked, info: ResolverInfo) -> _Answers:
    subject, window = rows.subject, rows.subject.ranges.previous
    current = (*selected.rows.shares, *selected.rest.shares)
    earlier = (*selected.previous.shares, *selected.previous_rest.shares) if window is not None else ()
    try:
        answer, totals, previous = await load(
            info,
            asked,
            subject.totals(tuple(dict.fromkeys(current))) if current else None,
            subject.totals(tuple(dict.fromkeys(earlier)), window) if earlier else None,
        )
    except TooManyFilledError as error:
        if rows.timing is not None:
            check_filled(rows.grouping, rows.timing, error.groups)
        raise
    return _Answers(answer, totals.totals or {}, previous.totals or {})


def _connect(rows: _Rows, selected: _Selected, answers: _Answers, plan: UsagePlan, info: ResolverInfo) -> UsageRowConnection:
    grouping, answer = rows.grouping, answers.page
    buckets: dict[int, TimeBucket] = {}  # of this page only
    for row in answer.rows:
        if row.bucket is not None and row.bucket not in buckets:
            buckets[row.bucket] = _shape_bucket((grouping.buckets or ())[row.bucket], rows.subject.ranges.range, info)
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
    cursors = rows.cursors
    has_info = "pageInfo" in selected.names
    has_cursors = "cursor" in selected.of_edges
    return UsageRowConnection(
        edges=[
            UsageRowEdge(cursor=cursors.encode(row.position) if has_cursors else "", node=node)
            for row, node in zip(answer.rows, nodes, strict=True)
        ]
        if selected.of_edges
        else [],
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=bool(answer.rows) and answer.rows[-1].place < answer.row_count,
            has_previous_page=answer.rows[0].place > 1 if answer.rows else answer.row_count > 0,
            start_cursor=cursors.encode(answer.rows[0].position) if answer.rows and has_info else None,
            end_cursor=cursors.encode(answer.rows[-1].position) if answer.rows and has_info else None,
        ),
        total_count=BigInt(answer.row_count),
        rest=shape_numbers(answer.rest or {}, answers.totals, answer.previous_rest),
        previous_rest=None if answer.previous_rest is None else shape_numbers(answer.previous_rest, answers.previous_totals),
        plan=plan,
    )


def _shape_bucket(bucket: Bucket, window: TimeRange, info: ResolverInfo) -> TimeBucket:
    is_complete = window.start <= bucket.start and bucket.end <= min(window.end, info.context.now)
    return TimeBucket(
        start=Instant(format_instant(bucket.start)), end=Instant(format_instant(bucket.end)), label=bucket.label, is_complete=is_complete
    )
