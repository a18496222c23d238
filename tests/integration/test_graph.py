"""The graph of catalog and identities: relations in both directions, one statement a level, pages in code point order, who sees what."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from app.resolvers.loaders import MAX_OBJECTS
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded


async def fill(gateway: Gateway, size: int = 3) -> None:
    """Two tenants of `size` projects, users and caller keys each; user u0 is known to both, by another name."""
    await gateway.catalog(
        {"model_id": "openai/gpt-4o", "provider_name": "OpenAI", "name": "GPT-4o", "public": True},
        {
            "model_id": "openai/gpt-4o",
            "permaslug": "openai/gpt-4o:free",
            "public": True,
            "cost_per_input_token": 0,
            "cost_per_output_token": 0,
        },
        {"model_id": "anthropic/claude", "provider_name": "Anthropic", "public": True},
        {"model_id": "lab/secret"},
    )
    await gateway.store(
        [
            make_record(
                tenant_id=tenant,
                project_id=f"{tenant}-p{number}",
                api_key_id=f"{tenant}-k{number}",
                user_id="u0" if number == 0 else f"{tenant}-u{number}",
                username=f"{tenant} name {number}",
                model_id=model,
                provider=provider,
            )
            for tenant, model, provider in (("acme", "openai/gpt-4o", None), ("umbrella", "umbrella/own", "backroom"))
            for number in range(size)
        ]
    )


async def ask(gateway: Gateway, document: str, headers: dict[str, str], **variables: Any) -> Any:
    answer = await gateway.graphql(document, headers, **variables)
    assert "errors" not in answer, answer
    return answer["data"]


async def post(gateway: Gateway, document: str, headers: dict[str, str], **variables: Any) -> Any:
    """Send what httpx would not: lone surrogates."""
    body = json.dumps({"query": document, "variables": variables})
    return (await gateway.client.post("/graphql", content=body, headers={"Content-Type": "application/json", **headers})).json()


def code_of(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["errors"][0]["extensions"]["code"], answer["errors"][0]["message"]


async def test_catalog_in_both_directions(gateway: Gateway) -> None:
    await fill(gateway)
    data = await ask(
        gateway,
        """{
          model(modelId: "openai/gpt-4o") { modelId name isPublic provider { providerId name models { nodes { modelId } } }
            variants { permaslug isPublic isListed priced } }
          provider(providerId: "anthropic") { name models { nodes { modelId name } } }
          models { nodes { modelId provider { name } } }
          providers { nodes { providerId name } }
        }""",
        await gateway.key("ingest"),
    )
    assert data == {
        "model": {
            "modelId": "openai/gpt-4o",
            "name": "GPT-4o",
            "isPublic": True,
            "provider": {"providerId": "openai", "name": "OpenAI", "models": {"nodes": [{"modelId": "openai/gpt-4o"}]}},
            "variants": [
                {"permaslug": "openai/gpt-4o", "isPublic": True, "isListed": True, "priced": False},
                {"permaslug": "openai/gpt-4o:free", "isPublic": True, "isListed": True, "priced": True},
            ],
        },
        "provider": {"name": "Anthropic", "models": {"nodes": [{"modelId": "anthropic/claude", "name": "anthropic/claude"}]}},
        "models": {
            "nodes": [
                {"modelId": "anthropic/claude", "provider": {"name": "Anthropic"}},
                {"modelId": "openai/gpt-4o", "provider": {"name": "OpenAI"}},
            ]
        },
        "providers": {"nodes": [{"providerId": "anthropic", "name": "Anthropic"}, {"providerId": "openai", "name": "OpenAI"}]},
    }


NESTED = {
    "tenants": """{ tenants(first: 100) { nodes { tenantId
        projects { nodes { projectId tenant { tenantId } } }
        callerKeys { nodes { apiKeyId tenant { tenantId } } }
        apiKeys { nodes { keyId tenant { tenantId } } }
        users { nodes { userId username tenant { tenantId } tenants { nodes { tenantId users(first: 1) { nodes { userId } } } } } } } } }""",
    "projects": "{ projects(first: 100) { nodes { projectId tenant { tenantId users { nodes { userId } } projects { nodes { projectId } } } } } }",
    "users": "{ users(first: 100) { nodes { userId tenant { tenantId projects { nodes { projectId tenant { tenantId } } } } } } }",
    "models": """{ models(first: 100) { nodes { modelId provider { name models { nodes { modelId variants { permaslug } } } }
        variants { permaslug priced currentPrice { priced } prices { validFrom } } } } }""",
    "providers": "{ providers(first: 100) { nodes { providerId models { nodes { modelId provider { name } variants { priced } } } } } }",
}

STATEMENTS = {
    # The users of the tenants, and below them the first user of each of their tenants; both `tenant` and `tenants` are one level.
    "tenants": ["tenant_api_keys", "tenant_caller_keys", "tenant_projects", "tenant_users", "tenant_users", "tenants", "user_tenants"],
    "projects": ["projects", "tenant_projects", "tenant_users"],
    "users": ["tenant_projects", "user_tenants", "users"],
    # The models of the providers are those of the list: their variants are there already.
    "models": ["model_prices", "model_variants", "models", "provider_models"],
    "providers": ["model_prices", "model_variants", "provider_models", "providers"],
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("role", ["admin", "tenant"])
async def test_one_statement_a_level_whatever_the_number_of_rows(gateway: Gateway, name: str, role: str) -> None:
    headers = await gateway.key(role, "acme" if role == "tenant" else None)
    for size in (1, 12):
        await fill(gateway, size)
        with recorded() as statements:
            data = await ask(gateway, NESTED[name], headers)
        assert data[name]["nodes"]
        assert statements.names() == ["authenticate", *STATEMENTS[name]]


async def test_a_loader_joins_what_different_fields_of_one_level_ask_for(gateway: Gateway) -> None:
    await fill(gateway)
    document = """{ a: model(modelId: "openai/gpt-4o") { name } b: model(modelId: "anthropic/claude") { name } c: model(modelId: "openai/gpt-4o") { name }
        d: model(modelId: "no/such") { name } e: user(userId: "u0") { username } f: user(userId: "acme-u1") { username } }"""
    headers = await gateway.key("admin")
    with recorded() as statements:
        data = await ask(gateway, document, headers)
    assert statements.names() == ["authenticate", "models_by_key", "users_by_key"]
    assert (data["a"], data["c"], data["d"]) == ({"name": "GPT-4o"}, {"name": "GPT-4o"}, None)


async def test_what_was_loaded_is_forgotten_with_its_request(gateway: Gateway) -> None:
    await fill(gateway)
    headers = await gateway.key("admin")
    document = '{ model(modelId: "openai/gpt-4o") { name } }'
    assert (await ask(gateway, document, headers))["model"]["name"] == "GPT-4o"
    await gateway.catalog({"model_id": "openai/gpt-4o", "name": "renamed"})
    assert (await ask(gateway, document, headers))["model"]["name"] == "renamed"


LISTS = {
    "models": "modelId",
    "providers": "providerId",
    "tenants": "tenantId",
    "projects": "projectId",
    "users": "userId",
    "apiKeys": "keyId",
}


async def walk_pages(gateway: Gateway, headers: dict[str, str], name: str, first: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        document = f"""query ($first: Int!, $after: String) {{ {name}(first: $first, after: $after) {{
            nodes {{ {LISTS[name]} }} edges {{ cursor node {{ {LISTS[name]} }} }}
            pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""
        page = (await ask(gateway, document, headers, first=first, after=after))[name]
        info = page["pageInfo"]
        assert [edge["node"] for edge in page["edges"]] == page["nodes"]
        assert info["hasPreviousPage"] == (after is not None)
        assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
        found += [node[LISTS[name]] for node in page["nodes"]]
        after = info["endCursor"]
        if not info["hasNextPage"]:
            return found


@pytest.mark.parametrize("name", LISTS)
async def test_pages_hold_every_object_once_in_code_point_order(gateway: Gateway, name: str) -> None:
    await fill(gateway)
    odd = ["Zed", "_under", "a-b", "a.b", "aB", "ab", "zed"]
    await gateway.store(
        [make_record(tenant_id=text, project_id="p", user_id=f"{text}é", model_id=f"{text}/m", request_id=text) for text in odd]
    )
    headers = await gateway.key("admin")
    for _ in range(4):
        await gateway.key("tenant", "acme")
    whole = await walk_pages(gateway, headers, name, 100)
    for first in (1, 2, 3):
        assert await walk_pages(gateway, headers, name, first) == whole
    assert whole == sorted(whole) or name == "projects"
    assert len(whole) >= 5
    assert len(set(whole)) == len(whole) or name == "projects"


async def test_projects_are_ordered_by_tenant_and_pages_may_begin_within_one(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id=tenant, project_id=project) for tenant in ("b", "a") for project in ("y", "x", "z")])
    assert await walk_pages(gateway, await gateway.key("admin"), "projects", 2) == ["x", "y", "z", "x", "y", "z"]


async def test_nested_pages(gateway: Gateway) -> None:
    await fill(gateway, 5)
    headers = await gateway.key("admin")
    document = """query ($after: String) { tenants { nodes { tenantId projects(first: 2, after: $after) {
        nodes { projectId } pageInfo { hasNextPage endCursor } } } } }"""
    acme, umbrella = (await ask(gateway, document, headers))["tenants"]["nodes"]
    assert [node["projectId"] for node in acme["projects"]["nodes"]] == ["acme-p0", "acme-p1"]
    assert acme["projects"]["pageInfo"]["hasNextPage"]
    after = acme["projects"]["pageInfo"]["endCursor"]
    with recorded() as statements:
        acme, umbrella = (await ask(gateway, document, headers, after=after))["tenants"]["nodes"]
    assert statements.names() == ["authenticate", "tenant_projects", "tenants"]
    assert [node["projectId"] for node in acme["projects"]["nodes"]] == ["acme-p2", "acme-p3"]
    assert [node["projectId"] for node in umbrella["projects"]["nodes"]] == ["umbrella-p0", "umbrella-p1"]


@pytest.mark.parametrize("name", LISTS)
async def test_arguments_of_lists_are_judged(gateway: Gateway, name: str) -> None:
    headers = await gateway.key("admin")
    document = f"query ($first: Int = 50, $after: String) {{ {name}(first: $first, after: $after) {{ pageInfo {{ endCursor }} }} }}"
    for first in (0, -1, 101, 2**31 - 1):
        answer = await gateway.graphql(document, headers, first=first)
        assert code_of(answer) == ("BAD_USER_INPUT", "first must be from 1 to 100")
    other = "WyJvdGhlciIsImEiXQ"
    long = "WyJ" + "A" * 5000
    assert "errors" not in await post(gateway, document, headers, after=""), "an empty text is not given"
    for after in ("junk", "!!!", "W10", "bnVsbA", "e30", "WzFd", other, long, "\0", "\ud800", "é"):
        answer = await post(gateway, document, headers, after=after)
        assert code_of(answer) == ("BAD_USER_INPUT", "the cursor is not one that this list gave"), after


async def test_text_that_no_database_holds(gateway: Gateway) -> None:
    headers = await gateway.key("admin")
    for text in ("a\0b", "\ud800"):
        answer = await post(
            gateway, "query ($id: String!) { model(modelId: $id) { name } user(userId: $id) { username } }", headers, id=text
        )
        assert code_of(answer)[0] == "BAD_USER_INPUT"


async def test_nested_lists_are_bounded_together(gateway: Gateway) -> None:
    await gateway.store(
        [make_record(tenant_id=f"t{number % 40}", user_id=f"u{number // 40}", request_id=f"r{number}") for number in range(40 * 40)]
    )
    level = "tenants(first: 100) { nodes { users(first: 100) { nodes { userId "
    document = "{ " + level * 2 + "} } " * 4 + "}"
    headers = await gateway.key("admin")
    with recorded() as statements:
        answer = await gateway.graphql(document, headers)
    assert code_of(answer)[0] == "QUERY_TOO_EXPENSIVE"
    assert str(MAX_OBJECTS) in code_of(answer)[1]
    assert len(statements) <= 5
    data = await ask(gateway, "{ " + level + "} } } } }", headers)
    assert sum(len(tenant["users"]["nodes"]) for tenant in data["tenants"]["nodes"]) == 1600


async def test_prices_show_their_time_and_no_infinity(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    await gateway.catalog({"model_id": "m/x", "public": True, "cost_per_input_token": "0.0000025", "cost_per_output_token": "0.00000001"})
    gateway.clock.advance(timedelta(hours=1))
    await gateway.catalog({"model_id": "m/x", "cost_per_input_token": "0.000003"})
    await gateway.store([make_record(model_id="m/x", model_permaslug="m/x:beta")])
    document = """{ model(modelId: "m/x") { variants { permaslug isListed priced
        currentPrice { validFrom validTo costPerInputToken costPerOutputToken priced }
        prices { validFrom validTo costPerInputToken costPerOutputToken priced } } } }"""
    now = "2026-06-26T13:00:00.000Z"
    newest = {"validFrom": now, "validTo": None, "costPerInputToken": "0.000003", "costPerOutputToken": None, "priced": False}
    first = {"validFrom": None, "validTo": now, "costPerInputToken": "0.0000025", "costPerOutputToken": "0.00000001", "priced": True}
    variants = (await ask(gateway, document, headers))["model"]["variants"]
    assert variants == [
        {"permaslug": name, "isListed": listed, "priced": False, "currentPrice": newest, "prices": [newest, first]}
        for name, listed in (("m/x", True), ("m/x:beta", False))
    ]
    gateway.clock.now = NOW
    variants = (await ask(gateway, document, headers))["model"]["variants"]
    assert [(variant["priced"], variant["currentPrice"]) for variant in variants] == [(True, first), (True, first)]


async def test_keys_are_listed_without_their_secrets(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    made = [await gateway.key("tenant", "acme"), await gateway.key("ingest", "acme"), await gateway.key("ingest", "umbrella")]
    document = "{ apiKeys { nodes { keyId prefix name role status createdAt expiresAt revokedAt tenant { tenantId } } } }"
    keys = (await ask(gateway, document, admin))["apiKeys"]["nodes"]
    assert sorted((key["role"], key["tenant"] and key["tenant"]["tenantId"]) for key in keys if key["role"] != "ADMIN") == [
        ("INGEST", "acme"),
        ("INGEST", "umbrella"),
        ("TENANT", "acme"),
    ]
    assert {(key["status"], key["createdAt"], key["expiresAt"]) for key in keys} == {("ACTIVE", "2026-06-26T12:00:00.000Z", None)}
    own = (await ask(gateway, document, made[0]))["apiKeys"]["nodes"]
    assert own == [key for key in keys if key["tenant"] == {"tenantId": "acme"}]
    nested = (await ask(gateway, "{ tenants { nodes { apiKeys { nodes { keyId } } } } }", made[0]))["tenants"]["nodes"]
    assert nested == [{"apiKeys": {"nodes": [{"keyId": key["keyId"]} for key in own]}}]
    text = str(keys)
    for headers in (admin, *made):
        secret = headers["Authorization"].removeprefix("Bearer ")
        assert secret not in text
        assert secret[12:] not in text
