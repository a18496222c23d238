"""Windows of UTC time, half-open, and the rules by which each surface resolves the dates that it is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from app.domain.errors import BadInputError

Clock = Callable[[], datetime]
"""Returns the instant, in UTC. The one source of time; tests give their own."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

RANKINGS_FLOOR = date(2025, 1, 1)
"""The rankings dataset begins here."""


def system_clock() -> datetime:
    """Return the machine's time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The instants `[start, end)`, both in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of_dates(cls, first: date, last: date) -> TimeRange:
        """Return the whole UTC days from `first` to `last`, both inclusive, up to the last midnight that there is.

        No instant ends 9999-12-31, and no record can be of that day.
        """
        return cls(midnight(first), midnight(last) + timedelta(days=1) if last < date.max else midnight(date.max))


def midnight(day: date) -> datetime:
    """Return the first instant of a UTC date."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def parse_date(text: str, name: str) -> date:
    """Parse `YYYY-MM-DD`; BadInputError names the parameter: first the pattern is checked, then that the date exists."""
    if _DATE.fullmatch(text) is None:
        raise BadInputError(f"{name} must match YYYY-MM-DD", name)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{name} is not a calendar date: {text}", name) from None


@dataclass(frozen=True, slots=True)
class DateWindow:
    """Whole UTC days, both inclusive; none where the start is after the end."""

    start_date: date
    end_date: date

    @property
    def range(self) -> TimeRange:
        """The instants of the window."""
        return TimeRange.of_dates(self.start_date, self.end_date)

    def dates(self) -> list[date]:
        """Return every date, ascending."""
        return [self.start_date + timedelta(days=number) for number in range((self.end_date - self.start_date).days + 1)]


def resolve_rankings_window(start_date: str | None, end_date: str | None, now: datetime) -> DateWindow:
    """Resolve the two parameters of rankings-daily at `now`.

    `end_date` defaults to the last completed UTC day and is clamped to today; `start_date` defaults to 30 days before it and is
    clamped to the dataset's floor. Checked in the contract's order: pattern, calendar, end before the floor, start after end.
    """
    for text, name in ((start_date, "start_date"), (end_date, "end_date")):
        if text is not None and _DATE.fullmatch(text) is None:
            raise BadInputError(f"{name} must match YYYY-MM-DD", name)
    today = now.astimezone(UTC).date()
    start = None if start_date is None else parse_date(start_date, "start_date")
    end = today - timedelta(days=1) if end_date is None else min(parse_date(end_date, "end_date"), today)
    if end < RANKINGS_FLOOR:
        raise BadInputError(f"end_date must be on or after {RANKINGS_FLOOR}", "end_date")
    if start is None:
        start = end - timedelta(days=30)
    if start > end:
        raise BadInputError(f"start_date must not be after end_date ({end})", "start_date", "end_date")
    return DateWindow(max(start, RANKINGS_FLOOR), end)


RECORDS_FLOOR = date(2020, 1, 1)
"""No record occurred before."""

MAX_DAYS_BACK = 365
MAX_TENANT_DAYS = 3660


def latest_date(now: datetime) -> date:
    """Return the last UTC date on which a record may have occurred: records may be a day ahead."""
    return (now.astimezone(UTC) + timedelta(days=1)).date()


def resolve_usage_window(date_from: str | None, date_to: str | None, now: datetime) -> DateWindow:
    """Resolve the optional dates of usage analytics; a missing one reaches as far as records can.

    The window is cut to where records can be; it is empty, its start after its end, where that leaves nothing.
    BadInputError: not a date, or crossed.
    """
    start = RECORDS_FLOOR if date_from is None else parse_date_words(date_from, "date_from")
    end = latest_date(now) if date_to is None else parse_date_words(date_to, "date_to")
    if date_from is not None and date_to is not None and start > end:
        raise BadInputError("date_from must not be after date_to", "date_from", "date_to")
    return DateWindow(max(start, RECORDS_FLOOR), min(end, latest_date(now)))


def parse_date_words(text: str, name: str) -> date:
    """Parse `YYYY-MM-DD`, in the words of usage analytics."""
    try:
        return parse_date(text, name)
    except BadInputError:
        raise BadInputError(f"{name} must be a date in the format YYYY-MM-DD", name) from None


def resolve_days_back(days: int | None, now: datetime) -> DateWindow:
    """Return the last `days` UTC dates, today included; all time if None. BadInputError: not 1 to 365."""
    end = latest_date(now)
    if days is None:
        return DateWindow(RECORDS_FLOOR, end)
    if not 1 <= days <= MAX_DAYS_BACK:
        raise BadInputError(f"days must be an integer from 1 to {MAX_DAYS_BACK}", "days")
    today = now.astimezone(UTC).date()
    return DateWindow(today - timedelta(days=days - 1), today)


def resolve_tenant_window(start_date: str | None, end_date: str | None, now: datetime) -> DateWindow:
    """Resolve the window of tenant analytics: `end_date` defaults to today, `start_date` to 7 days before it.

    Each is a date, or an instant that is taken to UTC and floored to its date. BadInputError: neither, crossed, or over 3660 days.
    """
    end = now.astimezone(UTC).date() if end_date is None else _parse_day(end_date, "end_date")
    start = _days_before(end, 7) if start_date is None else _parse_day(start_date, "start_date")
    if start > end:
        raise BadInputError("start_date must not be after end_date", "start_date", "end_date")
    if (end - start).days >= MAX_TENANT_DAYS:
        message = f"the window from start_date to end_date may not be longer than {MAX_TENANT_DAYS} days"
        raise BadInputError(message, "start_date", "end_date")
    return DateWindow(start, end)


def resolve_days(first: str, end_date: str | None, _: datetime) -> DateWindow:
    """Resolve the days from `date` to `end_date`, which defaults to `date`. BadInputError: not a date, crossed, or over 3660 days."""
    start = parse_date(first, "date")
    end = start if end_date is None else parse_date(end_date, "end_date")
    if start > end:
        raise BadInputError("date must not be after end_date", "end_date", "date")
    if (end - start).days >= MAX_TENANT_DAYS:
        raise BadInputError(f"the window from date to end_date may not be longer than {MAX_TENANT_DAYS} days", "end_date", "date")
    return DateWindow(start, end)


def resolve_log_window(start_date: str | None, end_date: str | None, now: datetime) -> DateWindow:
    """Resolve the window of a request log: as for tenant analytics, but a missing end reaches as far as records can."""
    start = RECORDS_FLOOR if start_date is None else _parse_day(start_date, "start_date")
    end = latest_date(now) if end_date is None else _parse_day(end_date, "end_date")
    if start_date is not None and end_date is not None and start > end:
        raise BadInputError("start_date must not be after end_date", "start_date", "end_date")
    return DateWindow(max(start, RECORDS_FLOOR), min(end, latest_date(now)))


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days=days) if (day - date.min).days >= days else date.min


def _parse_day(text: str, name: str) -> date:
    if _DATE.fullmatch(text) is not None:
        return parse_date(text, name)
    try:
        instant = datetime.fromisoformat(text) if "T" in text and len(text) <= 40 and text.isascii() else None
        if instant is not None:
            return (instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        pass
    raise BadInputError(f"{name} must be YYYY-MM-DD or an ISO 8601 instant", name)


_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


def parse_month(text: str, name: str) -> DateWindow:
    """Parse `YYYY-MM` and return the whole month."""
    match = _MONTH.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 9998:
        raise BadInputError(f"{name} must be a month in the format YYYY-MM", name)
    first = date(int(match[1]), int(match[2]), 1)
    return DateWindow(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))


@dataclass(frozen=True, slots=True)
class NetworkWindows:
    """The windows of one network snapshot: 24 hours, 7 days, 30 days, each ending with the bucket before `generated_at`."""

    hours: tuple[datetime, ...]
    days: tuple[date, ...]

    @property
    def hour_range(self) -> TimeRange:
        """The 24 hours, whole."""
        return TimeRange(self.hours[0], self.hours[-1] + timedelta(hours=1))

    @property
    def day_range(self) -> TimeRange:
        """The 30 dates, whole."""
        return TimeRange.of_dates(self.days[0], self.days[-1])


def network_windows(generated_at: datetime) -> NetworkWindows:
    """Return the buckets of a snapshot: the last one of each holds `generated_at` less one millisecond."""
    last = generated_at.astimezone(UTC) - timedelta(milliseconds=1)
    hour = last.replace(minute=0, second=0, microsecond=0)
    return NetworkWindows(
        hours=tuple(hour - timedelta(hours=back) for back in range(23, -1, -1)),
        days=tuple(last.date() - timedelta(days=back) for back in range(29, -1, -1)),
    )


def format_instant(value: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def format_seconds(value: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SSZ`."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
