"""`plan` of rows of `usage`: from where they are answered, what that costs, or which limit refuses them and what passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import strawberry

from app.domain.time_range import TimeRange, format_instant
from app.query.cover import Scan
from app.query.limits import Change, Refusal
from app.query.plan import Planned
from app.resolvers.points import points_for_question
from app.resolvers.scalars import BigInt, Instant
from app.resolvers.usage_enums import IntervalName


@strawberry.type(description="A table that is read, and the ranges that are read from it.")
class UsageSource:
    name: str = strawberry.field(description="The table: `usage_records` (single records), or a rollup of them.")
    ranges: list[InstantSpan] = strawberry.field(description="The ranges read from the table, ascending.")


@strawberry.type(description="A half-open range of time.")
class InstantSpan:
    start: Instant = strawberry.field(description="Inclusive start.")
    end: Instant = strawberry.field(description="Exclusive end.")


@strawberry.type(description="A change of one argument; the other arguments are unchanged. One of the last four fields has the new value.")
class QuestionChange:
    argument: str = strawberry.field(description="The argument: `interval`, `range`, `top.count`, `first`, `by`, `having`, `orderBy`.")
    description: str = strawberry.field(description="The change in words.")
    interval: IntervalName | None = strawberry.field(description="New interval.")
    range: InstantSpan | None = strawberry.field(description="New `range` as `instants`, in the same time zone.")
    count: int | None = strawberry.field(description="New number.")
    keep: int | None = strawberry.field(description="Number of items of the list to keep, from the first.")


@strawberry.type(description="The limit that refuses the arguments, and the nearest arguments that pass.")
class QuestionRefusal:
    limit: str = strawberry.field(description="Name of the limit.")
    at_most: int = strawberry.field(description="Maximum.")
    found: BigInt = strawberry.field(description="Requested number; rounded if it is very large.")
    message: str = strawberry.field(description="The message of the error, if more than the plan is selected.")
    nearest: list[QuestionChange] = strawberry.field(description="Changes; each of them alone passes this limit.")


@strawberry.type(description="How rows are computed. Selected alone, it looks up counts only and costs nothing.")
class UsagePlan:
    sources: list[UsageSource] = strawberry.field(description="The tables; each instant of the range is read from one of them.")
    rows: BigInt = strawberry.field(description="Expected number of rows read.")
    points: BigInt = strawberry.field(description="Cost in points.")
    refusal: QuestionRefusal | None = strawberry.field(
        default=None, description="The refusal of these arguments, as far as it is known before the query runs; then there are no sources."
    )


NO_PLAN: Final = UsagePlan(sources=[], rows=BigInt(0), points=BigInt(0))
"""Where none is selected."""


def shape_plan(planned: Planned) -> UsagePlan:
    """Return how a question is answered."""
    scans = [*planned.scans, *planned.compared_scans]
    return UsagePlan(sources=_shape_sources(scans), rows=BigInt(planned.rows), points=BigInt(points_for_question(planned.rows)))


def shape_refused(refusal: Refusal) -> UsagePlan:
    """Return why a question is not answered."""
    shown = QuestionRefusal(
        limit=refusal.limit,
        at_most=refusal.at_most,
        found=BigInt(refusal.found),
        message=str(refusal),
        nearest=[_shape_change(change) for change in refusal.changes],
    )
    return UsagePlan(sources=[], rows=BigInt(0), points=BigInt(0), refusal=shown)


def _shape_sources(scans: Iterable[Scan]) -> list[UsageSource]:
    return [UsageSource(name=scan.table, ranges=[_shape_span(span) for span in scan.spans]) for scan in scans]


def _shape_span(span: TimeRange) -> InstantSpan:
    return InstantSpan(start=Instant(format_instant(span.start)), end=Instant(format_instant(span.end)))


def _shape_change(change: Change) -> QuestionChange:
    return QuestionChange(
        argument=change.argument,
        description=str(change),
        interval=None if change.interval is None else IntervalName(change.interval),
        range=None if change.range is None else _shape_span(change.range),
        count=change.count,
        keep=change.keep,
    )
