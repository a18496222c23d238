"""Reads over HTTP: requests/s of the documented URLs, of ad-hoc GraphQL and of stored answers, each beside its limit and its peers.

Gateways with one worker, as `tokengraph serve` runs them, with every limit on: rankings are asked with many keys in turn. One keeps no
answers, and its questions slide over many windows; the other serves what is stored. The peers run beside them, each a process; all are
asked in turn by the same load generator on the same machine, after their rows were found equal.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from app.domain.time_range import DateWindow
from app.rest.execute import load_document
from app.surfaces.limits import MAX_ROWS
from app.surfaces.usage import DEFAULT_TOP_USERS
from benchmarks.databases import BenchmarkServer
from benchmarks.gateway import NO_LIMIT, RunningServer, free_port, gateway_command, gateway_environment, serving
from benchmarks.load import Pressure, drive_in_turn, encode_request, fetch, fetch_json
from benchmarks.npm_peer import BIG_DOCUMENT as PEER_BIG
from benchmarks.npm_peer import SMALL_DOCUMENT as PEER_SMALL
from benchmarks.npm_peer import VERSION, install, serving_postgraphile
from benchmarks.reads import (
    BIG,
    BIG_DOCUMENT,
    NETWORK_PATH,
    SMALL,
    SMALL_DOCUMENT,
    WINDOWS,
    Reads,
    bare_requests,
    graphql_big,
    graphql_of_windows,
    open_reads,
    rest_big,
    rest_small,
    variables_of,
)
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.timing import BenchmarkError

CONNECTIONS = 32
TAIL_CONNECTIONS = 16
_WARM_UP_SECONDS = 0.5
_CHECKED_WINDOWS = (0, 1, WINDOWS // 2, WINDOWS - 1)


@dataclass(frozen=True, slots=True)
class Asked:
    """Something that is asked of a server: the requests take turns. `pick`: from the decoded answer to the rows that peers must equal."""

    name: str
    port: int
    requests: Sequence[bytes]
    pick: Callable[[Any], Any] = lambda body: body
    status: int = 200
    connections: int = CONNECTIONS


@dataclass(slots=True)
class _Servers:
    gateway: RunningServer
    keeping: RunningServer
    bare: RunningServer
    stock: RunningServer
    fixed: RunningServer
    postgraphile: RunningServer | None = None
    asked: list[Asked] = field(default_factory=list)


def measure_reads(
    server: BenchmarkServer, tools: Path | None, seconds: float, repetitions: int, say: Callable[[str], None]
) -> list[Comparison]:
    """Return the comparisons. `tools`: where npm's packages may stay for the next run; None: in a folder that goes."""
    with ExitStack() as stack:
        folder = tools or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokengraph-bench-")))
        command = install(folder / "postgraphile", say)
        reads = stack.enter_context(open_reads(server))
        servers = stack.enter_context(_serving_all(reads, command))
        _check_rows(servers.asked, say)
        etag = uvloop.run(_read_etag(servers.keeping.port))
        servers.asked += _stored(servers, etag)
        return _compare(_ask_in_turn(servers.asked, seconds, repetitions, say))


@contextmanager
def serving_gateway(url: str, *, keeps_answers: bool = True) -> Iterator[RunningServer]:
    """Run the gateway on a database, with limits that are checked and not reached; `keeps_answers` False: no answer is from memory."""
    port = free_port()
    environment = gateway_environment(
        TOKENGRAPH_DATABASE_URL=url,
        TOKENGRAPH_KEY_RATE_LIMIT=NO_LIMIT,
        TOKENGRAPH_KEY_COST_LIMIT=NO_LIMIT,
        TOKENGRAPH_ADDRESS_RATE_LIMIT=NO_LIMIT,
    )
    if not keeps_answers:
        environment["TOKENGRAPH_CACHE_MEMORY"] = "0"
    with serving(gateway_command(port), environment, port) as running:
        yield running


@contextmanager
def _serving_all(reads: Reads, postgraphile: Sequence[str] | None) -> Iterator[_Servers]:
    with ExitStack() as stack:
        plan = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokengraph-bench-"))) / "plan"
        plan.write_bytes(pickle.dumps(reads.plan))

        def peer(module: str, *arguments: str) -> RunningServer:
            port = free_port()
            command = [sys.executable, "-m", f"benchmarks.peers.{module}", str(port), *arguments]
            return stack.enter_context(serving(command, gateway_environment(), port))

        servers = _Servers(
            stack.enter_context(serving_gateway(reads.url, keeps_answers=False)),
            stack.enter_context(serving_gateway(reads.url)),
            peer("bare", str(plan)),
            peer("stock", reads.url),
            peer("fixed"),
            None if postgraphile is None else stack.enter_context(serving_postgraphile(postgraphile, reads.url)),
        )
        servers.asked = _list_asked(servers, reads)
        yield servers


def _list_asked(servers: _Servers, reads: Reads) -> list[Asked]:
    ours, bare, stock = servers.gateway.port, servers.bare.port, servers.stock.port
    rest = rest_big(reads)
    adhoc_small = graphql_of_windows(reads.admin_key, SMALL_DOCUMENT, SMALL, variables_of)
    rankings, usage = _cells_of(_at("rankingsDaily", "data")), _cells_of(_sections("timeSeries", "byModel"))
    asked = [
        Asked("bare big", bare, bare_requests("big"), lambda body: body["data"]),
        Asked("REST big", ours, rest, lambda body: body["data"]),
        Asked("twin big", ours, graphql_big(reads, load_document("rankings_daily"), _stored_big), _at("rankingsDaily", "data")),
        Asked("tail big", ours, rest, lambda body: body["data"], connections=TAIL_CONNECTIONS),
        Asked("bare small", bare, bare_requests("small")),
        Asked("REST small", ours, rest_small(reads)),
        Asked(
            "twin small",
            ours,
            graphql_of_windows(reads.admin_key, load_document("usage_analytics"), SMALL, _stored_small),
            _at("usageAnalytics"),
        ),
        Asked("ad-hoc big", ours, graphql_big(reads, BIG_DOCUMENT, variables_of), rankings),
        Asked("stock big", stock, graphql_of_windows(None, BIG_DOCUMENT, BIG, variables_of), rankings),
        Asked("ad-hoc small", ours, adhoc_small, usage),
        Asked("stock small", stock, graphql_of_windows(None, SMALL_DOCUMENT, SMALL, variables_of), usage),
    ]
    if servers.postgraphile is not None:
        port = servers.postgraphile.port
        big, small = (graphql_of_windows(None, *one, variables_of) for one in ((PEER_BIG, BIG), (PEER_SMALL, SMALL)))
        asked += [
            Asked("PostGraphile big", port, big, _cells_of(_at("rankingsBetween", "nodes"))),
            Asked("PostGraphile small", port, small, _cells_of(_peer_sections)),
        ]
    return asked


def _stored_big(window: DateWindow) -> dict[str, Any]:
    return {"startDate": f"{window.start_date}", "endDate": f"{window.end_date}"}


def _stored_small(window: DateWindow) -> dict[str, Any]:
    limits = {"byModelLimit": MAX_ROWS, "topUsersLimit": DEFAULT_TOP_USERS}
    return {"dateFrom": f"{window.start_date}", "dateTo": f"{window.end_date}", "aggregation": "DAY", "weekNumbering": "ISO", **limits}


def _at(*path: str) -> Callable[[Any], Any]:
    def pick(body: Any) -> Any:
        if body.get("errors"):
            raise BenchmarkError(f"GraphQL errors: {body['errors'][:2]}")
        value = body["data"]
        for name in path:
            value = value[name]
        return value

    return pick


def _sections(*names: str) -> Callable[[Any], Any]:
    return lambda body: [row for name in names for row in _at("usageAnalytics", name)(body)]


def _peer_sections(body: Any) -> Any:
    return [*_at("allUsagePoints", "nodes")(body), *_at("allUsageModels", "nodes")(body)]


def _cells_of(pick: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compare rows by their cells as text: PostGraphile gives 64-bit numbers as strings."""
    return lambda body: [{name: str(value) for name, value in row.items()} for row in pick(body)]


_EQUAL = (
    ("bare big", ("REST big", "twin big")),
    ("bare small", ("REST small", "twin small")),
    ("ad-hoc big", ("stock big", "PostGraphile big")),
    ("ad-hoc small", ("stock small", "PostGraphile small")),
)


def _check_rows(asked: Sequence[Asked], say: Callable[[str], None]) -> None:
    by_name = {one.name: one for one in asked}

    async def rows(name: str, number: int) -> Any:
        one = by_name[name]
        return one.pick(await fetch_json(one.port, one.requests[number]))

    for first, others in _EQUAL:
        for number in _CHECKED_WINDOWS:
            wanted = uvloop.run(rows(first, number))
            for other in others:
                if other in by_name and uvloop.run(rows(other, number)) != wanted:
                    raise BenchmarkError(f"{other} does not answer the rows of {first}")
    say("all sides answer the same rows")


async def _read_etag(port: int) -> str:
    answer = await fetch(port, encode_request("GET", NETWORK_PATH, {}))
    for line in answer.head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"etag" and answer.status == 200:
            return value.strip().decode()
    raise BenchmarkError(f"{NETWORK_PATH} answered {answer.status} without an ETag")


def _stored(servers: _Servers, etag: str) -> list[Asked]:
    ours = servers.keeping.port
    hello = [encode_request("GET", "/hello", {})]
    return [
        Asked("hello", servers.bare.port, hello),
        Asked("stored", ours, [encode_request("GET", NETWORK_PATH, {})]),
        Asked("unchanged", ours, [encode_request("GET", NETWORK_PATH, {"If-None-Match": etag})], status=304),
        Asked("fixed", servers.fixed.port, hello),
    ]


Found = dict[str, list[float]]


def _ask_in_turn(asked: Sequence[Asked], seconds: float, repetitions: int, say: Callable[[str], None]) -> Found:
    found: Found = defaultdict(list)
    for one in asked:
        uvloop.run(drive_in_turn(one.port, one.requests, Pressure(one.connections, min(seconds, _WARM_UP_SECONDS), one.status)))
    for _ in range(repetitions):
        for one in asked:
            load = uvloop.run(drive_in_turn(one.port, one.requests, Pressure(one.connections, seconds, one.status)))
            found[one.name].append(load.rate.per_second)
            found[f"{one.name}, p50"].append(load.p50)
            found[f"{one.name}, p99"].append(load.p99)
            say(f"{one.name}: {load.rate.per_second:,.0f} requests/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms")
    return found


def _compare(found: Found) -> list[Comparison]:
    def of(name: str, unit: str = "requests/s") -> Quantity:
        return Quantity.of(found[name], unit)

    documented = f"Documented URLs, uncached, {CONNECTIONS} connections"
    adhoc = f"Ad-hoc GraphQL over HTTP, {CONNECTIONS} connections"
    stored = f"Stored answers, {CONNECTIONS} connections"
    lines = []
    for size, words, goal in (("big", "1,530 rows", Goal(0.9)), ("small", "30 + 10 rows", Goal(0.8))):
        bare = of(f"bare {size}")
        lines.append(Comparison(documented, f"REST, {words}", of(f"REST {size}"), "bare ASGI, same SQL", bare, goal))
        lines.append(Comparison(documented, f"its GraphQL twin, {words}", of(f"twin {size}"), "bare ASGI, same SQL", bare, goal))
    lines.append(
        Comparison(
            documented,
            f"p99 at {TAIL_CONNECTIONS} connections, 1,530 rows",
            of("tail big, p99", "ms"),
            "p50",
            of("tail big, p50", "ms"),
            Goal(2, at_most=True),
        )
    )
    for size, words, goal in (("big", "1,530 rows", Goal(3)), ("small", "30 + 10 rows", Goal(1))):
        ours = of(f"ad-hoc {size}")
        if f"PostGraphile {size}" in found:
            lines.append(Comparison(adhoc, words, ours, f"PostGraphile {VERSION}", of(f"PostGraphile {size}"), goal))
        lines.append(Comparison(adhoc, words, ours, "strawberry's router + SQLModel", of(f"stock {size}")))
    hello = of("hello")
    return [
        *lines,
        Comparison(stored, "network statistics", of("stored"), "bare ASGI hello", hello, Goal(0.9)),
        Comparison(stored, "304 Not Modified", of("unchanged"), "bare ASGI hello", hello, Goal(0.9)),
        Comparison(stored, "bare ASGI hello", hello, "what the load generator can do", of("fixed")),
    ]
