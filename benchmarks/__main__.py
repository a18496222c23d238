"""`make bench`: measures, prints the ratios in one table, and writes them with a picture to `benchmarks/results.md` and `.svg`.

It says beforehand how long it takes and how much disk; `--quick` tries everything in about 3 minutes, `--data DIR` keeps what is generated.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.answers import AnswersPlan, kept_name, measure_answers
from benchmarks.databases import BenchmarkServer, open_server
from benchmarks.fairness import measure_fairness
from benchmarks.generate import check_disk
from benchmarks.http_reads import measure_reads
from benchmarks.in_process import measure_in_process
from benchmarks.ingest import measure_ingest
from benchmarks.machine import describe_machine
from benchmarks.options import Options, duck_bytes, parse_arguments
from benchmarks.over_http import measure_http
from benchmarks.plot import render_svg
from benchmarks.report import Comparison, print_report, render_markdown
from benchmarks.startup import measure_startup
from benchmarks.timing import BenchmarkError

_WIDTH = 150


class _Run:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.started = time.monotonic()
        self.machine: dict[str, str] = {}

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self.started:5.0f} s] {what}", flush=True)

    def measure(self) -> list[Comparison]:
        options = self.options
        if options.data is not None:
            options.data.mkdir(parents=True, exist_ok=True)
        with open_server(None if options.data is None else options.data / "server") as server:
            kept = server.kept_databases()
            missing = [size for size in options.rows if "answers" in options.only and kept_name(size) not in kept]
            cost = f"about {options.expected_seconds(missing) / 60:.0f} minutes"
            if missing:
                cost += f" and up to {options.disk_bytes(missing) / 1e9:.1f} GB of disk, the log and sorts beside"
                check_disk(missing, options.data or Path(tempfile.gettempdir()), duck_bytes(missing))
            self.say(f"this takes {cost}")
            self.machine = describe_machine(server.url)
            return [line for part in options.only for line in self._measure_part(part, server)]

    def _measure_part(self, part: str, server: BenchmarkServer) -> list[Comparison]:
        seconds, repeats = self.options.seconds, self.options.repeats
        match part:
            case "startup":
                return measure_startup(repeats, self.say)
            case "execution":
                return measure_in_process(server, seconds, repeats, self.say)
            case "reads":
                return measure_reads(server, self.options.data, seconds, repeats, self.say)
            case "ingest":
                return measure_ingest(server, seconds, repeats, self.say)
            case "http":
                return measure_http(server, seconds, repeats, self.say)
            case "fairness":
                return measure_fairness(server, seconds, repeats, self.say)
            case _:
                return measure_answers(server, AnswersPlan(self.options.rows, seconds, self.options.data), self.say)


def main() -> int:
    """Run what was asked for."""
    options = parse_arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for name in [name for name in os.environ if name.startswith(("TOKENGRAPH_", "GATEWAY_"))]:
        del os.environ[name]  # what is set for a gateway of one's own is not what is measured
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that the server and its folder go
    run = _Run(options)
    try:
        lines = run.measure()
    except BenchmarkError as error:
        print(error)
        return 1
    print_report(console, lines)
    took = f"one measurement {options.seconds:g} s, {options.repeats} repetitions, {time.monotonic() - run.started:.0f} s in all"
    if options.output is not None:
        options.output.write_text(render_markdown(lines, run.machine | {"run": took}))
        picture = options.output.with_suffix(".svg")
        picture.write_text(render_svg(lines, f"{run.machine['CPU']}, {run.machine['memory']}, {run.machine['date']}; {took}"))
        print(f"written to {options.output.name} and {picture.name}")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Everything is closed by now; an ordinary exit would print pages about what DuckDB's binding leaves to the end of the process.
    os._exit(code)
