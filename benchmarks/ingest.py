"""Ingest: rows/s of the product's own write at batches of 1, 100 and 10,000, beside the limit (bare COPY) and the peer (row by row).

Each measurement has a fresh database in which all names are registered and that a few batches warmed up, on a server with production
settings, and is checked afterwards: so many records, and every rollup equal to their direct aggregation. One repetition measures
everything once, in turn, so that a slow minute of the machine touches all of it; then the next repetition begins.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import uvloop

from app.db.engine import Database
from app.domain.usage import UsageRecord
from app.write.batch import Ingestor
from benchmarks.bare_copy import StoredRows, copy_encoded, copy_rows, read_stored_rows
from benchmarks.databases import LARGE, STORED_BEFORE, BenchmarkServer, verify, warm_up
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.row_by_row import create_peer_tables, verify_peer, write_row_by_row
from benchmarks.timing import BenchmarkError, Rate
from benchmarks.traffic import generate_traffic, make_batch, split
from benchmarks.writers import ROW_BY_ROW, TOKENGRAPH, WritersPlan, run_writers

SIZES = (1, 100, LARGE)
ROWS_PER_SECOND_AT_MOST = 90_000
"""Records made ahead for each second of a measurement; one that is faster ends earlier."""

_SECTION = "Ingest, one writer"
_SECTION_TWO = "Ingest, two writers"


@dataclass(frozen=True, slots=True)
class Written:
    """The first writing of some batches, and the writing of the same again, if it was asked for."""

    first: Rate
    again: Rate | None


async def write_batches(url: str, records: list[UsageRecord], size: int, seconds: float, *, again: bool = False) -> Written:
    """Write records in batches until the time is up, through an ingestor that is warm; `again`: then all of them once more."""
    async with Database(url, min_size=1, max_size=4) as database:
        ingestor = Ingestor(database)
        await warm_up(ingestor)
        batches = [make_batch(part) for part in split(records, size)]
        done = 0
        started = time.perf_counter()
        for batch in batches:
            receipt = await ingestor.ingest(batch)
            done += 1
            if receipt.inserted != size:
                raise BenchmarkError(f"a batch of {size} gave {receipt}")
            if time.perf_counter() - started >= seconds:
                break
        first = Rate(done * size, time.perf_counter() - started)
        if not again:
            return Written(first, None)
        started = time.perf_counter()
        for batch in batches[:done]:
            receipt = await ingestor.ingest(batch)
            if receipt.duplicates != size:
                raise BenchmarkError(f"a replayed batch of {size} gave {receipt}")
        return Written(first, Rate(done * size, time.perf_counter() - started))


class _Measurements:
    """Runs each measurement on a database of its own and keeps what it found, by name."""

    def __init__(self, server: BenchmarkServer, seconds: float, say: Callable[[str], None]) -> None:
        self.server = server
        self.seconds = seconds
        self.say = say
        self.found: dict[str, list[float]] = defaultdict(list)
        self.records = generate_traffic("ingest", int(seconds * ROWS_PER_SECOND_AT_MOST))
        self.stored = self._store_reference()
        # What was made so far stays: the collector need not look through it during the measurements.
        gc.collect()
        gc.freeze()

    def _store_reference(self) -> StoredRows:
        with self.server.fresh_database() as url:
            sample = self.records[: 10 * LARGE]
            uvloop.run(_store(url, sample))
            return read_stored_rows(url)

    def keep(self, name: str, value: float, unit: str = "rows/s") -> None:
        self.found[name].append(value)
        self.say(f"{name}: {Quantity(value, unit)}")

    def of(self, name: str, unit: str = "rows/s") -> Quantity:
        return Quantity.of(self.found[name], unit)

    def repeat_once(self) -> None:
        for size in SIZES:
            self._measure_limit(size)
            with self.server.fresh_database(acquainted=True) as url:
                written = uvloop.run(write_batches(url, self.records, size, self.seconds, again=True))
                uvloop.run(verify(url, STORED_BEFORE + written.first.count))
            self.keep(f"ours {size}", written.first.per_second)
            if written.again is not None:
                self.keep(f"again {size}", written.again.per_second)
        self._measure_peer()
        self._measure_writers()

    def _measure_limit(self, size: int) -> None:
        with self.server.fresh_database() as url:
            self.keep(f"copy {size}", copy_rows(url, self.stored, size, self.seconds).per_second)
        with self.server.fresh_database() as url:
            self.keep(f"encoded copy {size}", copy_encoded(url, self.stored, size, self.seconds).per_second)

    def _measure_peer(self) -> None:
        with self.server.fresh_database() as url:
            create_peer_tables(url)
            written = write_row_by_row(url, self.records, self.seconds)
            verify_peer(url, written.count)
        self.keep("row by row", written.count / written.seconds)

    def _measure_writers(self) -> None:
        for kind in (TOKENGRAPH, ROW_BY_ROW):
            for number in (1, 2):
                with self.server.fresh_database(acquainted=kind == TOKENGRAPH) as url:
                    if kind == ROW_BY_ROW:
                        create_peer_tables(url)
                    result = run_writers(WritersPlan(kind, url, number, self.seconds, LARGE, ROWS_PER_SECOND_AT_MOST))
                    if kind == TOKENGRAPH:
                        uvloop.run(verify(url, STORED_BEFORE + result.rate.count))
                    else:
                        verify_peer(url, result.rate.count)
                self.keep(f"{kind} writers {number}", result.rate.per_second)
                self.keep(f"{kind} deadlocks {number}", result.deadlocks, "deadlocks")


async def _store(url: str, records: list[UsageRecord]) -> None:
    async with Database(url, min_size=1, max_size=2) as database:
        ingestor = Ingestor(database)
        for part in split(records, LARGE):
            await ingestor.ingest(make_batch(part))


def measure_ingest(server: BenchmarkServer, seconds: float, repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of the write with COPY, with the row-by-row writer, with itself replayed and with two of it."""
    measurements = _Measurements(server, seconds, say)
    for _ in range(repetitions):
        measurements.repeat_once()
    return _compare(measurements)


def _compare(found: _Measurements) -> list[Comparison]:
    lines = []
    peer = found.of("row by row")
    for size in SIZES:
        what = f"batches of {size:,}" if size > 1 else "single records"
        ours = found.of(f"ours {size}")
        is_large = size == LARGE
        lines += [
            Comparison(_SECTION, what, ours, "row-by-row writer", peer, Goal(40) if is_large else None),
            Comparison(_SECTION, what, ours, "bare binary COPY", found.of(f"copy {size}"), Goal(0.15) if is_large else None),
            Comparison(_SECTION, what, ours, "the same, encoded before", found.of(f"encoded copy {size}")),
            Comparison(_SECTION, f"{what}, replayed", found.of(f"again {size}"), "first time", ours, Goal(4) if is_large else None),
        ]
    for kind, goal in ((TOKENGRAPH, Goal(1.6)), (ROW_BY_ROW, None)):
        what = f"two writers, batches of {LARGE:,}" if kind == TOKENGRAPH else "two row-by-row writers"
        two, one = found.of(f"{kind} writers 2"), found.of(f"{kind} writers 1")
        lines.append(Comparison(_SECTION_TWO, what, two, "one", one, goal))
        lines.append(Comparison(_SECTION_TWO, f"{what}: deadlocks", found.of(f"{kind} deadlocks 2", "")))
    return lines
