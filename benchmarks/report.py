"""What a run found, as ratios: one table for the terminal, the same rows as Markdown. Pure, but for printing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor, log10
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured number: the median of its repetitions, and the half range of them as a part of it."""

    value: float
    unit: str
    spread: float = 0.0

    @classmethod
    def of(cls, samples: Sequence[float], unit: str) -> Quantity:
        """Return the median of `samples` (at least one) with their spread."""
        middle = median(samples)
        return cls(middle, unit, (max(samples) - min(samples)) / 2 / middle if middle else 0.0)

    def __str__(self) -> str:
        spread = f" ±{self.spread:.0%}" if self.spread >= 0.005 else ""
        return f"{format_number(self.value)} {self.unit}{spread}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should reach: at least or at most `bound`."""

    bound: float
    at_most: bool = False

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio reaches it."""
        return ratio <= self.bound if self.at_most else ratio >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {format_number(self.bound)}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the report: ours beside the limit, the peer or the other run named by `against`.

    The ratio is ours / theirs; with `inverted` theirs / ours, which for times says how many times as fast ours is.
    """

    section: str
    what: str
    ours: Quantity
    against: str = ""
    theirs: Quantity | None = None
    goal: Goal | None = None
    inverted: bool = False

    @property
    def ratio(self) -> float | None:
        """The ratio; None if there is nothing to compare with."""
        if self.theirs is None:
            return None
        return self.theirs.value / self.ours.value if self.inverted else self.ours.value / self.theirs.value

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return what the table shows: what, ours, compared with, ratio, goal."""
        ratio = self.ratio
        shown = "" if ratio is None else f"{format_number(ratio)}×{' as fast' if self.inverted else ''}"
        against = "" if self.theirs is None else f"{self.against}: {self.theirs}"
        goal = "" if self.goal is None or ratio is None else f"{self.goal} {'✓' if self.goal.is_met(ratio) else '✗'}"
        return self.what, str(self.ours), against, shown, goal


_HEADINGS = ("what", "ours", "compared with", "ratio", "goal")


def format_number(value: float) -> str:
    """Return a number with three significant digits, thousands as `k`, millions as `M`."""
    for size, suffix in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return _three_digits(value / (1e3 if suffix == "k" else size)) + suffix
    return _three_digits(value)


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    places = max(0, 2 - floor(log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def print_report(console: Console, comparisons: Iterable[Comparison]) -> None:
    """Print the table, a rule between its sections."""
    table = Table(*_HEADINGS[:3], title="Tokengraph, measured in one run", title_justify="left")
    table.add_column(_HEADINGS[3], justify="right")
    table.add_column(_HEADINGS[4], justify="right")
    for section, rows in groupby(comparisons, key=lambda row: row.section):
        table.add_section()
        table.add_row(f"[bold]{section}[/bold]")
        for row in rows:
            table.add_row(*row.cells())
    console.print(table)


def render_markdown(comparisons: Iterable[Comparison], machine: Mapping[str, str]) -> str:
    """Return the report as Markdown: the machine, then a table for each section."""
    lines = [
        "# Measured",
        "",
        "Written by `make bench`; absolute figures are this machine's, the ratios are of one run on it. Each figure is the median of its",
        "repetitions, ± half their range. What is measured, and how, is said in the docstrings of `benchmarks/`.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine.items()),
    ]
    for section, rows in groupby(comparisons, key=lambda row: row.section):
        lines += ["", f"## {section}", "", f"| {' | '.join(_HEADINGS)} |", "|---|---|---|--:|--:|"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |" for row in rows]
    return "\n".join(lines) + "\n"
