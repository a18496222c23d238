"""Documents 002 and 003: the samples number for number, the words of every refusal, weeks and windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from inline_snapshot import snapshot

from app.cube.dimensions import Bucket
from app.domain.usage import UsageRecord
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.naive import period_label

USAGE = "/api/usage/analytics"
GATEWAY = "/v1/analytics"
SECRET = {"Authorization": "Bearer gateway-secret"}


def spread_requests(count: int, **total: Any) -> list[UsageRecord]:
    """`count` records that carry the totals in the first of them."""
    empty = {name: Decimal(0) if name == "cost_usd" else 0 for name in ("prompt_tokens", "completion_tokens", "cost_usd")}
    shared = {name: value for name, value in total.items() if name not in empty}
    return [make_record(**(empty | (total if number == 0 else shared))) for number in range(count)]


async def test_the_sample_of_usage_analytics(gateway: Gateway) -> None:
    """The document's series; its models and users are given the days that make each section true of itself."""
    days = [
        ("2026-03-10", 4_250_000, 820_000, "18.42", 1240),
        ("2026-03-11", 5_100_000, 960_000, "22.18", 1480),
        ("2026-03-12", 2_100_000, 410_000, "9.32", 620),
    ]
    records: list[UsageRecord] = []
    for day, tokens_in, tokens_out, cost, requests in days:
        at = datetime.fromisoformat(f"{day}T08:00:00+00:00")
        records += spread_requests(
            requests,
            occurred_at=at,
            model_id="claude-3-5-sonnet-20241022",
            provider="anthropic",
            prompt_tokens=tokens_in,
            completion_tokens=tokens_out,
            cost_usd=Decimal(cost),
        )
    users = [("7c8d9e0f-1234-5678-abcd-ef0123456789", "alice", "14.20", 820), ("3fa85f64-5717-4562-b3fc-2c963f66afa6", "bob", "9.80", 560)]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for user, name, cost, requests in users:
        records += spread_requests(
            requests,
            occurred_at=at,
            model_id="gpt-4o-mini",
            provider="openai",
            user_id=user,
            username=name,
            prompt_tokens=0,
            completion_tokens=0,
            cost_usd=Decimal(cost),
        )
    await gateway.store(records)
    admin = await gateway.key("admin")
    series = await gateway.client.get(
        USAGE, params={"date_from": "2026-03-10", "date_to": "2026-03-12", "aggregation": "day"}, headers=admin
    )
    assert series.json() == snapshot(
        {
            "time_series": [
                {"period": "2026-03-10", "input_tokens": 4250000, "output_tokens": 820000, "cost": 18.42, "request_count": 1240},
                {"period": "2026-03-11", "input_tokens": 5100000, "output_tokens": 960000, "cost": 22.18, "request_count": 1480},
                {"period": "2026-03-12", "input_tokens": 2100000, "output_tokens": 410000, "cost": 9.32, "request_count": 620},
            ],
            "by_model": [
                {
                    "model_id": "claude-3-5-sonnet-20241022",
                    "provider": "anthropic",
                    "input_tokens": 11450000,
                    "output_tokens": 2190000,
                    "cost": 49.92,
                    "request_count": 3340,
                }
            ],
            "top_users": [],
        }
    )
    whole = (await gateway.client.get(USAGE, headers=admin)).json()
    assert whole["top_users"] == snapshot(
        [
            {"user_id": "7c8d9e0f-1234-5678-abcd-ef0123456789", "username": "alice", "total_cost": 14.2, "request_count": 820},
            {"user_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "username": "bob", "total_cost": 9.8, "request_count": 560},
        ]
    )
    monthly = await gateway.client.get(USAGE, params={"aggregation": "month", "model_id": "claude-3-5-sonnet-20241022"}, headers=admin)
    assert monthly.json()["time_series"] == [
        {"period": "2026-03", "input_tokens": 11450000, "output_tokens": 2190000, "cost": 49.92, "request_count": 3340}
    ]


async def test_the_sample_of_gateway_statistics(gateway: Gateway) -> None:
    """Document 003: 14823 requests of one project, 622 of them failed."""

    def some(good: int, bad: int, model: str, provider: str) -> list[UsageRecord]:
        shared = {"model_id": model, "provider": provider, "project_id": "proj_abc123", "prompt_tokens": 0, "completion_tokens": 0}
        return [make_record(status_code=200, **shared) for _ in range(good)] + [make_record(status_code=500, **shared) for _ in range(bad)]

    await gateway.store(
        some(3080, 20, "gpt-4o", "openai")
        + some(3270, 30, "gpt-4o-mini", "openai")
        + some(4980, 220, "claude-sonnet-4", "anthropic")
        + some(2871, 352, "mistral-large", "mistral")
    )
    stats = (await gateway.client.get(GATEWAY, params={"project_id": "proj_abc123"}, headers=SECRET)).json()
    assert stats == snapshot(
        {
            "total_requests": 14823,
            "successful_requests": 14201,
            "failed_requests": 622,
            "success_rate": 0.958,
            "providers": {
                "openai": {"requests": 6400, "successful": 6350, "failed": 50},
                "anthropic": {"requests": 5200, "successful": 4980, "failed": 220},
                "mistral": {"requests": 3223, "successful": 2871, "failed": 352},
            },
            "models": {
                "claude-sonnet-4": {"requests": 5200, "successful": 4980, "failed": 220},
                "gpt-4o-mini": {"requests": 3300, "successful": 3270, "failed": 30},
                "mistral-large": {"requests": 3223, "successful": 2871, "failed": 352},
                "gpt-4o": {"requests": 3100, "successful": 3080, "failed": 20},
            },
            "projects": {"proj_abc123": {"requests": 14823, "successful": 14201, "failed": 622}},
            "daily": [{"date": "2026-06-25", "requests": 14823, "successful": 14201, "failed": 622}],
        }
    )


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"aggregation": "hour"}, "aggregation must be one of: day, week, month"),
        ({"aggregation": "DAY"}, "aggregation must be one of: day, week, month"),
        ({"aggregation": ""}, "aggregation must be one of: day, week, month"),
        ({"week_numbering": "us"}, "week_numbering must be one of: iso, monday"),
        ({"date_from": "12.03.2026"}, "date_from must be a date in the format YYYY-MM-DD"),
        ({"date_to": "2026-02-30"}, "date_to must be a date in the format YYYY-MM-DD"),
        ({"date_from": "2026-03-02", "date_to": "2026-03-01"}, "date_from must not be after date_to"),
        ({"model_id": "a\0b"}, "text must not contain NUL characters"),
    ],
)
async def test_usage_parameters_that_are_refused(gateway: Gateway, parameters: dict[str, str], detail: str) -> None:
    response = await gateway.client.get(USAGE, params=parameters, headers=await gateway.key("admin"))
    assert (response.status_code, response.json()) == (400, {"detail": detail})


@pytest.mark.parametrize("role", [None, "wrong", "gateway", "tenant", "ingest"])
async def test_only_admins_read_usage(gateway: Gateway, role: str | None) -> None:
    await gateway.store([make_record(user_id="secret-user")])
    headers = (
        {}
        if role is None
        else {"Authorization": "Bearer tg_wrong"}
        if role == "wrong"
        else await gateway.key(role, "acme" if role == "tenant" else None)
    )
    response = await gateway.client.get(USAGE, params={"aggregation": "nonsense"}, headers=headers)
    expected = (401, {"detail": "Not authenticated"}) if role in (None, "wrong") else (403, {"detail": "Admin access required"})
    assert (response.status_code, response.json()) == expected
    answer = await gateway.graphql("{ usageAnalytics { topUsers { userId } } }", headers)
    assert answer["data"] == {"usageAnalytics": None}
    assert answer["errors"][0]["extensions"]["code"] in ("UNAUTHENTICATED", "FORBIDDEN")
    assert "secret-user" not in str(answer)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"days": "0"}, "days must be an integer from 1 to 365"),
        ({"days": "366"}, "days must be an integer from 1 to 365"),
        ({"days": "7.5"}, "days must be an integer from 1 to 365"),
        ({"days": "١"}, "days must be an integer from 1 to 365"),
        ({"days": ""}, "days must be an integer from 1 to 365"),
    ],
)
async def test_gateway_parameters_that_are_refused(gateway: Gateway, parameters: dict[str, str], message: str) -> None:
    response = await gateway.client.get(GATEWAY, params=parameters, headers=SECRET)
    assert (response.status_code, response.json()) == (
        400,
        {"error": {"message": message, "type": "invalid_request_error", "code": "bad_user_input"}},
    )


@pytest.mark.parametrize("role", [None, "wrong", "tenant", "ingest"])
async def test_who_may_not_read_gateway_statistics(gateway: Gateway, role: str | None) -> None:
    headers = {} if role is None else {"Authorization": "Bearer tg_wrong"} if role == "wrong" else await gateway.key(role, "acme")
    response = await gateway.client.get(GATEWAY, params={"days": "0"}, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert (response.json()["error"]["type"], response.json()["error"]["code"]) == ("authentication_error", "unauthenticated")
    answer = await gateway.graphql("{ gatewayStats { requests } }", headers)
    assert answer["data"] == {"gatewayStats": None}
    assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED" if role in (None, "wrong") else "FORBIDDEN"}


async def test_an_unknown_project_and_an_empty_database_are_zeros(gateway: Gateway) -> None:
    empty = snapshot(
        {
            "total_requests": 0,
            "successful_requests": 0,
            "failed_requests": 0,
            "success_rate": 0.0,
            "providers": {},
            "models": {},
            "projects": {},
            "daily": [],
        }
    )
    assert (await gateway.client.get(GATEWAY, headers=SECRET)).json() == empty
    await gateway.store([make_record(project_id="p1")])
    assert (await gateway.client.get(GATEWAY, params={"project_id": "none-such"}, headers=SECRET)).json() == empty
    usage = await gateway.client.get(USAGE, params={"model_id": "none-such"}, headers=await gateway.key("admin"))
    assert usage.json() == {"time_series": [], "by_model": [], "top_users": []}


async def test_same_named_projects_of_two_tenants_are_two(gateway: Gateway) -> None:
    counts = {("acme", "web"): 1, ("umbrella", "web"): 2, ("umbrella", "only"): 4, ("acme", "um/brella"): 8, ("um", "brella"): 16}
    tenants = [pair for pair, count in counts.items() for _ in range(count)]
    await gateway.store([make_record(tenant_id=tenant, project_id=project) for tenant, project in tenants])
    await gateway.store([make_record(tenant_id="acme", project_id=None)])

    async def ask(headers: dict[str, str], project: str | None) -> dict[str, int]:
        parameters = {} if project is None else {"project_id": project}
        stats = (await gateway.client.get(GATEWAY, params=parameters, headers=headers)).json()
        found = {name: row["requests"] for name, row in stats["projects"].items()}
        assert sum(found.values()) == stats["total_requests"] == sum(day["requests"] for day in stats["daily"])
        answer = await gateway.graphql(
            "query ($p: String) { gatewayStats(projectId: $p) { projects { name requests } } }", headers, p=project
        )
        assert {row["name"]: row["requests"] for row in answer["data"]["gatewayStats"]["projects"]} == found
        return found

    shared = {"acme/web": 1, "umbrella/web": 2}
    for project, expected in {
        None: {**shared, "only": 4, "um/brella": 8, "brella": 16, "unknown": 1},
        "": {**shared, "only": 4, "um/brella": 8, "brella": 16, "unknown": 1},
        "web": shared,
        "acme/web": {"acme/web": 1},
        "umbrella/web": {"umbrella/web": 2},
        "only": {"only": 4},
        "umbrella/only": {"only": 4},
        "um/brella": {"um/brella": 8},
        "acme/um/brella": {"um/brella": 8},
        "acme/only": {},
        "/web": {},
        "web/": {},
        "unknown": {"unknown": 1},
    }.items():
        assert await ask(SECRET, project) == expected, project
    bound = await gateway.key("admin", "acme")
    assert await ask(bound, None) == {"web": 1, "um/brella": 8, "unknown": 1}
    assert await ask(bound, "web") == {"web": 1}
    assert await ask(bound, "umbrella/web") == {}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("", ["2026-06-20", "2026-06-21", "2026-06-22", "2026-06-23"]),
        ('dateFrom: "2026-06-19"', ["2026-06-19", "2026-06-20", "2026-06-21", "2026-06-22", "2026-06-23"]),
        ('dateTo: "2026-06-24"', ["2026-06-20", "2026-06-21", "2026-06-22", "2026-06-23", "2026-06-24"]),
        ('dateFrom: "2026-06-22", dateTo: "2026-06-24"', ["2026-06-22", "2026-06-23", "2026-06-24"]),
        ('dateFrom: "2026-06-25", dateTo: "2026-06-26"', ["2026-06-25", "2026-06-26"]),
        ('dateFrom: "2026-06-24"', []),
        ('aggregation: WEEK, dateTo: "2026-06-29"', ["2026-W25", "2026-W26"]),
        ("aggregation: MONTH", ["2026-06"]),
        ('modelId: "no/such"', []),
    ],
)
async def test_gaps_are_filled_from_the_first_to_the_last_day_of_the_window_or_of_the_data(
    gateway: Gateway, window: str, expected: list[str]
) -> None:
    await gateway.store([make_record(occurred_at=NOW - timedelta(days=days)) for days in (6, 3)])
    document = f"{{ usageAnalytics(fillGaps: true, {window}) {{ timeSeries {{ period }} }} }}"
    answer = await gateway.graphql(document, await gateway.key("admin"))
    assert [point["period"] for point in answer["data"]["usageAnalytics"]["timeSeries"]] == expected


@pytest.mark.parametrize("limit", [1, 3, 1000, None])
async def test_the_number_of_users_is_the_callers(gateway: Gateway, limit: int | None) -> None:
    await gateway.store([make_record(user_id=f"u{number:03}", cost_usd=Decimal(number)) for number in range(102)])
    parameters = {} if limit is None else {"top_users_limit": str(limit)}
    answer = await gateway.client.get(USAGE, params=parameters, headers=await gateway.key("admin"))
    users = [user["user_id"] for user in answer.json()["top_users"]]
    assert users == [f"u{number:03}" for number in range(101, -1, -1)][: limit or 100]


async def test_gaps_are_filled_and_users_limited_on_request(gateway: Gateway) -> None:
    await gateway.store(
        [make_record(user_id=f"u{number}", cost_usd=Decimal(number), occurred_at=NOW - timedelta(days=2)) for number in range(5)]
    )
    admin = await gateway.key("admin")
    document = """query ($limit: Int!) { usageAnalytics(dateFrom: "2026-06-22", dateTo: "2026-06-26", fillGaps: true, topUsersLimit: $limit) {
        timeSeries { period requests costUsd priced } topUsers { userId } } }"""
    answer = await gateway.graphql(document, admin, limit=2)
    assert answer["data"]["usageAnalytics"] == {
        "timeSeries": [
            {"period": f"2026-06-{day}", "requests": 5 if day == 24 else 0, "costUsd": 10.0 if day == 24 else 0.0, "priced": True}
            for day in range(22, 27)
        ],
        "topUsers": [{"userId": "u4"}, {"userId": "u3"}],
    }
    for limit in (0, 1001, -1):
        refused = await gateway.graphql(document, admin, limit=limit)
        assert refused["errors"][0]["message"] == "topUsersLimit must be an integer from 1 to 1000"


async def test_free_and_unpriced_differ(gateway: Gateway) -> None:
    await gateway.catalog(
        {"model_id": "m/free", "cost_per_input_token": "0", "cost_per_output_token": "0"},
        {"model_id": "m/none", "cost_per_input_token": None, "cost_per_output_token": None},
        {"model_id": "m/half", "cost_per_input_token": "0.01", "cost_per_output_token": None},
    )
    await gateway.store([make_record(model_id=f"m/{name}") for name in ("free", "none", "half")])
    answer = await gateway.graphql("{ usageAnalytics { byModel { modelId costUsd priced } } }", await gateway.key("admin"))
    assert answer["data"]["usageAnalytics"]["byModel"] == [
        {"modelId": "m/half", "costUsd": 1.0, "priced": False},
        {"modelId": "m/free", "costUsd": 0.0, "priced": True},
        {"modelId": "m/none", "costUsd": 0.0, "priced": False},
    ]


def test_weeks_and_months_are_the_calendars() -> None:
    for day in (date(2019, 12, 20) + timedelta(days=number) for number in range(4200)):
        for bucket, aggregation, numbering in (
            (Bucket.DAY, "day", "iso"),
            (Bucket.WEEK, "week", "iso"),
            (Bucket.MONDAY_WEEK, "week", "monday"),
            (Bucket.MONTH, "month", "iso"),
        ):
            assert bucket.label(bucket.start_of(day)) == period_label(day, aggregation, numbering)
    assert Bucket.WEEK.label(Bucket.WEEK.start_of(date(2025, 12, 29))) == "2026-W01"


async def test_the_database_buckets_as_the_calendar_does(gateway: Gateway) -> None:
    days = [date(2024, 12, 25) + timedelta(days=number) for number in range(0, 400, 3)] + [
        date(2024, 2, 29),
        date(2026, 1, 4),
        date(2026, 1, 5),
    ]
    await gateway.store([make_record(occurred_at=datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)) for day in days])
    admin = await gateway.key("admin")
    for aggregation, numbering in (("day", "iso"), ("week", "iso"), ("week", "monday"), ("month", "iso")):
        response = await gateway.client.get(USAGE, params={"aggregation": aggregation, "week_numbering": numbering}, headers=admin)
        labels = [point["period"] for point in response.json()["time_series"]]
        assert labels == list(dict.fromkeys(period_label(day, aggregation, numbering) for day in sorted(days)))
