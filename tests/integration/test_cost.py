"""Points: what questions cost is summed over aliases before anything is asked, counted for each key, and told to whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from graphql import GraphQLField, GraphQLSchema, Undefined, is_required_argument

from app.resolvers.points import MAX_POINTS, ROWS_A_POINT
from app.resolvers.schema import build_schema
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import NOW, FakeClock
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

USAGE = 'usageAnalytics(dateFrom: "2026-06-01", dateTo: "2026-06-20", topUsersLimit: 100) { timeSeries { period } }'
USAGE_POINTS = 11  # 20 days of 50 rows, and 100 users


def roots() -> Iterator[tuple[str, GraphQLField]]:
    schema: GraphQLSchema = build_schema()._schema
    for root_type in (schema.query_type, schema.mutation_type):
        assert root_type is not None
        yield from root_type.fields.items()


class Noted(dict[str, Any]):
    """Arguments, and which of them were read."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


@pytest.mark.parametrize(("name", "field"), list(roots()))
def test_every_root_says_what_it_may_read_by_its_own_arguments(name: str, field: GraphQLField) -> None:
    rows = field.extensions["strawberry-definition"].metadata["cost"]
    if isinstance(rows, int):
        assert rows > 0 or name == "network"
        return
    defaults = Noted({key: argument.default_value for key, argument in field.args.items() if argument.default_value is not Undefined})
    defaults |= {key: f"{NOW:%Y-%m-%d}" for key, one in field.args.items() if is_required_argument(one) and f"{one.type}" == "Date!"}
    assert 0 < rows(defaults, NOW) <= MAX_POINTS * ROWS_A_POINT
    assert defaults.read
    assert defaults.read <= field.args.keys()


@asynccontextmanager
async def opened(database_url: str, clock: FakeClock, **settings: Any) -> AsyncIterator[Gateway]:
    app = create_app(Settings(database_url=database_url, **settings), Wiring(clock=clock, jobs=False))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client,
    ):
        yield Gateway(app, client, app.state.services.database, clock)


async def ask(gateway: Gateway, document: str, headers: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
    """Return the whole answer of a GraphQL request."""
    response = await gateway.client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
    answer: dict[str, Any] = response.json()
    return answer


def aliased(root: str, times: int) -> str:
    return f"{{ {' '.join(f'q{number}: {root}' for number in range(times))} }}"


async def test_a_caller_is_told_what_its_questions_cost(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    asked = await gateway.client.post("/graphql", json={"query": aliased(USAGE, 3)}, headers=admin)
    remaining = 100_000 - 3 * USAGE_POINTS
    assert asked.json()["extensions"] == {"cost": {"requested": 3 * USAGE_POINTS, "budget": 100_000, "remaining": remaining}}
    assert asked.headers["ratelimit-policy"] == '"cost";q=100000;w=60'
    assert asked.headers["ratelimit"].startswith(f'"cost";r={remaining};t=')
    cached = await gateway.client.post("/graphql", json={"query": aliased(USAGE, 3)}, headers=admin)
    assert (cached.json(), "ratelimit" in cached.headers) == ({"data": asked.json()["data"]}, False), "an answer from the cache is free"
    by_get = await gateway.client.get("/graphql", params={"query": aliased(USAGE, 2)}, headers=admin)
    assert by_get.json().keys() == {"data"}
    assert by_get.headers["ratelimit"].startswith(f'"cost";r={remaining - 2 * USAGE_POINTS};t=')
    rest = await gateway.client.get("/api/usage/analytics", params={"date_from": "2026-06-01", "date_to": "2026-06-20"}, headers=admin)
    assert rest.json().keys() == {"time_series", "by_model", "top_users"}
    assert rest.headers["ratelimit"].startswith(f'"cost";r={remaining - 3 * USAGE_POINTS};t=')
    free = await gateway.client.post("/graphql", json={"query": "{ __typename network { totals { totalTokens } } }"})
    assert (free.json().keys(), "ratelimit" in free.headers) == ({"data"}, False)


LONG = 'tenantAnalytics(startDate: "2020-01-01", endDate: "2026-01-01")'
LONG_POINTS = 1097
SUMMARY = "{ summary { requests } }"


@pytest.mark.parametrize(
    "query",
    [
        aliased(f"{LONG} {SUMMARY}", 5),
        f"query ($no: Boolean = false) {aliased(f'{LONG} @skip(if: $no) {SUMMARY}', 5)}",
        f"query {{ ...All ... {{ ...All }} }} fragment All on Query {aliased(f'{LONG} {SUMMARY}', 5)}",
    ],
)
async def test_one_document_that_costs_too_much_is_refused_before_anything_is_asked(gateway: Gateway, query: str) -> None:
    tenant = await gateway.key("tenant", "acme")
    with recorded() as statements:
        answer = await ask(gateway, query, tenant)
    (error,) = answer["errors"]
    assert error["extensions"] == {"code": "QUERY_TOO_EXPENSIVE"}
    assert error["message"] == f"This costs {5 * LONG_POINTS} points; one request may cost {MAX_POINTS}"
    assert answer.get("data") is None
    assert set(statements.names()) <= {"authenticate", "data_version"}
    asked = await ask(gateway, f"{{ {LONG} {SUMMARY} }}", tenant)
    assert asked["extensions"]["cost"]["remaining"] == 100_000 - LONG_POINTS, "what is refused is not counted"


async def test_what_is_skipped_or_cannot_be_right_costs_next_to_nothing(gateway: Gateway) -> None:
    tenant = await gateway.key("tenant", "acme")
    skipped = f"query ($no: Boolean!) {{ q: {LONG} @skip(if: $no) {SUMMARY} __typename }}"
    assert await ask(gateway, skipped, tenant, no=True) == {"data": {"__typename": "Query"}}
    wrong = await ask(gateway, f'{{ tenantAnalytics(startDate: "2026-02-30") {SUMMARY} }}', tenant)
    assert (wrong["errors"][0]["extensions"]["code"], wrong["extensions"]["cost"]["requested"]) == ("BAD_USER_INPUT", 1)


async def test_a_key_that_has_used_up_its_points_is_refused_and_others_are_not(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock, key_cost_limit="30/minute") as gateway:
        admin, other = await gateway.key("admin"), await gateway.key("admin")
        await ask(gateway, aliased(USAGE, 2), admin)
        window = {"date_from": "2026-06-02", "date_to": "2026-06-21"}
        with recorded() as statements:
            answer = await gateway.client.post(
                "/graphql", json={"query": f"{{ {USAGE} gatewayStats(days: 1) {{ requests }} }}"}, headers=admin
            )
            rest = await gateway.client.get("/api/usage/analytics", params=window, headers=admin)
            stats = await gateway.client.get("/v1/analytics", params={"days": "20"}, headers=admin)
        assert set(statements.names()) <= {"authenticate", "data_version"}
        (error,) = answer.json()["errors"]
        assert error["message"] == "This costs 12 points, and 8 are left of 30 in 60 seconds"
        assert error["extensions"] == {"code": "RATE_LIMITED", "limit": 30, "remaining": 8, "retryAfter": error["extensions"]["retryAfter"]}
        assert 0 < error["extensions"]["retryAfter"] <= 60
        assert answer.headers["retry-after"] == str(error["extensions"]["retryAfter"])
        assert answer.headers["ratelimit"].startswith('"cost";r=8;t=')
        assert (rest.status_code, rest.json()) == (429, {"detail": "This costs 11 points, and 8 are left of 30 in 60 seconds"})
        assert {"retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"} <= {
            *rest.headers
        }
        assert (stats.status_code, stats.json()["error"]["code"]) == (429, "rate_limited")
        small = await ask(gateway, "{ gatewayStats(days: 16) { requests } }", admin)
        assert small["extensions"]["cost"] == {"requested": 8, "budget": 30, "remaining": 0}
        assert (await ask(gateway, aliased(USAGE, 1), other))["extensions"]["cost"]["remaining"] == 19
        never = await ask(gateway, aliased(USAGE, 3), await gateway.key("admin"))
        assert never["errors"][0]["extensions"] == {"code": "QUERY_TOO_EXPENSIVE"}, "no waiting would help"


async def test_who_shows_no_key_is_counted_by_address(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock, key_cost_limit="3/minute") as gateway:
        document = "{ models { nodes { modelId } } }"
        codes = [(await ask(gateway, document))["errors"][0]["extensions"]["code"] for _ in range(4)]
        assert codes == ["UNAUTHENTICATED"] * 3 + ["RATE_LIMITED"]
        assert "errors" not in await ask(gateway, "{ network { totals { totalTokens } } }"), "what everybody may read costs nothing"
        assert "errors" not in await ask(gateway, document, await gateway.key("admin"))


async def test_no_limit_counts_nothing_and_bounds_each_request_all_the_same(database_url: str, clock: FakeClock) -> None:
    async with opened(database_url, clock, key_cost_limit="off") as gateway:
        tenant = await gateway.key("tenant", "acme")
        answer = await gateway.client.post("/graphql", json={"query": f"{{ {LONG} {SUMMARY} }}"}, headers=tenant)
        assert (answer.json().keys(), "ratelimit" in answer.headers) == ({"data"}, False)
        refused = await ask(gateway, aliased(f"{LONG} {SUMMARY}", 5), tenant)
        assert refused["errors"][0]["extensions"] == {"code": "QUERY_TOO_EXPENSIVE"}


async def test_an_export_that_has_begun_waits_for_points_and_does_not_break_off(
    database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        ticks[0] += seconds

    ticks = [1_000.0]
    monkeypatch.setattr("app.request.context.sleep", pause)
    app = create_app(
        Settings(database_url=database_url, key_cost_limit="40/minute"), Wiring(clock=clock, jobs=False, seconds=lambda: ticks[0])
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client,
    ):
        gateway = Gateway(app, client, app.state.services.database, clock)
        tenant = await gateway.key("tenant", "acme")
        await gateway.store(make_record(tenant_id="acme", occurred_at=NOW - timedelta(days=day)) for day in range(40))
        window = {"start_date": "2026-05-18", "end_date": "2026-06-26"}
        export = await client.get("/v1/customer/analytics/export.csv", params=window, headers=tenant)
        assert (export.status_code, len(export.text.splitlines())) == (200, 41)
        assert paused, "20 points for the days, 16 for a month of groups, and 5 for the others"
        again = []
        for day in range(10, 14):  # no two alike, which would be answered from the cache
            other = {**window, "start_date": f"2026-05-{day}"}
            again.append((await client.get("/v1/customer/analytics", params=other, headers=tenant)).status_code)
        assert (again[0], again[-1]) == (200, 429)


@pytest.mark.parametrize("limit", ["100/minute", "3/minute"])
async def test_openapi_lists_the_headers_of_limits(database_url: str, clock: FakeClock, limit: str) -> None:
    async with opened(database_url, clock, key_cost_limit=limit) as gateway:
        documented = gateway.app.openapi()["paths"]
        for path, role, tenant in (
            ("/api/v1/datasets/rankings-daily", "admin", None),
            ("/api/usage/analytics", "admin", None),
            ("/v1/analytics", "admin", None),
            ("/v1/customer/analytics", "tenant", "acme"),
            ("/v1/customer/logs", "tenant", "acme"),
            ("/v1/customer/analytics/export.csv", "tenant", "acme"),
            ("/v1/customer/billing/usage-statement.csv", "tenant", "acme"),
        ):
            answers = [await gateway.client.get(path, headers=await gateway.key(role, tenant)) for _ in range(2)]
            for answer in answers:
                given = {name for name in answer.headers if "ratelimit" in name or name == "retry-after"}
                described = documented[path]["get"]["responses"][str(answer.status_code)].get("headers", {})
                assert given <= {name.lower() for name in described}, path
                assert given or answer.status_code != 429
            assert "ratelimit" in answers[0].headers or answers[0].status_code == 400, path
