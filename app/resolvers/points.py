"""Points: the measure of what questions cost."""

from __future__ import annotations

from typing import Final

ROWS_A_POINT: Final = 100
"""Rows that may be read for a point."""

MAX_POINTS: Final = 5_000
"""What one operation may cost."""


def points_for(rows: int) -> int:
    """Return what reading so many rows costs: at least a point, unless there are none."""
    return -(-rows // ROWS_A_POINT)


def points_for_question(rows: int) -> int:
    """Return what a question costs that is expected to read so many rows: at most half of an operation, so that totals fit beside rows."""
    return min(MAX_POINTS // 2, points_for(rows))
