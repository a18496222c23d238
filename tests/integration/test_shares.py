"""Tenants that ask all they can at once: they hold their share of the connections, and ingest, keys and readiness get theirs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from app.db.shares import Purpose, Shares, Turns
from tests.factories import make_record
from tests.gateway import Gateway

RECORD = {"occurred_at": "2026-06-20T10:30:00Z", "tenant_id": "acme", "model_id": "a/b"}
ONE = 'tenantAnalytics(apiKeyId: "key") { summary { requests } }'
HEAVY = f"{{ {' '.join(f'q{number}: {ONE}' for number in range(30))} }}"
SHARES = Shares.of(10)
BUSY = "The gateway is busy: every database connection for such requests is in use; try again"


@asynccontextmanager
async def stalled_questions(database_url: str) -> AsyncIterator[None]:
    """Let every question that names a caller's key wait until the block ends; no write of known names and no authentication does."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("LOCK TABLE caller_keys IN ACCESS EXCLUSIVE MODE")
        yield


async def held(turns: Turns, connections: int) -> None:
    """Wait until questions hold so many connections."""
    async with asyncio.timeout(60):
        while turns.held(Purpose.QUERY) < connections:  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(0.01)


@pytest.fixture
async def tenants(gateway: Gateway) -> list[dict[str, str]]:
    """The keys of three tenants, each with a record of the caller key that the questions name; the names are known to the writer."""
    names = ("acme", "beta", "gamma")
    await gateway.store([make_record(tenant_id=name, api_key_id="key") for name in names])
    sender = await gateway.key("ingest")
    await gateway.client.post("/v1/ingest/usage", json=[{**RECORD, "request_id": "first"}], headers=sender)
    return [await gateway.key("tenant", name) for name in names]


async def test_questions_hold_their_share_and_what_is_reserved_is_there(
    gateway: Gateway, database_url: str, tenants: list[dict[str, str]]
) -> None:
    turns = gateway.database.turns
    assert turns is not None
    sender = await gateway.key("ingest")
    async with stalled_questions(database_url):
        asking = [asyncio.create_task(gateway.graphql(HEAVY, headers)) for headers in tenants[:2] for _ in range(4)]
        await held(turns, SHARES.queries)
        answers = [
            await gateway.client.post("/v1/ingest/usage", json=[{**RECORD, "request_id": f"r{number}"}], headers=sender)
            for number in range(3)
        ]
        assert [answer.json()["inserted"] for answer in answers] == [1, 1, 1]
        ready = await asyncio.gather(*(gateway.client.get("/readyz") for _ in range(20)))
        assert {answer.status_code for answer in ready} == {200}
        wrong = await gateway.client.get("/v1/customer/analytics", headers={"X-API-Key": "wrong"})
        assert wrong.status_code == 401
        assert turns.held(Purpose.QUERY) == SHARES.queries
        assert not any(task.done() for task in asking)
    for answer in await asyncio.gather(*asking):
        assert "errors" not in answer
        assert len(answer["data"]) == 30
    assert turns.held(Purpose.QUERY) == 0


async def test_a_caller_who_waits_in_vain_is_told_that_the_gateway_is_busy(
    gateway: Gateway, database_url: str, tenants: list[dict[str, str]]
) -> None:
    turns = gateway.database.turns = Turns(SHARES, wait_seconds=0.2)
    admin = await gateway.key("admin")
    typed_busy = {"error": {"message": BUSY, "type": "server_error", "code": "busy"}}
    calls = {
        "/v1/customer/analytics": (tenants[2], typed_busy),
        "/v1/analytics": (admin, typed_busy),
        "/api/usage/analytics": (admin, {"detail": BUSY}),
        "/api/v1/datasets/rankings-daily": (admin, {"error": {"code": 503, "message": BUSY}}),
    }
    async with stalled_questions(database_url):
        asking = [
            asyncio.create_task(gateway.graphql(f"{{ q{number}: {ONE} }}", headers))
            for headers in tenants[:2]
            for number in range(SHARES.caller)
        ]
        await held(turns, SHARES.queries)
        answer = await gateway.graphql("{ gatewayStats { requests } }", admin)
        (error,) = answer["errors"]
        assert (error["message"], error["extensions"]) == (BUSY, {"code": "BUSY", "retryAfter": 2})
        for path, (headers, body) in calls.items():
            refused = await gateway.client.get(path, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"], refused.json()) == (503, "2", body), path
    for answer in await asyncio.gather(*asking):
        assert "errors" not in answer
    assert "errors" not in await gateway.graphql("{ gatewayStats { requests } }", admin)
