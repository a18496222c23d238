"""Calendar time in any IANA zone: ranges as people name them, and the buckets that a range falls into. Pure.

Bounds are computed here, once, and handed to whatever counts: nothing else converts zones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from zoneinfo import ZoneInfo

from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange

MAX_BUCKETS = 10_000
"""Buckets that one question may ask for."""

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class Interval(Enum):
    """Width of the buckets of a question. Days and longer are of the zone's calendar; shorter ones never span a change of its offset."""

    QUARTER_HOUR = "quarter_hour"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    @property
    def minutes(self) -> int | None:
        """The width in minutes; None: it is counted in days."""
        return {Interval.QUARTER_HOUR: 15, Interval.HOUR: 60}.get(self)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The instants `[start, end)` of one calendar interval, whole, in UTC, and how it is labelled."""

    start: datetime
    end: datetime
    label: str


def parse_zone(name: str) -> ZoneInfo:
    """Return an IANA time zone, as the package tzdata has it: the same on every machine. BadInputError: there is none of that name."""
    if name not in zone_names():
        raise BadInputError("time_zone must be the name of an IANA time zone, such as UTC or Europe/Berlin", "time_zone")
    return _zone(name)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def first_instant(day: date, zone: ZoneInfo) -> datetime:
    """Return when a local date begins, in UTC: the first instant at which the zone's clocks show it or a later one."""
    naive = datetime.combine(day, time.min)
    found = naive.replace(tzinfo=zone).astimezone(UTC)
    if not _shows(found - _MICROSECOND, day, zone):
        return found
    # Clocks sprang over midnight: the date began with the change, a little earlier.
    low, high = found - _DAY, found
    while high - low > _MICROSECOND:
        middle = low + (high - low) / 2
        low, high = (low, middle) if _shows(middle, day, zone) else (middle, high)
    return high


def _shows(instant: datetime, day: date, zone: ZoneInfo) -> bool:
    return instant.astimezone(zone).date() >= day


def date_start(day: date, interval: Interval, week_start: int) -> date:
    """Return the first date of the day, week, month, quarter or year that a date lies in. `week_start`: 0 for Monday to 6 for Sunday."""
    match interval:
        case Interval.WEEK:
            return day - timedelta(days=(day.weekday() - week_start) % 7)
        case Interval.MONTH:
            return day.replace(day=1)
        case Interval.QUARTER:
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case Interval.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def add_intervals(day: date, interval: Interval, count: int) -> date:
    """Return the date that lies so many intervals behind a first date; negative counts go back."""
    match interval:
        case Interval.DAY:
            return day + timedelta(days=count)
        case Interval.WEEK:
            return day + timedelta(weeks=count)
        case _:
            months = {Interval.MONTH: 1, Interval.QUARTER: 3, Interval.YEAR: 12}[interval] * count + day.year * 12 + day.month - 1
            return date(months // 12, months % 12 + 1, 1)


def split_buckets(window: TimeRange, interval: Interval, zone: ZoneInfo, week_start: int = 0) -> list[Bucket]:
    """Return the buckets that a range touches, ascending and without gaps: each begins where the one before it ends.

    The first and the last are whole, so they may reach beyond the range. BadInputError: more than MAX_BUCKETS.
    """
    buckets = first_buckets(window, interval, zone, week_start, MAX_BUCKETS + 1)
    if len(buckets) > MAX_BUCKETS:
        raise BadInputError(
            f"the range has more than {MAX_BUCKETS} buckets of this interval: ask for a longer interval or a shorter range", "interval"
        )
    return buckets


def first_buckets(window: TimeRange, interval: Interval, zone: ZoneInfo, week_start: int, count: int) -> list[Bucket]:
    """Return the first `count` buckets that a range touches, as `split_buckets` does; fewer if there are no more."""
    if window.start >= window.end:
        return []
    minutes = interval.minutes
    return list(islice(_short(window, minutes, zone) if minutes is not None else _long(window, interval, zone, week_start), count))


def _long(window: TimeRange, interval: Interval, zone: ZoneInfo, week_start: int) -> Iterator[Bucket]:
    day = date_start(window.start.astimezone(zone).date(), interval, week_start)
    start = first_instant(day, zone)
    while start < window.end:
        following = add_intervals(day, interval, 1)
        end = first_instant(following, zone)
        # A zone may leave out a whole date; and where clocks were set back over midnight, an instant belongs to the date that had begun.
        if end > start and end > window.start:
            yield Bucket(start, end, _date_label(day, interval, week_start))
        day, start = following, end


def _short(window: TimeRange, minutes: int, zone: ZoneInfo) -> Iterator[Bucket]:
    at = _floor(window.start, minutes, zone)
    while at < window.end:
        local = at.astimezone(zone)
        width = timedelta(minutes=minutes - local.minute % minutes, seconds=-local.second, microseconds=-local.microsecond)
        end = _same_offset_until(at, at + width, zone)
        yield Bucket(at, end, local.isoformat(timespec="minutes"))
        at = end


def _floor(instant: datetime, minutes: int, zone: ZoneInfo) -> datetime:
    """Return the start of the short bucket that an instant lies in."""
    local = instant.astimezone(zone)
    start = instant - timedelta(minutes=local.minute % minutes, seconds=local.second, microseconds=local.microsecond)
    if start.astimezone(zone).utcoffset() == local.utcoffset():
        return start
    return _change_between(start, instant, zone)


def _same_offset_until(start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Return `end`, or the change of the zone's offset before it."""
    if (end - _MICROSECOND).astimezone(zone).utcoffset() == start.astimezone(zone).utcoffset():
        return end
    return _change_between(start, end - _MICROSECOND, zone)


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant with the offset of `high`, which is not that of `low`."""
    offset = high.astimezone(zone).utcoffset()
    while high - low > _MICROSECOND:
        middle = low + (high - low) / 2
        low, high = (low, middle) if middle.astimezone(zone).utcoffset() == offset else (middle, high)
    return high


def _date_label(day: date, interval: Interval, week_start: int) -> str:
    match interval:
        case Interval.WEEK if week_start == 0:
            year, week, _ = day.isocalendar()
            return f"{year:04d}-W{week:02d}"
        case Interval.MONTH:
            return f"{day.year:04d}-{day.month:02d}"
        case Interval.QUARTER:
            return f"{day.year:04d}-Q{(day.month + 2) // 3}"
        case Interval.YEAR:
            return f"{day.year:04d}"
        case _:
            return day.isoformat()
