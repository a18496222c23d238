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


@strawberry.type(description="A stored table that a question is answered from, and the stretches of time that are read there.")
class UsageSource:
    name: str = strawberry.field(description="The table: `usage_records`, the single records, or a rollup of them.")
    ranges: list[InstantSpan] = strawberry.field(description="What is read there, ascending.")


@strawberry.type(description="A stretch of time, half-open.")
class InstantSpan:
    start: Instant = strawberry.field(description="First instant.")
    end: Instant = strawberry.field(description="The instant after the last one.")


@strawberry.type(description="What to ask instead, in one argument; the other arguments stay. One of the last four says it.")
class QuestionChange:
    argument: str = strawberry.field(description="The argument: `interval`, `range`, `top.count`, `first`, `by`, `having`, `orderBy`.")
    description: str = strawberry.field(description="The change in words.")
    interval: IntervalName | None = strawberry.field(description="This interval.")
    range: InstantSpan | None = strawberry.field(description="These `instants` as `range`, in the same time zone.")
    count: int | None = strawberry.field(description="This number.")
    keep: int | None = strawberry.field(description="So many of the list, the first.")


@strawberry.type(description="Which limit refuses a question, and the nearest questions that pass.")
class QuestionRefusal:
    limit: str = strawberry.field(description="What is limited.")
    at_most: int = strawberry.field(description="How many there may be.")
    found: BigInt = strawberry.field(description="How many were asked for; rounded where there are very many.")
    message: str = strawberry.field(description="The message of the error, if more than the plan is selected.")
    nearest: list[QuestionChange] = strawberry.field(description="Changes that each, by itself, make a question that passes this limit.")


@strawberry.type(description="How rows are computed. Selected alone, it looks up counts only and costs nothing.")
class UsagePlan:
    sources: list[UsageSource] = strawberry.field(description="From where; each instant of the range is read in one of them.")
    rows: BigInt = strawberry.field(description="Rows of them that are expected to be read.")
    points: BigInt = strawberry.field(description="What it costs.")
    refusal: QuestionRefusal | None = strawberry.field(
        default=None, description="Why the question would be refused, as far as that is known before it runs; then there are no sources."
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
