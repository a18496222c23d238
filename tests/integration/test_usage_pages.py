"""Pages of `usage` rows begin behind values, so that they stay in place; and limits say what passes instead, which does."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

DAY = datetime(2026, 6, 25, tzinfo=UTC)
RANGE = '{dates: {from: "2026-06-24", to: "2026-06-26"}}'
PAGE = "totalCount nodes { label metrics { requests latency { p50 } } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } rest { requests }"


@pytest.fixture
async def stocked(gateway: Gateway) -> Gateway:
    """Two tenants with projects of the same names; some requests without latency, some without project."""
    await gateway.store(
        make_record(
            tenant_id=("acme", "secret-tenant")[number % 2],
            occurred_at=DAY + timedelta(hours=number),
            project_id=(None, "a", "b")[number % 3],
            latency_ms=None if number % 4 == 0 else 10 * (number % 5),
        )
        for number in range(20)
    )
    return gateway


async def rows(gateway: Gateway, headers: dict[str, str], arguments: str, fields: str = PAGE, range_: str = RANGE) -> dict[str, Any]:
    answer = await gateway.graphql(f"{{ usage(range: {range_}) {{ rows({arguments}) {{ {fields} }} }} }}", headers)
    assert "errors" not in answer, answer
    found: dict[str, Any] = answer["data"]["usage"]["rows"]
    return found


async def refused(gateway: Gateway, headers: dict[str, str], arguments: str, range_: str = RANGE) -> str:
    answer = await gateway.graphql(f"{{ usage(range: {range_}) {{ rows({arguments}) {{ totalCount }} }} }}", headers)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    return str(error["message"])


@pytest.mark.parametrize(
    "order",
    [
        "[]",
        "[{metric: LATENCY_P50}]",
        "[{metric: LATENCY_P50, direction: ASC}, {dimension: PROJECT}]",
        "[{dimension: PROJECT, direction: ASC}, {metric: REQUESTS}]",
        "[{metric: FIRST_SEEN}]",
        "[{metric: ERROR_RATE}]",
        "[{metric: COST, direction: ASC}]",
    ],
)
async def test_all_pages_together_are_the_whole(stocked: Gateway, order: str) -> None:
    admin = await stocked.key("admin")
    asked = f"by: [PROJECT, TENANT], orderBy: {order}"
    whole = (await rows(stocked, admin, asked))["nodes"]
    assert len(whole) == 6
    found, after = [], "null"
    while True:
        page = await rows(stocked, admin, f"{asked}, first: 2, after: {after}")
        found += page["nodes"]
        assert (page["totalCount"], page["pageInfo"]["hasPreviousPage"]) == (6, after != "null")
        assert page["rest"]["requests"] == 20 - sum(row["metrics"]["requests"] for row in page["nodes"])
        after = f'"{page["pageInfo"]["endCursor"]}"'
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == whole
    behind = await rows(stocked, admin, f"{asked}, after: {after}")
    assert (behind["totalCount"], behind["nodes"]) == (6, [])
    assert behind["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True, "startCursor": None, "endCursor": None}


async def test_a_row_that_comes_before_moves_none_over_the_edge(stocked: Gateway) -> None:
    admin = await stocked.key("admin")
    first = await rows(stocked, admin, "by: [PROJECT, TENANT], first: 3")
    await stocked.store([make_record(occurred_at=DAY, project_id=name) for name in ("0-first", "zz-last")])
    second = await rows(stocked, admin, f'by: [PROJECT, TENANT], first: 3, after: "{first["pageInfo"]["endCursor"]}"')
    assert [row["label"] for row in (*first["nodes"], *second["nodes"])] == [
        "a · acme",
        "a · secret-tenant",
        "b · acme",
        "b · secret-tenant",
        "zz-last · acme",
        "unknown · acme",
    ]
    assert (second["totalCount"], second["pageInfo"]["hasNextPage"]) == (8, True)


async def test_a_bucket_is_a_place_in_time_while_the_range_moves_on(stocked: Gateway) -> None:
    admin = await stocked.key("admin")
    fields = "nodes { bucket { label } } pageInfo { endCursor }"
    last = "{last: {count: 4, unit: DAY}}"
    first = await rows(stocked, admin, "interval: DAY, fill: true, first: 2", fields, last)
    stocked.clock.advance(timedelta(days=1))
    second = await rows(stocked, admin, f'interval: DAY, fill: true, after: "{first["pageInfo"]["endCursor"]}"', fields, last)
    labels = [row["bucket"]["label"] for row in (*first["nodes"], *second["nodes"])]
    assert len(labels) == 5
    assert [datetime.fromisoformat(label) - datetime.fromisoformat(labels[0]) for label in labels] == [timedelta(days=n) for n in range(5)]


async def test_a_cursor_of_another_question_is_refused(stocked: Gateway) -> None:
    admin = await stocked.key("admin")
    asked = "by: [PROJECT], orderBy: [{metric: COST}]"
    cursor = (await rows(stocked, admin, f"{asked}, first: 1"))["pageInfo"]["endCursor"]
    await rows(stocked, admin, f'{asked}, first: 5, after: "{cursor}"')
    tenant = await stocked.key("tenant", "acme")
    words = "the cursor is not one that the same question gave"
    for headers, other, range_ in (
        (tenant, asked, RANGE),
        (admin, "by: [PROJECT], orderBy: [{metric: COST, direction: ASC}]", RANGE),
        (admin, "by: [PROJECT], orderBy: [{metric: REQUESTS}]", RANGE),
        (admin, "by: [PROJECT], orderBy: [{metric: COST}], interval: DAY", RANGE),
        (admin, "by: [PROJECT], orderBy: [{metric: COST}], top: {count: 9}", RANGE),
        (admin, "by: [PROJECT], orderBy: [{metric: COST}], having: [{metric: COST, gte: 0}]", RANGE),
        (admin, asked, "{last: {count: 3, unit: DAY}}"),
    ):
        assert await refused(stocked, headers, f'{other}, after: "{cursor}"', range_) == words
    name, *position = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
    for forged in ([], position[:-1], [*position, 1], ["1e9", *position[1:]], [[], *position[1:]], [position[0], "a\0", *position[2:]]):
        text = base64.urlsafe_b64encode(orjson.dumps([name, *forged])).decode().rstrip("=")
        assert await refused(stocked, admin, f'{asked}, after: "{text}"') == words
    for text in ("", "%%%", "A" * 30_000):
        assert (await refused(stocked, admin, f'{asked}, after: "{text}"')) == words


async def test_a_cursor_tells_a_gateway_key_no_tenant(stocked: Gateway) -> None:
    gateway = await stocked.key("gateway")
    found, after = [], "null"
    for _ in range(6):
        page = await rows(stocked, gateway, f"by: [PROJECT], first: 1, after: {after}")
        found += [row["label"] for row in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
        assert b"tenant" not in base64.urlsafe_b64decode(cursor + "==")
        after = f'"{cursor}"'
    assert (found, page["pageInfo"]["hasNextPage"]) == (["a", "a", "b", "b", "unknown", "unknown"], False)


NEAREST = "refusal { limit atMost found message nearest { argument description interval range { start end } count keep } }"


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ("interval: QUARTER_HOUR", "buckets of the interval"),
        ("first: 10001", "rows of a page"),
        ("by: [MODEL], top: {count: 1001}", "groups of a top"),
        ("by: [MODEL, PERMASLUG, PROVIDER, TENANT, PROJECT, USER, API_KEY, OUTCOME, ATTEMPT]", "dimensions in by"),
        (f"having: [{', '.join(['{metric: REQUESTS, gt: 0}'] * 9)}]", "bounds in having"),
        (f"orderBy: [{', '.join(['{metric: REQUESTS}'] * 9)}]", "keys in orderBy"),
        ("by: [MODEL], interval: HOUR, fill: true, top: {count: 40}", "rows that fill makes"),
    ],
)
async def test_the_plan_of_what_is_refused_says_what_passes(stocked: Gateway, arguments: str, limit: str) -> None:
    admin = await stocked.key("admin")
    year = '{dates: {from: "2025-07-01", to: "2026-06-30"}}'
    with recorded() as statements:
        refusal = (await rows(stocked, admin, arguments, f"plan {{ rows points {NEAREST} }}", year))["plan"]["refusal"]
        assert (refusal["limit"], refusal["found"] > refusal["atMost"]) == (limit, True)
        assert await refused(stocked, admin, arguments, year) == refusal["message"]
    assert not any("app:usage_" in statement for statement in statements)
    assert refusal["nearest"]
    for change in refusal["nearest"]:
        assert change["description"] in refusal["message"]
        changed, range_ = applied(arguments, year, change)
        plan = (await rows(stocked, admin, changed, f"plan {{ {NEAREST} }}", range_))["plan"]
        assert plan == {"refusal": None}, (changed, range_)


def applied(arguments: str, range_: str, change: dict[str, Any]) -> tuple[str, str]:
    """The question with a change, as a program would make it."""
    match change["argument"]:
        case "interval":
            return re.sub(r"interval: \w+", f"interval: {change['interval']}", arguments), range_
        case "range":
            return arguments, f'{{instants: {{start: "{change["range"]["start"]}", end: "{change["range"]["end"]}"}}}}'
        case "first":
            return f"first: {change['count']}", range_
        case "top.count":
            before, after = arguments.split("count: ")
            return f"{before}count: {change['count']}{after[after.index('}') :]}", range_
        case name:
            before, listed = arguments.split("[", 1)
            return f"{before}[{', '.join(listed.rstrip(']').split(', ')[: change['keep'] * (2 if name == 'having' else 1)])}]", range_


async def test_gaps_are_not_filled_beyond_the_limit(stocked: Gateway) -> None:
    admin = await stocked.key("admin")
    await stocked.store(make_record(occurred_at=DAY, project_id=f"p{number}") for number in range(30))
    range_ = '{dates: {from: "2026-03-20", to: "2026-06-27"}}'
    message = await refused(
        stocked, admin, "by: [PROJECT], interval: QUARTER_HOUR, fill: true, having: [{metric: REQUESTS, gt: 5}]", range_
    )
    assert message.startswith("rows that fill makes: ")
    assert ", at most 200000; what passes: interval HOUR, or the range from " in message
    assert (await rows(stocked, admin, "by: [PROJECT], interval: HOUR, fill: true, first: 1", range_=range_))["totalCount"] == 36 * 100 * 24
