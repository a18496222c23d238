"""Sums past 2^63 and 2^64 are exact on every surface, open days and closed ones; nothing fails by them."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pytest

from app.domain.fields import MAX_COUNT
from app.summaries.closing import close_days
from app.summaries.verify import chunks_of, find_differences, find_extent
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

COUNT = 2_100
TOTAL = COUNT * MAX_COUNT
TOKENS = 2 * TOTAL
DAY = "2026-06-25"
WINDOW = {"start_date": DAY, "end_date": DAY}
assert TOTAL > 2**63
assert TOKENS > 2**64


@pytest.fixture
async def filled(gateway: Gateway) -> Gateway:
    """A gateway with 2,100 records, each as great as any can be, of a public model at a price."""
    await gateway.catalog(
        {"model_id": "lab/one", "public": True, "cost_per_input_token": "1000000", "cost_per_output_token": "1000000"},
        {"model_id": "lab/two", "public": True},
    )
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    charges = ("shared_model_spend", "byok_platform_fee", "managed_tool_fee", "agent_runtime_fee")
    greatest = dict.fromkeys((*tokens, *charges, "search_requests"), MAX_COUNT)
    receipt = await gateway.store(
        make_record(user_id="u", username="n", project_id="p", api_key_id="k", model_id="lab/one", latency_ms=Decimal(10**12), **greatest)
        for _ in range(COUNT)
    )
    assert (receipt.inserted, receipt.rejected) == (COUNT, 0)
    return gateway


async def answers(gateway: Gateway) -> dict[str, Any]:
    """What each surface says, by its name; the CSVs as rows."""
    admin, tenant = await gateway.key("admin"), await gateway.key("tenant", "acme")
    document = """{
      usageAnalytics { timeSeries { promptTokens costUsd } byModel { promptTokens completionTokens } topUsers { costUsd } }
      tenantAnalytics(tenantId: "acme", startDate: "2026-06-25", endDate: "2026-06-25") {
        summary { totalTokens spend searchRequests avgLatencyMs } timeSeries { totalTokens spend } }
      tenantUsage(tenantId: "acme", date: "2026-06-25") { totalTokens spend searchRequests }
      rankingsDaily(startDate: "2026-06-25", endDate: "2026-06-25") { data { totalTokens } }
      gatewayStats { requests }
      network { totals { totalTokens freshPromptTokens } topModels { totalTokens share } trend { d7 { totalTokens } } }
    }"""
    found: dict[str, Any] = {"graphql": (await gateway.graphql(document, admin))["data"]}
    by_get = {
        "network": ("/api/v1/analytics/network", {}, {}),
        "rankings": ("/api/v1/datasets/rankings-daily", WINDOW, admin),
        "usage": ("/api/usage/analytics", {}, admin),
        "stats": ("/v1/analytics", {}, admin),
        "tenant": ("/v1/customer/analytics", WINDOW, tenant),
        "logs": ("/v1/customer/logs", {}, tenant),
    }
    for name, (path, parameters, headers) in by_get.items():
        response = await gateway.client.get(path, params=parameters, headers=headers)
        assert response.status_code == 200, (name, response.text[:200])
        found[name] = response.json()
    for name, path, parameters in (
        ("export", "/v1/customer/analytics/export.csv", WINDOW),
        ("statement", "/v1/customer/billing/usage-statement.csv", {"month": "2026-06"}),
    ):
        response = await gateway.client.get(path, params=parameters, headers=tenant)
        found[name] = list(csv.DictReader(io.StringIO(response.text)))
    for page in ("/network", "/rankings"):
        assert (await gateway.client.get(page)).status_code == 200
    return found


def check(found: dict[str, Any]) -> None:
    graph = found["graphql"]
    cost = float(TOKENS * 10**6)
    assert graph["usageAnalytics"] == {
        "timeSeries": [{"promptTokens": TOTAL, "costUsd": cost}],
        "byModel": [{"promptTokens": TOTAL, "completionTokens": TOTAL}],
        "topUsers": [{"costUsd": cost}],
    }
    assert graph["tenantAnalytics"] == {
        "summary": {"totalTokens": TOKENS, "spend": 4 * TOTAL, "searchRequests": TOTAL, "avgLatencyMs": 1e12},
        "timeSeries": [{"totalTokens": TOKENS, "spend": 4 * TOTAL}],
    }
    assert graph["tenantUsage"] == [{"totalTokens": TOKENS, "spend": 4 * TOTAL, "searchRequests": TOTAL}]
    assert graph["rankingsDaily"] == {"data": [{"totalTokens": str(TOKENS)}]}
    assert graph["gatewayStats"] == {"requests": COUNT}
    assert graph["network"]["totals"] == {"totalTokens": TOKENS, "freshPromptTokens": 0}
    assert graph["network"]["topModels"] == [{"totalTokens": TOKENS, "share": 1.0}]
    assert max(point["totalTokens"] for point in graph["network"]["trend"]["d7"]) == TOKENS
    assert found["network"]["totals"]["tokens"] == TOKENS
    assert [row["total_tokens"] for row in found["rankings"]["data"]] == [str(TOKENS)]
    assert found["usage"]["by_model"][0]["input_tokens"] == found["usage"]["time_series"][0]["output_tokens"] == TOTAL
    assert found["usage"]["top_users"][0]["total_cost"] == cost
    assert (found["tenant"]["summary"]["total_tokens"], found["tenant"]["timeseries"][0]["spend"]) == (TOKENS, 4 * TOTAL)
    assert found["logs"]["data"][0]["tokens"]["total"] == 2 * MAX_COUNT
    assert [(row["tokens"], row["spend"]) for row in found["export"]] == [(str(TOKENS), str(4 * TOTAL))]
    assert (len(found["statement"]), found["statement"][-1]["total_tokens"]) == (COUNT + 1, str(TOKENS))


async def test_every_surface_says_them_exactly(filled: Gateway) -> None:
    await filled.snapshot()
    check(await answers(filled))
    assert await close_days(filled.database, NOW) is not None
    check(await answers(filled))
    whole = await find_extent(filled.database)
    assert whole is not None
    for chunk in chunks_of(whole):
        assert await find_differences(filled.database, chunk) == []


async def test_one_tenants_counts_do_not_touch_anothers(filled: Gateway) -> None:
    receipt = await filled.store([make_record(tenant_id="other", model_id="lab/one", prompt_tokens=1, completion_tokens=0)])
    assert (receipt.inserted, receipt.rejected) == (1, 0)
    stored = await filled.store([make_record(model_id="lab/one", prompt_tokens=MAX_COUNT)])
    assert (stored.inserted, stored.rejected) == (1, 0)
