"""A range of days as whole months and single days, added and taken off, so that few stored rows tell its sum. Pure.

Stored months are sums of the stored days, also of a month that is not over. So of a month that a range cuts, either the days inside are
added, or the days outside are taken off the month, whichever are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from app.domain.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class Days:
    """Days from `start` to before `end`; `sign` -1: they are taken off."""

    start: date
    end: date
    sign: int = 1

    @property
    def count(self) -> int:
        """How many."""
        return (self.end - self.start).days


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a range comes to: the months from `first_month` to before `last_month` (first dates), and days: never neither."""

    first_month: date
    last_month: date
    days: tuple[Days, ...]

    @property
    def has_months(self) -> bool:
        """Whether there is any month."""
        return self.first_month < self.last_month


def month_of(day: date) -> date:
    """Return the first date of the day's month."""
    return day.replace(day=1)


def month_after(day: date) -> date:
    """Return the first date of the month after the day's."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def split_days(window: TimeRange) -> Pieces:
    """Return the pieces of a range of whole days."""
    start, end = window.start.date(), window.end.date()
    first, last = month_of(start), month_of(end)
    if start >= end:
        return Pieces(first, first, (Days(start, start),))
    if first == last:
        return _within(start, end)
    days: list[Days] = []
    if start > first:
        inside, outside = Days(start, month_after(start)), Days(first, start, -1)
        if inside.count <= outside.count:
            first = month_after(start)
        days.append(inside if inside.count <= outside.count else outside)
    if end > last:
        inside, outside = Days(last, end), Days(end, month_after(last), -1)
        if outside.count < inside.count:
            last = month_after(last)
        days.append(inside if inside.count <= outside.count else outside)
    return Pieces(first, last, tuple(days))


def _within(start: date, end: date) -> Pieces:
    first, last = month_of(start), month_after(start)
    inside, outside = Days(start, end), (Days(first, start, -1), Days(end, last, -1))
    if inside.count <= sum(part.count for part in outside):
        return Pieces(first, first, (inside,))
    return Pieces(first, last, tuple(part for part in outside if part.count))
