"""`tokengraph demo`: loads demo data into an empty database, prints one key per role, serves.

Its data is in a separate folder inside the data folder, so that `serve` never shows demo data.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from app.analytics.snapshot import take_snapshot
from app.auth.authenticate import Authenticator
from app.auth.store import KeyRequest, create_key
from app.cli.main import app
from app.cli.rollups import progress_bar
from app.cli.serve import Listen, run_server
from app.cli.server import bind, exit_on_sigterm
from app.cli.session import open_migrated
from app.db.engine import Database
from app.demo.generate import DEMO_TENANT, demo_catalog, generate_demo
from app.domain.errors import BadInputError, UnauthenticatedError
from app.domain.principal import Role
from app.domain.time_range import Clock, system_clock
from app.domain.usage import ParsedBatch, UsageRecord
from app.embedded.server import EmbeddedServer
from app.settings import Settings, load
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog

RECORDS = 300_000
_BATCH = 10_000
_WRITERS = 2

_ROLES: dict[str, KeyRequest] = {
    "admin": KeyRequest(Role.ADMIN, name="demo"),
    "gateway": KeyRequest(Role.GATEWAY, name="demo"),
    "tenant": KeyRequest(Role.TENANT, tenant_id=DEMO_TENANT, name="demo"),
    "ingest": KeyRequest(Role.INGEST, name="demo"),
}


@app.command("demo")
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    records: Annotated[int, typer.Option(help="Number of demo records for an empty database.", min=0)] = RECORDS,
    reset: Annotated[bool, typer.Option("--reset", help="Delete the demo's data and keys first.")] = False,
) -> None:
    """Load demo data if the database is empty, print a key per role, and serve."""
    exit_on_sigterm()
    settings = with_demo_folder(load(workers=1))
    sockets = bind(host, port)  # first: loading takes minutes
    address = f"http://{host}:{sockets[0].getsockname()[1]}"
    if reset:
        reset_demo(settings)
    with open_migrated(settings) as (url, server):
        loaded, keys = asyncio.run(_prepare(settings, url, records))
        if loaded:
            typer.echo(f"loaded {loaded:,} demo records", err=True)
        where = "the database of TOKENGRAPH_DATABASE_URL" if server is None else str(settings.data_dir)
        listen = Listen(sockets, lambda: _announce(address, where, keys))
        run_server(settings.model_copy(update={"database_url": url}), server, listen)


def with_demo_folder(settings: Settings) -> Settings:
    """Return the settings with the demo's data folder, one per database URL: an interrupted load is completed in its database."""
    folder = settings.data_dir / "demo"
    if settings.database_url is not None:
        folder /= hashlib.sha256(settings.database_url.encode()).hexdigest()[:16]
    return settings.model_copy(update={"data_dir": folder})


def reset_demo(settings: Settings) -> None:
    """Delete the demo's data and keys. BadInputError: they are in the operator's database; EmbeddedServerError: a process uses them."""
    if settings.database_url is not None:
        raise BadInputError("--reset deletes only the embedded demo database; empty the database of TOKENGRAPH_DATABASE_URL yourself")
    EmbeddedServer(settings.data_dir).remove()
    for file in (_loading_file(settings), _keys_file(settings)):
        file.unlink(missing_ok=True)


def _loading_file(settings: Settings) -> Path:
    return settings.data_dir / "demo-loading.json"


def _keys_file(settings: Settings) -> Path:
    return settings.data_dir / "demo-keys.json"


async def _prepare(settings: Settings, url: str, records: int) -> tuple[int, dict[str, str]]:
    async with Database(url) as database:
        loaded = await load_demo(database, _loading_file(settings), records, system_clock)
        return loaded, await demo_keys(database, _keys_file(settings), system_clock())


async def load_demo(database: Database, marker: Path, count: int, clock: Clock) -> int:
    """Load `count` demo records into an empty database; return how many were written, 0 if it is not empty.

    `marker` stores what is being loaded, so that the next call completes an interrupted load.
    """
    if marker.exists():
        plan = json.loads(marker.read_text(encoding="utf-8"))
    else:
        async with database.read_connection() as connection:
            if await (await connection.execute("SELECT EXISTS (SELECT FROM usage_records)")).fetchone() == (True,):
                return 0
        plan = {"end": clock().isoformat(), "count": count}
        marker.parent.mkdir(parents=True, exist_ok=True)
        _write_private(marker, plan)
    await load_catalog(database, parse_catalog(demo_catalog()), clock())
    records = generate_demo(datetime.fromisoformat(plan["end"]), count=plan["count"])
    ingestor = Ingestor(database)
    written = 0
    taking = asyncio.Lock()
    with progress_bar() as bar:
        task = bar.add_task("loading demo data", total=plan["count"])

        async def write_some() -> None:
            nonlocal written
            while True:
                # The writers share one generator: only one of them takes a batch at a time.
                async with taking:
                    batch = await asyncio.to_thread(_next_batch, records)
                if batch is None:
                    return
                inserted = (await ingestor.ingest(batch)).inserted
                written += inserted
                bar.advance(task, batch.received)

        await asyncio.gather(*(write_some() for _ in range(_WRITERS)))
    await take_snapshot(database, clock())
    marker.unlink()
    return written


def _next_batch(records: Iterator[UsageRecord]) -> ParsedBatch | None:
    taken = list(islice(records, _BATCH))
    return ParsedBatch(received=len(taken), records=taken, indexes=list(range(len(taken)))) if taken else None


async def demo_keys(database: Database, file: Path, now: datetime) -> dict[str, str]:
    """Return a valid key per role: those stored in `file` (readable by its owner only) by an earlier start, or new ones."""
    try:
        stored: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    keys = {}
    for role, request in _ROLES.items():
        secret = stored.get(role)
        if secret is None or not await _is_valid(database, secret, now):
            secret = (await create_key(database, request, now)).secret
        keys[role] = secret
    if keys != stored:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_private(file, keys)
    return keys


async def _is_valid(database: Database, secret: str, now: datetime) -> bool:
    try:
        await Authenticator(database, None).authenticate(secret, now)
    except UnauthenticatedError:
        return False
    return True


def _write_private(file: Path, value: dict[str, Any]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(value, stream)


def _announce(url: str, where: str, keys: dict[str, str]) -> None:
    lines = [
        ("Pages", f"{url}/  {url}/network  {url}/rankings"),
        ("GraphQL and GraphiQL", f"{url}/graphql"),
        ("Network statistics", f"{url}/api/v1/analytics/network"),
        ("Daily rankings", f"{url}/api/v1/datasets/rankings-daily"),
        ("REST documentation", f"{url}/docs"),
        ("Health, readiness, metrics", f"{url}/healthz  {url}/readyz  {url}/metrics"),
        ("Demo data in", where),
        ("", ""),
        *((f"{role} key", f"{key}  (tenant {DEMO_TENANT})" if role == "tenant" else key) for role, key in keys.items()),
    ]
    typer.secho("\nTokengraph is running.\n", bold=True)
    for name, value in lines:
        typer.echo(f"  {name:<28}{value}".rstrip())
    typer.echo(f'\nTry:\n  curl -H "Authorization: Bearer {keys["tenant"]}" "{url}/api/v1/datasets/rankings-daily"\n')
    sys.stdout.flush()
