"""Charts as SVG geometry for templates: pure, in percent of the plot, so that they fit any width without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.web.pages.wording import bucket_name, short_date, short_number

_GAP = 0.28
"""Part of a column's place that is left free."""
_HEADROOM = 1.04
_EDGE = 6
"""Percent of the plot that half a label takes on a phone."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the value axis. `y`: percent from the top."""

    label: str
    y: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label of the time axis. `x`: percent from the left; `is_last`: it ends there; `is_minor`: left out where room is little."""

    text: str
    x: str
    is_last: bool
    is_minor: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One bucket: its numbers, and its rectangle in percent of the plot."""

    bucket: str
    name: str
    tokens: int
    requests: int
    x: str
    width: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class ColumnChart:
    """Columns over time, oldest first, with both axes. `peak`: the highest, the first of equal ones; None if all are 0."""

    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    labels: tuple[Label, ...]
    peak: Column | None
    tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar. `x` and `width`: percent of the bar."""

    name: str
    tokens: int
    x: str
    width: str


def value_ticks(highest: int, at_most: int = 4) -> list[int]:
    """Return round values from 0 up to `highest` or below, evenly apart, `at_most` above 0; only 0 if there is nothing."""
    if highest <= 0:
        return [0]
    magnitude = 1
    while True:
        for factor in (1, 2, 5):
            step = factor * magnitude
            if highest // step <= at_most:
                return list(range(0, highest + 1, step))
        magnitude *= 10


def column_chart(points: Sequence[dict[str, Any]], every: int, minor: int) -> ColumnChart:
    """Return the chart of a trend. A label is under every `every`th column counted from the last one; every `minor`th of them may go."""
    highest = max((point["tokens"] for point in points), default=0)
    scale = highest * _HEADROOM or 1
    place = 100 / max(len(points), 1)
    columns = tuple(
        Column(
            bucket=point["bucket"],
            name=bucket_name(point["bucket"]),
            tokens=point["tokens"],
            requests=point["requests"],
            x=_percent((number + _GAP / 2) * place),
            width=_percent((1 - _GAP) * place),
            y=_percent(100 - 100 * point["tokens"] / scale),
            height=_percent(100 * point["tokens"] / scale),
        )
        for number, point in enumerate(points)
    )
    last = len(points) - 1
    labels = tuple(
        Label(
            text=_axis_name(point["bucket"]),
            x=_percent(100 if _is_at_edge(number, place) else (number + 0.5) * place),
            is_last=_is_at_edge(number, place),
            is_minor=(last - number) // every % minor != 0,
        )
        for number, point in enumerate(points)
        if (last - number) % every == 0
    )
    ticks = tuple(Tick(short_number(value), _percent(100 - 100 * value / scale)) for value in value_ticks(highest))
    peak = next((column for column in columns if column.tokens == highest), None) if highest else None
    return ColumnChart(columns, ticks, labels, peak, sum(column.tokens for column in columns), sum(column.requests for column in columns))


def sparkline(values: Sequence[int], width: int = 100, height: int = 32) -> tuple[str, str, str]:
    """Return the paths of a line, of its last piece, which leads to what is still running, and of the area under both.

    The box has that size; the line is flat on the ground if all is 0.
    """
    highest = max(values, default=0) or 1
    step = width / max(len(values) - 1, 1)
    places = [(number * step, height - 1 - (height - 3) * value / highest) for number, value in enumerate(values)] or [(0.0, height - 1.0)]
    if len(places) == 1:
        places.append((float(width), places[0][1]))
    points = [f"{x:.4g} {y:.4g}" for x, y in places]
    return f"M{'L'.join(points[:-1])}", f"M{'L'.join(points[-2:])}", f"M{'L'.join(points)}L{width} {height}L0 {height}Z"


def parts_of(named: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    """Return the parts of one bar in the order given; of a sum of 0 each has no width."""
    whole = sum(tokens for _, tokens in named) or 1
    parts = []
    before = 0
    for name, tokens in named:
        parts.append(Part(name, tokens, _percent(100 * before / whole), _percent(100 * tokens / whole)))
        before += tokens
    return tuple(parts)


def bar_width(tokens: int, highest: int) -> str:
    """Return how far a bar reaches, the longest all the way: percent."""
    return _percent(100 * tokens / highest if highest else 0)


def _is_at_edge(number: int, place: float) -> bool:
    """Tell whether a label in the middle of a column would reach over the right edge, on a phone."""
    return 100 - (number + 0.5) * place < _EDGE


def _axis_name(bucket: str) -> str:
    return bucket[11:] if len(bucket) > 10 else short_date(bucket)


def _percent(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"
