"""Each documented URL gives what its stored document gives; each error of a surface has that surface's one form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.rest.execute import load_document
from tests.factories import make_record
from tests.gateway import Gateway


async def fill(gateway: Gateway) -> None:
    await gateway.catalog({"model_id": "openai/gpt-4o", "public": True})
    await gateway.store([make_record(), make_record(model_id="x/y")])
    await gateway.snapshot()


async def test_network(gateway: Gateway) -> None:
    await fill(gateway)
    answer = await gateway.graphql(load_document("network"))
    network = answer["data"]["network"]
    network["trend"] = dict(zip(("24h", "7d", "30d"), network["trend"].values(), strict=True))
    assert (await gateway.client.get("/api/v1/analytics/network")).json() == network


async def test_rankings(gateway: Gateway) -> None:
    await fill(gateway)
    headers = await gateway.key("admin")
    answer = await gateway.graphql(load_document("rankings_daily"), headers, startDate="2026-06-01", endDate="2026-06-26")
    parameters = {"start_date": "2026-06-01", "end_date": "2026-06-26"}
    response = await gateway.client.get("/api/v1/datasets/rankings-daily", params=parameters, headers=headers)
    assert response.json() == answer["data"]["rankingsDaily"]


@pytest.mark.parametrize("url", ["/api/v1/analytics/network", "/api/v1/datasets/rankings-daily"])
async def test_an_unexpected_error_shows_nothing_of_itself(gateway: Gateway, url: str, caplog: Any) -> None:
    headers = await gateway.key("admin")
    async with gateway.database.transaction() as connection:
        await connection.execute("DROP TABLE network_snapshots, usage_by_day_model")
    response = await gateway.client.get(url, headers=headers | {"X-Request-ID": "find-me"})
    assert (response.status_code, response.json()) == (500, {"error": {"code": 500, "message": "Internal Server Error"}})
    assert response.headers["x-request-id"] == "find-me"
    assert "find-me" in caplog.text


async def test_graphql_hides_an_unexpected_error_and_names_the_request(gateway: Gateway) -> None:
    async with gateway.database.transaction() as connection:
        await connection.execute("DROP TABLE network_snapshots")
    response = await gateway.client.post("/graphql", json={"query": "{ network { generatedAt } }"}, headers={"X-Request-ID": "find-me"})
    error = response.json()["errors"][0]
    assert error["message"] == "Internal server error"
    assert error["extensions"] == {"code": "INTERNAL", "requestId": "find-me"}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("{ nothing }", "BAD_USER_INPUT"),
        ("{ network { ", "BAD_USER_INPUT"),
        ("{ network " + "{ trend " * 20 + "}" * 21, "QUERY_TOO_EXPENSIVE"),
        ("{ " + " ".join(f"a{number}: network {{ generatedAt }}" for number in range(101)) + " }", "QUERY_TOO_EXPENSIVE"),
        ("{ " + "network { generatedAt } " * 2000 + " }", "QUERY_TOO_EXPENSIVE"),
    ],
)
async def test_every_graphql_error_has_a_code(gateway: Gateway, document: str, code: str) -> None:
    answer = await gateway.graphql(document)
    assert [error["extensions"]["code"] for error in answer["errors"]][:1] == [code]


async def test_a_refused_caller_leaves_nothing_in_the_log(gateway: Gateway, caplog: Any) -> None:
    for document in ("{ rankingsDaily { meta { version } } }", "{ usageAnalytics { byModel { costUsd } } }", "{ nothing }", "{"):
        assert (await gateway.graphql(document))["errors"]
        assert (await gateway.graphql(document, await gateway.key("ingest"))).keys() <= {"data", "errors", "extensions"}
    assert (await gateway.client.get("/api/usage/analytics", headers={"Authorization": "Bearer tg_wrong"})).status_code == 401
    assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_graphql_body_is_bounded(gateway: Gateway, announced: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"query": "{ network { generatedAt } }", "padding": "'
        for _ in range(9):
            yield b"x" * 2**20
        yield b'"}'

    content = b"".join([part async for part in parts()]) if announced else parts()
    response = await gateway.client.post("/graphql", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT"}
