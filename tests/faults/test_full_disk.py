"""A disk that is full: writes are refused, reads go on, and once there is room nobody needs to do anything, even where the server had ended."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import psycopg
import pytest

from app.db.engine import Database
from app.embedded.layout import Layout
from app.embedded.server import EmbeddedServer
from tests.faults.checks import assert_answers_are_right, assert_stored_once, assert_sums_are_right
from tests.faults.conftest import COUNTED
from tests.faults.processes import GatewayProcess, kill_all, url_of, wait_until_gone
from tests.faults.traffic import Book, Habits, Senders, admin_headers

MEMORY = 512 * 2**20
FAST = {"fsync": "off"}
DISK_BYTES = 192 * 2**20
SMALL = """
max_wal_size = '64MB'
min_wal_size = '32MB'
fsync = off
shared_buffers = '32MB'
"""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES, mounted below a folder; the test is skipped where that is not permitted."""
    mounted = folder / "disk"
    mounted.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "tokengraph-test", mounted], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


class Ballast:
    """A file that takes the room of a disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self) -> None:
        """Take all that is left."""
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as file:
            for size in (2**20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def drop(self) -> None:
        """Make room again."""
        self._path.unlink(missing_ok=True)


@pytest.mark.slow
async def test_a_full_disk_refuses_and_loses_nothing_and_needs_nobody_once_there_is_room(
    short_folder: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    with small_disk(short_folder) as disk:
        layout = Layout(disk / "data")
        with EmbeddedServer(layout.data_dir, memory_bytes=MEMORY, extra_settings=FAST):
            pass
        with (layout.cluster / "postgresql.conf").open("a") as settings:
            settings.write(SMALL)
        ballast = Ballast(disk)
        try:
            with GatewayProcess({"TOKENGRAPH_DATA_DIR": str(layout.data_dir)}, short_folder / "gateway.log") as gateway:
                await asyncio.to_thread(gateway.wait_until_ready)
                try:
                    book, stored = await _go_through_a_full_disk(gateway, url_of(layout), ballast, seed)
                finally:
                    ballast.drop()
        finally:
            kill_all(layout)
            wait_until_gone(layout)
    record_property(COUNTED, f"answers {dict(book.statuses)}, {stored} records stored")


async def _go_through_a_full_disk(gateway: GatewayProcess, url: str, ballast: Ballast, seed: int) -> tuple[Book, int]:
    headers = await admin_headers(url)
    async with Senders(gateway.url, headers, Random(seed), Habits(longest_pause=0.02)) as senders:
        book = senders.book
        await senders.progress(100)
        await asyncio.to_thread(begin_log_file, url)
        ballast.fill()
        await _until_refused(book, 20)
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20) as client:
            assert (await client.get("/v1/analytics")).status_code == 200, "reads go on"
        ballast.drop()
        await senders.progress(100)

        ballast.fill()
        await asyncio.to_thread(end_the_log, url)
        await _until_refused(book, 5)
        await asyncio.sleep(2)  # the supervisor tries to start it meanwhile
        assert gateway.is_alive()
        ballast.drop()
        await senders.progress(100)
        await senders.settle()
    assert book.refused == []
    async with Database(url, min_size=1, max_size=2) as database:
        stored = await assert_stored_once(database, book)
        await assert_sums_are_right(database, stored)
    await assert_answers_are_right(gateway.url, headers, stored)
    return book, len(stored)


_NEXT_LOG_FILE = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000)); SELECT pg_switch_wal(); "
_NEXT_LOG_FILE += "SELECT pg_logical_emit_message(true, 'test', 'x')"


def begin_log_file(url: str) -> None:
    """Give the server's log a file of its own 16 MB, so that it is the data that finds no room first."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_NEXT_LOG_FILE)


def end_the_log(url: str) -> None:
    """Make the server need new files for its log until it finds no room for one, which ends it."""
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        with pytest.raises(psycopg.OperationalError):
            _use_log_files(connection, 100)
        assert connection.broken, "the server refused, and lives"


def _use_log_files(connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
    for _ in range(number):
        connection.execute(_NEXT_LOG_FILE)


async def _until_refused(book: Book, number: int, seconds: float = 60) -> None:
    wanted = book.statuses[503] + number
    deadline = time.monotonic() + seconds
    while book.statuses[503] < wanted:
        assert not book.refused, book.refused[0]
        assert time.monotonic() < deadline, f"nothing is refused; answers so far: {dict(book.statuses)}"
        await asyncio.sleep(0.02)
