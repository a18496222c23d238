"""Writers in processes of their own, started together on one database: what a second one adds, and whether they deadlock."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import psycopg
import uvloop

from app.db.engine import Database
from app.write.batch import Ingestor
from benchmarks.databases import warm_up
from benchmarks.row_by_row import write_row_by_row
from benchmarks.timing import BenchmarkError, Rate
from benchmarks.traffic import generate_traffic, make_batch, split

TOKENGRAPH = "tokengraph"
ROW_BY_ROW = "row-by-row"
_ROW_BY_ROW_AT_MOST = 10_000
_READY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class WritersPlan:
    """Who writes what for how long; `rows_per_second`: records made ahead for each second."""

    kind: str
    url: str
    number: int
    seconds: float
    size: int
    rows_per_second: int


@dataclass(frozen=True, slots=True)
class WritersResult:
    """What all writers did together from the first start to the last end, and the deadlocks that the server counted."""

    rate: Rate
    deadlocks: int


def run_writers(plan: WritersPlan) -> WritersResult:
    """Run the writers and wait for them. BenchmarkError: one failed."""
    context = get_context("spawn")
    barrier = context.Barrier(plan.number)
    ends: list[Connection] = []
    processes = []
    for number in range(plan.number):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_write, args=(plan, number, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        ends.append(ours)
        processes.append(process)
    try:
        reports = [end.recv() for end in ends]
    except EOFError:
        raise BenchmarkError(f"a {plan.kind} writer failed; its traceback stands above") from None
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    count = sum(rows for rows, _, _ in reports)
    seconds = max(end for _, _, end in reports) - min(start for _, start, _ in reports)
    with psycopg.connect(plan.url) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return WritersResult(Rate(count, seconds), 0 if row is None else int(row[0]))


def _write(plan: WritersPlan, number: int, barrier: Barrier, answer: Connection) -> None:
    answer.send(_write_rows(plan, number, barrier) if plan.kind == ROW_BY_ROW else uvloop.run(_ingest(plan, number, barrier)))


def _write_rows(plan: WritersPlan, number: int, barrier: Barrier) -> tuple[int, float, float]:
    records = generate_traffic(f"writer {number}", int(plan.seconds * _ROW_BY_ROW_AT_MOST))
    barrier.wait(_READY_SECONDS)
    start = time.monotonic()
    written = write_row_by_row(plan.url, records, plan.seconds)
    return written.count, start, time.monotonic()


async def _ingest(plan: WritersPlan, number: int, barrier: Barrier) -> tuple[int, float, float]:
    records = generate_traffic(f"writer {number}", int(plan.seconds * plan.rows_per_second))
    batches = [make_batch(part) for part in split(records, plan.size)]
    gc.collect()
    gc.freeze()
    count = 0
    async with Database(plan.url, min_size=1, max_size=2) as database:
        ingestor = Ingestor(database)
        await warm_up(ingestor)
        barrier.wait(_READY_SECONDS)
        start = time.monotonic()
        for batch in batches:
            count += (await ingestor.ingest(batch)).inserted
            if time.monotonic() - start >= plan.seconds:
                break
        return count, start, time.monotonic()
