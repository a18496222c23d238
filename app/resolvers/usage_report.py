"""The `usage` root: any question about usage. Grouping is an argument, and the numbers are what is selected."""

from __future__ import annotations

from typing import Any

import strawberry

from app.domain.calendar import parse_zone
from app.domain.time_range import TimeRange, format_instant
from app.query.bind import bind, reader_of
from app.query.filters import All, Condition
from app.query.plan import Asked
from app.resolvers.context import ResolverInfo
from app.resolvers.scalars import AsOf, Instant
from app.resolvers.usage_arguments import CompareTo, Range, TimeZone, Where
from app.resolvers.usage_connection import UsageRowConnection, resolve_rows
from app.resolvers.usage_filter import read_filter
from app.resolvers.usage_numbers import UsageMetrics, shape_numbers
from app.resolvers.usage_range import Comparison, TimeRangeInput, resolve_ranges
from app.resolvers.usage_selection import read_metrics
from app.resolvers.usage_subject import Subject, load


@strawberry.type(description="The range of a report, as resolved; half-open.")
class ResolvedRange:
    start: Instant = strawberry.field(description="Inclusive start.")
    end: Instant = strawberry.field(description="Exclusive end.")
    time_zone: str = strawberry.field(description="The time zone of calendar units.")


async def resolve_totals(root: UsageReport, info: ResolverInfo) -> UsageMetrics:
    """Compute the numbers that are selected, over all the report is about."""
    raw, subject = info._raw_info, root.subject
    selected = read_metrics(raw, [node.selection_set for node in raw.field_nodes])
    earlier = subject.ranges.previous if selected.changes else None
    own = Asked(bind(subject.question(selected), None, subject.reader))
    totals, previous = await load(info, own, None if earlier is None else subject.totals(selected.changes, earlier))
    return shape_numbers(totals.totals or {}, totals.totals, previous.totals)


async def resolve_previous_totals(root: UsageReport, info: ResolverInfo) -> UsageMetrics | None:
    """Compute the numbers that are selected, over all that the report is compared with."""
    raw, subject = info._raw_info, root.subject
    if subject.ranges.previous is None:
        return None
    selected = read_metrics(raw, [node.selection_set for node in raw.field_nodes])
    (previous,) = await load(info, Asked(bind(subject.question(selected, subject.ranges.previous), None, subject.reader)))
    return shape_numbers(previous.totals or {}, previous.totals)


@strawberry.type(description="A usage report. All its numbers are from one snapshot of the database.")
class UsageReport:
    subject: strawberry.Private[Subject]
    range: ResolvedRange = strawberry.field(description="The range, as resolved.")
    as_of: AsOf = strawberry.field(
        description="The state of the data that the numbers are of: every request stored before it is counted, and none of them twice."
        " What is stored while the question runs may be."
    )
    previous_range: ResolvedRange | None = strawberry.field(description="The compared range, as resolved; null without `compareTo`.")
    totals: UsageMetrics = strawberry.field(
        resolver=resolve_totals,
        description="Metrics of all requests in the range that match `where`, independent of grouping, order and page.",
    )
    previous_totals: UsageMetrics | None = strawberry.field(
        resolver=resolve_previous_totals,
        description="Metrics of all requests in the compared range that match `where`; null without `compareTo`.",
    )
    rows: UsageRowConnection = strawberry.field(
        resolver=resolve_rows, description="The requests in groups. For additive metrics, the rows of a page and `rest` sum to `totals`."
    )


async def resolve_usage(
    info: ResolverInfo, range_: Range, time_zone: TimeZone = "UTC", where: Where = None, compare_to: CompareTo = None
) -> UsageReport:
    """Resolve what the report is about; its numbers are computed by its fields."""
    return await report_on(info, All(()), range_, time_zone, where, compare_to)


async def report_on(
    info: ResolverInfo, about: Condition, range_: TimeRangeInput, time_zone: str, where: Any, compare_to: Comparison | None
) -> UsageReport:
    """Return the report on the requests that meet a condition and a filter. ForbiddenError: the key asks no questions of its own."""
    ranges = resolve_ranges(range_, compare_to, parse_zone(time_zone), info.context.now)
    return UsageReport(
        subject=Subject(range_, ranges, time_zone, All((about, read_filter(where))), reader_of(await info.context.principal())),
        range=_shape_range(ranges.range, time_zone),
        as_of=AsOf(format_instant(info.context.now)),
        previous_range=None if ranges.previous is None else _shape_range(ranges.previous, time_zone),
    )


def _shape_range(window: TimeRange, time_zone: str) -> ResolvedRange:
    start, end = (Instant(format_instant(instant)) for instant in (window.start, window.end))
    return ResolvedRange(start=start, end=end, time_zone=time_zone)
