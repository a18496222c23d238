"""What every command that needs data begins with: a server (the operator's, or the embedded one), migrated, and a way to it."""

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
    """Yield a URL, and the embedded server that was joined if none was given. The last to leave the embedded server stops it."""
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
    """Yield as `open_server` does, after bringing the schema up to date."""
    with open_server(settings) as (url, server):
        upgrade(url)
        yield url, server


def run_with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work` in an event loop of its own, on a migrated database."""

    async def run(url: str) -> T:
        async with Database(url, min_size=1, max_size=4) as database:
            return await work(database)

    with open_migrated(settings) as (url, _):
        return asyncio.run(run(url))
