"""How a bound question is answered: computed once, and carried to whoever prices, shows or runs it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from app.query.bind import Bound
from app.query.cover import Scan, cover
from app.query.state import Closing, State


@dataclass(frozen=True, slots=True)
class Asked:
    """One bound question; `with_rest`: also the numbers of all that is on no row of the page.

    `compared`: the same question of an earlier range, by the same groups, its buckets matched by position; `with_previous_rest`: also the
    numbers of all of that range that belong to no row of the page.
    """

    bound: Bound
    with_rest: bool = False
    compared: Bound | None = None
    with_previous_rest: bool = False

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is asked, and what it is compared with."""
        return (self.bound,) if self.compared is None else (self.bound, self.compared)


@dataclass(frozen=True, slots=True)
class Planned:
    """A question, what is to be read for it, as things are closed, and about how many rows that is: at least one."""

    asked: Asked
    closing: Closing
    scans: tuple[Scan, ...]
    compared_scans: tuple[Scan, ...]
    rows: int


def plan(asked: Asked, states: Sequence[State]) -> Planned:
    """Return the question with its scans; the states are those of `asked.bounds`, with one closing."""
    scans = [cover(bound, state) for bound, state in zip(asked.bounds, states, strict=True)]
    rows, *compared = (max(1, ceil(_count(found, state))) for found, state in zip(scans, states, strict=True))
    earlier = sum(compared)
    return Planned(
        asked,
        states[0].closing,
        scans[0],
        scans[1] if compared else (),
        rows * (1 + asked.with_rest) + earlier + (rows + earlier) * asked.with_previous_rest,
    )


def _count(scans: Sequence[Scan], state: State) -> float:
    return sum(state.count_records(scan.spans) if scan.rollup is None else state.count_rows(scan.rollup, scan.spans) for scan in scans)
