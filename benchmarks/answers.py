"""Answers: every documented question at growing numbers of records, by the product's own functions, and by DuckDB on the raw columns.

All sizes are asked in turn, so that the growth from the smallest to the largest is of one run. Before anything is timed, both sides must
give the same rows, in the same order.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvloop

from app.cube.rollups import CONDENSED, ROLLUPS
from app.db.engine import Database
from app.db.migrate import HEAD_REVISION
from benchmarks import generate as generator
from benchmarks import population
from benchmarks.databases import KEPT, BenchmarkServer
from benchmarks.duck import THREADS, VERSION, Duck, load_records
from benchmarks.generate import generate
from benchmarks.questions import Question, list_questions, normalized
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.timing import BenchmarkError, Budget, percentile, sample_milliseconds

_ROUNDS = 3
_FLAT = Goal(1.5, at_most=True)
_PEER = f"DuckDB {VERSION}, raw columns, {THREADS} threads"


@dataclass(frozen=True, slots=True)
class AnswersPlan:
    """`sizes`: numbers of records; `folder`: where generated data stays for the next run, None: nowhere."""

    sizes: Sequence[int]
    seconds: float
    folder: Path | None


@dataclass(frozen=True, slots=True)
class _Generated:
    url: str
    duck: Path


def fingerprint() -> str:
    """Return what generated data depends on, so that data of another schema or generator is not taken for today's."""
    texts = [Path(module.__file__ or "").read_text() for module in (generator, population)]
    return sha256(repr((HEAD_REVISION, ROLLUPS, CONDENSED, texts)).encode()).hexdigest()[:8]


def kept_name(size: int) -> str:
    """Return the name of the database that keeps so many records."""
    return f"{KEPT}{size}_{fingerprint()}"


def measure_answers(server: BenchmarkServer, plan: AnswersPlan, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of each answer with DuckDB's, and of the largest size with the smallest."""
    with ExitStack() as stack:
        folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokengraph-bench-")))
        if plan.folder is not None:
            _drop_outdated(server, folder, say)
        made = {
            size: stack.enter_context(_generated(server, size, folder, is_kept=plan.folder is not None, say=say)) for size in plan.sizes
        }
        ours, ducks = uvloop.run(_measure(made, plan.seconds, say))
    return _compare(ours, ducks, plan.sizes)


def _drop_outdated(server: BenchmarkServer, folder: Path, say: Callable[[str], None]) -> None:
    for name in server.kept_databases():
        if not name.endswith(f"_{fingerprint()}"):
            server.drop(name)
            (folder / f"{name}.duckdb").unlink(missing_ok=True)
            say(f"{name} is dropped: the schema or the generator has changed since")


@contextmanager
def _generated(server: BenchmarkServer, size: int, folder: Path, *, is_kept: bool, say: Callable[[str], None]) -> Iterator[_Generated]:
    name = kept_name(size)
    duck = folder / f"{name}.duckdb"
    if is_kept and name in server.kept_databases():
        load_records(server.url_of(name), duck, say)
        say(f"{size:,} records are there already")
        yield _Generated(server.url_of(name), duck)
        return
    with server.fresh_database(acquainted=True) as url:
        uvloop.run(_fill(url, size, say))
        duck.unlink(missing_ok=True)
        load_records(url, duck, say)
        if is_kept:
            url = server.keep(url, name)
        yield _Generated(url, duck)
    if not is_kept:
        duck.unlink(missing_ok=True)


async def _fill(url: str, size: int, say: Callable[[str], None]) -> None:
    async with Database(url, min_size=1, max_size=3) as database:
        took = await generate(database, size)
    say(
        f"{size:,} records made in {took.records_seconds:.0f} s, rollups in {took.rollups_seconds:.0f} s,"
        f" days closed in {took.closing_seconds:.0f} s, {took.bytes_per_record:.0f} bytes a record on disk"
    )


Samples = dict[tuple[str, int], list[float]]


async def _measure(made: Mapping[int, _Generated], seconds: float, say: Callable[[str], None]) -> tuple[Samples, Samples]:
    ours: Samples = defaultdict(list)
    ducks: Samples = defaultdict(list)
    part = seconds / _ROUNDS
    often, seldom = Budget(part, 10 if part >= 1 else 2, 500), Budget(part, 3 if part >= 1 else 1, 100)
    async with AsyncExitStack() as stack:
        opened: dict[int, tuple[Database, Duck]] = {}
        for size, one in made.items():
            duck = Duck(one.duck)
            stack.callback(duck.close)
            opened[size] = await stack.enter_async_context(Database(one.url, min_size=2, max_size=4)), duck
        for question in list_questions():
            for size, (database, duck) in opened.items():
                _check(question, size, await question.ask(database), _ask_duck(question, duck))
            for _ in range(_ROUNDS):
                for size, (database, duck) in opened.items():
                    ours[question.name, size] += await sample_milliseconds(partial(question.ask, database), often)
                    ducks[question.name, size] += await sample_milliseconds(_waiting(partial(_ask_duck, question, duck)), seldom)
            for size in opened:
                p50, peer = (percentile(samples[question.name, size], 0.5) for samples in (ours, ducks))
                tail = percentile(ours[question.name, size], 0.99)
                say(f"{question.name}, {size:,}: p50 {p50:.2f} ms, p99 {tail:.2f} ms, DuckDB {peer:.2f} ms")
    return ours, ducks


def _ask_duck(question: Question, duck: Duck) -> dict[str, list[tuple[Any, ...]]]:
    return {name: duck.ask(statement, question.parameters) for name, statement in question.statements.items()}


def _waiting(work: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        return work()

    return run


def _check(question: Question, size: int, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    left, right = normalized(ours), normalized(theirs)
    if left != right:
        name = next(name for name in {**left, **right} if left.get(name) != right.get(name))
        pairs = zip(left.get(name, []), right.get(name, []), strict=False)
        first = next((pair for pair in pairs if pair[0] != pair[1]), (len(left.get(name, [])), len(right.get(name, []))))
        raise BenchmarkError(f"{question.name}, {size:,} records, {name}: DuckDB says otherwise: {first}")


def _compare(ours: Samples, ducks: Samples, sizes: Sequence[int]) -> list[Comparison]:
    lines = []
    smallest, largest = min(sizes), max(sizes)
    names = [question.name for question in list_questions()]
    for size in sizes:
        section = f"Answers at {size:,} records"
        for name in names:
            p50, peer = (Quantity(percentile(samples[name, size], 0.5), "ms") for samples in (ours, ducks))
            goal = Goal(1) if size == largest else None
            lines.append(Comparison(section, f"{name}, p50", p50, _PEER, peer, goal, inverted=True))
    if largest > smallest:
        section = f"Growth from {smallest:,} to {largest:,} records"
        for name in names:
            more, less = (Quantity(percentile(ours[name, size], 0.5), "ms") for size in (largest, smallest))
            lines.append(Comparison(section, f"{name}, p50", more, f"at {smallest:,}", less, _FLAT))
    return lines
