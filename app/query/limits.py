"""What a question may be at most, judged before it runs; a refusal names the limit and the nearest questions that pass. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import prod
from typing import Final
from zoneinfo import ZoneInfo

from app.cube.usage_dimensions import UsageDimension
from app.domain.calendar import MAX_BUCKETS, Bucket, Interval, first_buckets
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange, format_instant
from app.query.question import MAX_CONDITIONS, MAX_FILLED, MAX_GROUPED, MAX_ROWS, MAX_TOP, Grouping, Having, Order, Top

_NOMINAL: Final = {
    Interval.QUARTER_HOUR: timedelta(minutes=15),
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
    Interval.WEEK: timedelta(weeks=1),
    Interval.MONTH: timedelta(days=31),
    Interval.QUARTER: timedelta(days=92),
    Interval.YEAR: timedelta(days=366),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What to ask instead in one argument, spelled as GraphQL does. One of the others says it; `keep`: so many of a list, the first."""

    argument: str
    interval: Interval | None = None
    range: TimeRange | None = None
    count: int | None = None
    keep: int | None = None

    def __str__(self) -> str:
        """Say it."""
        if self.interval is not None:
            return f"interval {self.interval.name}"
        if self.range is not None:
            return f"the range from {format_instant(self.range.start)} to {format_instant(self.range.end)}"
        return f"{self.argument} {self.count}" if self.count is not None else f"the first {self.keep} of {self.argument}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit, what was asked for, and the nearest questions that pass: each of the changes by itself."""

    limit: str
    at_most: int
    found: int
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        """Say it."""
        nearest = f"; what passes: {', or '.join(map(str, self.changes))}" if self.changes else ""
        return f"{self.limit}: {self.found} asked for, at most {self.at_most}{nearest}"


class LimitError(BadInputError):
    """More than a question may be."""

    def __init__(self, refusal: Refusal, argument: str) -> None:
        """`argument`: what was given wrongly."""
        super().__init__(str(refusal), argument)
        self.refusal = refusal


class TooManyFilledError(BadInputError):
    """Filling the gaps makes too many rows."""

    def __init__(self, groups: int) -> None:
        """`groups`: so many have a row in each bucket."""
        super().__init__(None, "fill")
        self.groups = groups


def fillable_groups(grouping: Grouping) -> int:
    """Return of how many groups the gaps may be filled."""
    return MAX_FILLED // max(1, len(grouping.buckets or ()))


@dataclass(frozen=True, slots=True)
class Timing:
    """The buckets that rows are asked for."""

    window: TimeRange
    interval: Interval
    zone: ZoneInfo
    week_start: int

    def buckets(self, at_most: int = MAX_BUCKETS) -> tuple[Bucket, ...] | None:
        """Return the buckets; None: there are more than `at_most`."""
        if (self.window.end - self.window.start) / _NOMINAL[self.interval] > at_most + 2:
            return None
        found = first_buckets(self.window, self.interval, self.zone, self.week_start, at_most + 1)
        return None if len(found) > at_most else tuple(found)

    def coarser(self, at_most: int) -> Iterator[Change]:
        """Give the narrowest wider interval of which there are at most so many buckets."""
        intervals = list(Interval)
        for interval in intervals[intervals.index(self.interval) + 1 :]:
            if replace(self, interval=interval).buckets(at_most) is not None:
                yield Change("interval", interval=interval)
                return

    def shorter(self, at_most: int) -> Iterator[Change]:
        """Give the last part of the range that has so many buckets."""
        if at_most < 1:
            return
        start = max(self.window.start, self.window.end - (at_most + 2) * _NOMINAL[self.interval] - timedelta(days=2))
        found = first_buckets(TimeRange(start, self.window.end), self.interval, self.zone, self.week_start, 2 * at_most + 400)
        yield Change("range", range=TimeRange(max(self.window.start, found[-at_most:][0].start), self.window.end))


def split(timing: Timing) -> tuple[Bucket, ...]:
    """Return the buckets of rows. LimitError: too many."""
    buckets = timing.buckets()
    if buckets is None:
        # Counted roughly: the exact number of a million buckets is of no use.
        found = max(MAX_BUCKETS + 1, round((timing.window.end - timing.window.start) / _NOMINAL[timing.interval]))
        changes = (*timing.coarser(MAX_BUCKETS), *timing.shorter(MAX_BUCKETS))
        raise LimitError(Refusal("buckets of the interval", MAX_BUCKETS, found, changes), "interval")
    return buckets


def check_counts(first: int, by: tuple[UsageDimension, ...], top: Top | None) -> None:
    """Refuse a page, a grouping or a top that is too large. LimitError."""
    if first > MAX_ROWS:
        raise LimitError(Refusal("rows of a page", MAX_ROWS, first, (Change("first", count=MAX_ROWS),)), "first")
    if len(by) > MAX_GROUPED:
        raise LimitError(Refusal("dimensions in by", MAX_GROUPED, len(by), (Change("by", keep=MAX_GROUPED),)), "by")
    if top is not None and top.count > MAX_TOP:
        raise LimitError(Refusal("groups of a top", MAX_TOP, top.count, (Change("top.count", count=MAX_TOP),)), "top")


def check_conditions(having: list[list[Having]], order: list[Order]) -> None:
    """Refuse too many bounds of rows' numbers, given by condition, or keys of an order. LimitError."""
    bounds = sum(map(len, having))
    if bounds > MAX_CONDITIONS:
        keep = max(count for count in range(len(having)) if sum(map(len, having[:count])) <= MAX_CONDITIONS)
        raise LimitError(Refusal("bounds in having", MAX_CONDITIONS, bounds, (Change("having", keep=keep),)), "having")
    if len(order) > MAX_CONDITIONS:
        refusal = Refusal("keys in orderBy", MAX_CONDITIONS, len(order), (Change("orderBy", keep=MAX_CONDITIONS),))
        raise LimitError(refusal, "order_by")


def check_filled(grouping: Grouping, timing: Timing, groups: int | None = None) -> None:
    """Refuse to fill more gaps than may be: of as many groups as there can be, or as `groups` were found. LimitError."""
    buckets = len(grouping.buckets or ())
    groups = _most_groups(grouping) if groups is None else groups
    if not grouping.fill or groups is None or groups <= fillable_groups(grouping):
        return
    top = grouping.top
    changes = list(timing.shorter(MAX_FILLED // groups))
    if top is None or not top.per_bucket:  # what tops of other buckets hold together is not known
        changes = [*timing.coarser(MAX_FILLED // groups), *changes]
        kept = fillable_groups(grouping) - (top.with_other if top is not None else 1)
        if kept >= 1:
            changes.append(Change("top.count", count=min(kept, MAX_TOP)))
    raise LimitError(Refusal("rows that fill makes", MAX_FILLED, groups * buckets, tuple(changes)), "fill")


def _most_groups(grouping: Grouping) -> int | None:
    """Return how many groups a question can have; None: that is known to the database only."""
    sizes = [dimension.size for dimension in grouping.by]
    known = prod(size for size in sizes if size is not None) if None not in sizes else None
    top = grouping.top
    if top is None:
        return known
    kept = None if top.per_bucket else top.count
    least = min((count for count in (kept, known) if count is not None), default=None)
    return None if least is None else least + top.with_other
