"""The range that one is compared with: calendars, changes of clocks, months of unequal length, leap days, the beginning of records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.calendar import first_instant, parse_zone
from app.domain.comparison import ComparisonPeriod, compared_range
from app.domain.time_range import TimeRange

PERIOD, WEEK, MONTH, YEAR = ComparisonPeriod
BERLIN = "Europe/Berlin"


def at(text: str, zone: str) -> datetime:
    """A local date or time as an instant."""
    if "T" in text:
        return datetime.fromisoformat(text).replace(tzinfo=parse_zone(zone)).astimezone(UTC)
    return first_instant(datetime.fromisoformat(text).date(), parse_zone(zone))


@pytest.mark.parametrize(
    ("zone", "period", "given_", "expected"),
    [
        ("UTC", PERIOD, ("2026-03-01", "2026-04-01"), ("2026-02-01", "2026-03-01")),
        ("UTC", PERIOD, ("2026-02-01", "2026-03-01"), ("2026-01-01", "2026-02-01")),
        ("UTC", PERIOD, ("2026-01-01", "2026-04-01"), ("2025-10-01", "2026-01-01")),
        ("UTC", PERIOD, ("2024-01-01", "2025-01-01"), ("2023-01-01", "2024-01-01")),
        ("UTC", PERIOD, ("2026-03-02", "2026-03-09"), ("2026-02-23", "2026-03-02")),
        ("UTC", PERIOD, ("2026-03-02T10:30", "2026-03-02T12:00"), ("2026-03-02T09:00", "2026-03-02T10:30")),
        # 23 hours are compared with the date before, of 24; and two dates with two.
        (BERLIN, PERIOD, ("2026-03-29", "2026-03-30"), ("2026-03-28", "2026-03-29")),
        (BERLIN, PERIOD, ("2026-03-28", "2026-03-30"), ("2026-03-26", "2026-03-28")),
        (BERLIN, PERIOD, ("2026-04-01", "2026-05-01"), ("2026-03-01", "2026-04-01")),
        (BERLIN, WEEK, ("2026-03-30T02:30", "2026-03-31T02:30"), ("2026-03-23T02:30", "2026-03-24T02:30")),
        # 02:30 did not come on March 29: an hour later.
        (BERLIN, WEEK, ("2026-04-05T02:30", "2026-04-05T04:00"), ("2026-03-29T03:30", "2026-03-29T04:00")),
        ("UTC", MONTH, ("2026-03-01", "2026-04-01"), ("2026-02-01", "2026-03-01")),
        ("UTC", MONTH, ("2026-03-28", "2026-04-01"), ("2026-02-28", "2026-03-01")),
        ("UTC", MONTH, ("2026-03-29", "2026-03-31"), ("2026-03-01", "2026-03-01")),
        ("UTC", MONTH, ("2026-03-31T12:00", "2026-04-01T12:00"), ("2026-03-01", "2026-03-01T12:00")),
        ("UTC", MONTH, ("2026-12-31", "2027-01-01"), ("2026-12-01", "2026-12-01")),
        ("UTC", YEAR, ("2028-02-29", "2028-03-01"), ("2027-03-01", "2027-03-01")),
        ("UTC", YEAR, ("2028-02-01", "2028-03-01"), ("2027-02-01", "2027-03-01")),
        ("UTC", YEAR, ("2029-02-28", "2029-03-01"), ("2028-02-28", "2028-03-01")),
        ("Asia/Kathmandu", YEAR, ("2026-06-01", "2026-06-02"), ("2025-06-01", "2025-06-02")),
        # Clocks sprang over midnight on 2018-11-04 in Sao Paulo: the date began at 01:00.
        ("America/Sao_Paulo", YEAR, ("2026-11-04", "2026-11-05"), ("2025-11-04", "2025-11-05")),
        # Nothing before records can be: empty.
        ("UTC", PERIOD, ("1970-01-02", "9000-01-01"), ("2019-12-31", "2019-12-31")),
        ("UTC", YEAR, ("2020-03-01", "2020-04-01"), ("2019-12-31", "2019-12-31")),
        ("UTC", PERIOD, ("2026-01-02", "9000-01-01"), ("1900-01-02", "2026-01-02")),
    ],
)
def test_by_the_calendar(zone: str, period: ComparisonPeriod, given_: tuple[str, str], expected: tuple[str, str]) -> None:
    found = compared_range(TimeRange(at(given_[0], zone), at(given_[1], zone)), period, parse_zone(zone))
    assert (found.start, found.end) == (at(expected[0], zone), at(expected[1], zone))


hours = st.integers(0, 24 * 900).map(lambda count: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=count))
zones = st.sampled_from(["UTC", BERLIN, "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Apia"])


@given(st.lists(hours, min_size=3, max_size=3), zones, st.sampled_from([WEEK, MONTH, YEAR]), st.booleans())
def test_parts_of_a_range_are_compared_with_parts(bounds: list[datetime], zone: str, period: ComparisonPeriod, dates: bool) -> None:
    clocks = parse_zone(zone)
    first, middle, last = sorted(first_instant(bound.astimezone(clocks).date(), clocks) if dates else bound for bound in bounds)
    whole, early, late = (compared_range(TimeRange(*part), period, clocks) for part in ((first, last), (first, middle), (middle, last)))
    assert whole.start == early.start <= early.end
    if dates:
        assert (early.end, late.end) == (late.start, whole.end)


@given(st.lists(hours, min_size=2, max_size=2), zones)
def test_the_period_before_ends_where_the_range_begins(bounds: list[datetime], zone: str) -> None:
    start, end = sorted(bounds)
    found = compared_range(TimeRange(start, end), PERIOD, parse_zone(zone))
    assert found.end == start
    assert found.start <= start
