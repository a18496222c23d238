"""How the gateway's sessions are set, whatever the server's own settings say."""

from __future__ import annotations

import asyncio

import httpx

from app.db.engine import Database
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import FakeClock
from tests.gateway import Gateway


async def test_a_session_is_set_for_short_questions_in_utc(database: Database) -> None:
    async with database.transaction() as connection:
        name = (await (await connection.execute("SELECT quote_ident(current_database())")).fetchone() or ("",))[0]
        for setting in ("jit = on", "timezone = 'Asia/Kolkata'", "statement_timeout = 0"):
            await connection.execute(f"ALTER DATABASE {name} SET {setting}")
    async with Database(database.url, min_size=1, max_size=1) as another, another.read_connection() as connection:
        found = {}
        for setting in ("jit", "timezone", "statement_timeout"):
            row = await (await connection.execute(f"SHOW {setting}")).fetchone()
            found[setting] = row and row[0]
    assert found == {"jit": "off", "timezone": "UTC", "statement_timeout": "1min"}


async def test_a_worker_opens_no_more_connections_than_it_may(gateway: Gateway, database_url: str, clock: FakeClock) -> None:
    headers = await gateway.key("admin")
    app = create_app(Settings(database_url=database_url, database_connections=4, cache_memory=0), Wiring(clock=clock, jobs=False))
    async with gateway.database.read_connection() as connection:

        async def sessions() -> set[int]:
            cursor = await connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
            return {pid for (pid,) in await cursor.fetchall()}

        before = await sessions()
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway", headers=headers) as client,
        ):
            asked = [client.get("/v1/analytics", params={"days": f"{days}"}) for days in range(1, 61)]
            assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
            assert 1 <= len(await sessions() - before) <= 4
