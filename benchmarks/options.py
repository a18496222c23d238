"""What a run is asked to do, and what that will cost in time and disk. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.duck import BYTES_PER_RECORD
from benchmarks.generate import disk_needed

PARTS = ("startup", "execution", "reads", "ingest", "http", "fairness", "answers")
_QUESTIONS = 15
_SECONDS_PER_MILLION = 25.0
_SECONDS_PER_MILLION_DUCK = 5.0
_RESULTS = Path(__file__).with_name("results.md")


@dataclass(frozen=True, slots=True)
class Options:
    """A run. `data`: where generated databases and installed peers stay for the next one; `output`: the Markdown to write, if any."""

    only: tuple[str, ...]
    rows: tuple[int, ...]
    seconds: float
    repeats: int
    data: Path | None
    output: Path | None

    def disk_bytes(self, to_make: Sequence[int]) -> int:
        """Bytes that the run takes at most, as far as they grow with the numbers of records that are to be made."""
        return sum(map(disk_needed, to_make)) + duck_bytes(to_make) if "answers" in self.only else 0

    def expected_seconds(self, to_make: Sequence[int]) -> float:
        """How long the run takes on two cores, roughly; `to_make` as for `disk_bytes`."""
        once = {
            "startup": 6.0,
            "execution": 6 * self.seconds / 3,
            "reads": 18 * self.seconds,
            "ingest": 26 * self.seconds + 30,
            "http": 7 * self.seconds + 25,
            "fairness": 2 * self.seconds + 15,
            "answers": 0.0,
        }
        fixed = 40.0 if "reads" in self.only else 15.0
        seconds = fixed + self.repeats * sum(once[part] for part in self.only)
        if "answers" in self.only:
            seconds += sum(to_make) / 1e6 * (_SECONDS_PER_MILLION + _SECONDS_PER_MILLION_DUCK)
            seconds += 2 * _QUESTIONS * self.seconds * len(self.rows)
        return seconds


def duck_bytes(rows: Sequence[int]) -> int:
    """Return the bytes that DuckDB's files of so many records take."""
    return sum(rows) * BYTES_PER_RECORD


def parse_arguments(arguments: Sequence[str] | None = None) -> Options:
    """Read the options; `--quick` shortens what is not given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print ratios.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"what to measure, of {','.join(PARTS)}")
    parser.add_argument("--rows", help="numbers of records to ask, as 1000000,100000000 (1000000,10000000)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (6)")
    parser.add_argument("--repeats", type=int, help="repetitions, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="try everything in about 3 minutes; the figures are worth little")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep generated databases and installed peers here, for the next run")
    parser.add_argument(
        "--output", type=Path, help="where to write, a picture beside; by default a complete run, not a quick one, writes results.md"
    )
    given = parser.parse_args(arguments)
    only = tuple(given.only.split(","))
    if unknown := sorted(set(only) - set(PARTS)):
        parser.error(f"--only: {unknown[0]!r} is none of {', '.join(PARTS)}")
    words = given.rows or ("20000,60000" if given.quick else "1000000,10000000")
    try:
        rows = tuple(sorted({int(number) for number in words.split(",")}))
    except ValueError:
        parser.error(f"--rows: {words!r} are no numbers")
    if rows[0] < 1:
        parser.error("--rows: at least 1")
    if (given.seconds is not None and given.seconds <= 0) or (given.repeats is not None and given.repeats < 1):
        parser.error("--seconds and --repeats must be over 0")
    is_complete = not given.quick and set(only) == set(PARTS)
    return Options(
        only=only,
        rows=rows,
        seconds=given.seconds or (0.4 if given.quick else 6.0),
        repeats=given.repeats or (1 if given.quick else 3),
        data=None if given.data is None else given.data.absolute(),
        output=given.output or (_RESULTS if is_complete else None),
    )
