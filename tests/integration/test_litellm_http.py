"""`POST /v1/ingest/litellm`: as LiteLLM itself calls it, through to GraphQL and REST, and as others may."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.settings import Settings
from app.web.app import Wiring, create_app
from app.web.bodies import BodyBudget
from app.web.ingest_endpoint import IngestEndpoint
from app.web.litellm import build_litellm_router
from app.web.metrics import Metrics
from tests.gateway import Gateway
from tests.litellm_payloads import CONTENT, failure, payload
from tests.live import listening

URL = "/v1/ingest/litellm"
ROOT = Path(__file__).parents[2]
LITELLM = Path(os.environ.get("TOKENGRAPH_LITELLM_PYTHON", ROOT / ".venv/litellm/bin/python"))
NOTHING = {"received": 0, "inserted": 0, "duplicates": 0, "rejected": 0, "errors": []}


def with_way_in(app: FastAPI, budget: int = 2**27) -> FastAPI:
    if not any(getattr(route, "path", None) == URL for route in app.routes):
        ingest = IngestEndpoint(app.state.services, Metrics(), 2**26, BodyBudget(budget))
        app.include_router(build_litellm_router(ingest))
    return app


@pytest.fixture
def way_in(gateway: Gateway) -> Gateway:
    with_way_in(gateway.app)
    return gateway


async def post(gateway: Gateway, content: Any, headers: dict[str, str], **more: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return await gateway.client.post(URL, content=body, headers={"Content-Type": "application/json", **headers, **more})


async def rows(gateway: Gateway, statement: str) -> list[tuple[Any, ...]]:
    async with gateway.database.read_connection() as connection:
        return await (await connection.execute(statement)).fetchall()


STORED = "SELECT t.external_id, r.request_id FROM usage_records r JOIN tenants t ON t.id = r.tenant_id ORDER BY 1, 2"
WAITING = "SELECT source, sender_tenant_id, tenant_id, request_id FROM quarantined_records ORDER BY request_id"


@pytest.mark.parametrize("form", ["json_array", "ndjson", "single", "gzip"])
async def test_every_log_format_once(way_in: Gateway, form: str) -> None:
    headers = await way_in.key("ingest")
    payloads = [payload(id=f"c{number}") for number in range(3)]
    lines = b"\n".join(orjson.dumps(one) for one in payloads)
    bodies = {"json_array": [orjson.dumps(payloads)], "ndjson": [lines], "single": lines.split(b"\n"), "gzip": [gzip.compress(lines)]}[form]
    more = {"Content-Encoding": "gzip"} if form == "gzip" else {}
    totals: Counter[str] = Counter()
    for body in bodies * 2:  # the second time is LiteLLM's retry
        answer = await post(way_in, body, headers, **more)
        assert answer.status_code == 200, answer.text
        totals.update({name: count for name, count in answer.json().items() if isinstance(count, int)})
    assert totals == {"received": 6, "inserted": 3, "duplicates": 3, "rejected": 0}
    assert await rows(way_in, STORED) == [("acme", "c0"), ("acme", "c1"), ("acme", "c2")]


async def test_every_payload_is_accounted_for(way_in: Gateway) -> None:
    sent = [
        payload(),
        failure(),
        payload(id="wrong-total", total_tokens=7),
        payload(id="no-tenant", metadata__user_api_key_team_id=None),
        payload(call_type="alist_input_items", prompt_tokens=0, completion_tokens=0, total_tokens=0, response_cost=0),
        None,
    ]
    headers = await way_in.key("ingest")
    for inserted in (2, 0):
        receipt = (await post(way_in, sent, headers)).json()
        assert receipt["received"] == 6 == receipt["inserted"] + receipt["duplicates"] + receipt["rejected"] + receipt["quarantined"]
        assert (receipt["inserted"], receipt["rejected"], receipt["quarantined"]) == (inserted, 2, 2)
        assert [(error["index"], error["message"].partition(" ")[0]) for error in receipt["errors"]] == [(4, "is"), (5, "must")]
    assert await rows(way_in, WAITING) == [("litellm", None, None, "no-tenant"), ("litellm", None, "acme", "wrong-total")]


async def test_no_content_is_in_the_database(way_in: Gateway) -> None:
    wrong = payload(id="q", total_tokens=7, error_information__error_message=CONTENT)
    assert (await post(way_in, [payload(), failure(), wrong], await way_in.key("ingest"))).json()["quarantined"] == 1
    tables = await rows(way_in, "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        assert not await rows(way_in, f"SELECT 1 FROM {table} AS one WHERE strpos(one::text, '{CONTENT}') > 0"), table


@pytest.mark.parametrize(
    ("bound", "more", "team", "stored"),
    [
        (None, {}, "acme", "acme"),
        (None, {"X-Tokengraph-Tenant": "fallback"}, "acme", "acme"),
        (None, {"X-Tokengraph-Tenant": "fallback"}, None, "fallback"),
        (None, {"X-Tokengraph-Tenant": "fallback", "X-Tokengraph-Tenant-From": "None"}, "acme", "fallback"),
        ("mine", {}, None, "mine"),
        ("mine", {"X-Tokengraph-Tenant": "fallback"}, None, None),
        ("mine", {}, "acme", None),
        ("mine", {"X-Tokengraph-Tenant-From": "none"}, "acme", "mine"),
        (None, {}, None, None),
    ],
)
async def test_tenants(way_in: Gateway, bound: str | None, more: dict[str, str], team: str | None, stored: str | None) -> None:
    sent = payload(metadata__user_api_key_team_id=team)
    receipt = (await post(way_in, sent, await way_in.key("ingest", bound), **more)).json()
    assert (receipt["inserted"], receipt.get("quarantined", 0)) == ((1, 0) if stored else (0, 1))
    assert [tenant for tenant, _ in await rows(way_in, STORED)] == ([stored] if stored else [])


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"hello", {"Content-Type": "text/plain"}, 400),
        (b"[]", {"X-Tokengraph-Tenant-From": "moon"}, 400),
        (b"[]", {"X-Tokengraph-Tenant": "two words"}, 400),
        (b"[]", {"Content-Encoding": "br"}, 415),
        (b"[" + b"0," * 100_000 + b"0]", {}, 413),
        (b"[]", {}, 200),
        (b"[]", {"Content-Type": "text/plain"}, 200),
    ],
)
async def test_bodies_and_headers(way_in: Gateway, body: bytes, more: dict[str, str], status: int) -> None:
    answer = await post(way_in, body, await way_in.key("ingest"), **more)
    assert answer.status_code == status, answer.text
    assert answer.json() == NOTHING if status == 200 else set(answer.json()["error"]) == {"message", "type", "code"}
    assert await rows(way_in, STORED) == []


@pytest.mark.parametrize(("role", "status"), [(None, 401), ("tenant", 403), ("gateway", 403), ("admin", 200)])
async def test_who_may_write(way_in: Gateway, role: str | None, status: int) -> None:
    headers = await way_in.key(role, "acme" if role == "tenant" else None) if role else {}
    assert (await post(way_in, payload(), headers)).status_code == status
    assert len(await rows(way_in, STORED)) == (status == 200)


async def test_too_much_at_once_is_a_503_for_litellm_drops_what_got_a_429(database_url: str) -> None:
    app = create_app(Settings(database_url=database_url, ingest_body_limit=2**20, ingest_memory=2**20), Wiring(jobs=False))
    async with app.router.lifespan_context(app):
        with_way_in(app, budget=2**20)
        key = await create_key(app.state.services.database, KeyRequest(Role.INGEST), system_clock())
        arrived, release = asyncio.Event(), asyncio.Event()

        async def slowly() -> Any:
            yield b"[" + b" " * 900_000
            arrived.set()
            await release.wait()
            yield b"]"

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers={"X-API-Key": key.secret}) as client:
            first = asyncio.create_task(client.post(URL, content=slowly()))
            await arrived.wait()
            refused = await client.post(URL, content=b"[" + b" " * 900_000 + b"]")
            release.set()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2"), refused.text
            assert (await first).json() == NOTHING


@dataclass(frozen=True)
class Live:
    """A gateway that listens, and keys to it."""

    url: str
    ingest: str
    admin: dict[str, str]
    tenant: dict[str, str]

    def get(self, path: str, headers: dict[str, str], **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}{path}", headers=headers, params=parameters, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def graphql(self, document: str, **variables: Any) -> Any:
        answer = httpx.post(f"{self.url}/graphql", headers=self.admin, json={"query": document, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture
def live(database_url: str) -> Iterator[Live]:
    async def make_keys() -> list[str]:
        async with Database(database_url) as database:
            requests = (KeyRequest(Role.INGEST), KeyRequest(Role.ADMIN), KeyRequest(Role.TENANT, tenant_id="acme"))
            return [(await create_key(database, one, system_clock())).secret for one in requests]

    ingest, *readers = asyncio.run(make_keys())
    admin, tenant = ({"Authorization": f"Bearer {secret}"} for secret in readers)
    with listening(with_way_in(create_app(Settings(database_url=database_url), Wiring(jobs=False)))) as url:
        yield Live(url, ingest, admin, tenant)


QUESTION = """query($start: Date!, $end: Date!) {
  usageAnalytics(dateFrom: $start, dateTo: $end) {
    byModel { modelId providerId promptTokens completionTokens costUsd requests } topUsers { userId requests }
  }
  gatewayStats(days: 2) { requests failed retries cacheHits }
}"""


@pytest.mark.slow
@pytest.mark.skipif(not LITELLM.exists(), reason="LiteLLM has an environment of its own: make litellm")
@pytest.mark.parametrize("log_format", ["json_array", "ndjson", "single"])
def test_litellm_itself_through_to_graphql_and_rest(live: Live, log_format: str) -> None:
    command: list[str | Path] = [
        LITELLM,
        ROOT / "tests/litellm_client.py",
        f"{live.url}{URL}",
        json.dumps({"X-API-Key": live.ingest}),
        log_format,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    said = json.loads(run.stdout.splitlines()[-1])
    logged = said["logged"]
    assert (len(logged), said["reached"]) == (10, [])

    today = system_clock().date()
    start, end = (today - timedelta(days=1)).isoformat(), (today + timedelta(days=1)).isoformat()
    answer = live.graphql(QUESTION, start=start, end=end)
    usage = answer["usageAnalytics"]
    by_model = {(row["modelId"], row["providerId"]): row for row in usage["byModel"]}
    assert {name: row["requests"] for name, row in by_model.items()} == {
        ("openai/gpt-4o", "openai"): 4,
        ("anthropic/claude-sonnet-4-5", "anthropic"): 2,
        ("openai/text-embedding-3-small", "openai"): 1,
        ("openai/gpt-4o-mini", "openai"): 2,
        ("openai/gpt-4o", "openrouter"): 1,
    }
    cost = sum(Decimal(repr(one["response_cost"])) for one in logged)
    assert cost > 0
    assert sum(row["costUsd"] for row in usage["byModel"]) == pytest.approx(float(cost), abs=5e-6)
    assert sum(row["promptTokens"] for row in usage["byModel"]) == sum(one["prompt_tokens"] for one in logged)
    assert sum(row["completionTokens"] for row in usage["byModel"]) == sum(one["completion_tokens"] for one in logged)
    assert [(row["userId"], row["requests"]) for row in usage["topUsers"]] == [("ada", 10)]
    assert answer["gatewayStats"] == {"requests": 10, "failed": 4, "retries": 1, "cacheHits": 1}

    document = live.get("/api/usage/analytics", live.admin, date_from=start, date_to=end)
    assert sum(row["request_count"] for row in document["by_model"]) == 10
    log = live.get("/v1/customer/logs", live.tenant, start_date=start, end_date=end)["data"]
    succeeded = {one["id"] for one in logged if one["status"] == "success"}
    assert {row["request_id"] for row in log if row["status"] == "success"} == succeeded
    assert Counter(row["status"] for row in log) == {"success": 6, "error": 4}
    assert len({row["request_id"] for row in log}) == 10
    stream = next(row for row in log if row["request_id"] == logged[1]["id"])
    assert stream["tokens"]["completion"] == logged[1]["completion_tokens"] > 0
    assert stream["latency_ms"] > 0
