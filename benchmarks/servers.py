"""The gateway in uvicorn (httptools, uvloop) and in granian: requests/s, p99 and memory of the same application on the same routes.

`python -m benchmarks.servers` prints a table; it is no part of `make bench`. Each server has one worker and no log. They take turns, so
that a slow minute of the machine touches both.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import uvloop
from rich.console import Console

from benchmarks.databases import open_server
from benchmarks.gateway import NO_LIMIT, RunningServer, free_port, gateway_environment, serving
from benchmarks.load import Pressure, drive_in_turn, encode_request, fetch_json
from benchmarks.reads import NETWORK_PATH, Reads, open_reads, rest_big, rest_small
from benchmarks.report import Comparison, Quantity, print_report
from benchmarks.timing import BenchmarkError

CONNECTIONS = 32
_FACTORY = "app.web.app:create_app_from_environment"
_HELLO = "benchmarks.peers.bare:hello"
_MEGABYTE = 2**20

Found = dict[str, list[float]]


def uvicorn_command(factory: str, port: int) -> list[str]:
    """Return what runs an application in uvicorn, as `tokengraph serve` does."""
    return [sys.executable, "-m", "benchmarks.peers.served", factory, str(port)]


def granian_command(factory: str, port: int) -> list[str]:
    """Return what runs it in granian."""
    options = ["--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws", "--workers", "1", "--no-log"]
    return [sys.executable, "-m", "granian", factory, "--factory", "--port", str(port), *options]


SERVERS: dict[str, Callable[[str, int], list[str]]] = {"uvicorn": uvicorn_command, "granian": granian_command}


def _requests(reads: Reads) -> dict[str, tuple[str, Sequence[bytes]]]:
    """By name: which application is asked, and what."""
    return {
        "hello, bare ASGI": (_HELLO, [encode_request("GET", "/", {})]),
        "network statistics, not cached": (_FACTORY, [encode_request("GET", NETWORK_PATH, {})]),
        "/healthz": (_FACTORY, [encode_request("GET", "/healthz", {})]),
        "small, 30 + 10 rows": (_FACTORY, rest_small(reads)),
        "big, 1,530 rows": (_FACTORY, rest_big(reads)),
    }


@contextmanager
def _serving_all(url: str) -> Iterator[dict[tuple[str, str], RunningServer]]:
    """Run every application in every server."""
    environment = gateway_environment(
        TOKENGRAPH_DATABASE_URL=url,
        TOKENGRAPH_KEY_RATE_LIMIT=NO_LIMIT,
        TOKENGRAPH_KEY_COST_LIMIT=NO_LIMIT,
        TOKENGRAPH_ADDRESS_RATE_LIMIT=NO_LIMIT,
        TOKENGRAPH_CACHE_MEMORY="0",
    )
    with ExitStack() as stack:
        running = {}
        for factory, path in ((_FACTORY, "/readyz"), (_HELLO, "/")):
            for name, command in SERVERS.items():
                port = free_port()
                running[name, factory] = stack.enter_context(serving(command(factory, port), environment, port, path))
        yield running


def compare_servers(seconds: float, repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return granian's figures beside uvicorn's. BenchmarkError: they answer different rows."""
    found: Found = defaultdict(list)
    with open_server() as server, open_reads(server) as reads, _serving_all(reads.url) as running:
        asked = _requests(reads)
        _check_rows(asked, running)
        for round_number in range(repetitions + 1):
            for what, (factory, requests) in asked.items():
                for name in SERVERS:
                    one = running[name, factory]
                    length = seconds if round_number else min(seconds, 0.5)
                    load = uvloop.run(drive_in_turn(one.port, requests, Pressure(CONNECTIONS, length)))
                    if round_number:  # the first warms up
                        found[f"{name} {what}"].append(load.rate.per_second)
                        found[f"{name} {what}, p99"].append(load.p99)
                        say(f"{what}, {name}: {load.rate.per_second:,.0f} requests/s, p99 {load.p99:.1f} ms")
        for name in SERVERS:
            found[f"{name} memory"].append(running[name, _FACTORY].resident_bytes_with_workers() / _MEGABYTE)
    return _compare(found, list(asked))


def _check_rows(asked: dict[str, tuple[str, Sequence[bytes]]], running: dict[tuple[str, str], RunningServer]) -> None:
    for what in ("small, 30 + 10 rows", "big, 1,530 rows"):
        factory, requests = asked[what]
        bodies = [uvloop.run(fetch_json(running[name, factory].port, requests[0])) for name in SERVERS]
        rows = [body["data"] if isinstance(body, dict) and "data" in body else body for body in bodies]
        if any(row != rows[0] for row in rows):
            raise BenchmarkError(f"{what}: the servers answer different rows")


def _compare(found: Found, asked: Sequence[str]) -> list[Comparison]:
    section = f"granian {version('granian')} beside uvicorn {version('uvicorn')}, {CONNECTIONS} connections, 1 worker"
    lines = []
    for what in asked:
        ours, theirs = (Quantity.of(found[f"{name} {what}"], "requests/s") for name in ("granian", "uvicorn"))
        lines.append(Comparison(section, what, ours, "uvicorn", theirs))
        ours, theirs = (Quantity.of(found[f"{name} {what}, p99"], "ms") for name in ("granian", "uvicorn"))
        lines.append(Comparison(section, f"{what}: p99", ours, "uvicorn", theirs))
    memory, other = (Quantity.of(found[f"{name} memory"], "MB") for name in ("granian", "uvicorn"))
    return [*lines, Comparison(section, "memory after it, all processes", memory, "uvicorn", other)]


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description="uvicorn and granian with the gateway.")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement (4)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions, of which the median counts (5)")
    options = parser.parse_args()
    try:
        lines = compare_servers(options.seconds, options.repeats, lambda what: print(what, flush=True))
    except BenchmarkError as error:
        print(error)
        return 1
    console = Console()
    print_report(console if console.is_terminal else Console(width=150), lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
