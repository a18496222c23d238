"""`make bench`: measures, prints the ratios in one table, and writes them to `benchmarks/results.md`.

A complete run takes about 20 minutes and 12 GB of disk in the temporary folder; `--quick` tries everything in a minute or two.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.answers import measure_answers
from benchmarks.databases import open_server
from benchmarks.generate import check_disk
from benchmarks.ingest import measure_ingest
from benchmarks.machine import describe_machine
from benchmarks.over_http import measure_http
from benchmarks.report import Comparison, print_report, render_markdown
from benchmarks.startup import measure_startup
from benchmarks.timing import BenchmarkError

PARTS = ("ingest", "http", "answers", "startup")
_WIDTH = 150
RESULTS = Path(__file__).with_name("results.md")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options; `--quick` shortens what is not given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print ratios.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"what to measure, of {','.join(PARTS)}")
    parser.add_argument("--rows", help="numbers of records to ask, as 1000000,10000000 (the default)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (6)")
    parser.add_argument("--repeats", type=int, help="repetitions, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="try everything in a minute or two; the figures are worth little")
    parser.add_argument(
        "--output", type=Path, help="where to write; by default a complete run, not a quick one, writes benchmarks/results.md"
    )
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := sorted(set(options.only) - set(PARTS)):
        parser.error(f"--only: {unknown[0]!r} is none of {', '.join(PARTS)}")
    rows = options.rows or ("20000,60000" if options.quick else "1000000,10000000")
    try:
        options.rows = sorted({int(number) for number in rows.split(",")})
    except ValueError:
        parser.error(f"--rows: {rows!r} are no numbers")
    if options.rows[0] < 1:
        parser.error("--rows: at least 1")
    options.seconds = options.seconds or (0.4 if options.quick else 6.0)
    options.repeats = options.repeats or (1 if options.quick else 3)
    if options.output is None and not options.quick and set(options.only) == set(PARTS):
        options.output = RESULTS
    return options


def main() -> int:
    """Run what was asked for."""
    options = parse_arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that the server and its folder go

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {what}", flush=True)

    lines: list[Comparison] = []
    try:
        if "answers" in options.only:
            check_disk(sum(options.rows), Path(tempfile.gettempdir()))
        with open_server() as server:
            machine = describe_machine(server.url)
            if "startup" in options.only:
                lines += measure_startup(options.repeats, say)
            if "ingest" in options.only:
                lines += measure_ingest(server, options.seconds, options.repeats, say)
            if "http" in options.only:
                lines += measure_http(server, options.seconds, options.repeats, say)
            if "answers" in options.only:
                lines += measure_answers(server, options.rows, options.seconds, say)
    except BenchmarkError as error:
        print(error)
        return 1
    print_report(console, lines)
    if options.output is not None:
        length = f"one measurement {options.seconds:g} s, {options.repeats} repetitions, {time.monotonic() - started:.0f} s in all"
        options.output.write_text(render_markdown(lines, machine | {"run": length}))
        print(f"written to {options.output.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
