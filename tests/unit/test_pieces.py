"""A range of days as months and days: together they are the range, and days are few."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.analytics.pieces import Pieces, split_days
from app.domain.time_range import TimeRange

_DATES = st.dates(date(2023, 12, 1), date(2025, 4, 1))


def _days(pieces: Pieces) -> Counter[date]:
    counted: Counter[date] = Counter()
    for start, end, sign in [
        (pieces.first_month, pieces.last_month, 1),
        *((days.start, days.end, days.sign) for days in pieces.days),
    ]:
        for number in range((end - start).days):
            counted[start + timedelta(days=number)] += sign
    return Counter({day: count for day, count in counted.items() if count})


@given(_DATES, st.integers(0, 480))
def test_the_pieces_are_the_range(start: date, more: int) -> None:
    window = TimeRange.of_dates(start, start + timedelta(days=more))
    pieces = split_days(window)
    assert _days(pieces) == Counter(start + timedelta(days=number) for number in range(more + 1))
    assert {pieces.first_month.day, pieces.last_month.day} == {1}
    assert all(0 < days.count <= 16 for days in pieces.days)
    assert len(pieces.days) <= 2
    assert pieces.days or pieces.has_months


def test_there_may_be_no_day() -> None:
    for start, end in ((date(2026, 3, 10), date(2026, 3, 9)), (date(2026, 3, 10), date(2026, 2, 5))):
        pieces = split_days(TimeRange.of_dates(start, end))
        assert _days(pieces) == Counter()
        assert pieces.days or pieces.has_months
