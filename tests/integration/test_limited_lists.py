"""Lists that may be long are cut by the database, and what is cut off is told: a list with its rest is its totals."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.analytics.usage import GatewayQuestion, UsageQuestion, fetch_gateway, fetch_usage
from app.domain.principal import Scope
from app.domain.time_range import DateWindow
from app.resolvers.tenant import encode_place
from app.rest import customer, operators
from app.rest.execute import StoredDocuments
from app.summaries.closing import close_days
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

NAMES = 6
LISTS = ("providers", "models", "projects")
COUNTS = "requests successful failed retries cacheHits interrupted"
USAGE = "promptTokens completionTokens costUsd requests priced"


@pytest.fixture(params=[False, True], ids=["open days", "closed days"])
async def filled(gateway: Gateway, request: pytest.FixtureRequest) -> Gateway:
    """A gateway with some records of each of six models, providers, projects and users, and some of none."""
    await gateway.catalog({"model_id": "lab/m0", "cost_per_input_token": "0.5", "cost_per_output_token": "0.25"})
    records = [
        make_record(
            model_id=f"lab/m{number}",
            provider=f"v{number}",
            project_id=f"p{number}",
            user_id=f"u{number}",
            prompt_tokens=10**number,
            completion_tokens=number,
            cost_usd=None if number == 0 else Decimal(number) / 8,
            status_code=200 if number % 2 else 500,
            attempt=1 + number % 3,
        )
        for number in range(NAMES)
        for _ in range(number + 1)
    ]
    await gateway.store([*records, *(make_record(model_id="free") for _ in range(3))])
    if request.param:
        assert await close_days(gateway.database, NOW) is not None
    return gateway


async def ask(gateway: Gateway, root: str, selection: str) -> Any:
    answer = await gateway.graphql(f"{{ {root} {{ {selection} }} }}", await gateway.key("admin"))
    assert "errors" not in answer, answer
    return answer["data"][root.partition("(")[0]]


def sums(rows: list[dict[str, Any]], names: str) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows) for name in names.split() if name != "priced"}


@pytest.mark.parametrize("limit", [1, 2, NAMES, NAMES + 1, 10_000])
async def test_models_and_users_with_their_rests_are_the_totals(filled: Gateway, limit: int) -> None:
    users = min(limit, 1_000)
    found = await ask(
        filled,
        f"usageAnalytics(byModelLimit: {limit}, topUsersLimit: {users})",
        f"timeSeries {{ {USAGE} }} byModel {{ modelId {USAGE} }} byModelRest {{ {USAGE} }}"
        " topUsers { userId costUsd requests } topUsersRest { costUsd requests }",
    )
    totals = sums(found["timeSeries"], USAGE)
    assert len(found["byModel"]) == min(limit, NAMES + 1)
    assert sums([*found["byModel"], found["byModelRest"]], USAGE) == totals
    assert found["byModelRest"]["priced"] is (limit > NAMES), "what is cut off holds what no catalog prices"
    assert len(found["topUsers"]) == min(users, NAMES)
    assert sums([*found["topUsers"], found["topUsersRest"]], "costUsd requests") == {
        "costUsd": totals["costUsd"],
        "requests": totals["requests"],
    }


@pytest.mark.parametrize("limit", [1, 3, 10_000])
async def test_outcomes_with_their_rests_are_the_totals(filled: Gateway, limit: int) -> None:
    limits = ", ".join(f"{name}Limit: {limit}" for name in LISTS)
    lists = " ".join(f"{name} {{ name {COUNTS} }} {name}Rest {{ {COUNTS} }}" for name in LISTS)
    found = await ask(filled, f"gatewayStats({limits})", f"{lists} requests successful failed retries cacheHits interrupted")
    totals = dict(zip(COUNTS.split(), (found[name] for name in ("requests", "successful", "failed")), strict=False))
    totals |= {name: found[name] for name in COUNTS.split()[3:]}
    for name in LISTS:
        assert len(found[name]) == min(limit, NAMES + 1)
        assert sums([*found[name], found[f"{name}Rest"]], COUNTS) == totals


async def test_a_rest_can_be_asked_for_alone(filled: Gateway) -> None:
    found = await ask(filled, "gatewayStats(modelsLimit: 1)", "modelsRest { requests }")
    assert found == {"modelsRest": {"requests": 18}}
    found = await ask(filled, "usageAnalytics(byModelLimit: 1, topUsersLimit: 1)", "byModelRest { requests } topUsersRest { requests }")
    assert found == {"byModelRest": {"requests": 18}, "topUsersRest": {"requests": 18}}


@pytest.mark.parametrize("limit", [0, -1, 10_001])
@pytest.mark.parametrize("root", ["usageAnalytics(byModelLimit: {})", *(f"gatewayStats({name}Limit: {{}})" for name in LISTS)])
async def test_a_limit_is_bounded(gateway: Gateway, root: str, limit: int) -> None:
    answer = await gateway.graphql(f"{{ {root.format(limit)} {{ __typename }} }}", await gateway.key("admin"))
    (error,) = answer["errors"]
    name = root.partition("(")[2].partition(":")[0]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": name}
    assert error["message"] == f"{name} must be an integer from 1 to 10000"


async def test_the_database_cuts(filled: Gateway) -> None:
    window, everything = DateWindow(NOW.date().replace(day=1), NOW.date()), Scope(tenant_key=None, identities=True)
    usage = await fetch_usage(filled.database, UsageQuestion(window, ("by_model",), by_model_limit=2), everything)
    assert [row[0] for row in usage["by_model"]] == ["lab/m5", "lab/m4"]
    stats = await fetch_gateway(filled.database, GatewayQuestion(window, LISTS, None, dict.fromkeys(LISTS, 2)), everything)
    assert {name: [row[0] for row in stats[name]] for name in LISTS} == {
        "providers": ["v5", "v4"],
        "models": ["lab/m5", "lab/m4"],
        "projects": ["p5", "p4"],
    }


async def test_documented_urls_give_the_first_rows(filled: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "MAX_ROWS", 2)
    headers = await filled.key("admin")
    usage = (await filled.client.get("/api/usage/analytics", headers=headers)).json()
    assert [row["model_id"] for row in usage["by_model"]] == ["lab/m5", "lab/m4"]
    assert sum(row["request_count"] for row in usage["time_series"]) == 24
    stats = (await filled.client.get("/v1/analytics", headers=headers)).json()
    assert [list(stats[name]) for name in LISTS] == [["v5", "v4"], ["lab/m5", "lab/m4"], ["p5", "p4"]]
    assert stats["total_requests"] == 24


GROUP = "modelId providerId apiKeyId trafficMode requests spend"


async def groups(gateway: Gateway, headers: dict[str, str], **arguments: Any) -> list[dict[str, Any]]:
    document = (
        "query ($limit: Int, $after: String, $apiKeyId: String)"
        ' { tenantUsage(date: "2026-06-25", limit: $limit, after: $after, apiKeyId: $apiKeyId)'
        f" {{ {GROUP} cursor }} }}"
    )
    answer = await gateway.graphql(document.replace("$limit: Int,", "$limit: Int = 1000,"), headers, **arguments)
    assert "errors" not in answer, answer
    found: list[dict[str, Any]] = answer["data"]["tenantUsage"]
    return found


@pytest.fixture
async def grouped(gateway: Gateway) -> Gateway:
    """A gateway with a tenant's records in many groups, of names that sort by code point, and another tenant's."""
    await gateway.store(
        make_record(tenant_id=tenant, model_id=model, provider=provider, api_key_id=key, traffic_mode=mode, shared_model_spend=number)
        for tenant in ("acme", "other")
        for model in ("a/b", "A/b", "a/é", "a-b")
        for number, provider in enumerate(("x", "X"), 1)
        for key in (None, "k", "K")
        for mode in ("shared", "byok")
    )
    return gateway


@pytest.mark.parametrize("limit", [1, 5, 48, 49])
async def test_groups_come_page_by_page_each_once(grouped: Gateway, limit: int) -> None:
    headers = await grouped.key("tenant", "acme")
    whole = await groups(grouped, headers)
    assert len(whole) == 48
    pages, after = [], None
    while len(page := await groups(grouped, headers, limit=limit, after=after)) == limit:
        pages += page
        after = page[-1]["cursor"]
    assert [*pages, *page] == whole
    keyed = await groups(grouped, headers, apiKeyId="k", limit=3)
    assert keyed + await groups(grouped, headers, apiKeyId="k", limit=100, after=keyed[-1]["cursor"]) == [
        row for row in whole if row["apiKeyId"] == "k"
    ]


async def test_groups_of_several_days_are_those_of_each_in_turn(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.store(
        make_record(occurred_at=NOW - timedelta(days=day), tenant_id="acme", model_id=model, api_key_id=key)
        for day in range(40)
        for model in ("a/b", "a/c")
        for key in (None, "k")
    )
    headers = await gateway.key("tenant", "acme")
    document = (
        "query ($first: Date!, $last: Date, $limit: Int!, $after: String)"
        " { tenantUsage(date: $first, endDate: $last, limit: $limit, after: $after) { date modelId apiKeyId requests cursor } }"
    )

    async def ask(first: int, last: int | None, limit: int = 1_000, after: str | None = None) -> list[dict[str, Any]]:
        dates = {
            "first": f"{NOW - timedelta(days=first):%Y-%m-%d}",
            "last": None if last is None else f"{NOW - timedelta(days=last):%Y-%m-%d}",
        }
        found: list[dict[str, Any]] = (await gateway.graphql(document, headers, **dates, limit=limit, after=after))["data"]["tenantUsage"]
        return found

    whole = await ask(2, 0)
    assert whole == [row for day in (2, 1, 0) for row in await ask(day, None)]
    assert len(whole) == 12
    pages, after = [], None
    while len(page := await ask(2, 0, 5, after)) == 5:
        pages += page
        after = page[-1]["cursor"]
    assert pages + page == whole
    assert await ask(2, 1, after=encode_place(["9999-12-31", "", "", "", 0])) == []
    assert await ask(2, 0, after=encode_place(["0001-01-01", "", "", "", 0])) == whole

    path = f"/v1/customer/analytics/export.csv?start_date={NOW - timedelta(days=39):%Y-%m-%d}&end_date={NOW:%Y-%m-%d}"
    with recorded() as statements:
        export = (await gateway.client.get(path, headers=headers)).text
    assert len(export.splitlines()) == 1 + 40 * 4
    assert statements.names().count("tenant_groups") == 2, "one for 31 days, one for the others"

    asked: list[int] = []
    run = StoredDocuments.run

    async def noted(self: StoredDocuments, name: str, context: Any, variables: dict[str, Any]) -> Any:
        if name == "tenant_usage":
            asked.append((date.fromisoformat(variables["endDate"]) - date.fromisoformat(variables["date"])).days + 1)
        return await run(self, name, context, variables)

    monkeypatch.setattr(StoredDocuments, "run", noted)
    monkeypatch.setattr(customer, "MAX_ROWS", 6)
    assert (await gateway.client.get(path, headers=headers)).text == export
    assert asked[0] == 31
    assert max(asked[1:]) <= 4, "a page of a day and a half does not sum a month"


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2026-06-25", "2026-06-24", "date must not be after endDate"),
        ("2016-06-17", "2026-06-25", "the window from date to endDate may not be longer than 3660 days"),
        ("2026-06-25", "2026-06-31", "endDate is not a calendar date: 2026-06-31"),
    ],
)
async def test_a_wrong_last_day_is_refused(gateway: Gateway, first: str, last: str, message: str) -> None:
    document = "query ($first: Date!, $last: Date) { tenantUsage(date: $first, endDate: $last) { modelId } }"
    (error,) = (await gateway.graphql(document, await gateway.key("tenant", "acme"), first=first, last=last))["errors"]
    assert (error["message"], error["extensions"]) == (message, {"code": "BAD_USER_INPUT", "argument": "endDate"})


async def test_the_export_holds_every_page(grouped: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = await grouped.key("tenant", "acme")
    path = "/v1/customer/analytics/export.csv?start_date=2026-06-25&end_date=2026-06-25"
    whole = (await grouped.client.get(path, headers=headers)).text
    assert len(whole.splitlines()) == 49
    for rows in (1, 7, 48):
        monkeypatch.setattr(customer, "MAX_ROWS", rows)
        assert (await grouped.client.get(path, headers=headers)).text == whole


@pytest.mark.parametrize(
    "after",
    [
        *("x", "W10", "bnVsbA", "é", "a b", encode_place(["2026-06-25", "a", "b", "c", 0]) * 9),
        encode_place(["a", "b", "c", 0]),
        *(encode_place([day, "a", "b", "c", 0]) for day in ("2026-06-31", "", 1)),
        *(encode_place(["2026-06-25", "a", "b", name, 0]) for name in ("\0", 1)),
        *(encode_place(["2026-06-25", "a", "b", "c", mode]) for mode in (2, -1, True, "0")),
    ],
)
async def test_a_wrong_place_is_refused(gateway: Gateway, after: str) -> None:
    await gateway.store([make_record()])
    document = 'query ($after: String) { tenantUsage(date: "2026-06-25", after: $after) { modelId } }'
    answer = await gateway.graphql(document, await gateway.key("tenant", "acme"), after=after)
    assert answer["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "after"}
