"""An empty text says nothing: wherever a text may be left out, the answer with an empty one is the answer without it."""

from __future__ import annotations

import pytest
from graphql import GraphQLString, build_schema

from app.resolvers.schema import print_schema
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.integration.test_date_arguments import select

SCHEMA = build_schema(print_schema())
assert SCHEMA.query_type is not None
ROOTS = SCHEMA.query_type.fields
TEXTS = [(name, argument) for name, field in ROOTS.items() for argument, one in field.args.items() if one.type is GraphQLString]
BESIDE = {"tenantId": "acme", "date": "2026-06-26"}


async def fill(gateway: Gateway) -> None:
    await gateway.store([make_record(occurred_at=NOW, project_id="p", api_key_id="k", user_id="u") for _ in range(3)])


def test_the_texts_that_filter_are_among_them() -> None:
    assert set(TEXTS) >= {
        ("usageAnalytics", "modelId"),
        ("gatewayStats", "projectId"),
        ("tenantAnalytics", "apiKeyId"),
        ("tenantUsage", "apiKeyId"),
        ("tenantRequests", "modelId"),
        ("tenantRequests", "after"),
        ("quarantinedRecords", "source"),
        ("quarantinedRecords", "tenantId"),
        ("models", "after"),
    }


@pytest.mark.parametrize("role", ["admin", "tenant"])
async def test_graphql(gateway: Gateway, role: str) -> None:
    await fill(gateway)
    headers = await gateway.key(role, "acme" if role == "tenant" else None)
    for name, argument in TEXTS:
        field = ROOTS[name]
        selection = "timeSeries { requests }" if name == "usageAnalytics" else select(field)
        given = [f'{one}: "{value}"' for one, value in BESIDE.items() if one in field.args and one != argument]
        answers = []
        for more in ([], [f'{argument}: ""']):
            listed = ", ".join(given + more)
            answer = await gateway.graphql(f"{{ {name}{f'({listed})' if listed else ''} {{ {selection} }} }}", headers)
            for error in answer.get("errors", ()):
                error.pop("locations")
            assert "data" in answer, (name, argument, answer)
            answers.append((answer["data"], answer.get("errors")))
        left_out, empty = answers
        assert empty == left_out, (name, argument)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/usage/analytics", "model_id"),
        ("/v1/analytics", "project_id"),
        ("/v1/customer/analytics", "api_key_id"),
        ("/v1/customer/analytics/export.csv", "api_key_id"),
        ("/v1/customer/logs", "api_key_id"),
        ("/v1/customer/logs", "model"),
        ("/v1/customer/logs", "cursor"),
    ],
)
async def test_rest(gateway: Gateway, path: str, name: str) -> None:
    await fill(gateway)
    headers = await gateway.key("tenant", "acme") if "customer" in path else await gateway.key("admin")
    left_out, empty = [(await gateway.client.get(path, params=given, headers=headers)) for given in ({}, {name: ""})]
    assert (empty.status_code, empty.text) == (200, left_out.text)
    assert "3" in left_out.text or left_out.text.count("req-") == 3


async def test_a_cursor_that_is_empty_goes_beside_an_offset(gateway: Gateway) -> None:
    await fill(gateway)
    given = {"cursor": "", "offset": "2"}
    page = (await gateway.client.get("/v1/customer/logs", params=given, headers=await gateway.key("tenant", "acme"))).json()
    assert (page["offset"], len(page["data"])) == (2, 1)
