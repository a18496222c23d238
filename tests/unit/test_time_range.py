"""Windows against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadInputError
from app.domain.time_range import RANKINGS_FLOOR, TimeRange, format_instant, network_windows, parse_date, resolve_rankings_window
from app.money.rounding import ratio, round_half_up

instants = st.datetimes(datetime(2025, 2, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(now=instants)
def test_network_windows_are_whole_and_end_at_now(now: datetime) -> None:
    windows = network_windows(now)
    assert (len(windows.hours), len(windows.days)) == (24, 30)
    assert windows.hours[-1] < now <= windows.hours[-1] + timedelta(hours=1, milliseconds=1)
    assert windows.days[-1] == (now - timedelta(milliseconds=1)).date()
    assert all(later - earlier == timedelta(hours=1) for earlier, later in zip(windows.hours, windows.hours[1:], strict=False))
    assert all(later - earlier == timedelta(days=1) for earlier, later in zip(windows.days, windows.days[1:], strict=False))
    assert windows.day_range.end - windows.day_range.start == timedelta(days=30)
    assert windows.hour_range.end - windows.hour_range.start == timedelta(hours=24)


@given(now=instants)
def test_rankings_default_to_thirty_days_before_yesterday(now: datetime) -> None:
    window = resolve_rankings_window(None, None, now)
    assert window.end_date == now.date() - timedelta(days=1)
    assert window.start_date == max(window.end_date - timedelta(days=30), RANKINGS_FLOOR)


@given(now=instants, start=st.dates(), end=st.dates())
def test_rankings_windows_are_never_outside_of_the_dataset(now: datetime, start: date, end: date) -> None:
    try:
        window = resolve_rankings_window(start.isoformat(), end.isoformat(), now)
    except BadInputError:
        assert end < RANKINGS_FLOOR or start > min(end, now.date())
    else:
        assert RANKINGS_FLOOR <= window.start_date <= window.end_date <= now.date()
        assert window.range == TimeRange.of_dates(max(start, RANKINGS_FLOOR), min(end, now.date()))


def test_a_clock_elsewhere_is_taken_to_utc() -> None:
    evening = datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=5)))
    assert resolve_rankings_window(None, None, evening).end_date == date(2026, 2, 27)


@pytest.mark.parametrize("text", ["2026-02-29", "2026-13-01", "2026-00-10", "0000-01-01"])
def test_dates_that_no_calendar_has(text: str) -> None:
    with pytest.raises(BadInputError, match="not a calendar date"):
        parse_date(text, "start_date")


def test_instants_are_written_to_the_millisecond() -> None:
    assert format_instant(datetime(2026, 6, 26, 12, 0, 0, 7999, tzinfo=UTC)) == "2026-06-26T12:00:00.007Z"


@pytest.mark.parametrize(
    ("value", "places", "expected"), [("0.00005", 4, "0.0001"), ("2.5", 0, "3"), ("-2.5", 0, "-3"), ("0.1234567", 6, "0.123457")]
)
def test_halves_go_up(value: str, places: int, expected: str) -> None:
    assert round_half_up(Decimal(value), places) == Decimal(expected)


def test_ratios() -> None:
    assert ratio(1, 0, 4) == 0.0
    assert ratio(500_000_000, 1_234_567_890, 4) == 0.405
    assert ratio(2**70, 2**70 * 3, 4) == 0.3333
