"""Gateways on real ports for browsers, each with a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count, islice
from typing import Any

import psycopg
from fastapi import FastAPI

from app.analytics.snapshot import take_snapshot
from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.demo.generate import demo_catalog, generate_demo
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.domain.usage import UsageRecord
from app.settings import Settings
from app.web.app import Wiring, create_app
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog
from tests.conftest import TEMPLATE, with_database
from tests.factories import make_batch
from tests.live import listening

RECORDS = 6000
BATCH = 10_000

_numbers = count()


@dataclass(frozen=True)
class Site:
    """A gateway that listens, and the database behind it."""

    url: str
    app: FastAPI
    database: Database

    async def key(self, role: Role | str = Role.TENANT, tenant: str | None = "acme") -> str:
        """Return a new key's secret."""
        bound = tenant if Role(role) in (Role.TENANT, Role.INGEST) else None
        return (await create_key(self.database, KeyRequest(Role(role), tenant_id=bound), system_clock())).secret

    async def catalog(self, *entries: dict[str, Any]) -> None:
        """Load catalog entries."""
        await load_catalog(self.database, parse_catalog(list(entries)), system_clock())

    async def store(self, records: Iterable[UsageRecord]) -> None:
        """Write records, past HTTP."""
        await Ingestor(self.database).ingest(make_batch(records))

    async def snapshot(self, ago: timedelta = timedelta()) -> datetime:
        """Take a network snapshot as of some time ago; return its instant."""
        return (await take_snapshot(self.database, system_clock() - ago)).generated_at

    async def fill(self, records: int = RECORDS) -> None:
        """Load the demo catalog and demo records up to now."""
        await self.catalog(*demo_catalog())
        made = generate_demo(system_clock(), count=records, days=40, tenants=5)
        while batch := list(islice(made, BATCH)):
            await self.store(batch)


@asynccontextmanager
async def open_site(server_url: str, **settings: Any) -> AsyncIterator[Site]:
    """Serve a gateway on an empty, migrated database; its jobs do not run."""
    name = f"browser_{next(_numbers)}_{id(settings)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    url = with_database(server_url, name)
    app = create_app(Settings(database_url=url, **settings), Wiring(jobs=False))
    async with Database(url, min_size=1, max_size=4) as database:
        with listening(app) as address:
            yield Site(address, app, database)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
