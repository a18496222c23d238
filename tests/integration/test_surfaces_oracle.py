"""For random records every surface equals the naive aggregation, and the five totals agree with each other."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cube.rollups import ROLLUPS
from app.domain.usage import UsageRecord
from tests import naive
from tests.clock import NOW
from tests.factories import Price, first_of_each, make_record
from tests.gateway import Gateway

PRICES: dict[str, tuple[str, str | None]] = {"openai/gpt-4o": ("0.0000025", "0.00001"), "acme/half": ("0.000000037", None)}
TODAY = NOW.date()
_CORNERS = [
    datetime(2025, 12, 28, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2025, 12, 29, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2020, 1, 1, tzinfo=UTC),
    NOW + timedelta(hours=20),
    NOW,
]


def price_of(record: UsageRecord) -> Price | None:
    found = PRICES.get(record.model_id)
    return None if found is None else (Decimal(found[0]), None if found[1] is None else Decimal(found[1]))


@st.composite
def _records(draw: st.DrawFn) -> UsageRecord:
    prompt, completion = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    user = draw(st.sampled_from([None, "u1", "u2", "u3"]))
    return make_record(
        tenant_id=draw(st.sampled_from(["acme", "umbrella"])),
        occurred_at=draw(st.sampled_from(_CORNERS) | st.datetimes(datetime(2026, 6, 10), datetime(2026, 6, 26), timezones=st.just(UTC))),
        project_id=draw(st.sampled_from([None, "p1", "p2", "unknown"])),
        api_key_id=draw(st.sampled_from([None, "k1", "k2"])),
        user_id=user,
        username=None if user is None else draw(st.sampled_from([None, "n1", "n2"])),
        model_id=draw(st.sampled_from(["openai/gpt-4o", "acme/half", "plain", "unknown"])),
        provider=draw(st.sampled_from([None, "azure"])),
        status_code=draw(st.sampled_from([200, 204, 301, 429, 0])),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=draw(st.integers(0, prompt)),
        reasoning_tokens=draw(st.integers(0, completion)),
        cost_usd=draw(st.none() | st.decimals(0, 5, places=7)),
        traffic_mode=draw(st.sampled_from(["shared", "byok"])),
        shared_model_spend=draw(st.integers(0, 100)),
        byok_platform_fee=draw(st.integers(0, 9)),
        managed_tool_fee=draw(st.integers(0, 9)),
        agent_runtime_fee=draw(st.integers(0, 2)),
        search_requests=draw(st.integers(0, 3)),
        latency_ms=draw(st.none() | st.decimals(0, 9999, places=3)),
    )


async def _load(gateway: Gateway, records: list[UsageRecord]) -> list[UsageRecord]:
    async with gateway.database.transaction() as connection:
        tables = ["usage_records", "recent_requests", "users", "projects", "models", "model_prices", *(rollup.name for rollup in ROLLUPS)]
        await connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
    entries = [{"model_id": name, "cost_per_input_token": price[0], "cost_per_output_token": price[1]} for name, price in PRICES.items()]
    await gateway.catalog(*entries)
    await gateway.store(records)
    return first_of_each(records)


async def _get(gateway: Gateway, url: str, headers: dict[str, str], **parameters: Any) -> Any:
    response = await gateway.client.get(url, params=parameters, headers=headers)
    assert response.status_code == 200, response.text
    return response


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    records=st.lists(_records(), max_size=60),
    aggregation=st.sampled_from(["day", "week", "month"]),
    numbering=st.sampled_from(["iso", "monday"]),
    bounds=st.sampled_from([(None, None), ("2026-06-15", None), (None, "2026-06-20"), ("2025-12-29", "2026-01-01"), ("2031-01-01", None)]),
    model=st.sampled_from([None, "openai/gpt-4o", "nobody/knows"]),
    days=st.sampled_from([None, 1, 7, 365]),
    project=st.sampled_from([None, "p1", "acme/p1", "umbrella/unknown", "unknown", "none-such"]),
)
async def test_every_surface_equals_the_records(
    gateway: Gateway,
    records: list[UsageRecord],
    aggregation: str,
    numbering: str,
    bounds: tuple[str | None, str | None],
    model: str | None,
    days: int | None,
    project: str | None,
) -> None:
    stored = await _load(gateway, records)
    admin = await gateway.key("admin")
    first, last = (None if text is None else datetime.fromisoformat(text).date() for text in bounds)

    given_ = {"date_from": bounds[0], "date_to": bounds[1], "model_id": model}
    parameters = {name: value for name, value in given_.items() if value is not None}
    usage = await _get(gateway, "/api/usage/analytics", admin, aggregation=aggregation, week_numbering=numbering, **parameters)
    expected = naive.usage_analytics(stored, price_of, first=first, last=last, aggregation=aggregation, model_id=model, numbering=numbering)
    assert usage.json() == expected

    parameters = {name: str(value) for name, value in {"days": days, "project_id": project}.items() if value is not None}
    stats = await _get(gateway, "/v1/analytics", {"Authorization": "Bearer gateway-secret"}, **parameters)
    naive_stats = naive.gateway_stats(stored, today=TODAY, days=days, project=project)
    assert stats.json() == naive_stats
    assert [list(stats.json()[name]) for name in ("providers", "models", "projects")] == [
        list(naive_stats[name]) for name in ("providers", "models", "projects")
    ]

    window_start, window_end = TODAY - timedelta(days=16), TODAY + timedelta(days=1)
    for tenant in ("acme", "umbrella"):
        headers = await gateway.key("tenant", tenant)
        window = {"start_date": window_start.isoformat(), "end_date": window_end.isoformat()}
        analytics = (await _get(gateway, "/v1/customer/analytics", headers, **window)).json()
        assert analytics == naive.tenant_analytics(stored, tenant, window_start, window_end)
        text = (await _get(gateway, "/v1/customer/analytics/export.csv", headers, **window)).text
        header, *rows = list(csv.reader(io.StringIO(text)))
        assert rows == [[str(cell) for cell in row] for row in naive.export_rows(stored, tenant, window_start, window_end)]
        summary = analytics["summary"]
        for column, name in (("requests", "total_requests"), ("tokens", "total_tokens"), ("spend", "total_spend")):
            assert sum(int(row[header.index(column)]) for row in rows) == summary[name]
            assert sum(day[column] for day in analytics["timeseries"]) == summary[name]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(records=st.lists(_records(), max_size=60))
async def test_the_five_totals_agree(gateway: Gateway, records: list[UsageRecord]) -> None:
    recent = [record for record in records if TODAY - timedelta(days=29) <= record.occurred_at.date() <= TODAY]
    await _load(gateway, recent)
    admin = await gateway.key("admin")
    network = await gateway.snapshot()
    usage = (await _get(gateway, "/api/usage/analytics", admin)).json()
    stats = (await _get(gateway, "/v1/analytics", admin)).json()
    rankings = (await _get(gateway, "/api/v1/datasets/rankings-daily", admin, end_date=TODAY.isoformat())).json()
    window = {"start_date": (TODAY - timedelta(days=29)).isoformat(), "end_date": TODAY.isoformat()}
    tenants = [
        (await _get(gateway, "/v1/customer/analytics", await gateway.key("tenant", tenant), **window)).json()["summary"]
        for tenant in ("acme", "umbrella")
    ]
    tokens = sum(record.prompt_tokens + record.completion_tokens for record in recent)
    assert network["totals"]["tokens"] == tokens
    assert sum(network["totals"][f"{part}_tokens"] for part in ("prompt", "completion", "cached", "reasoning")) == tokens
    for section in ("time_series", "by_model"):
        assert sum(row["input_tokens"] + row["output_tokens"] for row in usage[section]) == tokens
        assert sum(row["request_count"] for row in usage[section]) == len(recent)
    assert sum(int(row["total_tokens"]) for row in rankings["data"]) == tokens
    assert sum(tenant["total_tokens"] for tenant in tenants) == tokens
    assert network["totals"]["requests"] == stats["total_requests"] == sum(tenant["total_requests"] for tenant in tenants) == len(recent)
    for section in ("providers", "models", "projects"):
        assert sum(row["requests"] for row in stats[section].values()) == len(recent)
