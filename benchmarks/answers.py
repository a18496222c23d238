"""Answers: the time of the network snapshot (computed, served) and of the daily rankings (30 days, all) at growing numbers of records.

Each is taken through the product's own functions on databases that `generate.py` filled, all sizes in turn, so that the growth from
the smallest to the largest is of one run; and is compared with the same answer computed from the raw records, which must be equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop

from app.analytics.fetch import fetch_rankings
from app.analytics.snapshot import fetch_snapshot, take_snapshot
from app.db.engine import Database
from app.domain.time_range import TimeRange, resolve_rankings_window
from benchmarks.databases import BenchmarkServer
from benchmarks.generate import END, START, generate
from benchmarks.raw_answers import fetch_raw_network, fetch_raw_rankings, network_numbers
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.timing import BenchmarkError, Budget, percentile, sample_milliseconds

_RECENT = resolve_rankings_window(None, None, END)
_ALL = resolve_rankings_window(f"{START:%Y-%m-%d}", None, END)
_ROUNDS = 3
_FLAT = Goal(1.5, at_most=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that is asked: by the product, and of the raw records (None: the answer is stored, there is nothing to compute)."""

    name: str
    ask: Callable[[Database], Awaitable[Any]]
    ask_raw: Callable[[Database], Awaitable[Any]] | None
    numbers: Callable[[Any], Any] = lambda answer: answer


async def _raw_network(database: Database) -> Any:
    async with database.consistent_reads() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        return await fetch_raw_network(connection, END)


def _raw_rankings(whole: TimeRange) -> Callable[[Database], Awaitable[Any]]:
    async def ask(database: Database) -> Any:
        async with database.consistent_reads() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            return await fetch_raw_rankings(connection, whole)

    return ask


ANSWERS = (
    Answer(
        "network snapshot, computed and stored",
        lambda database: take_snapshot(database, END),
        _raw_network,
        lambda snapshot: network_numbers(snapshot.body),
    ),
    Answer("network snapshot, served", fetch_snapshot, None),
    Answer("rankings, 30 days", lambda database: fetch_rankings(database, _RECENT), _raw_rankings(_RECENT.range)),
    Answer("rankings, all 24 months", lambda database: fetch_rankings(database, _ALL), _raw_rankings(_ALL.range)),
)


def measure_answers(server: BenchmarkServer, sizes: Sequence[int], seconds: float, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of each answer with the raw records, and of the largest size with the smallest."""
    with ExitStack() as stack:
        urls = {size: stack.enter_context(server.fresh_database(acquainted=True)) for size in sizes}
        for size, url in urls.items():
            uvloop.run(_fill(url, size, say))
        ours, raw = uvloop.run(_measure(urls, seconds, say))
    return _compare(ours, raw, sizes)


async def _fill(url: str, size: int, say: Callable[[str], None]) -> None:
    async with Database(url, min_size=1, max_size=3) as database:
        took = await generate(database, size)
    say(
        f"{size:,} records made in {took['records_seconds']:.0f} s, rollups in {took['rollups_seconds']:.0f} s,"
        f" {took['bytes_per_record']:.0f} bytes a record on disk"
    )


Samples = dict[tuple[str, int], list[float]]


async def _measure(urls: dict[int, str], seconds: float, say: Callable[[str], None]) -> tuple[Samples, Samples]:
    ours: Samples = defaultdict(list)
    raw: Samples = defaultdict(list)
    part = seconds / _ROUNDS
    often, seldom = Budget(part, 10 if part >= 1 else 2, 500), Budget(part, 3 if part >= 1 else 1, 50)
    async with AsyncExitStack() as stack:
        databases = {size: await stack.enter_async_context(Database(url, min_size=2, max_size=4)) for size, url in urls.items()}
        for answer in ANSWERS:
            for size, database in databases.items():
                given = await answer.ask(database)
                if answer.ask_raw is not None and answer.numbers(given) != await answer.ask_raw(database):
                    raise BenchmarkError(f"{answer.name}, {size:,} records: the raw records say otherwise")
            for _ in range(_ROUNDS):
                for size, database in databases.items():
                    ours[answer.name, size] += await sample_milliseconds(partial(answer.ask, database), often)
            if answer.ask_raw is not None:
                for size, database in databases.items():
                    raw[answer.name, size] += await sample_milliseconds(partial(answer.ask_raw, database), seldom)
            for size in databases:
                say(f"{answer.name}, {size:,}: p50 {percentile(ours[answer.name, size], 0.5):.2f} ms")
    return ours, raw


def _compare(ours: Samples, raw: Samples, sizes: Sequence[int]) -> list[Comparison]:
    lines = []
    smallest, largest = min(sizes), max(sizes)
    for size in sizes:
        section = f"Answers at {size:,} records"
        for answer in ANSWERS:
            samples = ours[answer.name, size]
            p50 = Quantity(percentile(samples, 0.5), "ms")
            if answer.ask_raw is not None:
                peer = Quantity(percentile(raw[answer.name, size], 0.5), "ms")
                lines.append(Comparison(section, f"{answer.name}, p50", p50, "raw records", peer, inverted=True))
            tail = Quantity(percentile(samples, 0.99), "ms")
            lines.append(Comparison(section, f"{answer.name}, p99 of {len(samples)}", tail, "p50", p50))
    if largest > smallest:
        section = f"Growth from {smallest:,} to {largest:,} records"
        for answer in ANSWERS:
            more, less = (Quantity(percentile(ours[answer.name, size], 0.5), "ms") for size in (largest, smallest))
            lines.append(Comparison(section, f"{answer.name}, p50", more, f"at {smallest:,}", less, _FLAT))
    return lines
