"""Document 004: the sample, the exports that sum to it, the logs, and that a tenant sees its own only."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from inline_snapshot import snapshot
from starlette.types import Message

from app.domain.usage import UsageRecord
from app.rest.execute import StoredDocuments
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

ANALYTICS = "/v1/customer/analytics"
EXPORT = "/v1/customer/analytics/export.csv"
LOGS = "/v1/customer/logs"
STATEMENT = "/v1/customer/billing/usage-statement.csv"
URLS = (ANALYTICS, EXPORT, LOGS, STATEMENT)


def sample() -> list[UsageRecord]:
    """Records that yield document 004: 310 requests, 5 of them failed, in the week from 2026-02-01 on."""
    first, later = datetime(2026, 2, 1, 9, tzinfo=UTC), datetime(2026, 2, 5, 9, tzinfo=UTC)
    nothing: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 0}
    day_one = make_record(
        occurred_at=first,
        prompt_tokens=48_211,
        completion_tokens=50_211,
        shared_model_spend=1800,
        byok_platform_fee=120,
        managed_tool_fee=42,
        search_requests=7,
        latency_ms=Decimal("421.26"),
    )
    rest = make_record(
        occurred_at=later,
        prompt_tokens=98_211 - 48_211,
        completion_tokens=106_420 - 50_211,
        shared_model_spend=4021 - 1800,
        byok_platform_fee=315 - 120,
        managed_tool_fee=114 - 42,
        search_requests=19 - 7,
        latency_ms=Decimal("421.34"),
    )
    fillers = [make_record(occurred_at=first, **nothing) for _ in range(142)] + [
        make_record(occurred_at=later, **nothing) for _ in range(161)
    ]
    return [day_one, rest, *fillers, *(make_record(occurred_at=later, status_code=500, **nothing) for _ in range(5))]


async def test_the_sample(gateway: Gateway) -> None:
    await gateway.store(sample())
    window = {"start_date": "2026-02-01T00:00:00.000Z", "end_date": "2026-02-07T00:00:00.000Z"}
    body = (await gateway.client.get(ANALYTICS, params=window, headers=await gateway.key("tenant", "acme"))).json()
    assert {**body, "timeseries": body["timeseries"][:2]} == snapshot(
        {
            "period": {"start_date": "2026-02-01T00:00:00.000Z", "end_date": "2026-02-07T00:00:00.000Z"},
            "summary": {
                "total_requests": 310,
                "successful_requests": 305,
                "failed_requests": 5,
                "error_rate": 1.61,
                "total_tokens": 204631,
                "prompt_tokens": 98211,
                "completion_tokens": 106420,
                "shared_model_spend": 4021,
                "byok_platform_fees": 315,
                "managed_tool_fees": 114,
                "agent_runtime_fees": 0,
                "search_requests": 19,
                "total_spend": 4450,
                "avg_latency_ms": 421.3,
            },
            "timeseries": [
                {
                    "date": "2026-02-01",
                    "requests": 143,
                    "prompt_tokens": 48211,
                    "completion_tokens": 50211,
                    "tokens": 98422,
                    "shared_model_spend": 1800,
                    "byok_platform_fees": 120,
                    "managed_tool_fees": 42,
                    "agent_runtime_fees": 0,
                    "search_requests": 7,
                    "spend": 1962,
                },
                {
                    "date": "2026-02-02",
                    "requests": 0,
                    "prompt_tokens": 0,
                    "completion_tokens": 0,
                    "tokens": 0,
                    "shared_model_spend": 0,
                    "byok_platform_fees": 0,
                    "managed_tool_fees": 0,
                    "agent_runtime_fees": 0,
                    "search_requests": 0,
                    "spend": 0,
                },
            ],
        }
    )
    assert [day["date"] for day in body["timeseries"]] == [f"2026-02-0{day}" for day in range(1, 8)]


@pytest.mark.parametrize(
    ("parameters", "first", "last"),
    [
        ({}, "2026-06-19", "2026-06-26"),
        ({"end_date": "2026-03-01"}, "2026-02-22", "2026-03-01"),
        ({"start_date": "2026-06-26"}, "2026-06-26", "2026-06-26"),
        ({"start_date": "2024-02-28T23:30:00-02:00", "end_date": "2024-03-01T01:00:00+02:00"}, "2024-02-29", "2024-02-29"),
        ({"start_date": "2026-06-25T23:59:59.999Z", "end_date": "2026-06-26T00:00:00Z"}, "2026-06-25", "2026-06-26"),
        ({"start_date": "2030-01-01", "end_date": "2030-01-02"}, "2030-01-01", "2030-01-02"),
        ({"start_date": "0001-01-03", "end_date": "0001-01-03"}, "0001-01-03", "0001-01-03"),
        ({"end_date": "0001-01-03"}, "0001-01-01", "0001-01-03"),
    ],
)
async def test_windows_before_and_after_all_records_too(gateway: Gateway, parameters: dict[str, str], first: str, last: str) -> None:
    response = await gateway.client.get(ANALYTICS, params=parameters, headers=await gateway.key("tenant", "acme"))
    body = response.json()
    assert body["period"] == {"start_date": f"{first}T00:00:00.000Z", "end_date": f"{last}T00:00:00.000Z"}
    assert (body["timeseries"][0]["date"], body["timeseries"][-1]["date"]) == (first, last)
    assert body["summary"]["total_requests"] == 0
    assert body["summary"]["avg_latency_ms"] is None


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"from": "2026-01-01"}, "start_date and end_date, not from and to"),
        ({"to": "2026-01-01"}, "start_date and end_date, not from and to"),
        ({"start_date": "2026-02-02", "end_date": "2026-02-01"}, "start_date must not be after end_date"),
        ({"start_date": "yesterday"}, "start_date must be YYYY-MM-DD or an ISO 8601 instant"),
        ({"end_date": "2026-02-30"}, "end_date is not a calendar date: 2026-02-30"),
        ({"end_date": "2026-02-01T25:00:00Z"}, "end_date must be YYYY-MM-DD or an ISO 8601 instant"),
        ({"start_date": "1900-01-01"}, "the window from start_date to end_date may not be longer than 3660 days"),
    ],
)
@pytest.mark.parametrize("url", [ANALYTICS, EXPORT])
async def test_parameters_that_are_refused(gateway: Gateway, url: str, parameters: dict[str, str], words: str) -> None:
    response = await gateway.client.get(url, params=parameters, headers=await gateway.key("tenant", "acme"))
    assert response.status_code == 400
    error = response.json()["error"]
    assert words in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_user_input")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("role", [None, "wrong", "gateway", "ingest", "admin"])
async def test_a_key_of_a_tenant_is_needed(gateway: Gateway, url: str, role: str | None) -> None:
    await gateway.store([make_record(request_id="secret-request", api_key_id="secret-key")])
    headers = {} if role is None else {"Authorization": "Bearer tg_wrong"} if role == "wrong" else await gateway.key(role)
    response = await gateway.client.get(url, headers=headers)
    assert response.status_code == (401 if role in (None, "wrong") else 403)
    assert response.json()["error"]["type"] == ("authentication_error" if role in (None, "wrong") else "permission_error")
    assert "secret" not in response.text


async def two_tenants(gateway: Gateway) -> tuple[dict[str, str], dict[str, str]]:
    await gateway.store(
        [
            make_record(request_id=f"mine-{number}", api_key_id="k-mine", shared_model_spend=1, occurred_at=NOW - timedelta(hours=number))
            for number in range(3)
        ]
        + [make_record(request_id="theirs", tenant_id="umbrella", api_key_id="k-theirs", shared_model_spend=1000)]
    )
    return await gateway.key("tenant", "acme"), await gateway.key("tenant", "umbrella")


@pytest.mark.parametrize("url", [ANALYTICS, EXPORT, LOGS])
async def test_another_tenants_key_id_is_like_none(gateway: Gateway, url: str) -> None:
    mine, _ = await two_tenants(gateway)
    answers = [
        await gateway.client.get(url, params={"api_key_id": key}, headers=mine) for key in ("k-theirs", "k-none", "k'; DROP TABLE users;--")
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert (await gateway.client.get(url, params={"api_key_id": "k-mine"}, headers=mine)).status_code == 200


@pytest.mark.parametrize("url", URLS)
async def test_a_tenant_sees_its_own_only(gateway: Gateway, url: str) -> None:
    mine, theirs = await two_tenants(gateway)
    ours, others = (await gateway.client.get(url, headers=mine)).text, (await gateway.client.get(url, headers=theirs)).text
    assert "theirs" not in ours
    assert "1000" not in ours
    assert "mine" not in others


async def test_graphql_lets_an_admin_name_the_tenant_and_a_tenant_itself(gateway: Gateway) -> None:
    mine, _ = await two_tenants(gateway)
    document = (
        "query ($id: String) { tenantAnalytics(tenantId: $id) { summary { spend } } tenantRequests(tenantId: $id) { nodes { requestId } } }"
    )
    admin = await gateway.key("admin")
    assert (await gateway.graphql(document, admin, id="umbrella"))["data"]["tenantAnalytics"]["summary"]["spend"] == 1000
    assert (await gateway.graphql(document, mine, id="acme"))["data"]["tenantAnalytics"]["summary"]["spend"] == 3
    answers = [await gateway.graphql(document, mine, id=name) for name in ("umbrella", "none-such")] + [
        await gateway.graphql(document, admin, id="none-such")
    ]
    assert {
        (any(answer["data"].values()), answer["errors"][0]["message"], answer["errors"][0]["extensions"]["code"]) for answer in answers
    } == {(False, "No such tenant", "NOT_FOUND")}
    unnamed = await gateway.graphql(document, admin)
    required = "tenantId is required: this key belongs to no tenant"
    assert {(error["message"], *error["extensions"].values()) for error in unnamed["errors"]} == {(required, "BAD_USER_INPUT", "tenantId")}
    refused = await gateway.client.get("/v1/customer/analytics", headers=admin)
    error = {"message": "A tenant's key is required", "type": "permission_error", "code": "forbidden"}
    assert (refused.status_code, refused.json()) == (403, {"error": error})


async def test_the_log_row_and_its_pages(gateway: Gateway) -> None:
    record = make_record(
        request_id="r-newest",
        occurred_at=NOW - timedelta(seconds=1, microseconds=123456),
        status_code=503,
        traffic_mode="byok",
        shared_model_spend=1,
        byok_platform_fee=2,
        managed_tool_fee=3,
        agent_runtime_fee=4,
        latency_ms=Decimal("12.25"),
    )
    same_instant = [make_record(request_id=f"tie-{number}", occurred_at=NOW - timedelta(days=40)) for number in range(5)]
    older = [make_record(request_id=f"old-{number}", occurred_at=NOW - timedelta(days=50 + number)) for number in range(4)]
    await gateway.store([record, *same_instant, *older])
    headers = await gateway.key("tenant", "acme")
    page = (await gateway.client.get(LOGS, params={"limit": "1"}, headers=headers)).json()
    row = page["data"][0]
    assert {**row, "id": ""} == snapshot(
        {
            "id": "",
            "request_id": "r-newest",
            "created_at": "2026-06-26T11:59:58.876Z",
            "model": "openai/gpt-4o",
            "provider": "openai",
            "status": "error",
            "traffic_mode": "byok",
            "tokens": {"prompt": 100, "completion": 20, "total": 120},
            "cost_breakdown": {
                "model_charge": 1,
                "byok_platform_fee": 2,
                "managed_tool_fee": 3,
                "agent_runtime_fee": 4,
                "total_charge": 10,
            },
            "latency_ms": 12.25,
            "api_key_id": "",
            "cost_usd": 0.0,
            "cost_source": "unpriced",
        }
    )
    assert (page["limit"], page["offset"], page["has_more"]) == (1, 0, True)

    expected = ["r-newest", *(f"tie-{number}" for number in (4, 3, 2, 1, 0)), *(f"old-{number}" for number in range(4))]
    seen: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": "3"} | ({} if cursor is None else {"cursor": cursor})
        page = (await gateway.client.get(LOGS, params=parameters, headers=headers)).json()
        seen += [row["request_id"] for row in page["data"]]
        # New records come in between the pages and shift nothing.
        await gateway.store([make_record(occurred_at=NOW)])
        cursor = page["next_cursor"]
        if not page["has_more"]:
            assert cursor is None
            break
    assert seen == expected
    skipped = (await gateway.client.get(LOGS, params={"offset": "9", "limit": "2", "end_date": "2026-06-25"}, headers=headers)).json()
    assert [row["request_id"] for row in skipped["data"]] == []
    failed = (await gateway.client.get(LOGS, params={"status": "error"}, headers=headers)).json()
    assert [row["request_id"] for row in failed["data"]] == ["r-newest"]
    dated = {"start_date": "2026-05-06", "end_date": "2026-05-07", "status": "success", "model": "openai/gpt-4o"}
    assert [row["request_id"] for row in (await gateway.client.get(LOGS, params=dated, headers=headers)).json()["data"]] == [
        "old-0",
        "old-1",
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "ten"},
        {"offset": "-1"},
        {"offset": "10001"},
        {"status": "failed"},
        {"cursor": "nonsense!"},
        {"cursor": "AAAA"},
        {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTphYmM"},
        {"cursor": "MTpyAA"},
        {"cursor": "MTpy", "offset": "0"},
        {"start_date": "2026-06-02", "end_date": "2026-06-01"},
        {"from": "2026-06-02"},
    ],
)
async def test_log_parameters_that_are_refused(gateway: Gateway, parameters: dict[str, str]) -> None:
    response = await gateway.client.get(LOGS, params=parameters, headers=await gateway.key("tenant", "acme"))
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_cursor_of_another_tenant_opens_nothing(gateway: Gateway) -> None:
    mine, theirs = await two_tenants(gateway)
    page = (await gateway.client.get(LOGS, params={"limit": "1"}, headers=mine)).json()
    other = (await gateway.client.get(LOGS, params={"cursor": page["next_cursor"]}, headers=theirs)).json()
    assert all(row["request_id"] == "theirs" for row in other["data"])


async def test_the_export_whole(gateway: Gateway) -> None:
    at = NOW - timedelta(days=1)
    await gateway.store(
        [
            make_record(occurred_at=at, model_id="=cmd|' /C calc'!A1", provider="@sum", shared_model_spend=5, search_requests=2),
            make_record(
                occurred_at=at,
                model_id='quo"ted, model',
                provider="-p",
                api_key_id="+1",
                traffic_mode="byok",
                byok_platform_fee=7,
                status_code=500,
            ),
            make_record(occurred_at=at, api_key_id="k1"),
            make_record(occurred_at=at, api_key_id="k1"),
        ]
    )
    response = await gateway.client.get(EXPORT, headers=await gateway.key("tenant", "acme"))
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="usage-2026-06-19-to-2026-06-26.csv"'
    assert response.text == snapshot(
        "date,model,provider,api_key_id,traffic_mode,requests,successful_requests,failed_requests,prompt_tokens,completion_tokens,tokens,shared_model_spend,byok_platform_fees,managed_tool_fees,agent_runtime_fees,search_requests,spend\r\n"
        "2026-06-25,'=cmd|' /C calc'!A1,'@sum,,shared,1,1,0,100,20,120,5,0,0,0,2,5\r\n"
        "2026-06-25,openai/gpt-4o,openai,k1,shared,2,2,0,200,40,240,0,0,0,0,0,0\r\n"
        '2026-06-25,"quo""ted, model",\'-p,\'+1,byok,1,0,1,100,20,120,0,7,0,0,0,7\r\n'
    )


async def test_the_statement_whole(gateway: Gateway) -> None:
    may, june = datetime(2026, 5, 31, 23, 59, 59, 999000, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    await gateway.store(
        [
            make_record(request_id="may", occurred_at=may),
            make_record(request_id="june-1", occurred_at=june, shared_model_spend=3, latency_ms=Decimal("1.5"), api_key_id="=k"),
            make_record(
                request_id="=june-2",
                occurred_at=june + timedelta(days=29),
                byok_platform_fee=4,
                traffic_mode="byok",
                status_code=429,
                cost_usd=Decimal("0.0000254"),
            ),
        ]
    )
    headers = await gateway.key("tenant", "acme")
    gateway.clock.now = june + timedelta(days=30)
    response = await gateway.client.get(STATEMENT, params={"month": "2026-06"}, headers=headers)
    assert response.headers["content-disposition"] == 'attachment; filename="usage-statement-2026-06.csv"'
    rows = list(csv.reader(io.StringIO(response.text)))
    assert [row[1:] for row in rows] == snapshot(
        [
            [
                "request_id",
                "created_at",
                "model",
                "provider",
                "status",
                "traffic_mode",
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "model_charge",
                "byok_platform_fee",
                "managed_tool_fee",
                "agent_runtime_fee",
                "total_charge",
                "latency_ms",
                "api_key_id",
                "cost_usd",
                "cost_source",
            ],
            [
                "'=june-2",
                "2026-06-30T00:00:00.000Z",
                "openai/gpt-4o",
                "openai",
                "error",
                "byok",
                "100",
                "20",
                "120",
                "0",
                "4",
                "0",
                "0",
                "4",
                "",
                "",
                "0.000025",
                "priced",
            ],
            [
                "june-1",
                "2026-06-01T00:00:00.000Z",
                "openai/gpt-4o",
                "openai",
                "success",
                "shared",
                "100",
                "20",
                "120",
                "3",
                "0",
                "0",
                "0",
                "3",
                "1.5",
                "'=k",
                "0.000000",
                "unpriced",
            ],
            ["2 requests", "", "", "", "", "", "200", "40", "240", "3", "4", "0", "0", "7", "", "", "0.000025", ""],
        ]
    )
    empty = await gateway.client.get(STATEMENT, params={"month": "2031-02"}, headers=headers)
    assert list(csv.reader(io.StringIO(empty.text)))[1][:2] == ["total", "0 requests"]
    for month in ("2026-13", "2026-6", "06-2026", "", "2026-00", "0000-01", "9999-12"):
        refused = await gateway.client.get(STATEMENT, params={"month": month}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "month must be a month in the format YYYY-MM")


async def test_a_statement_of_many_pages_sums_to_the_summary(gateway: Gateway) -> None:
    records = [
        make_record(
            occurred_at=datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=number // 3),
            shared_model_spend=number % 7,
            prompt_tokens=number,
        )
        for number in range(3500)
    ]
    await gateway.store(records)
    headers = await gateway.key("tenant", "acme")
    rows = list(csv.reader(io.StringIO((await gateway.client.get(STATEMENT, params={"month": "2026-06"}, headers=headers)).text)))
    assert len({row[0] for row in rows[1:-1]}) == len(records)
    window = {"start_date": "2026-06-01", "end_date": "2026-06-30"}
    summary = (await gateway.client.get(ANALYTICS, params=window, headers=headers)).json()["summary"]
    assert rows[-1][1] == "3500 requests"
    assert (int(rows[-1][7]), int(rows[-1][14])) == (summary["prompt_tokens"], summary["total_spend"])


@pytest.mark.parametrize(
    ("url", "document"),
    [(f"{STATEMENT}?month=2026-06", "tenant_requests"), (f"{EXPORT}?start_date=2026-06-01&end_date=2026-06-26", "tenant_usage")],
    ids=["statement", "export"],
)
async def test_a_download_is_sent_as_it_is_read(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, url: str, document: str) -> None:
    """So a long one takes no more memory than a short one: at no time are more than three parts read that are not sent."""
    first = datetime(2026, 6, 1, tzinfo=UTC)
    await gateway.store(make_record(occurred_at=first + timedelta(days=number % 20)) for number in range(3500))
    waiting: list[int] = [0]
    run = StoredDocuments.run

    async def counted(self: StoredDocuments, name: str, *given: Any) -> Any:
        if name == document:
            waiting.append(waiting[-1] + 1)
        return await run(self, name, *given)

    async def send(message: Message) -> None:
        if message.get("body"):
            waiting.append(waiting[-1] - 1)

    async def receive() -> Message:
        never: Message = await asyncio.get_running_loop().create_future()
        return never

    monkeypatch.setattr(StoredDocuments, "run", counted)
    monkeypatch.setattr("app.rest.customer.MAX_ROWS", 5)  # of the groups, one a day
    path, _, query = url.partition("?")
    headers = [(name.lower().encode(), value.encode()) for name, value in (await gateway.key("tenant", "acme")).items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
    where = {"path": path, "raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "client": ("127.0.0.1", 1)}
    await gateway.app({**scope, **where, "server": ("gateway", 80)}, receive, send)
    assert max(waiting) <= 3
    assert sum(later > earlier for earlier, later in pairwise(waiting)) >= 4, "parts were read one by one"
    assert waiting[-1] < 0, "and the head was sent too"
