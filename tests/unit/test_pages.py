"""What pages make of numbers: words, geometry, the counter's pace, colours that can be told apart."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analytics.snapshot import empty_body
from app.web.pages.figures import column_chart, parts_of, sparkline, value_ticks
from app.web.pages.network import estimate_rate, view_network
from app.web.pages.wording import bucket_name, clock_time, peak_name, percent, short_number

POWERS = {"K": 3, "M": 6, "B": 9, "T": 12, "P": 15, "E": 18}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (9_994, "9.99 K"),
        (9_995, "10.0 K"),
        (99_950, "100 K"),
        (999_499, "999 K"),
        (999_500, "1.00 M"),
        (1_234_567_890, "1.23 B"),
        (10**18 * 7, "7.00 E"),
    ],
)
def test_short_numbers(value: int, text: str) -> None:
    assert short_number(value).replace("\u202f", " ") == text


@given(st.integers(min_value=1000, max_value=10**20))
def test_a_short_number_is_the_number_to_three_digits(value: int) -> None:
    digits, _, unit = short_number(value).partition("\u202f")
    shown = Decimal(digits).scaleb(POWERS[unit])
    assert len(digits.replace(".", "")) == 3
    assert abs(shown - value) * 2 <= Decimal(10) ** (len(str(int(shown))) - 3)


@given(st.integers(min_value=0, max_value=10**15), st.integers(min_value=1, max_value=10**15))
def test_percent_is_rounded_half_up(part: int, whole: int) -> None:
    exact = (Decimal(part * 100) / Decimal(whole)).quantize(Decimal("0.01"), ROUND_HALF_UP) if part * 100 % whole == 0 else None
    shown = Decimal(percent(part, whole, 2).removesuffix("\u202f%"))
    assert exact is None or shown == exact
    assert abs(shown * whole - part * 100) * 200 <= whole


def test_instants_and_buckets_in_words() -> None:
    assert clock_time(datetime(2026, 6, 26, 12, tzinfo=UTC)) == "26 June 2026, 12:00:00 UTC"
    assert bucket_name("2026-06-26 23:00") == "Fri 26 June, 23:00 to 00:00 UTC"
    assert bucket_name("2026-06-26") == "Friday 26 June 2026"
    assert (peak_name("2026-06-26 23:00"), peak_name("2026-06-26")) == ("Fri 26 Jun, 23:00", "Fri 26 Jun")


@given(st.integers(min_value=0, max_value=10**16))
def test_ticks_are_round_even_and_few(highest: int) -> None:
    ticks = value_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] <= highest
    assert len(ticks) <= 5
    steps = {after - before for before, after in pairwise(ticks)}
    assert len(steps) <= 1
    assert all(str(step).rstrip("0") in ("1", "2", "5") for step in steps)
    assert highest < 1 or len(ticks) >= 2


@given(st.lists(st.integers(min_value=0, max_value=10**15), max_size=40))
def test_columns_and_lines_stay_in_their_box(values: list[int]) -> None:
    start = datetime(2026, 5, 28, tzinfo=UTC)
    points = [{"bucket": f"{start + timedelta(days=n):%Y-%m-%d}", "tokens": value, "requests": n} for n, value in enumerate(values)]
    chart = column_chart(points, every=4, minor=2)
    for column in chart.columns:
        x, width, y, height = (float(getattr(column, name).removesuffix("%")) for name in ("x", "width", "y", "height"))
        assert x >= 0
        assert x + width <= 100.001
        assert y >= 0
        assert y + height == pytest.approx(100, abs=0.01)
    assert (chart.peak is None) == (not any(values))
    assert chart.tokens == sum(values)
    line, tail, area = sparkline(values)
    assert all(-0.01 <= float(number) <= 100.01 for number in re.findall(r"-?[\d.]+(?:e[-+]\d+)?", line + tail + area))


@given(st.lists(st.integers(min_value=0, max_value=10**15), min_size=1, max_size=8))
def test_the_parts_of_a_bar_fill_it(values: list[int]) -> None:
    parts = parts_of([(str(number), value) for number, value in enumerate(values)])
    end = float(parts[-1].x.removesuffix("%")) + float(parts[-1].width.removesuffix("%"))
    assert end == pytest.approx(100 if any(values) else 0, abs=0.01)


def network(tokens: list[int], generated_at: str) -> dict[str, Any]:
    """Return an answer whose last hours have these tokens; the last one still runs."""
    last = datetime.fromisoformat(generated_at) - timedelta(milliseconds=1)
    hours = [last - timedelta(hours=back) for back in range(len(tokens) - 1, -1, -1)]
    points = [{"bucket": f"{hour:%Y-%m-%d %H}:00", "tokens": value, "requests": 1} for hour, value in zip(hours, tokens, strict=True)]
    return {**empty_body(), "generated_at": generated_at, "trend": {"24h": points, "7d": [], "30d": []}}


def test_the_counter_runs_at_the_slowest_pace_of_the_last_hours() -> None:
    at = "2026-06-26T12:30:00.000Z"
    assert estimate_rate(empty_body()) == 0
    assert estimate_rate(network([0, *[7200] * 6, 3600], at)) == 2  # an hour before the last six does not count
    assert estimate_rate(network([3600, 7200, 7200, 7200, 7200, 7200, 9000], at)) == 1
    assert estimate_rate(network([7200] * 6 + [900], at)) == 0.5  # half of this hour is over
    assert estimate_rate(network([7200] * 6 + [0], at)) == 0
    assert estimate_rate(network([7200] * 6 + [1], "2026-06-26T12:04:00.000Z")) == 2  # four minutes say nothing


def test_an_empty_answer_has_a_view() -> None:
    view = view_network(empty_body())
    assert (view.generated, view.rest, view.burns, view.is_long) == ("", 0, (), False)
    assert [tile.course for tile in view.tiles] == ["No traffic"] * 4


Colour = tuple[float, float, float]
SURFACES = {"light": ("#f7f7f4", "#ffffff"), "dark": ("#0f1113", "#181b1f")}
VISIONS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Machado, Oliveira, Fernandes 2009: what each sees of linear RGB, at full severity."""


def linear(text: str) -> Colour:
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue))  # type: ignore[return-value]


def contrast(one: str, other: str) -> float:
    low, high = sorted(sum(part * weight for part, weight in zip(linear(c), (0.2126, 0.7152, 0.0722), strict=True)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(text: str, vision: str) -> Colour:
    colour = linear(text)
    seen = [max(0.0, sum(a * b for a, b in zip(row, colour, strict=True))) for row in VISIONS[vision]]
    cones = (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
    long, middle, short = (sum(a * b for a, b in zip(row, seen, strict=True)) ** (1 / 3) for row in cones)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


@pytest.fixture(scope="module")
def tokens() -> dict[str, dict[str, str]]:
    css = Path("frontend/src/style/tokens.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", css)
    return {"light": {name: light for name, light, _ in pairs}, "dark": {name: dark for name, _, dark in pairs}}


@pytest.mark.parametrize("scheme", SURFACES)
def test_colours_have_contrast_and_can_be_told_apart(tokens: dict[str, dict[str, str]], scheme: str) -> None:
    named = tokens[scheme]
    assert (named["page"], named["card"]) == SURFACES[scheme]
    series = [named[f"series-{number}"] for number in range(1, 11)]
    for surface in SURFACES[scheme]:
        for colour in (*series, named["series-other"], named["accent-fill"]):
            assert contrast(colour, surface) >= 3, colour
        for name in ("ink", "muted", "accent", "accent-strong", "good", "bad"):
            assert contrast(named[name], surface) >= 4.5, name
    for vision in VISIONS:
        for one, other in combinations(series, 2):
            assert math.dist(oklab(one, vision), oklab(other, vision)) > 0.075, (vision, one, other)
        for one, other in pairwise(series):
            assert math.dist(oklab(one, vision), oklab(other, vision)) > 0.15, (vision, one, other)
