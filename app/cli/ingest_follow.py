"""`tokengraph ingest --follow`: signals, waiting for the database, and messages."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from app.cli.ingest_receipt import FilesReceipt
from app.cli.session import open_migrated
from app.db.engine import Database
from app.domain.errors import UnavailableError
from app.domain.time_range import system_clock
from app.domain.usage import ParsedBatch
from app.embedded.server import EmbeddedServer, EmbeddedServerError
from app.ingest.files import LineParser
from app.ingest.follow import FileTail, Follower, PipeTail, Tail, Watch
from app.ingest.inputs import is_standard_input
from app.ingest.tables import ReadOptions
from app.settings import load
from app.write.batch import Ingestor
from app.write.receipt import Receipt

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_START_PAUSE: Final = 2.0


def follow_files(files: Sequence[Path], options: ReadOptions, total: FilesReceipt) -> None:
    """Write the lines of files, and those appended later, until Ctrl-C, SIGTERM or the end of standard input; add to `total`."""
    # The pool logs every attempt to connect; here it is reported once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    watches = [Watch(PipeTail(sys.stdin.buffer) if is_standard_input(path) else FileTail(path), LineParser(options)) for path in files]
    for sign in _SIGNALS:
        signal.signal(sign, _interrupt)
    total.prints_at_once = True
    try:
        lost = _follow_when_reachable(watches, total)
    except _Stopped:
        lost = 0
    if lost:
        total.failures.append(f"{lost} records were read but not written: follow again from the beginning")


def _follow_when_reachable(watches: Sequence[Watch], total: FilesReceipt) -> int:
    """Follow once the database can be reached; later the follower waits for it with the current batch."""
    is_reported = False
    while True:
        try:
            with open_migrated(load()) as (url, server):
                return asyncio.run(_follow(url, server, watches, total))
        except UnavailableError as error:
            if not is_reported:
                _report_waiting(error)
            is_reported = True
            time.sleep(_START_PAUSE)


class _Stopped(BaseException):
    """Raised by a signal before the event loop takes them over."""


def _interrupt(*_: object) -> None:
    raise _Stopped


async def _follow(url: str, server: EmbeddedServer | None, watches: Sequence[Watch], total: FilesReceipt) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_once() -> None:
        # The second signal ends the process, if the current batch does not finish.
        stop.set()
        for sign in _SIGNALS:
            loop.remove_signal_handler(sign)
            signal.signal(sign, signal.SIG_DFL)

    for sign in _SIGNALS:
        loop.add_signal_handler(sign, stop_once)
    for watch in watches:
        if isinstance(watch.tail, FileTail) and not watch.tail.is_there():
            typer.echo(f"{watch.tail.name} does not exist yet; waiting for it", err=True)
    try:
        async with Database(url, min_size=1, max_size=2) as database:
            ingestor = Ingestor(database)

            async def write(batch: ParsedBatch) -> Receipt:
                try:
                    return await ingestor.ingest(batch)
                except UnavailableError:
                    if server is not None:
                        with suppress(EmbeddedServerError):
                            await asyncio.to_thread(server.ensure_running)
                    raise

            def report(tail: Tail, batch: ParsedBatch, receipt: Receipt) -> None:
                total.add(tail.name, batch, receipt)

            return await Follower(watches, write, report, _report_waiting, system_clock).run(stop)
    finally:
        for watch in watches:
            watch.tail.close()


def _report_waiting(error: UnavailableError | None) -> None:
    if error is None:
        typer.echo("the database can be reached again", err=True)
    else:
        typer.echo("the database cannot be reached; waiting for it", err=True)
