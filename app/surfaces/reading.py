"""The rows that the questions of surfaces may read, by their windows. Pure."""

from __future__ import annotations

from typing import Final

from app.domain.time_range import DateWindow

GROUPS_A_DAY: Final = 50
"""Rows that a day, or a month, is taken to have in the sums that questions are answered from: by model and provider, say."""


def days_of(window: DateWindow) -> int:
    """Return the days of a window; 0 where its start is after its end."""
    return max(0, (window.end_date - window.start_date).days + 1)


def summed_rows(window: DateWindow) -> int:
    """Return the rows that are summed for a window: those of its whole months, and of the days before and after them."""
    days = days_of(window)
    return min(days, days // 28 + 62) * GROUPS_A_DAY


def daily_rows(window: DateWindow) -> int:
    """Return the rows that are summed for the days of a window, each by itself."""
    return days_of(window) * GROUPS_A_DAY
