"""Who sees what of the graph: an admin all, a tenant its own, others what is public; what is foreign is as if it were not there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.auth.store import KeyRequest, create_key, list_keys, revoke_key
from app.domain.principal import Role
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded


async def fill(gateway: Gateway) -> None:
    await gateway.catalog({"model_id": "openai/gpt-4o", "public": True}, {"model_id": "lab/unreleased", "name": "Codename"})
    await gateway.store(
        [
            make_record(tenant_id="acme", project_id="shared", user_id="both", username="As acme knows", api_key_id="k"),
            make_record(tenant_id="acme", user_id="only-acme", model_id="acme/own", model_permaslug="acme/own:v1"),
            make_record(
                tenant_id="umbrella",
                project_id="shared",
                user_id="both",
                username="As umbrella knows",
                occurred_at=NOW,
                api_key_id="k",
                model_id="umbrella/own",
                provider="backroom",
            ),
            make_record(tenant_id="umbrella", user_id="only-umbrella", model_id="openai/gpt-4o", model_permaslug="openai/gpt-4o:umbrella"),
        ]
    )


async def names(gateway: Gateway, headers: dict[str, str]) -> dict[str, list[Any]]:
    answer = await gateway.graphql(
        """{ models { nodes { modelId } } providers { nodes { providerId } } tenants { nodes { tenantId } }
             projects { nodes { projectId tenant { tenantId } } } users { nodes { userId username } } }""",
        headers,
    )
    return {root: [tuple(_leaves(node)) for node in page["nodes"]] for root, page in answer["data"].items()}


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value.values() for leaf in (_leaves(item) if isinstance(item, dict) else [item])]


async def test_each_role_sees_its_part(gateway: Gateway) -> None:
    await fill(gateway)
    assert await names(gateway, await gateway.key("admin")) == {
        "models": [("acme/own",), ("lab/unreleased",), ("openai/gpt-4o",), ("umbrella/own",)],
        "providers": [("acme",), ("backroom",), ("lab",), ("openai",), ("umbrella",)],
        "tenants": [("acme",), ("umbrella",)],
        "projects": [("shared", "acme"), ("shared", "umbrella")],
        "users": [("both", "As umbrella knows"), ("only-acme", None), ("only-umbrella", None)],
    }
    assert await names(gateway, await gateway.key("tenant", "acme")) == {
        "models": [("acme/own",), ("openai/gpt-4o",)],
        "providers": [("acme",), ("openai",)],
        "tenants": [("acme",)],
        "projects": [("shared", "acme")],
        "users": [("both", "As acme knows"), ("only-acme", None)],
    }
    assert await names(gateway, await gateway.key("tenant", "umbrella")) == {
        "models": [("openai/gpt-4o",), ("umbrella/own",)],
        "providers": [("backroom",), ("openai",)],
        "tenants": [("umbrella",)],
        "projects": [("shared", "umbrella")],
        "users": [("both", "As umbrella knows"), ("only-umbrella", None)],
    }


@pytest.mark.parametrize("role", ["gateway", "ingest", "ingest of acme", "secret"])
async def test_other_roles_see_the_public_catalog(gateway: Gateway, role: str) -> None:
    await fill(gateway)
    headers = (
        {"Authorization": "Bearer gateway-secret"}
        if role == "secret"
        else await gateway.key(role.partition(" ")[0], "acme" if "acme" in role else None)
    )
    answer = await gateway.graphql(
        """{ models { nodes { modelId variants { permaslug } provider { models { nodes { modelId } } } } }
             own: model(modelId: "acme/own") { name } unreleased: model(modelId: "lab/unreleased") { name }
             providers { nodes { providerId } } hidden: provider(providerId: "acme") { name } }""",
        headers,
    )
    assert answer["data"] == {
        "models": {
            "nodes": [
                {
                    "modelId": "openai/gpt-4o",
                    "variants": [{"permaslug": "openai/gpt-4o"}, {"permaslug": "openai/gpt-4o:umbrella"}],
                    "provider": {"models": {"nodes": [{"modelId": "openai/gpt-4o"}]}},
                }
            ]
        },
        "own": None,
        "unreleased": None,
        "providers": {"nodes": [{"providerId": "openai"}]},
        "hidden": None,
    }


FOREIGN = [
    ("model", "umbrella/own", "{ name }"),
    ("provider", "backroom", "{ name models { nodes { modelId } } }"),
    ("tenant", "umbrella", "{ tenantId projects { nodes { projectId } } }"),
    ("user", "only-umbrella", "{ userId tenants { nodes { tenantId } } }"),
]


@pytest.mark.parametrize(("root", "name", "selection"), FOREIGN)
async def test_what_is_foreign_is_as_if_it_were_not_there(gateway: Gateway, root: str, name: str, selection: str) -> None:
    await fill(gateway)
    document = f"query ($id: String!) {{ {root}({root}Id: $id) {selection} }}"
    headers = await gateway.key("tenant", "acme")
    foreign, missing = [await gateway.graphql(document, headers, id=given) for given in (name, "no-such-thing")]
    assert foreign == missing == {"data": {root: None}}
    assert (await gateway.graphql(document, await gateway.key("tenant", "umbrella"), id=name))["data"][root] is not None
    assert (await gateway.graphql(document, await gateway.key("admin"), id=name))["data"][root] is not None


async def test_a_cursor_of_another_opens_nothing(gateway: Gateway) -> None:
    await fill(gateway)
    document = "query ($after: String) { users(first: 1, after: $after) { nodes { userId } pageInfo { endCursor hasNextPage } } }"
    umbrella, acme = await gateway.key("tenant", "umbrella"), await gateway.key("tenant", "acme")
    page = (await gateway.graphql(document, umbrella))["data"]["users"]
    after = page["pageInfo"]["endCursor"]
    assert page["nodes"] == [{"userId": "both"}]
    assert (await gateway.graphql(document, acme, after=after))["data"]["users"]["nodes"] == [{"userId": "only-acme"}]


async def test_a_shared_users_tenants_are_told_to_each_by_itself(gateway: Gateway) -> None:
    await fill(gateway)
    document = '{ user(userId: "both") { username tenant { tenantId } tenants { nodes { tenantId } pageInfo { hasNextPage } } } }'
    for headers, username, tenants in (
        (await gateway.key("admin"), "As umbrella knows", ["acme", "umbrella"]),
        (await gateway.key("tenant", "acme"), "As acme knows", ["acme"]),
        (await gateway.key("tenant", "umbrella"), "As umbrella knows", ["umbrella"]),
    ):
        user = (await gateway.graphql(document, headers))["data"]["user"]
        assert user["username"] == username
        assert user["tenant"] == {"tenantId": tenants[0]}
        assert user["tenants"] == {"nodes": [{"tenantId": name} for name in tenants], "pageInfo": {"hasNextPage": False}}


CARD = """query ($id: String!) { model(modelId: $id) { modelId name isPublic provider { name }
    variants { permaslug name isPublic isListed prices { costPerInputToken } currentPrice { costPerInputToken } priced } } }"""


async def test_a_private_entry_is_to_its_user_as_a_model_that_the_catalog_does_not_have(gateway: Gateway) -> None:
    """What `acme` sees of a private entry that its records named is what it sees of a name that it made up."""
    secret = {
        "name": "Codename",
        "provider": "stealth",
        "provider_name": "Stealth Corp",
        "cost_per_input_token": 1,
        "cost_per_output_token": 2,
    }
    await gateway.catalog({"model_id": "lab/x", **secret}, {"model_id": "lab/x", "permaslug": "lab/x:v2", **secret})
    named = ("lab/x", "lab/made-up")
    await gateway.store([make_record(tenant_id="acme", model_id=model, provider="lab") for model in named])
    await gateway.store([make_record(tenant_id="umbrella")])
    acme, umbrella, admin = await gateway.key("tenant", "acme"), await gateway.key("tenant", "umbrella"), await gateway.key("admin")
    for model in named:
        variant = {
            "permaslug": model,
            "name": model,
            "isPublic": False,
            "isListed": False,
            "prices": [],
            "currentPrice": None,
            "priced": False,
        }
        card = {"modelId": model, "name": model, "isPublic": False, "provider": None, "variants": [variant]}
        assert (await gateway.graphql(CARD, acme, id=model))["data"] == {"model": card}
    for model in (*named, "lab/no-such"):
        assert (await gateway.graphql(CARD, umbrella, id=model))["data"] == {"model": None}
    providers = "{ providers { nodes { providerId name models { nodes { modelId } } } } }"
    assert (await gateway.graphql(providers, acme))["data"]["providers"]["nodes"] == [
        {"providerId": "lab", "name": "lab", "models": {"nodes": []}}
    ]
    known = (await gateway.graphql(CARD, admin, id="lab/x"))["data"]["model"]
    assert (known["name"], known["provider"], len(known["variants"])) == ("Codename", {"name": "Stealth Corp"}, 2)
    assert known["variants"][0]["currentPrice"] == {"costPerInputToken": "1"}


async def test_what_is_public_of_a_model_is_told_without_what_is_private(gateway: Gateway) -> None:
    """A model with a public entry and a private one that the tenant used: the card is the public one's."""
    await gateway.catalog(
        {"model_id": "lab/x", "name": "Codename", "cost_per_input_token": 1, "cost_per_output_token": 2},
        {
            "model_id": "lab/x",
            "permaslug": "lab/x:free",
            "name": "X",
            "public": True,
            "cost_per_input_token": 0,
            "cost_per_output_token": 0,
        },
    )
    await gateway.store([make_record(tenant_id="acme", model_id="lab/x")])
    model = (await gateway.graphql(CARD, await gateway.key("tenant", "acme"), id="lab/x"))["data"]["model"]
    assert (model["name"], model["isPublic"], model["provider"]) == ("X", True, {"name": "lab"})
    assert [(variant["name"], variant["priced"]) for variant in model["variants"]] == [("lab/x", False), ("X", True)]


IDENTITIES = [
    "tenants { nodes { tenantId } }",
    'tenant(tenantId: "acme") { tenantId }',
    "projects { nodes { projectId } }",
    "users { nodes { userId } }",
    'user(userId: "both") { userId }',
    "apiKeys { nodes { id } }",
]
CATALOG = [
    "models { nodes { modelId } }",
    'model(modelId: "openai/gpt-4o") { name }',
    "providers { nodes { providerId } }",
    'provider(providerId: "openai") { name }',
    "viewer { role }",
]


@pytest.mark.parametrize("selection", IDENTITIES)
@pytest.mark.parametrize("role", ["gateway", "ingest", "ingest of acme"])
async def test_identities_are_refused_before_anything_is_read(gateway: Gateway, selection: str, role: str) -> None:
    await fill(gateway)
    headers = await gateway.key(role.partition(" ")[0], "acme" if "acme" in role else None)
    with recorded() as statements:
        answer = await gateway.graphql(f"{{ {selection} }}", headers)
    error = answer["errors"][0]
    assert (error["extensions"], error["message"]) == ({"code": "FORBIDDEN"}, "A key of role admin or tenant is required")
    assert list(answer["data"].values()) == [None]
    assert statements.names() == ["authenticate"]


@pytest.mark.parametrize("selection", [*IDENTITIES, *CATALOG])
async def test_nothing_is_read_without_a_key(gateway: Gateway, selection: str) -> None:
    await fill(gateway)
    for headers, read in (({}, []), ({"Authorization": "Bearer tg_wrong"}, ["authenticate"])):
        with recorded() as statements:
            answer = await gateway.graphql(f"{{ {selection} }}", headers)
        assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        assert list(answer["data"].values()) == [None]
        assert statements.names() == read


VIEWER = "{ viewer { keyId role tenantId tenant { tenantId projects { nodes { projectId } } } queries mutations } }"
OPEN = {"network", "rankingsDaily", "viewer", "models", "model", "providers", "provider"}
OWN = {"tenants", "tenant", "projects", "users", "user", "apiKeys"}


@pytest.mark.parametrize(
    ("role", "tenant", "queries", "not_queries", "mutations"),
    [
        (
            "admin",
            None,
            OPEN | OWN | {"usageAnalytics", "gatewayStats"},
            set(),
            {"createApiKey", "revokeApiKey", "upsertModels", "publishModels", "ingestUsage", "eraseUser"}
            | {"releaseQuarantinedRecords", "dropQuarantinedRecords"},
        ),
        ("tenant", "acme", OPEN | OWN | {"tenantAnalytics"}, {"usageAnalytics", "gatewayStats"}, set()),
        ("gateway", None, OPEN | {"gatewayStats"}, OWN | {"usageAnalytics", "tenantAnalytics"}, set()),
        ("ingest", None, OPEN, OWN | {"usageAnalytics", "tenantAnalytics", "gatewayStats"}, {"ingestUsage"}),
        ("ingest", "acme", OPEN, OWN | {"usageAnalytics", "tenantAnalytics", "gatewayStats"}, {"ingestUsage"}),
    ],
)
async def test_viewer(
    gateway: Gateway, role: str, tenant: str | None, queries: set[str], not_queries: set[str], mutations: set[str]
) -> None:
    await fill(gateway)
    headers = await gateway.key(role, tenant)
    (made,) = await list_keys(gateway.database)
    viewer = (await gateway.graphql(VIEWER, headers))["data"]["viewer"]
    assert (viewer["keyId"], viewer["role"], viewer["tenantId"]) == (made.id, role.upper(), tenant)
    seen = {"tenantId": "acme", "projects": {"nodes": [{"projectId": "shared"}]}}
    assert viewer["tenant"] == (seen if role == "tenant" else None)
    assert queries <= set(viewer["queries"])
    assert not not_queries & set(viewer["queries"])
    assert set(viewer["mutations"]) == mutations


async def test_viewer_of_the_gateways_own_secret(gateway: Gateway) -> None:
    viewer = (await gateway.graphql(VIEWER, {"X-API-Key": "gateway-secret"}))["data"]["viewer"]
    assert (viewer["keyId"], viewer["role"], viewer["tenant"], viewer["mutations"]) == ("gateway-secret", "GATEWAY", None, [])


async def test_the_state_of_keys(gateway: Gateway) -> None:
    hour = timedelta(hours=1)
    made = [
        await create_key(gateway.database, KeyRequest(Role.TENANT, tenant_id="acme", name=name, expires_at=expires), NOW)
        for name, expires in (("active", NOW + 3 * hour), ("expired", NOW + hour), ("revoked", None), ("disabled", None))
    ]
    await revoke_key(gateway.database, made[2].id, NOW + hour)
    async with gateway.database.transaction() as connection:
        await connection.execute("UPDATE api_keys SET disabled_at = %s WHERE id = %s", [NOW, made[3].id])
    gateway.clock.advance(2 * hour)
    answer = await gateway.graphql(
        "{ apiKeys { nodes { name status expiresAt revokedAt } } }", {"Authorization": f"Bearer {made[0].secret}"}
    )
    assert {node["name"]: (node["status"], node["expiresAt"], node["revokedAt"]) for node in answer["data"]["apiKeys"]["nodes"]} == {
        "active": ("ACTIVE", "2026-06-26T15:00:00.000Z", None),
        "expired": ("EXPIRED", "2026-06-26T13:00:00.000Z", None),
        "revoked": ("REVOKED", None, "2026-06-26T13:00:00.000Z"),
        "disabled": ("DISABLED", None, None),
    }
