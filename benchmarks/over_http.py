"""Ingest end to end: NDJSON posted to a real `tokengraph serve` beside the same batches handed to the write in this process.

The gateway is a process with one worker on a fresh database in which all names are registered; the load generator runs on the same
machine. Posts of 10,000 records go over one connection; single records over 1 and 64 connections, where the receipts of many
can wait for one commit. Compared with the write itself: what HTTP, parsing and validation add.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import islice

import uvloop

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.domain.usage import UsageRecord
from benchmarks.databases import LARGE, STORED_BEFORE, BenchmarkServer, verify, warm_up_bodies
from benchmarks.gateway import NO_LIMIT, free_port, gateway_command, gateway_environment, serving
from benchmarks.ingest import ROWS_PER_SECOND_AT_MOST, write_batches
from benchmarks.load import Load, Target, post_all
from benchmarks.report import Comparison, Quantity
from benchmarks.timing import percentile
from benchmarks.traffic import encode_ndjson, generate_traffic, split

CONNECTIONS = (1, 64)
_SINGLES_PER_SECOND_AT_MOST = 8_000
_SECTION = "Ingest over HTTP"


async def _make_key(url: str) -> str:
    async with Database(url, min_size=1, max_size=1) as database:
        return (await create_key(database, KeyRequest(Role.INGEST), system_clock())).secret


def _post(server: BenchmarkServer, bodies: list[bytes], size: int, connections: int, seconds: float) -> Load:
    """Post bodies of `size` records to a gateway on a fresh database, and check what it stored."""
    with server.fresh_database(acquainted=True) as url:
        port = free_port()
        headers = {"Authorization": f"Bearer {uvloop.run(_make_key(url))}", "Content-Type": "application/x-ndjson"}
        target = Target(port, "/v1/ingest/usage", headers)
        with serving(gateway_command(port), gateway_environment(TOKENGRAPH_DATABASE_URL=url, TOKENGRAPH_KEY_RATE_LIMIT=NO_LIMIT), port):
            uvloop.run(post_all(target, iter(warm_up_bodies()), 1, 60.0))
            load = uvloop.run(post_all(target, iter(bodies), connections, seconds))
        uvloop.run(verify(url, STORED_BEFORE + load.rate.count * size))
    return load


def _measure_inside(server: BenchmarkServer, records: list[UsageRecord], size: int, seconds: float) -> float:
    with server.fresh_database(acquainted=True) as url:
        written = uvloop.run(write_batches(url, records, size, seconds))
        uvloop.run(verify(url, STORED_BEFORE + written.first.count))
    return written.first.per_second


def measure_http(server: BenchmarkServer, seconds: float, repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of posts with the write in this process, and of many connections with one."""
    records = generate_traffic("http", int(seconds * ROWS_PER_SECOND_AT_MOST))
    large = [encode_ndjson(part) for part in split(records, LARGE)]
    singles = [encode_ndjson([record]) for record in islice(records, int(seconds * _SINGLES_PER_SECOND_AT_MOST))]
    found: dict[str, list[float]] = defaultdict(list)

    def keep(name: str, value: float, unit: str) -> None:
        found[name].append(value)
        say(f"{name}: {Quantity(value, unit)}")

    for _ in range(repetitions):
        for size in (LARGE, 1):
            keep(f"inside {size}", _measure_inside(server, records, size, seconds), "rows/s")
        keep("posts of 10,000", _post(server, large, LARGE, 1, seconds).rate.per_second * LARGE, "rows/s")
        for connections in CONNECTIONS:
            load = _post(server, singles, 1, connections, seconds)
            keep(f"singles {connections}", load.rate.per_second, "rows/s")
            keep(f"p50 {connections}", percentile(load.milliseconds, 0.5), "ms")
            keep(f"p99 {connections}", percentile(load.milliseconds, 0.99), "ms")

    def of(name: str, unit: str = "rows/s") -> Quantity:
        return Quantity.of(found[name], unit)

    one, many = CONNECTIONS
    return [
        Comparison(_SECTION, "NDJSON posts of 10,000, 1 connection", of("posts of 10,000"), "in process", of(f"inside {LARGE}")),
        Comparison(_SECTION, "single records, 1 connection", of(f"singles {one}"), "in process", of("inside 1")),
        Comparison(_SECTION, f"single records, {many} connections", of(f"singles {many}"), "1 connection", of(f"singles {one}")),
        *(
            Comparison(
                _SECTION,
                f"p99 of a single record, {connections} connection{'s'[: connections - 1]}",
                of(f"p99 {connections}", "ms"),
                "p50",
                of(f"p50 {connections}", "ms"),
            )
            for connections in CONNECTIONS
        ),
    ]
