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
        """Return the whole UTC days from `first` to `last`, both inclusive."""
        return cls(midnight(first), midnight(last) + timedelta(days=1))


def midnight(day: date) -> datetime:
    """Return the first instant of a UTC date."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def parse_date(text: str, name: str) -> date:
    """Parse `YYYY-MM-DD`; BadInputError names the parameter: first the pattern is checked, then that the date exists."""
    if _DATE.fullmatch(text) is None:
        raise BadInputError(f"{name} must match YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{name} is not a calendar date: {text}") from None


@dataclass(frozen=True, slots=True)
class RankingsWindow:
    """The resolved dates of a rankings answer, both inclusive, as echoed in its `meta`."""

    start_date: date
    end_date: date

    @property
    def range(self) -> TimeRange:
        """The whole UTC days of the window."""
        return TimeRange.of_dates(self.start_date, self.end_date)


def resolve_rankings_window(start_date: str | None, end_date: str | None, now: datetime) -> RankingsWindow:
    """Resolve the two parameters of rankings-daily at `now`.

    `end_date` defaults to the last completed UTC day and is clamped to today; `start_date` defaults to 30 days before it and is
    clamped to the dataset's floor. Checked in the contract's order: pattern, calendar, end before the floor, start after end.
    """
    for text, name in ((start_date, "start_date"), (end_date, "end_date")):
        if text is not None and _DATE.fullmatch(text) is None:
            raise BadInputError(f"{name} must match YYYY-MM-DD")
    today = now.astimezone(UTC).date()
    start = None if start_date is None else parse_date(start_date, "start_date")
    end = today - timedelta(days=1) if end_date is None else min(parse_date(end_date, "end_date"), today)
    if end < RANKINGS_FLOOR:
        raise BadInputError(f"end_date must be on or after {RANKINGS_FLOOR}")
    if start is None:
        start = end - timedelta(days=30)
    if start > end:
        raise BadInputError(f"start_date must not be after end_date ({end})")
    return RankingsWindow(max(start, RANKINGS_FLOOR), end)


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
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def format_seconds(value: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SSZ`."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
