"""A gateway in process, as a client sees it, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from app.analytics.snapshot import take_snapshot
from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.usage import UsageRecord
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog
from app.write.receipt import Receipt
from tests.clock import FakeClock
from tests.factories import make_batch


@dataclass(frozen=True)
class Gateway:
    """The application with its database behind it."""

    app: FastAPI
    client: httpx.AsyncClient
    database: Database
    clock: FakeClock

    async def key(self, role: Role | str, tenant: str | None = None) -> dict[str, str]:
        """Return the headers of a new key."""
        made = await create_key(self.database, KeyRequest(Role(role), tenant_id=tenant), self.clock())
        return {"Authorization": f"Bearer {made.secret}"}

    async def catalog(self, *entries: dict[str, Any]) -> None:
        """Load catalog entries."""
        await load_catalog(self.database, parse_catalog(list(entries)), self.clock())

    async def store(self, records: Iterable[UsageRecord]) -> Receipt:
        """Write records, past HTTP."""
        return await Ingestor(self.database).ingest(make_batch(records))

    async def snapshot(self) -> dict[str, Any]:
        """Take a network snapshot now."""
        return (await take_snapshot(self.database, self.clock())).body

    async def graphql(self, document: str, headers: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        """Return the data and errors of a GraphQL request: all but what it cost."""
        response = await self.client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
        return {name: value for name, value in response.json().items() if name != "extensions"}
