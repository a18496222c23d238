"""From where a bound question is answered: which stored tables give which part of its range, each instant once. Pure.

Every source answers whole buckets of its grain that lie in one bucket of the question, where it is valid: rollups always, summaries where
days are closed. The source with the fewest rows for an hour is asked first, the records for what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from math import inf
from typing import Final

from app.cube.dimensions import Dimension, Grain
from app.cube.rollups import SOURCES, Rollup
from app.cube.usage_dimensions import UsageDimension
from app.cube.usage_metrics import SCAN_COLUMNS, UsageMetric
from app.domain.time_range import RECORDS_FLOOR, TimeRange, midnight
from app.query.bind import Bound
from app.query.filters import All, Bounded, Condition, Match, Named, parts_of
from app.query.state import Closing, State

MAX_SPANS: Final = 400
"""Separate stretches of time that one table is read in; a range that is cut into more is read from the records."""

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Scan:
    """Stretches of time `[start, end)` to be read from one table, ascending. `rollup` None: the records."""

    rollup: Rollup | None
    spans: tuple[TimeRange, ...]

    @property
    def table(self) -> str:
        """The table's name."""
        return "usage_records" if self.rollup is None else self.rollup.name


def cover(bound: Bound, state: State) -> tuple[Scan, ...]:
    """Return what is to be read; none for an empty range."""
    question, grouping = bound.question, bound.grouping
    if question.range.start >= question.range.end:
        return ()
    metrics: list[UsageMetric] = list(question.metrics)
    dimensions: list[UsageDimension] = [part.dimension for part in parts_of(question.where) if isinstance(part, Named)]
    cuts = [question.range.start, question.range.end]
    if grouping is not None:
        metrics += grouping.read_metrics()
        dimensions += grouping.by
        if grouping.buckets is not None:
            cuts += [bucket.start for bucket in grouping.buckets if question.range.start < bucket.start < question.range.end]
    columns = {name for metric in metrics for name in metric.columns}
    pieces = [TimeRange(start, end) for start, end in pairwise(sorted(set(cuts)))]
    scans: list[Scan] = []
    for source in _candidates(bound, columns, dimensions, state):
        taken, left = _take(source, pieces, state)
        spans = _joined(taken)
        if spans and len(spans) <= MAX_SPANS and len(_joined(left)) <= MAX_SPANS:
            scans.append(Scan(source, spans))
            pieces = left
    if pieces:
        scans.append(Scan(None, _joined(pieces)))
    return tuple(scans)


def _candidates(bound: Bound, columns: set[str], dimensions: list[UsageDimension], state: State) -> list[Rollup]:
    """Return the sources that have what is asked, those with the fewest rows for an hour first."""
    where = bound.question.where
    if any(isinstance(part, Bounded) for part in parts_of(where)):
        return []
    needed = {name for name, is_needed in (("tenant_id", bound.tenant_key is not None), ("model_id", bound.only_public)) if is_needed}
    is_by_time = bound.grouping is not None and bound.grouping.buckets is not None
    found = [
        source
        for source in SOURCES
        if _holds(source, columns, dimensions, needed)
        and (source.only is None or _needs(where, source.only))
        and not (source.grain is Grain.EVER and is_by_time)
    ]

    def rows(source: Rollup) -> float:
        known = state.rows_an_hour(source)
        return inf if known is None else known

    return sorted(found, key=rows)


def _needs(condition: Condition, dimension: Dimension) -> bool:
    """Tell whether a record that has none of a dimension fails the condition."""
    match condition:
        case All(conditions):
            return any(_needs(part, dimension) for part in conditions)
        case Named(named, match, _):
            return named.stored is dimension and match is not Match.ABSENT
        case _:
            return False


def _holds(rollup: Rollup, columns: set[str], dimensions: Iterable[UsageDimension], needed: set[str]) -> bool:
    keys = {dimension.key for dimension in rollup.dimensions}
    stored = keys | {measure.name for measure in rollup.measures}
    for dimension in dimensions:
        if dimension.stored is None:
            return False
        needed = needed | keys_of(dimension.stored)
    return needed <= keys and all(SCAN_COLUMNS[name].is_stored and name in stored for name in columns)


def keys_of(dimension: Dimension) -> set[str]:
    """Return the key columns that tell a dimension's values apart."""
    return {"tenant_id", dimension.key} if dimension.in_tenant else {dimension.key}


def _take(source: Rollup, pieces: Iterable[TimeRange], state: State) -> tuple[list[TimeRange], list[TimeRange]]:
    """Return the stretches of each piece that a source answers, and what is left of the pieces."""
    taken: list[TimeRange] = []
    left: list[TimeRange] = []
    for piece in pieces:
        at = piece.start
        for span in _answered(source, piece, state):
            taken.append(span)
            if at < span.start:
                left.append(TimeRange(at, span.start))
            at = span.end
        if at < piece.end:
            left.append(TimeRange(at, piece.end))
    return taken, left


def _answered(source: Rollup, piece: TimeRange, state: State) -> Iterator[TimeRange]:
    """Return the stretches of a piece that a source answers, ascending."""
    closing = state.closing
    match source.grain:
        case Grain.EVER:
            # The part of a day that is closed is in it, so it fits where that part is read, and nothing of it is stale.
            end = closing.partly_until
            is_current = not closing.reopened and (state.prefers_parts or end == midnight(closing.closed_until))
            if is_current and piece.start <= midnight(RECORDS_FLOOR) and piece.end >= end > piece.start:
                yield TimeRange(piece.start, end)
            return
        case Grain.HOUR:
            start, end = _ceil(piece.start, _HOUR), _floor(piece.end, _HOUR)
        case _:
            start, end = _ceil(piece.start, _DAY), _floor(piece.end, _DAY)
    if not source.is_condensed:
        if start < end:
            yield TimeRange(start, end)
        return
    if source.grain is Grain.MONTH:
        yield from _closed_months(start.date(), end.date(), closing)
        return
    yield from _closed_days(start.date(), end.date(), closing)
    first_open = midnight(closing.closed_until)
    if source.has_parts and state.prefers_parts and piece.start <= first_open and closing.partly_until <= piece.end:
        yield TimeRange(first_open, closing.partly_until)


def _closed_days(start: date, end: date, closing: Closing) -> Iterator[TimeRange]:
    end = min(end, closing.closed_until)
    for day in sorted(day for day in closing.reopened if start <= day < end):
        if start < day:
            yield TimeRange(midnight(start), midnight(day))
        start = day + _DAY
    if start < end:
        yield TimeRange(midnight(start), midnight(end))


def _closed_months(start: date, end: date, closing: Closing) -> Iterator[TimeRange]:
    stale = {day.replace(day=1) for day in closing.reopened}
    first = start if start.day == 1 else _next_month(start)
    while (following := _next_month(first)) <= min(end, closing.closed_until):
        if first not in stale:
            yield TimeRange(midnight(first), midnight(following))
        first = following


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _joined(spans: Iterable[TimeRange]) -> tuple[TimeRange, ...]:
    joined: list[TimeRange] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and joined[-1].end == span.start:
            joined[-1] = TimeRange(joined[-1].start, span.end)
        else:
            joined.append(span)
    return tuple(joined)


def _floor(instant: datetime, width: timedelta) -> datetime:
    midnight = datetime.combine(instant.date(), time.min, tzinfo=UTC)
    return midnight + (instant - midnight) // width * width


def _ceil(instant: datetime, width: timedelta) -> datetime:
    floor = _floor(instant, width)
    return floor if floor == instant else floor + width
