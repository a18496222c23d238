"""`node` and `nodes`: every object that a list gives is found again by its id, and nothing by any other text."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from inline_snapshot import snapshot
from strawberry.relay import to_base64

from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

FIELDS = {
    "ApiKey": "id keyId status tenant { id tenantId }",
    "Project": "id projectId tenant { id tenantId }",
    "Tenant": "id tenantId",
    "CallerKey": "id apiKeyId tenant { id tenantId }",
    "User": "id userId username",
    "Provider": "id providerId name",
    "Model": "id modelId name provider { id }",
    "ModelVariant": "id permaslug isListed model { id modelId }",
    "ModelPrice": "id validFrom validTo costPerInputToken",
    "TenantRequest": "id requestId createdAt tokens { total } model { id } provider { name }",
    "QuarantinedRecord": "id recordId tenantId requestId",
    "Viewer": "id keyId role",
}
LISTS = {
    "ApiKey": "apiKeys { nodes { %s } }",
    "Project": "projects { nodes { %s } }",
    "Tenant": "tenants { nodes { %s } }",
    "CallerKey": "tenants { nodes { callerKeys { nodes { %s } } } }",
    "User": "users { nodes { %s } }",
    "Provider": "providers { nodes { %s } }",
    "Model": "models { nodes { %s } }",
    "ModelVariant": "models { nodes { variants { %s } } }",
    "ModelPrice": "models { nodes { variants { prices { %s } } } }",
    "TenantRequest": 'tenantRequests(tenantId: "acme") { nodes { %s } }',
    "QuarantinedRecord": "quarantinedRecords { nodes { %s } }",
    "Viewer": "viewer { %s }",
}
OF_ACME = {"ApiKey", "Project", "Tenant", "CallerKey", "User", "TenantRequest"}


def with_id(value: Any) -> list[dict[str, Any]]:
    """Return the outermost objects of an answer that have an id."""
    if isinstance(value, list):
        return [one for inner in value for one in with_id(inner)]
    if "id" in value:
        return [value]
    return [one for inner in value.values() for one in with_id(inner)]


async def fill(gateway: Gateway) -> None:
    await gateway.catalog(
        {"model_id": "lab/public", "public": True, "cost_per_input_token": "0.1"},
        {"model_id": "lab/private", "cost_per_input_token": "0.2"},
    )
    await gateway.catalog({"model_id": "lab/public", "cost_per_input_token": "0.3"})
    await gateway.store(
        [
            make_record(
                request_id="r 1:x",
                tenant_id=tenant,
                project_id="web",
                api_key_id="key/1",
                user_id=f"user of {tenant}",
                model_id="lab/public",
                model_permaslug=permaslug,
            )
            for tenant, permaslug in (("acme", "lab/public:free"), ("umbrella", "lab/public"))
        ]
    )
    values = {"request_id": "q", "tenant_id": "umbrella", "prompt_tokens": 1}
    odd = [Quarantined(0, "otlp", NOW, tenant, values, (Reason(None, "odd"),)) for tenant in ("acme", "umbrella")]
    await Ingestor(gateway.database).ingest(ParsedBatch(received=2, quarantined=odd))
    await gateway.key("tenant", "acme")


async def listed(gateway: Gateway, headers: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return every object that the lists give, by type."""
    found = {}
    for kind, text in LISTS.items():
        answer = await gateway.graphql(f"{{ {text % FIELDS[kind]} }}", headers)
        assert "errors" not in answer, answer
        found[kind] = with_id(answer["data"])
        assert found[kind], kind
    return found


async def test_every_object_is_found_again_by_its_id(gateway: Gateway) -> None:
    await fill(gateway)
    admin = await gateway.key("admin")
    everything = await listed(gateway, admin)
    for kind, objects in everything.items():
        for one in objects:
            asked = f"query ($id: ID!) {{ node(id: $id) {{ __typename id ... on {kind} {{ {FIELDS[kind]} }} }} }}"
            answer = await gateway.graphql(asked, admin, id=one["id"])
            assert answer == {"data": {"node": {"__typename": kind, **one}}}
    ids = [one["id"] for kind, objects in everything.items() if kind != "ModelPrice" for one in objects]
    assert len(set(ids)) == len(ids), "one id is one object, whatever its type"
    prices = everything["ModelPrice"]
    assert {one["id"]: one for one in prices} == {one["id"]: {**one} for one in reversed(prices)}, "a price of an entry that two follow"


async def test_many_ids_are_asked_for_by_one_statement_a_type(gateway: Gateway) -> None:
    await fill(gateway)
    admin = await gateway.key("admin")
    kinds = ("Model", "Provider", "Tenant", "Project", "CallerKey", "User", "ApiKey", "TenantRequest", "QuarantinedRecord", "ModelVariant")
    everything = await listed(gateway, admin)
    known = [one["id"] for kind in kinds for one in everything[kind]]
    missing = to_base64("Model", "no/such")
    ids = [known[-1], missing, *known, known[0]]
    with recorded() as statements:
        answer = await gateway.graphql("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", admin, ids=ids)
    assert [None if node is None else node["id"] for node in answer["data"]["nodes"]] == [known[-1], None, *known, known[0]]
    assert [name for name in statements.names() if "by_" in name or "quarantined" in name] == snapshot(
        [
            "api_keys_by_key",
            "caller_keys_by_key",
            "model_variants_by_key",
            "models_by_key",
            "projects_by_key",
            "providers_by_key",
            "quarantined_records",
            "requests_by_name",
            "tenants_by_key",
            "users_by_key",
        ]
    )


@pytest.mark.parametrize("role", ["tenant", "bound admin", "gateway", "ingest"])
async def test_what_a_key_may_not_see_is_answered_as_what_is_not_there(gateway: Gateway, role: str) -> None:
    await fill(gateway)
    everything = await listed(gateway, await gateway.key("admin"))
    headers = await gateway.key(role.split()[-1], None if role == "gateway" else "umbrella")
    asked = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
    for kind, objects in everything.items():
        answer = await gateway.graphql(asked, headers, ids=[one["id"] for one in objects])
        assert "errors" not in answer, answer
        seen = {node["id"] for node in answer["data"]["nodes"] if node is not None}
        foreign = {one["id"] for one in objects if "acme" in str(one) or kind == "TenantRequest"}
        assert foreign or kind not in OF_ACME
        assert not seen & foreign, kind
        if kind == "QuarantinedRecord":
            assert len(seen) == (role == "bound admin")
        if kind in ("Model", "ModelVariant"):
            assert any("public" in base64.b64decode(one).decode() for one in seen)
        if role in ("gateway", "ingest") and kind in OF_ACME:
            assert seen == set(), kind


MALFORMED = [
    "",
    "x",
    "acme",
    "1",
    "\x00",
    "é",
    "A" * 5_000,
    to_base64("Nothing", "x"),
    to_base64("Query", ""),
    to_base64("PageInfo", "x"),
    to_base64("Project", "acme"),
    to_base64("Project", "acme\nweb\nmore"),
    to_base64("Model", "a\0b"),
    to_base64("QuarantinedRecord", "x"),
    to_base64("QuarantinedRecord", "A" * 32),
    to_base64("Model", "lab/public").rstrip("="),
    to_base64("Model", "lab/public") + "\n",
    "*" + to_base64("Model", "lab/public!!"),
    base64.b64encode(b"Model").decode(),
    base64.b64encode(b"Model:\xff").decode(),
    base64.urlsafe_b64encode(b"@acme 1").decode(),
    base64.urlsafe_b64encode(b"@acme 9" + b"9" * 18 + b":r").decode().rstrip("="),
    base64.urlsafe_b64encode(b"@acme 01:r").decode().rstrip("="),
    base64.urlsafe_b64encode(b"@ac\0me 1:r").decode().rstrip("="),
]


async def test_a_malformed_id_is_refused_by_name(gateway: Gateway) -> None:
    headers = await gateway.key("admin")
    with recorded() as statements:
        for text in MALFORMED:
            answer = await gateway.graphql("query ($id: ID!) { node(id: $id) { id } }", headers, id=text)
            (error,) = answer["errors"]
            assert (answer["data"], error["message"]) == ({"node": None}, "id is no id that this gateway gave"), text
            assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("BAD_USER_INPUT", "id")
            many = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
            answer = await gateway.graphql(many, headers, ids=[to_base64("Model", "x"), text])
            assert answer["data"] == {"nodes": None}
            assert answer["errors"][0]["message"] == "ids: the one at position 1, from 0, is no id that this gateway gave"
    assert [name for name in statements.names() if name != "authenticate"] == [], "nothing was read"


async def test_no_more_ids_than_the_limit_are_taken(gateway: Gateway) -> None:
    headers = await gateway.key("admin")
    for count in (0, 101):
        asked = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
        answer = await gateway.graphql(asked, headers, ids=[to_base64("Model", str(number)) for number in range(count)])
        assert (answer["data"], answer["errors"][0]["message"]) == ({"nodes": None}, "ids must be 1 to 100")
