"""From where a bound question is answered: which stored tables give which part of its range, each instant once. Pure.

A rollup answers whole hours or days of UTC that lie in one bucket; the records, what is left at the edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from math import ceil
from typing import Final

from app.cube.dimensions import Dimension, Grain
from app.cube.rollups import BY_DAY_ALL, BY_DAY_MODEL, BY_HOUR_MODEL, Rollup
from app.cube.usage_dimensions import UsageDimension
from app.cube.usage_metrics import SCAN_COLUMNS, UsageMetric
from app.domain.time_range import TimeRange
from app.query.bind import Bound
from app.query.filters import Bounded, Named, parts_of

MAX_SPANS: Final = 400
"""Separate stretches of time that one table is read in; a range that is cut into more is read from the records."""

_ROLLUPS: Final = (BY_DAY_MODEL, BY_HOUR_MODEL, BY_DAY_ALL)
"""The one with the fewest rows first."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Stretches of time `[start, end)` to be read from one table, ascending. `rollup` None: the records."""

    rollup: Rollup | None
    spans: tuple[TimeRange, ...]

    @property
    def table(self) -> str:
        """The table's name."""
        return "usage_records" if self.rollup is None else self.rollup.name


GROUPS_A_BUCKET: Final = 50
"""Rows that an hour or a day is taken to have in a rollup."""
RECORDS_AN_HOUR: Final = 50
"""Records that an hour is taken to have: they are not counted before they are read."""


def count_expected(scans: Iterable[Scan]) -> int:
    """Return about how many rows are to be read."""
    rows = 0.0
    for scan in scans:
        hours = sum((span.end - span.start) / timedelta(hours=1) for span in scan.spans)
        if scan.rollup is None:
            rows += hours * RECORDS_AN_HOUR
        else:
            rows += hours * GROUPS_A_BUCKET / (1 if scan.rollup.grain is Grain.HOUR else 24)
    return ceil(rows)


def cover(bound: Bound) -> tuple[Scan, ...]:
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
    needs_records = any(isinstance(part, Bounded) for part in parts_of(question.where))
    columns = {name for metric in metrics for name in metric.columns}
    pieces = [TimeRange(start, end) for start, end in pairwise(sorted(set(cuts)))]
    scans: list[Scan] = []
    for rollup in () if needs_records else _ROLLUPS:
        if not _holds(rollup, columns, dimensions, in_tenant=bound.tenant_key is not None):
            continue
        spans, left = _take(pieces, timedelta(hours=1) if rollup.grain is Grain.HOUR else timedelta(days=1))
        if spans and len(spans) <= MAX_SPANS and len(_joined(left)) <= MAX_SPANS:
            scans.append(Scan(rollup, spans))
            pieces = left
    if pieces:
        scans.append(Scan(None, _joined(pieces)))
    return tuple(scans)


def _holds(rollup: Rollup, columns: set[str], dimensions: Iterable[UsageDimension], *, in_tenant: bool) -> bool:
    keys = {dimension.key for dimension in rollup.dimensions}
    stored = keys | {measure.name for measure in rollup.measures}
    needed: set[str] = {"tenant_id"} if in_tenant else set()
    for dimension in dimensions:
        if dimension.stored is None:
            return False
        needed |= keys_of(dimension.stored)
    return needed <= keys and all(SCAN_COLUMNS[name].is_stored and name in stored for name in columns)


def keys_of(dimension: Dimension) -> set[str]:
    """Return the key columns that tell a dimension's values apart."""
    return {"tenant_id", dimension.key} if dimension.in_tenant else {dimension.key}


def _take(pieces: Iterable[TimeRange], width: timedelta) -> tuple[tuple[TimeRange, ...], list[TimeRange]]:
    """Return the whole hours or days that lie in one piece, joined, and what is left of the pieces."""
    taken: list[TimeRange] = []
    left: list[TimeRange] = []
    for piece in pieces:
        start, end = _ceil(piece.start, width), _floor(piece.end, width)
        if start >= end:
            left.append(piece)
            continue
        taken.append(TimeRange(start, end))
        left += [edge for edge in (TimeRange(piece.start, start), TimeRange(end, piece.end)) if edge.start < edge.end]
    return _joined(taken), left


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
