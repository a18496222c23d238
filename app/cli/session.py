"""Database access of commands: the operator's server or the embedded one, migrated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from app.db.engine import Database
from app.db.migrate import upgrade
from app.embedded.server import EmbeddedServer
from app.settings import Settings

T = TypeVar("T")


@contextmanager
def open_server(settings: Settings) -> Iterator[tuple[str, EmbeddedServer | None]]:
    """Yield a URL, and the embedded server if no URL is set. The last process that uses the embedded server stops it."""
    if settings.database_url is not None:
        yield settings.database_url, None
        return
    server = EmbeddedServer(settings.data_dir)
    url = server.start()
    try:
        yield url, server
    finally:
        server.stop()


@contextmanager
def open_migrated(settings: Settings) -> Iterator[tuple[str, EmbeddedServer | None]]:
    """Migrate the database, then yield as `open_server`."""
    with open_server(settings) as (url, server):
        upgrade(url)
        yield url, server


def run_with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` on a migrated database, in a new event loop."""

    async def run(url: str) -> T:
        async with Database(url, min_size=1, max_size=4) as database:
            return await work(database)

    with open_migrated(settings) as (url, _):
        return asyncio.run(run(url))
