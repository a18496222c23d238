"""Every date and instant that a caller may give, at its extremes: an answer, or a refusal that names the argument as its surface spells it.

The arguments are found in the schema and in OpenAPI, so that a new one is tested by being there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLInputObjectType, build_schema, get_named_type, is_leaf_type, is_required_argument

from app.resolvers.schema import print_schema
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

SCHEMA = build_schema(print_schema())

EXTREMES = (
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "0000-01-01",
    "-0001-01-01",
    "2025-02-30",
    "2025-13-01",
    "\u0661\u0669\u0669\u0669-01-01",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2016-12-31T23:59:60Z",
    "2026-06-25T10:00:00+24:00",
    "2026-06-25T10:00:00+99:99",
)
NAMES = {"Date", "DateTime"}
GIVEN: dict[str, Any] = {
    "input": {"role": "ADMIN"},
    "entries": [{"modelId": "lab/x"}],
    "recordIds": ["0" * 32],
    "changes": {},
    "records": [{"requestId": "r", "tenantId": "acme"}],
    "tenantId": "acme",
}
"""What goes beside a date, where an argument is required or holds the date."""


def dates_of(field: GraphQLField) -> Iterator[tuple[str, str]]:
    """Give (argument, name of the date in it); the same name twice where the argument is the date."""
    for name, argument in field.args.items():
        kind = get_named_type(argument.type)
        if kind.name in NAMES:
            yield name, name
        if isinstance(kind, GraphQLInputObjectType):
            yield from ((name, inner) for inner, value in kind.fields.items() if get_named_type(value.type).name in NAMES)


def operations() -> list[tuple[str, str, str, str]]:
    found = []
    for root, word in ((SCHEMA.query_type, "query"), (SCHEMA.mutation_type, "mutation")):
        assert root is not None
        found += [(word, name, *pair) for name, field in root.fields.items() for pair in dates_of(field)]
    return found


def select(field: GraphQLField) -> str:
    kind: Any = get_named_type(field.type)
    leaf = next((name for name, inner in kind.fields.items() if is_leaf_type(get_named_type(inner.type))), None)
    return leaf or next(f"{name} {{ {select(inner)} }}" for name, inner in kind.fields.items() if not inner.args)


def variables_of(field: GraphQLField, argument: str, inner: str, value: str) -> dict[str, Any]:
    given = {name: GIVEN[name] for name in field.args if name in GIVEN}
    given |= {name: "2026-06-25" for name, one in field.args.items() if is_required_argument(one) and name not in given}
    if argument == inner:
        return {**given, argument: value}
    held = given[argument]
    return {**given, argument: [{**held[0], inner: value}] if isinstance(held, list) else {**held, inner: value}}


def test_all_of_them_are_found() -> None:
    assert {(name, inner) for _, name, _, inner in operations()} >= {
        ("rankingsDaily", "startDate"),
        ("usageAnalytics", "dateTo"),
        ("tenantAnalytics", "endDate"),
        ("tenantUsage", "date"),
        ("tenantUsage", "endDate"),
        ("tenantRequests", "startDate"),
        ("createApiKey", "expiresAt"),
        ("upsertModels", "validFrom"),
        ("ingestUsage", "occurredAt"),
        ("releaseQuarantinedRecords", "occurredAt"),
    }


@pytest.mark.parametrize(("word", "name", "argument", "inner"), operations())
async def test_graphql(gateway: Gateway, word: str, name: str, argument: str, inner: str) -> None:
    await gateway.store([make_record(tenant_id="acme", occurred_at=NOW)])
    headers = await gateway.key("admin")
    field = getattr(SCHEMA, f"{word}_type").fields[name]
    for value in EXTREMES:
        given = variables_of(field, argument, inner, value)
        declared = ", ".join(f"${one}: {field.args[one].type}" for one in given)
        asked = f"{word} ({declared}) {{ {name}({', '.join(f'{one}: ${one}' for one in given)}) {{ {select(field)} }} }}"
        answer = await gateway.graphql(asked, headers, **given)
        for error in answer.get("errors", []):
            assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": inner}, (value, error)
            assert inner in error["message"], (value, error)


REST_DATES = ("start_date", "end_date", "date_from", "date_to", "month")


async def test_rest(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id="acme", occurred_at=NOW)])
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    found = [
        (path, parameter["name"])
        for path, methods in paths.items()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["name"] in REST_DATES
    ]
    assert len(found) >= 11
    for path, name in found:
        headers = await gateway.key("tenant", "acme") if "customer" in path else await gateway.key("admin")
        for value in (*EXTREMES, "0001-01", "9998-12", "9999-12", "0000-01"):
            answer = await gateway.client.get(path, params={name: value}, headers=headers)
            assert answer.status_code in (200, 400), (path, name, value, answer.text)
            if answer.status_code == 400:
                assert name in answer.text, (path, name, value, answer.text)


async def test_the_last_days_of_the_calendar_are_days_like_others(gateway: Gateway) -> None:
    headers = await gateway.key("tenant", "acme")
    ends = {"start_date": "9999-12-30", "end_date": "9999-12-31"}
    answer = await gateway.client.get("/v1/customer/analytics", params=ends, headers=headers)
    assert [(day["date"], day["requests"]) for day in answer.json()["timeseries"]] == [("9999-12-30", 0), ("9999-12-31", 0)]
    usage = '{ tenantUsage(date: "9999-12-31") { spend } }'
    assert (await gateway.graphql(usage, headers))["data"] == {"tenantUsage": []}


async def test_ranges_of_the_explorer(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id="acme", occurred_at=NOW)])
    headers = await gateway.key("admin")
    asked = "query ($range: TimeRange!, $zone: String!) { usage(range: $range, timeZone: $zone) { __typename } }"
    beside = {"from": "2026-01-01", "start": "2026-01-01T00:00:00Z", "to": "2026-06-26", "end": "2026-06-26T00:00:00Z"}
    for value in EXTREMES:
        for kind, names in (("dates", ("from", "to")), ("instants", ("start", "end"))):
            for name in names:
                for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
                    given = {kind: {one: value if one == name else beside[one] for one in names}}
                    answer = await gateway.graphql(asked, headers, range=given, zone=zone)
                    for error in answer.get("errors", []):
                        assert error["extensions"]["code"] == "BAD_USER_INPUT", (value, given, error)
                        assert "range" in error["extensions"]["argument"], (value, given, error)
