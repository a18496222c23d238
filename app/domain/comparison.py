"""The stretch of time that a range is compared with: as long before it, or a week, a month, a year earlier. Pure.

Bounds move by the calendar of a zone. They keep their order and meet where ranges met, so that parts of a range are compared with parts.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from app.domain.calendar import first_instant
from app.domain.time_range import RECORDS_FLOOR, TimeRange

_EARLIEST: Final = datetime(1900, 1, 2, tzinfo=UTC)
"""So long before all records, all zones can be reckoned with."""


class ComparisonPeriod(Enum):
    """How far back the compared range lies."""

    PERIOD = "period"
    """As long as the range, just before it: whole months before whole months, whole dates before whole dates, else as much time."""
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


def compared_range(window: TimeRange, period: ComparisonPeriod, zone: ZoneInfo) -> TimeRange:
    """Return the range that one is compared with. It is empty where it would end before the first record can have occurred."""
    floor = first_instant(RECORDS_FLOOR - timedelta(days=1), zone)
    if period is ComparisonPeriod.PERIOD:
        start, end = _before(window, zone) if window.start > floor else floor, window.start
    else:
        start, end = (_moved(bound, period, zone) for bound in (window.start, window.end))
    return TimeRange(start, max(start, end)) if end > floor else TimeRange(floor, floor)


def _before(window: TimeRange, zone: ZoneInfo) -> datetime:
    """Return the start of the range of the same length that ends where this one starts; or _EARLIEST."""
    try:
        return max(_start_before(window, zone), _EARLIEST)
    except (ValueError, OverflowError):
        return _EARLIEST


def _start_before(window: TimeRange, zone: ZoneInfo) -> datetime:
    first, end = (bound.astimezone(zone).date() for bound in (window.start, window.end))
    if (first_instant(first, zone), first_instant(end, zone)) != (window.start, window.end):
        return window.start - (window.end - window.start)
    if first.day == end.day == 1:
        return first_instant(_months_before(first, (end.year - first.year) * 12 + end.month - first.month), zone)
    return first_instant(first - (end - first), zone)


def _moved(bound: datetime, period: ComparisonPeriod, zone: ZoneInfo) -> datetime:
    """Return the bound a week, a month or a year earlier by the local clock.

    A date that the earlier month does not have becomes the end of that month; a time that clocks skip then is later by what they skip.
    """
    local = bound.astimezone(zone)
    day = local.date()
    if period is ComparisonPeriod.WEEK:
        earlier = day - timedelta(weeks=1)
    else:
        earlier = _months_before(day, 12 if period is ComparisonPeriod.YEAR else 1)
    if first_instant(day, zone) == bound or (period is not ComparisonPeriod.WEEK and earlier.day != day.day):
        return first_instant(earlier, zone)
    return datetime.combine(earlier, local.time().replace(fold=local.fold)).replace(tzinfo=zone).astimezone(UTC)


def _months_before(day: date, months: int) -> date:
    """Return the same date so many months earlier; the first of the month behind where that month does not have it."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    try:
        return date(year, month + 1, day.day)
    except ValueError:
        if not 1 <= year <= 9999:
            raise
        return date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
