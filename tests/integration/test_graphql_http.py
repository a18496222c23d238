"""GraphQL over HTTP: what a request may look like, what it is answered, in which media type and with which status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphql import build_schema

from app.resolvers.schema import print_schema
from tests.factories import make_record
from tests.gateway import Gateway

ASK = "{ network { generatedAt totals { totalTokens } } }"
ROOTS = {
    "viewer": "{ keyId }",
    "models": "{ nodes { name } }",
    "node": '(id: "TW9kZWw6eA==") { id }',
    "nodes": '(ids: ["TW9kZWw6eA=="]) { id }',
    "model": '(modelId: "x") { name }',
    "providers": "{ nodes { name } }",
    "provider": '(providerId: "x") { name }',
    "tenants": "{ nodes { tenantId } }",
    "tenant": '(tenantId: "x") { tenantId }',
    "projects": "{ nodes { projectId } }",
    "users": "{ nodes { userId } }",
    "user": '(userId: "x") { userId }',
    "apiKeys": "{ nodes { id } }",
    "quarantinedRecords": "{ nodes { id } }",
    "rankingsDaily": "{ data { date } }",
    "usage": "(range: {period: TODAY}) { totals { requests } }",
    "usageCatalog": "{ metrics { name } }",
    "usageAnalytics": "{ byModel { costUsd } }",
    "gatewayStats": "{ requests }",
    "tenantAnalytics": "{ summary { spend } }",
    "tenantUsage": '(date: "2026-06-25") { spend }',
    "tenantRequests": "{ nodes { id } }",
}
"""Every root that asks for a key."""
EMPTY = {"network": {"generatedAt": None, "totals": {"totalTokens": 0}}}


async def post(gateway: Gateway, content: bytes, **headers: str) -> Any:
    return await gateway.client.post("/graphql", content=content, headers={"Content-Type": "application/json"} | headers)


async def test_a_query_by_post_and_by_get(gateway: Gateway) -> None:
    posted = await gateway.client.post("/graphql", json={"query": ASK})
    assert (posted.status_code, posted.headers["content-type"], posted.json()) == (200, "application/json", {"data": EMPTY})
    named = "query One($id: String!) { model(modelId: $id) { name } } query Two { network { totals { totalTokens } } }"
    for operation, root in (("One", "model"), ("Two", "network")):
        parameters = {"query": named, "operationName": operation, "variables": json.dumps({"id": "x"}), "extensions": "{}"}
        got = await gateway.client.get("/graphql", params=parameters)
        assert (got.status_code, list(got.json()["data"])) == (200, [root])
    assert (await gateway.client.get("/graphql", params={"query": ASK})).json() == {"data": EMPTY}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "malformed JSON"),
        (b"{", 400, "malformed JSON"),
        (b'{"query": "{ network { generatedAt } }"', 400, "malformed JSON"),
        (b'{"query": "{ __typename }", "variables": {"a": NaN}}', 400, "malformed JSON"),
        (b'{"query": "{ __typename }", "variables": {"a": [-Infinity]}}', 400, "malformed JSON"),
        (b"[]", 400, "must be one GraphQL request"),
        (b'[{"query": "{ __typename }"}]', 400, "must be one GraphQL request"),
        (b"{}", 400, "No GraphQL query"),
        (b'{"query": null}', 400, "No GraphQL query"),
        (b'{"query": ""}', 400, "No GraphQL query"),
        (b'{"query": 42}', 400, "query must be a string"),
        (b'{"query": "{ __typename }", "variables": []}', 400, "variables must be an object"),
        (b'{"query": "{ __typename }", "variables": "{}"}', 400, "variables must be an object"),
        (b'{"query": "{ __typename }", "operationName": 1}', 400, "operationName must be a string"),
        (b'{"query": "{ __typename }", "extensions": 1}', 400, "extensions must be an object"),
        (b'{"query": "\xff"}', 400, "malformed JSON"),
    ],
)
async def test_a_body_that_is_no_request(gateway: Gateway, content: bytes, status: int, message: str) -> None:
    response = await post(gateway, content)
    assert response.status_code == status
    assert list(response.json()) == ["errors"]
    (error,) = response.json()["errors"]
    assert message in error["message"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
async def test_only_json_is_read_so_that_no_form_of_another_site_can_ask(gateway: Gateway, kind: str) -> None:
    response = await post(gateway, json.dumps({"query": ASK}).encode(), **{"Content-Type": kind})
    assert response.status_code == 415
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_the_newer_media_type_tells_by_its_status(gateway: Gateway) -> None:
    accept = {"Accept": "application/graphql-response+json, application/json;q=0.9"}
    expected = [
        (ASK, 200),
        ("{ nothing }", 400),
        ("{", 400),
        ("{ usageAnalytics { byModel { costUsd } } }", 200),
        ("query A { x: __typename }", 200),
    ]
    for query, status in expected:
        response = await gateway.client.post("/graphql", json={"query": query}, headers=accept)
        assert (response.status_code, response.headers["content-type"]) == (status, "application/graphql-response+json"), query
        older = await gateway.client.post("/graphql", json={"query": query})
        newer_body, older_body = ({**answer.json(), "extensions": None} for answer in (response, older))  # of points, fewer are left
        assert (older.status_code, older_body) == (200, newer_body), query
    unknown = await gateway.client.post("/graphql", json={"query": "query A { x: __typename }", "operationName": "B"}, headers=accept)
    assert unknown.status_code == 400
    assert "B" in unknown.json()["errors"][0]["message"]


async def test_a_refusal_leaves_the_other_roots(gateway: Gateway) -> None:
    both = "{ network { generatedAt totals { totalTokens } } usageAnalytics { byModel { costUsd } } }"
    answer = (await gateway.client.post("/graphql", json={"query": both})).json()
    assert answer["data"] == {**EMPTY, "usageAnalytics": None}
    assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [(["usageAnalytics"], "UNAUTHENTICATED")]


async def test_each_root_is_refused_by_itself(gateway: Gateway) -> None:
    """Every root of the schema beside one that is answered: wherever one is refused, the other is there and the refused one is null."""
    query = build_schema(print_schema()).query_type
    assert query is not None
    assert set(ROOTS) == set(query.fields) - {"network"}
    for root, selection in ROOTS.items():
        asked = f"{{ refused: {root}{selection} {ASK[1:-1]} }}"
        answer = (await gateway.client.post("/graphql", json={"query": asked})).json()
        assert answer["data"] == {"refused": None, **EMPTY}, root
        assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [(["refused"], "UNAUTHENTICATED")], root


@pytest.mark.parametrize(
    ("asked", "argument", "message"),
    [
        ('rankingsDaily(startDate: "x") { meta { version } }', "startDate", "startDate must match YYYY-MM-DD"),
        ('rankingsDaily(endDate: "2024-12-31") { meta { version } }', "endDate", "endDate must be on or after 2025-01-01"),
        (
            'rankingsDaily(startDate: "2026-06-02", endDate: "2026-06-01") { meta { version } }',
            "startDate",
            "startDate must not be after endDate (2026-06-01)",
        ),
        (
            'usageAnalytics(dateFrom: "2026-06-02", dateTo: "2026-06-01") { topUsers { userId } }',
            "dateFrom",
            "dateFrom must not be after dateTo",
        ),
        ("usageAnalytics(topUsersLimit: 0) { topUsers { userId } }", "topUsersLimit", "topUsersLimit must be an integer from 1 to 1000"),
        ("gatewayStats(days: 0) { requests }", "days", "days must be an integer from 1 to 365"),
        ('tenantAnalytics(tenantId: "none") { summary { spend } }', "tenantId", "No such tenant"),
        ('tenantAnalytics(tenantId: "acme", apiKeyId: "none") { summary { spend } }', "apiKeyId", "No such API key"),
        ("tenantRequests { nodes { id } }", "tenantId", "tenantId is required: this key belongs to no tenant"),
        ("tenantRequests(first: 0) { nodes { id } }", "first", "first must be from 1 to 1000"),
        ('tenantRequests(tenantId: "acme", after: "x") { nodes { id } }', "after", "the cursor is not one that this gateway gave"),
        ('models(after: "x") { nodes { name } }', "after", "the cursor is not one that this list gave"),
        ("quarantinedRecords(first: 0) { nodes { id } }", "first", "first must be from 1 to 100"),
    ],
)
async def test_an_error_names_the_argument_as_graphql_spells_it(gateway: Gateway, asked: str, argument: str, message: str) -> None:
    await gateway.store([make_record(tenant_id="acme")])
    (error,) = (await gateway.graphql(f"{{ {asked} }}", await gateway.key("admin")))["errors"]
    assert (error["message"], error["extensions"]["argument"]) == (message, argument)


async def test_a_mutation_that_is_refused_leaves_what_the_others_did(gateway: Gateway) -> None:
    change = """mutation {
        a: createApiKey(input: {role: GATEWAY, name: "a"}) { apiKey { name } }
        b: createApiKey(input: {role: TENANT}) { apiKey { name } }
        c: revokeApiKey(keyId: "none") { id }
        d: createApiKey(input: {role: GATEWAY, name: "d"}) { apiKey { name } }
    }"""
    answer = await gateway.graphql(change, await gateway.key("admin"))
    assert answer["data"] == {"a": {"apiKey": {"name": "a"}}, "b": None, "c": None, "d": {"apiKey": {"name": "d"}}}
    assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [
        (["b"], "BAD_USER_INPUT"),
        (["c"], "NOT_FOUND"),
    ]


async def test_only_a_get_that_names_a_query_is_one_and_other_methods_are_told_which_there_are(gateway: Gateway) -> None:
    assert (await gateway.client.get("/graphql")).status_code == 400
    for method in ("PUT", "DELETE", "PATCH"):
        assert (await gateway.client.request(method, "/graphql")).status_code == 405


async def test_numbers_past_64_bits_are_answered(gateway: Gateway) -> None:
    await gateway.store([make_record(prompt_tokens=2**53 - 1, completion_tokens=0, request_id=f"r{number}") for number in range(3)])
    answer = await gateway.graphql(
        '{ tenantAnalytics(tenantId: "acme", startDate: "2026-06-25") { summary { totalTokens } } }', await gateway.key("admin")
    )
    assert answer["data"]["tenantAnalytics"]["summary"]["totalTokens"] == 3 * (2**53 - 1)
