"""The `usage` root as a client asks it: ranges, groups, pages, objects on rows, callers, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

DAY = datetime(2026, 6, 25, tzinfo=UTC)
RANGE: dict[str, Any] = {"dates": {"from": "2026-06-24", "to": "2026-06-26"}}


@pytest.fixture
async def busy(gateway: Gateway) -> Gateway:
    """Ten requests of two tenants, three models and two days."""
    await gateway.catalog(
        {"model_id": "openai/gpt-4o", "name": "GPT-4o", "public": True, "cost_per_input_token": "0.01", "cost_per_output_token": "0"}
    )
    models = ["openai/gpt-4o", "acme/a", "acme/b"]
    await gateway.store(
        make_record(
            tenant_id="acme" if number % 2 else "beta",
            occurred_at=DAY + timedelta(hours=3 * number),
            model_id=models[number % 3],
            project_id="p" if number % 4 else None,
            user_id=f"u{number % 2}",
            status_code=200 if number % 5 else 500,
            latency_ms=10 * (number + 1),
            prompt_tokens=100,
            completion_tokens=0,
        )
        for number in range(10)
    )
    return gateway


def document(fields: str, arguments: str) -> str:
    declared = "($range: TimeRange!)" if "$range" in arguments else ""
    return f"query{declared} {{ usage({arguments}) {{ {fields} }} }}"


async def ask(gateway: Gateway, fields: str, headers: dict[str, str], arguments: str = "range: $range", **variables: Any) -> Any:
    answer = await gateway.graphql(document(fields, arguments), headers, range=RANGE, **variables)
    assert "errors" not in answer, answer
    return answer["data"]["usage"]


async def refused(gateway: Gateway, fields: str, headers: dict[str, str] | None, arguments: str = "range: $range") -> tuple[str, str]:
    answer = await gateway.graphql(document(fields, arguments), headers, range=RANGE)
    error = answer["errors"][0]
    return error["extensions"]["code"], error["message"]


async def test_totals_rows_and_the_objects_on_rows(busy: Gateway) -> None:
    admin = await busy.key("admin")
    report = await ask(
        busy,
        """
        range { start end timeZone }
        totals { requests failed successRate users cost { usd exact coverage { priced unpriced isComplete } } latency { count p50 max avg } }
        rows(by: [TENANT, MODEL], orderBy: [{metric: REQUESTS}], first: 3) {
          totalCount pageInfo { hasNextPage endCursor }
          nodes { label isOther tenant { tenantId } model { modelId name } metrics { requests totalTokens } }
          rest { requests latency { p99 } }
        }
        """,
        admin,
    )
    assert report["range"] == {"start": "2026-06-24T00:00:00.000Z", "end": "2026-06-27T00:00:00.000Z", "timeZone": "UTC"}
    assert report["totals"] == {
        "requests": 10,
        "failed": 2,
        "successRate": 0.8,
        "users": 2,
        "cost": {"usd": 4.0, "exact": "4.00", "coverage": {"priced": 4, "unpriced": 6, "isComplete": False}},
        "latency": {"count": 10, "p50": 50.0, "max": 100.0, "avg": 55.0},
    }
    rows = report["rows"]
    assert (rows["totalCount"], rows["pageInfo"]["hasNextPage"]) == (6, True)
    assert [row["label"] for row in rows["nodes"]] == ["acme · acme/a", "acme · openai/gpt-4o", "beta · acme/b"]
    assert rows["nodes"][1] == {
        "label": "acme · openai/gpt-4o",
        "isOther": False,
        "tenant": {"tenantId": "acme"},
        "model": {"modelId": "openai/gpt-4o", "name": "GPT-4o"},
        "metrics": {"requests": 2, "totalTokens": 200},
    }
    assert sum(row["metrics"]["requests"] for row in rows["nodes"]) + rows["rest"]["requests"] == 10


async def test_pages_meet_and_no_row_is_on_two(busy: Gateway) -> None:
    admin = await busy.key("admin")
    labels: list[str] = []
    after = "null"
    while True:
        rows = (
            await ask(
                busy,
                f"rows(by: [MODEL, USER], first: 2, after: {after}) {{ edges {{ cursor node {{ label }} }} pageInfo {{ hasNextPage endCursor }} }}",
                admin,
            )
        )["rows"]
        labels += [edge["node"]["label"] for edge in rows["edges"]]
        assert rows["pageInfo"]["endCursor"] == rows["edges"][-1]["cursor"]
        if not rows["pageInfo"]["hasNextPage"]:
            break
        after = f'"{rows["pageInfo"]["endCursor"]}"'
    assert labels == sorted(labels)
    assert len(labels) == len(set(labels)) == 6
    code, message = await refused(busy, f"rows(by: [MODEL], after: {after}) {{ totalCount }}", admin)
    assert (code, message) == ("BAD_USER_INPUT", "the cursor is not one that the same question gave")


async def test_buckets_of_a_zone_with_gaps_filled_and_the_rest_of_a_top(busy: Gateway) -> None:
    admin = await busy.key("admin")
    rows = (
        await ask(
            busy,
            """rows(by: [MODEL], interval: DAY, fill: true, top: {count: 1, orderBy: REQUESTS}) {
              nodes { label isOther bucket { label start isComplete } metrics { requests successRate } }
            }""",
            admin,
            'range: $range, timeZone: "Asia/Kathmandu"',
        )
    )["rows"]["nodes"]
    assert [(row["bucket"]["label"], row["label"], row["metrics"]["requests"]) for row in rows] == [
        ("2026-06-24", "openai/gpt-4o", 0),
        ("2026-06-24", "other", 0),
        ("2026-06-25", "openai/gpt-4o", 3),
        ("2026-06-25", "other", 4),
        ("2026-06-26", "openai/gpt-4o", 1),
        ("2026-06-26", "other", 2),
    ]
    assert rows[0]["metrics"]["successRate"] is None
    assert rows[0]["bucket"]["start"] == "2026-06-23T18:15:00.000Z"


async def test_filters(busy: Gateway) -> None:
    admin = await busy.key("admin")

    async def requests(where: str) -> int:
        report = await ask(busy, "totals { requests }", admin, f"range: $range, where: {where}")
        return int(report["totals"]["requests"])

    assert await requests("{}") == 10
    assert await requests('{model: {startsWith: "acme/"}}') == 6
    assert await requests('{model: {ne: "acme/a"}, outcome: {eq: SUCCESS}}') == 5
    assert await requests("{project: {isNull: true}}") == 3
    assert await requests('{not: {project: {eq: "p"}}}') == 3
    assert await requests('{latencyMs: {gt: 50, lte: "80"}}') == 3
    assert await requests('{or: [{statusCode: {in: [500]}}, {tenant: {eq: "beta"}}], and: [{cacheHit: false}]}') == 6
    assert await requests("{or: []}") == 0
    assert await requests("{promptSize: {in: [FROM_1]}, trafficMode: {eq: SHARED}}") == 10


async def test_who_sees_what(busy: Gateway) -> None:
    fields = "totals { requests } rows(by: [TENANT]) { nodes { label } }"
    tenant = await ask(busy, fields, await busy.key("tenant", "acme"))
    assert (tenant["totals"]["requests"], [row["label"] for row in tenant["rows"]["nodes"]]) == (5, ["acme"])
    assert (await ask(busy, "totals { requests }", await busy.key("tenant", "acme"), 'range: $range, where: {tenant: {eq: "beta"}}'))[
        "totals"
    ] == {"requests": 0}
    gateway = await busy.key("gateway")
    assert (await ask(busy, "totals { requests latency { p95 } } rows(by: [PROJECT, MODEL]) { totalCount }", gateway))["totals"][
        "requests"
    ] == 10
    for private in (
        "totals { cost { usd } }",
        "totals { users }",
        "totals { spend }",
        "rows(by: [TENANT]) { totalCount }",
        "rows(by: [USER]) { totalCount }",
        "rows(by: [MODEL], top: {count: 1}) { totalCount }",
        "rows(by: [MODEL], orderBy: [{metric: COST}]) { totalCount }",
        "rows(by: [MODEL], having: [{metric: API_KEYS, gt: 0}]) { totalCount }",
    ):
        code, message = await refused(busy, private, gateway)
        assert (code, message.startswith("a gateway key may not use ")) == ("FORBIDDEN", True), private
    for where in ('{user: {eq: "u1"}}', "{cost: {gt: 1}}", '{not: {or: [{tenant: {eq: "acme"}}]}}'):
        assert (await refused(busy, "totals { requests }", gateway, f"range: $range, where: {where}"))[0] == "FORBIDDEN"
    with recorded() as statements:
        assert (await refused(busy, "totals { requests }", await busy.key("ingest")))[0] == "FORBIDDEN"
        assert (await refused(busy, "totals { requests }", None))[0] == "UNAUTHENTICATED"
    assert not any("usage_" in statement for statement in statements)


@pytest.mark.parametrize(
    ("fields", "arguments", "words"),
    [
        ("totals { requests }", 'range: $range, timeZone: "Mars/Base"', "timeZone must be the name of an IANA time zone"),
        ("totals { requests }", 'range: {dates: {from: "2026-02-30", to: "2026-03-01"}}', "is not a calendar date"),
        ("totals { requests }", 'range: {dates: {from: "2026-03-02", to: "2026-03-01"}}', "from must not be after"),
        ("totals { requests }", 'range: {instants: {start: "2026-03-01", end: "2026-03-02T00:00:00Z"}}', "range.instants.start must be"),
        ("totals { requests }", "range: {last: {count: 0, unit: DAY}}", "range.last.count must be from 1"),
        ("totals { requests }", "range: {period: ALL_TIME, last: {count: 1, unit: DAY}}", "one"),
        ("rows(first: 0) { totalCount }", "range: $range", "first must be from 1 to 10000"),
        ("rows(by: [MODEL, MODEL]) { totalCount }", "range: $range", "each dimension once"),
        ("rows(fill: true) { totalCount }", "range: $range", "fill needs interval"),
        ("rows(top: {count: 1}) { totalCount }", "range: $range", "top needs dimensions"),
        ("rows(by: [MODEL], top: {count: 0}) { totalCount }", "range: $range", "top.count must be from 1"),
        ("rows(by: [MODEL], orderBy: [{}]) { totalCount }", "range: $range", "exactly one of"),
        ("rows(by: [MODEL], orderBy: [{dimension: USER}]) { totalCount }", "range: $range", "must be one of by"),
        ("rows(interval: QUARTER_HOUR) { totalCount }", "range: {period: ALL_TIME}", "buckets of the interval: "),
        ('rows(after: "nonsense") { totalCount }', "range: $range", "the cursor is not one"),
        ('rows(having: [{metric: COST, gt: "x"}]) { totalCount }', "range: $range", "having.gt must be a decimal"),
        ("totals { requests }", 'range: $range, where: {latencyMs: {gt: "NaN"}}', "where.latencyMs must be a decimal"),
        ("totals { requests }", 'range: $range, where: {latencyMs: {gt: "1_000"}}', "where.latencyMs must be a decimal"),
        ("totals { requests }", 'range: $range, where: {latencyMs: {gt: "\u0663"}}', "where.latencyMs must be a decimal"),
        ("totals { requests }", "range: $range, where: {latencyMs: {gt: 1e999}}", "must be"),
        ("totals { requests }", 'range: $range, where: {model: {eq: "a\\u0000"}}', "NUL"),
    ],
)
async def test_what_is_refused_says_why(busy: Gateway, fields: str, arguments: str, words: str) -> None:
    code, message = await refused(busy, fields, await busy.key("admin"), arguments)
    assert code == "BAD_USER_INPUT"
    assert words in message


@pytest.mark.parametrize(
    "given",
    [
        "{period: ALL_TIME}",
        "{period: THIS_YEAR}",
        "{last: {count: 40, unit: DAY}}",
        "{last: {count: 100000, unit: YEAR}}",
        '{dates: {from: "0001-01-01", to: "9999-12-31"}}',
        '{instants: {start: "0001-01-01T00:00:00Z", end: "9999-12-31T23:59:59Z"}}',
    ],
)
async def test_ranges_of_any_length(busy: Gateway, given: str) -> None:
    admin = await busy.key("admin")
    for compared in ("{previous: PERIOD}", "{previous: YEAR}", f"{{range: {given}}}"):
        for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
            rows = "previousTotals { requests } rows(interval: WEEK, first: 1000) { nodes { metrics { requests } previous { requests } } previousRest { requests } }"
            report = await ask(busy, rows, admin, f'range: {given}, timeZone: "{zone}", compareTo: {compared}')
            assert sum(row["metrics"]["requests"] for row in report["rows"]["nodes"]) == 10
            before = [row["previous"]["requests"] for row in report["rows"]["nodes"]] + [report["rows"]["previousRest"]["requests"]]
            assert sum(before) == report["previousTotals"]["requests"]
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Niue"):
        report = await ask(busy, "totals { requests }", await busy.key("admin"), f'range: {given}, timeZone: "{zone}"')
        assert report["totals"]["requests"] == 10


async def test_last_units_end_now(busy: Gateway) -> None:
    admin = await busy.key("admin")

    async def resolved(given: str) -> tuple[str, str]:
        found = (await ask(busy, "range { start end }", admin, f"range: {given}"))["range"]
        return found["start"], found["end"]

    today = NOW.replace(hour=0, minute=0, second=0, microsecond=0)

    def text(at: datetime) -> str:
        return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    assert await resolved("{last: {count: 2, unit: DAY}}") == (text(today - timedelta(days=1)), text(today + timedelta(days=1)))
    assert await resolved("{last: {count: 2, unit: DAY, complete: true}}") == (text(today - timedelta(days=2)), text(today))
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    assert await resolved("{last: {count: 1, unit: HOUR, complete: true}}") == (text(hour - timedelta(hours=1)), text(hour))
    assert await resolved("{period: LAST_MONTH}") == ("2026-05-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z")


async def test_only_what_is_selected_is_computed(busy: Gateway) -> None:
    admin = await busy.key("admin")
    report = await ask(busy, "totals { __typename } rows(by: [MODEL]) { totalCount rest { __typename } nodes { label } }", admin)
    assert report["totals"] == report["rows"]["rest"] == {"__typename": "UsageMetrics"}
    assert report["rows"]["totalCount"] == len(report["rows"]["nodes"]) == 3


async def test_an_empty_database(gateway: Gateway) -> None:
    report = await ask(
        gateway,
        "totals { requests successRate latency { p50 } firstSeen users } rows(by: [MODEL], interval: DAY, fill: true) { totalCount nodes { label } rest { requests } }",
        await gateway.key("admin"),
    )
    assert report["totals"] == {"requests": 0, "successRate": None, "latency": {"p50": None}, "firstSeen": None, "users": 0}
    assert report["rows"] == {"totalCount": 0, "nodes": [], "rest": {"requests": 0}}


async def test_all_of_a_document_is_of_one_state_and_one_connection(busy: Gateway) -> None:
    admin = await busy.key("admin")
    with recorded() as statements:
        await ask(
            busy, "totals { requests } a: rows(by: [MODEL]) { totalCount } b: rows(by: [USER]) { nodes { label } rest { requests } }", admin
        )
    asked = [statement for statement in statements if "app:usage_" in statement]
    assert len(asked) == 4
    assert sum("REPEATABLE READ" in statement for statement in statements) == 1


async def test_what_it_costs_is_summed_before_anything_is_asked(busy: Gateway) -> None:
    admin = await busy.key("admin")
    query = "{ usage(range: {last: {count: 2, unit: DAY}}) { totals { requests } rows(by: [MODEL]) { totalCount } } }"
    answer = (await busy.client.post("/graphql", json={"query": query}, headers=admin)).json()
    assert answer["extensions"]["cost"]["requested"] == 3  # the root, the totals, the rows
    async with busy.database.transaction() as connection:  # as if there were many
        await connection.execute("UPDATE usage_by_day_model SET request_count = request_count + 1000000")
    rows = " ".join(f"r{number}: rows(by: [STATUS_CODE], first: {number + 1}) {{ totalCount }}" for number in range(6))
    with recorded() as statements:
        code, message = await refused(busy, rows, admin, "range: {period: ALL_TIME}")
    assert (code, "one request may cost 5000" in message) == ("QUERY_TOO_EXPENSIVE", True)
    assert not any("app:usage_" in statement for statement in statements)


async def test_a_plan_says_from_where_and_reads_no_usage(busy: Gateway) -> None:
    admin = await busy.key("admin")
    rows = "rows(by: [MODEL], interval: DAY) { plan { sources { name ranges { start end } } rows points } }"
    with recorded() as statements:
        found = await ask(busy, rows, admin, 'range: {dates: {from: "2026-06-01", to: "2026-06-02"}}, timeZone: "Europe/Berlin"')
    assert not any("app:usage_" in statement for statement in statements)
    assert found["rows"]["plan"] == {
        "sources": [{"name": "usage_by_hour_model", "ranges": [{"start": "2026-05-31T22:00:00.000Z", "end": "2026-06-02T22:00:00.000Z"}]}],
        "rows": 1,
        "points": 1,
    }
    both = await ask(busy, "rows(by: [STATUS_CODE]) { totalCount plan { sources { name } rows } }", admin)
    assert both["rows"] == {"totalCount": 2, "plan": {"sources": [{"name": "usage_records"}], "rows": 10}}


async def test_the_catalog_says_what_can_be_asked(busy: Gateway) -> None:
    document = """{ usageCatalog {
      metrics { name field unit description isAdditive } limits { dimensions rows top buckets }
      dimensions { name field kind choices values(first: 2) } } }"""
    admin = (await busy.graphql(document, await busy.key("admin")))["data"]["usageCatalog"]
    fields = {metric["name"]: metric["field"] for metric in admin["metrics"]}
    assert (fields["COST"], fields["LATENCY_P95"], fields["PRICED_REQUESTS"]) == ("cost.usd", "latency.p95", "cost.coverage.priced")
    every = " ".join(_selection(field) for field in fields.values())
    await ask(busy, f"totals {{ {every} }}", await busy.key("admin"))
    by_name = {dimension["name"]: dimension for dimension in admin["dimensions"]}
    assert by_name["TENANT"]["values"] == ["acme", "beta"]
    assert by_name["OUTCOME"] == {
        "name": "OUTCOME",
        "field": "outcome",
        "kind": "CHOICE",
        "choices": ["ERROR", "SUCCESS"],
        "values": ["success", "error"],
    }
    for name in by_name:
        await ask(busy, f"rows(by: [{name}]) {{ totalCount }}", await busy.key("admin"))
    gateway = (await busy.graphql(document, await busy.key("gateway")))["data"]["usageCatalog"]
    hidden = {"TENANT", "USER", "API_KEY"}
    assert {dimension["name"] for dimension in gateway["dimensions"]} == set(by_name) - hidden
    assert not {"COST", "SPEND", "USERS", "TENANTS"} & {metric["name"] for metric in gateway["metrics"]}
    assert "GPT" not in str((await busy.graphql("{ usageCatalog { dimensions { values } } }", await busy.key("ingest")))["data"])


async def test_the_catalog_says_what_has_a_share_a_change_and_a_span(busy: Gateway) -> None:
    document = """{ usageCatalog {
      metrics { name decimals isAdditive isComparable needsRecords } dimensions { name needsRecords } firstDate lastDate recordsFrom
      limits { dimensions rows top buckets filled conditions comparisons values depth seconds points } } }"""
    admin = await busy.key("admin")
    catalog = (await busy.graphql(document, admin))["data"]["usageCatalog"]
    metrics = {metric.pop("name"): metric for metric in catalog["metrics"]}
    assert metrics["COST"] == {"decimals": 6, "isAdditive": True, "isComparable": True, "needsRecords": False}
    assert metrics["TOKENS_PER_SECOND_P95"] == {"decimals": 3, "isAdditive": False, "isComparable": True, "needsRecords": True}
    assert metrics["FIRST_SEEN"] == {"decimals": None, "isAdditive": False, "isComparable": False, "needsRecords": True}
    for name, metric in metrics.items():
        for field, is_defined in (("share", metric["isAdditive"]), ("change", metric["isComparable"])):
            answer = await busy.graphql(
                f"{{ usage(range: {{last: {{count: 2, unit: DAY}}}}) {{ totals {{ {field}(of: {name}) }} }} }}", admin
            )
            assert ("errors" not in answer) == is_defined, (name, field)
    needing = {dimension["name"] for dimension in catalog["dimensions"] if dimension["needsRecords"]}
    assert needing == {"OUTCOME", "STATUS_CODE", "ATTEMPT", "CACHE_HIT", "INTERRUPTED", "PROMPT_SIZE"}
    assert (catalog["firstDate"], catalog["lastDate"], catalog["recordsFrom"]) == ("2020-01-01", "2026-06-27", None)
    assert catalog["limits"] == {
        "dimensions": 8,
        "rows": 10_000,
        "top": 1_000,
        "buckets": 10_000,
        "filled": 200_000,
        "conditions": 8,
        "comparisons": 100,
        "values": 1_000,
        "depth": 16,
        "seconds": 30,
        "points": 5_000,
    }
    async with busy.database.transaction() as connection:
        await connection.execute("UPDATE write_state SET records_since = '2026-06-25'")
    answer = await busy.graphql("{ usageCatalog { recordsFrom } }", admin)
    assert answer["data"]["usageCatalog"] == {"recordsFrom": "2026-06-25T00:00:00.000Z"}


async def test_what_was_stored_before_is_in_the_state(busy: Gateway) -> None:
    admin = await busy.key("admin")
    before = await ask(busy, "asOf totals { requests }", admin)
    assert before == {"asOf": "2026-06-26T12:00:00.000Z", "totals": {"requests": 10}}
    await busy.store([make_record(occurred_at=DAY)])
    busy.clock.advance(timedelta(seconds=1))
    assert await ask(busy, "asOf totals { requests }", admin) == {"asOf": "2026-06-26T12:00:01.000Z", "totals": {"requests": 11}}


def _selection(field: str) -> str:
    first, *rest = field.split(".")
    return f"{first} {{ {_selection('.'.join(rest))} }}" if rest else first


async def test_objects_have_their_own_usage(busy: Gateway) -> None:
    admin = await busy.key("admin")
    asked = "usage(range: {last: {count: 9, unit: DAY}}, where: {outcome: {eq: SUCCESS}}) { totals { requests } }"
    document = f"""{{
      model(modelId: "openai/gpt-4o") {{ {asked} provider {{ {asked} }} }}
      tenant(tenantId: "beta") {{ {asked} projects {{ nodes {{ {asked} }} }} users {{ nodes {{ {asked} }} }} }}
    }}"""
    found = (await busy.graphql(document, admin))["data"]
    assert found["model"]["usage"] == {"totals": {"requests": 3}}
    assert found["model"]["provider"]["usage"] == {"totals": {"requests": 3}}
    assert found["tenant"]["usage"] == {"totals": {"requests": 4}}
    assert [node["usage"]["totals"]["requests"] for node in found["tenant"]["projects"]["nodes"]] == [2]
    assert [node["usage"]["totals"]["requests"] for node in found["tenant"]["users"]["nodes"]] == [4]
    own = (await busy.graphql(f'{{ model(modelId: "openai/gpt-4o") {{ {asked} }} }}', await busy.key("tenant", "acme")))["data"]
    assert own["model"]["usage"] == {"totals": {"requests": 2}}
    answer = await busy.graphql(f'{{ model(modelId: "openai/gpt-4o") {{ modelId {asked} }} }}', await busy.key("ingest"))
    assert answer["data"]["model"] == {"modelId": "openai/gpt-4o", "usage": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


async def test_a_report_beside_an_earlier_one(busy: Gateway) -> None:
    admin = await busy.key("admin")
    numbers = "{ requests latency { p50 } r: change(of: REQUESTS) t: change(of: TOTAL_TOKENS) l: change(of: LATENCY_P50) }"
    report = await ask(
        busy,
        f"""range {{ start end }} previousRange {{ start end timeZone }} totals {numbers} previousTotals {numbers}
        rows(by: [MODEL], interval: DAY) {{ nodes {{ label bucket {{ label }} metrics {numbers} previous {numbers} }} previousRest {{ requests }} }}""",
        admin,
        'range: {dates: {from: "2026-06-26", to: "2026-06-26"}}, compareTo: {previous: PERIOD}',
    )
    assert report["previousRange"] == {"start": "2026-06-25T00:00:00.000Z", "end": "2026-06-26T00:00:00.000Z", "timeZone": "UTC"}
    assert report["totals"] == {"requests": 2, "latency": {"p50": 90.0}, "r": -0.75, "t": -0.75, "l": 1.25}
    assert report["previousTotals"] == {"requests": 8, "latency": {"p50": 40.0}, "r": None, "t": None, "l": None}
    (gpt, acme_b) = sorted(report["rows"]["nodes"], key=lambda row: row["label"], reverse=True)
    assert gpt["label"] == "openai/gpt-4o"
    assert gpt["bucket"] == {"label": "2026-06-26"}
    assert gpt["metrics"] == {"requests": 1, "latency": {"p50": 100.0}, "r": -0.6667, "t": -0.6667, "l": 1.5}
    assert gpt["previous"] == {"requests": 3, "latency": {"p50": 40.0}, "r": None, "t": None, "l": None}
    assert (acme_b["metrics"]["requests"], acme_b["previous"]["requests"]) == (1, 2)
    # acme/a had three requests the day before, and none any more.
    assert report["rows"]["previousRest"] == {"requests": 3}


async def test_a_change_is_null_where_there_is_nothing_to_compare_with(busy: Gateway) -> None:
    admin = await busy.key("admin")
    fields = "totals { change(of: REQUESTS) } rows { nodes { metrics { change(of: REQUESTS) } previous { requests } } rest { change(of: REQUESTS) } }"
    for compared, previous in (("", None), (', compareTo: {range: {dates: {from: "2020-01-01", to: "2020-01-31"}}}', {"requests": 0})):
        assert await ask(busy, fields, admin, f"range: $range{compared}") == {
            "totals": {"change": None},
            "rows": {"nodes": [{"metrics": {"change": None}, "previous": previous}], "rest": {"change": None}},
        }
    code, message = await refused(busy, "totals { change(of: FIRST_SEEN) }", admin)
    assert (code, message) == ("BAD_USER_INPUT", "change(of: FIRST_SEEN) is not defined: this metric is an instant, not a number")
    assert (await refused(busy, "totals { requests }", admin, "range: $range, compareTo: {}"))[0] == "BAD_USER_INPUT"
    for given in ('{range: {dates: {from: "2026-01-02", to: "2026-01-01"}}}', "{range: {last: {count: 0, unit: DAY}}}"):
        assert (await refused(busy, "totals { requests }", admin, f"range: $range, compareTo: {given}"))[1].startswith("compareTo.range.")


async def test_shares_are_of_the_totals(busy: Gateway) -> None:
    admin = await busy.key("admin")
    report = await ask(
        busy,
        """totals { share(of: REQUESTS) cost { usd } }
        rows(by: [MODEL], first: 2) {
          nodes { label metrics { r: share(of: REQUESTS) c: share(of: COST) } previous { share(of: REQUESTS) } }
          rest { share(of: REQUESTS) }
        }""",
        admin,
        "range: $range, compareTo: {previous: YEAR}",
    )
    assert report["totals"] == {"share": 1.0, "cost": {"usd": 4.0}}
    assert [(row["label"], row["metrics"], row["previous"]) for row in report["rows"]["nodes"]] == [
        ("acme/a", {"r": 0.3, "c": 0.0}, {"share": None}),
        ("acme/b", {"r": 0.3, "c": 0.0}, {"share": None}),
    ]
    assert report["rows"]["rest"] == {"share": 0.4}


async def test_a_share_is_refused_by_name_and_by_key(busy: Gateway) -> None:
    admin = await busy.key("admin")
    for name in ("LATENCY_P95", "USERS", "ERROR_RATE"):
        with recorded() as statements:
            code, message = await refused(busy, f"rows {{ rest {{ share(of: {name}) }} }}", admin)
        assert (code, message) == ("BAD_USER_INPUT", f"share(of: {name}) is not defined: this metric does not add up to a total")
        assert not any("app:usage_" in statement for statement in statements)
    gateway = await busy.key("gateway")
    for field in ("share(of: COST)", "change(of: SPEND)"):
        assert (await refused(busy, f"totals {{ {field} }}", gateway))[0] == "FORBIDDEN"
        assert (await refused(busy, f"rows {{ nodes {{ metrics {{ {field} }} }} }}", gateway))[0] == "FORBIDDEN"
    tenant = await ask(busy, "rows(by: [MODEL], first: 1) { nodes { metrics { share(of: REQUESTS) } } }", await busy.key("tenant", "acme"))
    assert tenant["rows"]["nodes"] == [{"metrics": {"share": 0.4}}]


async def test_what_a_share_is_of_may_be_a_variable(busy: Gateway) -> None:
    document = """query($range: TimeRange!, $metric: UsageMetric!) {
      usage(range: $range, compareTo: {previous: PERIOD}) { totals { ...M } } }
      fragment M on UsageMetrics { share(of: $metric) change(of: $metric) }"""
    answer = await busy.graphql(document, await busy.key("admin"), range=RANGE, metric="REQUESTS")
    assert answer == {"data": {"usage": {"totals": {"share": 1.0, "change": None}}}}


async def test_rows_are_expected_from_the_size_of_a_table_that_was_never_analysed(gateway: Gateway) -> None:
    """As after a first load: by records alone, a month of one model would cost what its records cost."""
    await gateway.store([make_record(occurred_at=NOW - timedelta(minutes=10 * number)) for number in range(3_000)])
    answer = await gateway.graphql(
        "{ usage(range: {last: {count: 15, unit: DAY}}) { rows(by: [MODEL]) { plan { rows points } } } }", await gateway.key("admin")
    )
    plan = answer["data"]["usage"]["rows"]["plan"]
    assert int(plan["rows"]) <= 60, plan
