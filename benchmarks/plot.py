"""The ratios that have goals as one picture: how many times each goal is reached, on a logarithmic scale. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from math import log10
from xml.sax.saxutils import escape

from benchmarks.report import Comparison, format_number

_WIDTH = 960
_LEFT = 430
_RIGHT = 150
_ROW = 20
_LEAST, _MOST = 0.1, 100.0
_MET, _MISSED = "#1a7f5a", "#c2571a"


def times_reached(comparison: Comparison) -> float | None:
    """Return how many times a goal is reached, over 1 if it is met; None: there is no goal or nothing to compare with."""
    ratio = comparison.ratio
    if comparison.goal is None or ratio is None or ratio <= 0:
        return None
    return comparison.goal.bound / ratio if comparison.goal.at_most else ratio / comparison.goal.bound


def render_svg(comparisons: Iterable[Comparison], subtitle: str) -> str:
    """Return the picture; a bar that would leave it ends at its edge."""
    parts: list[str] = []
    y = 62
    with_goal = [comparison for comparison in comparisons if times_reached(comparison) is not None]
    for section, rows in groupby(with_goal, key=lambda row: row.section):
        y += 10
        parts.append(_text(16, y + 13, section, weight="600"))
        y += _ROW
        for row in rows:
            parts.append(_bar(row, y))
            y += _ROW
    height = y + 34
    goal = _x(1)
    axis = [f'<line x1="{goal:.1f}" y1="58" x2="{goal:.1f}" y2="{y + 4}" stroke="#57606a" stroke-dasharray="3 3"/>']
    axis += [_text(_x(at), y + 20, f"{format_number(at)}×", anchor="middle") for at in (0.1, 1, 10, 100)]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="system-ui, sans-serif"'
        ' font-size="12" fill="#24292f">',
        "<title>Ratios measured against their goals</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 26, "How many times each goal is reached", weight="600", size=16),
        _text(16, 46, subtitle, colour="#57606a"),
    ]
    return "\n".join([*head, *axis, *parts, "</svg>"]) + "\n"


def _x(times: float) -> float:
    part = (log10(min(max(times, _LEAST), _MOST)) - log10(_LEAST)) / (log10(_MOST) - log10(_LEAST))
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _bar(row: Comparison, y: int) -> str:
    reached, ratio = times_reached(row), row.ratio
    assert reached is not None
    assert ratio is not None
    end, goal = _x(reached), _x(1)
    colour = _MET if reached >= 1 else _MISSED
    left, width = min(goal, end), max(abs(end - goal), 1.5)
    return "\n".join(
        (
            _text(_LEFT - 8, y + 14, _shortened(row), anchor="end"),
            f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="12" rx="2" fill="{colour}"/>',
            _text(max(end, goal) + 6, y + 14, f"{format_number(ratio)}×  (goal {row.goal})", colour=colour),
        )
    )


def _shortened(row: Comparison) -> str:
    words = f"{row.what} / {row.against}"
    return words if len(words) <= 70 else words[:69] + "…"


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "400", size: int = 12, colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"{fill}>{escape(words)}</text>'
