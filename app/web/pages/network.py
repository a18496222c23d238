"""The view of the network page for a snapshot, with the rate of its counter. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.web.pages.figures import Column, ColumnChart, Part, bar_width, column_chart, parts_of, sparkline
from app.web.pages.wording import clock_time, exact_number, peak_name, percent, read_instant, short_number

_WHOLE_HOURS: Final = 6
_LARGE: Final = 13
"""Characters of a number that fit across a phone in large type."""
_SHORTEST: Final = timedelta(minutes=5)
"""Of an hour that has run for less, its tokens say little."""


@dataclass(frozen=True, slots=True)
class Range:
    """One of the three ranges. `key`: its name in the documented answer."""

    key: str
    short: str
    name: str
    unit: str
    chart: ColumnChart


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its course."""

    key: str
    label: str
    value: int
    line: str
    tail: str
    area: str
    course: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A row of the token burn."""

    model: dict[str, Any]
    share: str
    width: str


@dataclass(frozen=True, slots=True)
class NetworkView:
    """All that the page shows. `rate`: tokens a second that the counter adds; `generated` is empty before the first snapshot."""

    generated_at: str
    generated: str
    first_day: str
    last_day: str
    totals: dict[str, int]
    rate: str
    parts: tuple[Part, ...]
    tiles: tuple[Tile, ...]
    ranges: tuple[Range, ...]
    burns: tuple[Burn, ...]
    is_long: bool
    """Whether the counter has more digits than fit in large type."""
    rest: int
    """Tokens outside the burn's models: those of models below the 15th or that are not public."""
    rest_share: str
    rest_width: str


def estimate_rate(network: dict[str, Any]) -> float:
    """Return the tokens a second that the counter adds: the slowest of the last whole hours and of the hour that runs; 0 if unknown.

    The slowest, not the mean, because the counter should not show what the next snapshot will not: a steady network is ahead of it.
    """
    hours = network["trend"]["24h"]
    if network["generated_at"] is None or not hours:
        return 0.0
    rates = [hour["tokens"] / 3600 for hour in hours[-1 - _WHOLE_HOURS : -1]]
    running = read_instant(network["generated_at"]) - datetime.fromisoformat(hours[-1]["bucket"]).replace(tzinfo=UTC)
    if running >= _SHORTEST:
        rates.append(hours[-1]["tokens"] / running.total_seconds())
    return min(rates, default=0.0)


def view_network(network: dict[str, Any]) -> NetworkView:
    """Return the view of a documented answer, of the one before the first snapshot too."""
    totals, trend, models = network["totals"], network["trend"], network["top_models"]
    ranges = (
        Range("24h", "24 h", "last 24 hours", "hour", column_chart(trend["24h"], every=3, minor=2)),
        Range("7d", "7 d", "last 7 days", "day", column_chart(trend["7d"], every=1, minor=2)),
        Range("30d", "30 d", "last 30 days", "day", column_chart(trend["30d"], every=4, minor=2)),
    )
    highest = max((model["tokens"] for model in models), default=0)
    rest = totals["tokens"] - sum(model["tokens"] for model in models)
    longest = max(highest, rest)
    at = network["generated_at"]
    days = trend["30d"]
    return NetworkView(
        generated_at=at or "",
        generated=clock_time(read_instant(at)) if at else "",
        first_day=days[0]["bucket"] if days else "",
        last_day=days[-1]["bucket"] if days else "",
        totals=totals,
        rate=f"{estimate_rate(network):.3f}",
        parts=parts_of(
            [
                ("Prompt", totals["prompt_tokens"]),
                ("Cached prompt", totals["cached_tokens"]),
                ("Completion", totals["completion_tokens"]),
                ("Reasoning", totals["reasoning_tokens"]),
            ]
        ),
        tiles=tuple(_tiles(ranges, totals)),
        ranges=ranges,
        burns=tuple(Burn(model, percent(model["tokens"], totals["tokens"], 2), bar_width(model["tokens"], longest)) for model in models),
        is_long=len(exact_number(totals["tokens"])) > _LARGE,
        rest=rest,
        rest_share=percent(rest, totals["tokens"], 2),
        rest_width=bar_width(rest, longest),
    )


def _tiles(ranges: tuple[Range, ...], totals: dict[str, int]) -> list[Tile]:
    shown = [(f"tokens-{each.key}", f"Tokens, {each.name}", each.chart.tokens, each.chart.columns, "tokens") for each in ranges]
    shown.append(("requests", "Requests, last 30 days", totals["requests"], ranges[-1].chart.columns, "requests"))
    tiles = []
    for key, label, value, columns, measure in shown:
        course = [getattr(column, measure) for column in columns]
        line, tail, area = sparkline(course)
        tiles.append(Tile(key, label, value, line, tail, area, _peak_in_words(columns, course)))
    return tiles


def _peak_in_words(columns: tuple[Column, ...], course: list[int]) -> str:
    highest = max(course, default=0)
    if not highest:
        return "No traffic"
    return f"Peak {short_number(highest)}, {peak_name(columns[course.index(highest)].bucket)}"
