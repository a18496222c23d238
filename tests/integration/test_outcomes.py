"""Further attempts, cache hits and interrupted streams: told apart, and counted by all five totals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.factories import make_record
from tests.gateway import Gateway

_TOTALS = """{
  gatewayStats { requests retries cacheHits interrupted daily { requests retries cacheHits interrupted }
    models { name requests retries cacheHits interrupted } }
  usageAnalytics { timeSeries { requests promptTokens completionTokens costUsd } }
  network { totals { requests totalTokens } }
  tenantAnalytics(tenantId: "acme") { summary { requests totalTokens } }
  tenantRequests(tenantId: "acme") { nodes { requestId attempt cacheHit interrupted } }
  rankingsDaily { data { modelPermaslug totalTokens } }
}"""


async def answers(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.graphql(_TOTALS, await gateway.key("admin"))
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def test_outcomes_are_told_apart_and_every_total_counts_them(gateway: Gateway) -> None:
    at = gateway.clock() - timedelta(days=1)
    price = {"cost_per_input_token": "0.01", "cost_per_output_token": "0.02"}
    await gateway.catalog({"model_id": "a/b", "public": True, **price})
    common: dict[str, Any] = {"occurred_at": at, "model_id": "a/b", "prompt_tokens": 10, "completion_tokens": 5}
    await gateway.store(
        [
            make_record(request_id="first", status_code=500, **common),
            make_record(request_id="second", attempt=2, **common),
            make_record(request_id="hit", cache_hit=True, **common),
            make_record(request_id="billed-hit", cache_hit=True, cost_usd=1, **common),
            make_record(request_id="cut", interrupted=True, attempt=3, **common),
        ]
    )
    await gateway.snapshot()
    data = await answers(gateway)
    counts = {"retries": 2, "cacheHits": 2, "interrupted": 1}
    stats = data["gatewayStats"]
    assert stats["requests"] == 5
    assert {name: stats[name] for name in counts} == counts
    assert stats["daily"] == [{"requests": 5, **counts}]
    assert stats["models"] == [{"name": "a/b", "requests": 5, **counts}]
    # Three are priced by the catalog at 0.20 each; a hit costs what its record says, or nothing.
    assert data["usageAnalytics"]["timeSeries"] == [{"requests": 5, "promptTokens": 50, "completionTokens": 25, "costUsd": 1.6}]
    assert data["network"]["totals"] == {"requests": 5, "totalTokens": 75}
    assert data["tenantAnalytics"]["summary"] == {"requests": 5, "totalTokens": 75}
    assert data["rankingsDaily"]["data"] == [{"modelPermaslug": "a/b", "totalTokens": "75"}]
    shown = {node["requestId"]: (node["attempt"], node["cacheHit"], node["interrupted"]) for node in data["tenantRequests"]["nodes"]}
    assert shown == {
        "first": (1, False, False),
        "second": (2, False, False),
        "hit": (1, True, False),
        "billed-hit": (1, True, False),
        "cut": (3, False, True),
    }


async def test_outcomes_as_records_give_them(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    base = {"occurred_at": "2026-06-25T10:30:00Z", "tenant_id": "acme", "model_id": "a/b"}
    wrong: list[dict[str, Any]] = [
        {"attempt": 0},
        {"attempt": 10_001},
        {"attempt": True},
        {"cache_hit": 1},
        {"interrupted": "yes"},
    ]
    right: list[dict[str, Any]] = [{"attempt": 10_000}, {"attempt": "2", "cache_hit": "TRUE", "interrupted": False}, {"attempt": None}]
    records = [{**base, **given, "request_id": f"r{number}"} for number, given in enumerate([*wrong, *right])]
    response = await gateway.client.post("/v1/ingest/usage", json=records, headers=headers)
    receipt = response.json()
    assert (receipt["inserted"], receipt["rejected"]) == (3, 5)
    assert [(error["field"], error["message"]) for error in receipt["errors"]] == [
        ("attempt", "must be an integer from 1 to 10000"),
        ("attempt", "must be an integer from 1 to 10000"),
        ("attempt", "must be an integer from 1 to 10000"),
        ("cache_hit", "must be true or false"),
        ("interrupted", "must be true or false"),
    ]
    mutation = "mutation ($r: [UsageRecordInput!]!) { ingestUsage(records: $r) { inserted rejected errors { field message } } }"
    by_graphql = [
        {"requestId": "g1", "occurredAt": "2026-06-25T10:30:00Z", "tenantId": "acme", "modelId": "a/b", "attempt": 2, "cacheHit": True},
        {"requestId": "g2", "occurredAt": "2026-06-25T10:30:00Z", "tenantId": "acme", "modelId": "a/b", "attempt": 0},
    ]
    answer = await gateway.graphql(mutation, headers, r=by_graphql)
    assert answer["data"]["ingestUsage"] == {
        "inserted": 1,
        "rejected": 1,
        "errors": [{"field": "attempt", "message": "must be an integer from 1 to 10000"}],
    }
