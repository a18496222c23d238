"""The `range` of the `usage` root: as people name stretches of time, to the instants that are meant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import strawberry

from app.domain.calendar import Interval, add_intervals, date_start, first_instant
from app.domain.comparison import ComparisonPeriod, compared_range
from app.domain.errors import BadInputError
from app.domain.time_range import RECORDS_FLOOR, TimeRange, latest_date, parse_date
from app.resolvers.arguments import read_instant_argument
from app.resolvers.scalars import CalendarDate, Instant

MAX_UNITS = 100_000
_LAST = datetime(9000, 1, 1, tzinfo=UTC)  # beyond, not all zones can be reckoned with


@strawberry.input(description="Local dates of the time zone, both inclusive.")
class DateRange:
    from_: CalendarDate = strawberry.field(name="from", description="First date.")
    to: CalendarDate = strawberry.field(description="Last date.")


@strawberry.input(description="Instants, half-open.")
class InstantRange:
    start: Instant = strawberry.field(description="Inclusive start.")
    end: Instant = strawberry.field(description="Exclusive end.")


@strawberry.enum(description="A unit of calendar time.")
class TimeUnit(Enum):
    MINUTE = strawberry.enum_value("minute", description="Minutes.")
    HOUR = strawberry.enum_value("hour", description="Hours of the clock.")
    DAY = strawberry.enum_value("day", description="Local dates.")
    WEEK = strawberry.enum_value("week", description="Weeks that begin on Monday.")
    MONTH = strawberry.enum_value("month", description="Months.")
    QUARTER = strawberry.enum_value("quarter", description="Quarters of a year.")
    YEAR = strawberry.enum_value("year", description="Years.")


@strawberry.input(description="The last units of time, with the current one.")
class LastRange:
    count: int = strawberry.field(description=f"Number of units, 1 to {MAX_UNITS}.")
    unit: TimeUnit = strawberry.field(description="The unit.")
    complete: bool = strawberry.field(default=False, description="Whether to exclude the current unit.")


@strawberry.enum(description="A calendar period in the time zone. Weeks begin on Monday.")
class CalendarPeriod(Enum):
    TODAY = strawberry.enum_value("today", description="The current date.")
    YESTERDAY = strawberry.enum_value("yesterday", description="The previous date.")
    THIS_WEEK = strawberry.enum_value("this_week", description="The current week.")
    LAST_WEEK = strawberry.enum_value("last_week", description="The previous week.")
    THIS_MONTH = strawberry.enum_value("this_month", description="The current month.")
    LAST_MONTH = strawberry.enum_value("last_month", description="The previous month.")
    THIS_QUARTER = strawberry.enum_value("this_quarter", description="The current quarter of the year.")
    LAST_QUARTER = strawberry.enum_value("last_quarter", description="The previous quarter.")
    THIS_YEAR = strawberry.enum_value("this_year", description="The current year.")
    LAST_YEAR = strawberry.enum_value("last_year", description="The previous year.")
    ALL_TIME = strawberry.enum_value("all_time", description="From 2020, the earliest date of records, to tomorrow.")


@strawberry.input(name="TimeRange", one_of=True, description="The range of a report; exactly one field.")
class TimeRangeInput:
    dates: DateRange | None = strawberry.field(default=strawberry.UNSET, description="By local dates.")
    instants: InstantRange | None = strawberry.field(default=strawberry.UNSET, description="By instants.")
    last: LastRange | None = strawberry.field(default=strawberry.UNSET, description="A number of units until now.")
    period: CalendarPeriod | None = strawberry.field(default=strawberry.UNSET, description="A calendar period.")


@strawberry.enum(name="ComparisonPeriod", description="Distance of the compared range, by the calendar of the time zone.")
class PeriodName(Enum):
    PERIOD = strawberry.enum_value(
        "period",
        description="The period just before, of the same length: whole months before whole months, whole dates before whole dates, else "
        "the same duration.",
    )
    WEEK = strawberry.enum_value("week", description="A week earlier.")
    MONTH = strawberry.enum_value(
        "month", description="A month earlier; dates that the earlier month does not have are compared with nothing."
    )
    YEAR = strawberry.enum_value("year", description="A year earlier; a leap day is compared with nothing.")


@strawberry.input(one_of=True, description="The range that a report is compared with; exactly one field.")
class Comparison:
    previous: PeriodName | None = strawberry.field(default=strawberry.UNSET, description="The same range, earlier.")
    range: TimeRangeInput | None = strawberry.field(default=strawberry.UNSET, description="Another range.")


@dataclass(frozen=True, slots=True)
class ReportRanges:
    """What a report is about, cut to where records can be; and what it is compared with, also as it is split into buckets."""

    range: TimeRange
    previous: TimeRange | None = None
    previous_uncut: TimeRange | None = None


def resolve_ranges(given: TimeRangeInput, compare_to: Comparison | None, zone: ZoneInfo, now: datetime) -> ReportRanges:
    """Return the instants that are meant. BadInputError: no date or instant, crossed, or too many units."""
    first = first_instant(RECORDS_FLOOR - timedelta(days=1), zone)
    last = first_instant(latest_date(now) + timedelta(days=2), zone)

    def cut(window: TimeRange) -> TimeRange:
        start, end = max(window.start, first), min(window.end, last)
        return TimeRange(start, max(start, end))

    whole = _resolve(given, zone, now, "range")
    window = cut(whole)
    if compare_to is None:
        return ReportRanges(window)
    if compare_to.range:
        earlier = cut(_resolve(compare_to.range, zone, now, "compareTo.range"))
    elif compare_to.previous:
        # Buckets are matched by position, so both begin alike; but the end is not cut: all of May is before June.
        earlier = compared_range(
            TimeRange(window.start, max(window.start, min(whole.end, _LAST))), ComparisonPeriod(compare_to.previous.value), zone
        )
    else:
        raise BadInputError("compareTo needs one of previous and range", "compareTo")
    return ReportRanges(window, cut(earlier), earlier)


def _resolve(given: TimeRangeInput, zone: ZoneInfo, now: datetime, name: str) -> TimeRange:
    argument = name.partition(".")[0]
    if given.dates:
        first, last = _date(given.dates.from_, f"{name}.dates.from"), _date(given.dates.to, f"{name}.dates.to")
        if first > last:
            raise BadInputError(f"{name}.dates.from must not be after {name}.dates.to", argument)
        return _of_dates(first, last + timedelta(days=1), zone)
    if given.instants:
        start, end = (read_instant_argument(getattr(given.instants, bound), f"{name}.instants.{bound}") for bound in ("start", "end"))
        if start > end:
            raise BadInputError(f"{name}.instants.start must not be after {name}.instants.end", argument)
        return TimeRange(start, end)
    if given.last:
        return _last(given.last, zone, now, name)
    if given.period:
        return _period(given.period, zone, now)
    raise BadInputError(f"{name} needs one of dates, instants, last and period", argument)


def _date(text: str, name: str) -> date:
    found = parse_date(text, name)
    # Beyond, there are no records, and not all zones can be reckoned with.
    return min(max(found, date(1970, 1, 2)), date(9000, 1, 1))


def _of_dates(first: date, end: date, zone: ZoneInfo) -> TimeRange:
    return TimeRange(first_instant(first, zone), first_instant(end, zone))


def _last(given: LastRange, zone: ZoneInfo, now: datetime, name: str) -> TimeRange:
    if not 1 <= given.count <= MAX_UNITS:
        raise BadInputError(f"{name}.last.count must be from 1 to {MAX_UNITS}", name.partition(".")[0])
    back = given.count if given.complete else given.count - 1
    if given.unit in (TimeUnit.MINUTE, TimeUnit.HOUR):
        width = timedelta(minutes=1 if given.unit is TimeUnit.MINUTE else 60)
        local = now.astimezone(zone)
        into = timedelta(minutes=0 if given.unit is TimeUnit.MINUTE else local.minute, seconds=local.second, microseconds=local.microsecond)
        running = (now - into).astimezone(UTC)
        return TimeRange(running - back * width, running if given.complete else running + width)
    interval = Interval(given.unit.value)
    running_date = date_start(now.astimezone(zone).date(), interval, 0)
    try:
        first = max(add_intervals(running_date, interval, -back), date(1970, 1, 2))
    except (ValueError, OverflowError):
        first = date(1970, 1, 2)
    return _of_dates(first, running_date if given.complete else add_intervals(running_date, interval, 1), zone)


def _period(period: CalendarPeriod, zone: ZoneInfo, now: datetime) -> TimeRange:
    today = now.astimezone(zone).date()
    if period is CalendarPeriod.ALL_TIME:
        return TimeRange(datetime(1970, 1, 2, tzinfo=UTC), _LAST)
    if period in (CalendarPeriod.TODAY, CalendarPeriod.YESTERDAY):
        first = today if period is CalendarPeriod.TODAY else today - timedelta(days=1)
        return _of_dates(first, first + timedelta(days=1), zone)
    which, _, unit = period.value.partition("_")
    interval = Interval(unit)
    first = date_start(today, interval, 0)
    if which == "last":
        first = add_intervals(first, interval, -1)
    return _of_dates(first, add_intervals(first, interval, 1), zone)
