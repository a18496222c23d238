"""A server with production settings in a temporary folder, fresh databases on it, and the proof that what was written is right."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path

import psycopg
import uvloop

from app.db.engine import Database
from app.db.migrate import upgrade
from app.domain.time_range import system_clock
from app.domain.usage import UsageRecord
from app.embedded.server import EmbeddedServer
from app.summaries.verify import chunks_of, find_differences, find_extent
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog
from benchmarks.population import USERS, catalog_entries
from benchmarks.timing import BenchmarkError
from benchmarks.traffic import encode_ndjson, generate_introductions, generate_traffic, make_batch, split

KEPT = "bench_rows_"
"""How the names of databases begin that stay for the next run."""

LARGE = 10_000
"""Records of a large batch."""

WARM_UP = 3 * LARGE
STORED_BEFORE = USERS + WARM_UP
"""Records that a warm database holds."""


class BenchmarkServer:
    """Hands out databases that live as long as a `with` block, on the server that `url` names."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = count(1)
        self._templates: dict[bool, str] = {}

    @contextmanager
    def fresh_database(self, *, acquainted: bool = False) -> Iterator[str]:
        """Yield the URL of a new, migrated database with the catalog; `acquainted`: all names registered, a record of each caller in."""
        name = f"bench_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template(acquainted)}")
        self._run("CHECKPOINT")  # so that no measurement pays for what came before it
        try:
            yield with_database(self.url, name)
        finally:
            self.drop(name)

    def kept_databases(self) -> list[str]:
        """Return the names of the databases that stay."""
        return [name for name in self._names() if name.startswith(KEPT)]

    def keep(self, url: str, name: str) -> str:
        """Let a fresh database stay, by another name; return its URL."""
        current = url.partition("?")[0].rpartition("/")[2]
        self._run(f"ALTER DATABASE {current} RENAME TO {name}")
        return self.url_of(name)

    def url_of(self, name: str) -> str:
        """Return the URL of a database."""
        return with_database(self.url, name)

    def drop(self, name: str) -> None:
        """Drop a database, if there is one of the name."""
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def drop_leftovers(self) -> None:
        """Drop what a run that was cut off has left."""
        for name in self._names():
            if name.startswith("bench_") and not name.startswith(KEPT):
                self.drop(name)

    def _names(self) -> list[str]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return [name for (name,) in connection.execute("SELECT datname FROM pg_database ORDER BY datname").fetchall()]

    def _template(self, acquainted: bool) -> str:
        if acquainted not in self._templates:
            name = "bench_acquainted" if acquainted else "bench_migrated"
            self._run(f"CREATE DATABASE {name}" + (f" TEMPLATE {self._template(False)}" if acquainted else ""))
            url = with_database(self.url, name)
            if acquainted:
                uvloop.run(_introduce(url))
            else:
                upgrade(url)
                uvloop.run(_load_catalog(url))
            self._templates[acquainted] = name
        return self._templates[acquainted]

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def open_server(folder: Path | None = None) -> Iterator[BenchmarkServer]:
    """Start an embedded server of its own, with the settings that it has in production.

    It and its files are gone afterwards, unless a folder is given: what was kept there is there again.
    """
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokengraph-bench-")))
        server = BenchmarkServer(stack.enter_context(EmbeddedServer(place)).url)
        server.drop_leftovers()
        yield server


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


async def _load_catalog(url: str) -> None:
    async with Database(url, min_size=1, max_size=2) as database:
        await load_catalog(database, parse_catalog(catalog_entries()), system_clock())


async def _introduce(url: str) -> None:
    async with Database(url, min_size=1, max_size=2) as database:
        await introduce_names(Ingestor(database))


async def introduce_names(ingestor: Ingestor) -> None:
    """Let an ingestor learn every name: it is sent a record of each caller, duplicates in an acquainted database."""
    for records in split(generate_introductions(), LARGE):
        await ingestor.ingest(make_batch(records))


@lru_cache(maxsize=1)
def _warm_up_batches() -> list[list[UsageRecord]]:
    return [*split(generate_introductions(), LARGE), *split(generate_traffic("warm-up", WARM_UP), LARGE)]


async def warm_up(ingestor: Ingestor) -> None:
    """Bring an ingestor and its acquainted database to the state in which they serve: names known, pages in memory and in the log.

    Several may do so on one database. `STORED_BEFORE` records are in it then.
    """
    for records in _warm_up_batches():
        await ingestor.ingest(make_batch(records))


@lru_cache(maxsize=1)
def warm_up_bodies() -> list[bytes]:
    """Return what `warm_up` sends as NDJSON."""
    return [encode_ndjson(records) for records in _warm_up_batches()]


async def verify(url: str, expected_records: int) -> None:
    """BenchmarkError unless there are so many records and every rollup equals their direct aggregation."""
    async with Database(url, min_size=1, max_size=2) as database:
        async with database.read_connection() as connection:
            row = await (await connection.execute("SELECT count(*) FROM usage_records")).fetchone()
        if row != (expected_records,):
            raise BenchmarkError(f"there should be {expected_records} records: {row}")
        whole = await find_extent(database)
        for chunk in chunks_of(whole) if whole is not None else ():
            if differences := await find_differences(database, chunk, limit=1):
                raise BenchmarkError(f"a rollup is not what the records say: {differences[0]}")
