"""A key of role admin that is bound to a tenant: it changes what is that tenant's, and nothing else. What it reads, the scope walk holds."""

from __future__ import annotations

from typing import Any

from app.auth.store import KeyRequest, create_key
from app.domain.principal import Role
from app.domain.usage import ParsedBatch, Quarantined
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

SHARED = "An admin key that is bound to a tenant may not change what all tenants share"
OWN_KEYS = "This key is bound to a tenant, and makes keys of that tenant only"


async def outcome(gateway: Gateway, headers: dict[str, str], mutation: str) -> tuple[Any, list[tuple[str, str]]]:
    """Return the value of the document's one mutation, and its errors."""
    answer = await gateway.graphql(f"mutation {{ {mutation} }}", headers)
    (value,) = answer["data"].values()
    return value, [(error["extensions"]["code"], error["message"]) for error in answer.get("errors", [])]


async def test_it_makes_and_revokes_keys_of_its_tenant(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id="umbrella")])
    headers = await gateway.key("admin", "acme")
    others = [
        (await create_key(gateway.database, KeyRequest(role, tenant_id=tenant), NOW)).id
        for role, tenant in ((Role.TENANT, "umbrella"), (Role.GATEWAY, None), (Role.ADMIN, None))
    ]
    make = "createApiKey(input: {%s}) { apiKey { keyId role tenant { tenantId } } }"
    for given in ("role: ADMIN", "role: INGEST", "role: TENANT", 'role: ADMIN, tenantId: "acme"'):
        made, errors = await outcome(gateway, headers, make % given)
        assert (made["apiKey"]["tenant"], errors) == ({"tenantId": "acme"}, []), given
        revoked, errors = await outcome(gateway, headers, f'revokeApiKey(keyId: "{made["apiKey"]["keyId"]}") {{ status }}')
        assert (revoked, errors) == ({"status": "REVOKED"}, [])
    for given in ("role: GATEWAY", 'role: TENANT, tenantId: "umbrella"', 'role: ADMIN, tenantId: "new"'):
        assert await outcome(gateway, headers, make % given) == (None, [("FORBIDDEN", OWN_KEYS)]), given
    for key_id in others:
        refused = await outcome(gateway, headers, f'revokeApiKey(keyId: "{key_id}") {{ status }}')
        assert refused == (None, [("NOT_FOUND", f"no key has the id {key_id}")])
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND id = ANY(%s)", [others])
        assert await cursor.fetchone() == (3,)
        cursor = await connection.execute("SELECT external_id FROM tenants ORDER BY 1")
        assert await cursor.fetchall() == [("acme",), ("umbrella",)]


async def test_what_all_tenants_share_it_does_not_change(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id="acme", user_id="both"), make_record(tenant_id="umbrella", user_id="both")])
    headers = await gateway.key("admin", "acme")
    for mutation in (
        'upsertModels(entries: [{modelId: "lab/x"}]) { added }',
        'publishModels(pattern: "*") { modelId }',
        'eraseUser(userId: "both") { tenants }',
    ):
        assert await outcome(gateway, headers, mutation) == (None, [("FORBIDDEN", SHARED)]), mutation
    viewer = (await gateway.graphql("{ viewer { mutations } }", headers))["data"]["viewer"]
    assert viewer["mutations"] == ["createApiKey", "revokeApiKey", "releaseQuarantinedRecords", "dropQuarantinedRecords", "ingestUsage"]
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM models WHERE is_public OR public_id = 'lab/x'), (SELECT count(*) FROM users WHERE external_id = 'both')"
        )
        assert await cursor.fetchone() == (0, 1)


async def test_it_writes_its_tenant_only(gateway: Gateway) -> None:
    headers = await gateway.key("admin", "acme")
    names = ("acme", "umbrella")
    records = [{"request_id": name, "occurred_at": NOW.isoformat(), "model_id": "a/b", "tenant_id": name} for name in names]
    receipt = (await gateway.client.post("/v1/ingest/usage", json=records, headers=headers)).json()
    assert (receipt["inserted"], receipt["rejected"], receipt["errors"][0]["field"]) == (1, 1, "tenant_id")
    given = ", ".join(f'{{requestId: "m-{name}", occurredAt: "{NOW.isoformat()}", modelId: "a/b", tenantId: "{name}"}}' for name in names)
    value, errors = await outcome(gateway, headers, f"ingestUsage(records: [{given}]) {{ inserted rejected }}")
    assert (value, errors) == ({"inserted": 1, "rejected": 1}, [])


async def test_of_the_quarantine_it_decides_on_its_tenants_records(gateway: Gateway) -> None:
    def odd(tenant: str, number: int) -> Quarantined:
        values = {"request_id": f"{tenant}-{number}", "tenant_id": tenant, "occurred_at": NOW.isoformat(), "model_id": "a/b"}
        return Quarantined(number, "otlp", NOW, None, values, ())

    kept = [odd(tenant, number) for tenant in ("acme", "umbrella") for number in (1, 2)]
    await Ingestor(gateway.database).ingest(ParsedBatch(received=4, quarantined=kept))
    listing = "{ quarantinedRecords { totalCount nodes { recordId requestId } } }"
    all_of_them = (await gateway.graphql(listing, await gateway.key("admin")))["data"]["quarantinedRecords"]["nodes"]
    ids = {node["requestId"]: node["recordId"] for node in all_of_them}
    headers = await gateway.key("admin", "acme")
    listed = (await gateway.graphql(listing, headers))["data"]["quarantinedRecords"]
    assert (listed["totalCount"], {node["requestId"] for node in listed["nodes"]}) == (2, {"acme-1", "acme-2"})
    foreign = await gateway.graphql('{ quarantinedRecords(tenantId: "umbrella") { totalCount } }', headers)
    assert (foreign["data"], foreign["errors"][0]["extensions"]) == (
        {"quarantinedRecords": None},
        {"code": "NOT_FOUND", "argument": "tenantId"},
    )
    both = f'recordIds: ["{ids["acme-1"]}", "{ids["umbrella-1"]}"]'
    moved = f'recordIds: ["{ids["acme-2"]}"], changes: {{tenantId: "umbrella"}}'
    still = f"releaseQuarantinedRecords({moved}) {{ released stillQuarantined {{ reasons {{ field }} }} }}"
    assert await outcome(gateway, headers, still) == ({"released": 0, "stillQuarantined": [{"reasons": [{"field": "tenantId"}]}]}, [])
    released, errors = await outcome(gateway, headers, f"releaseQuarantinedRecords({both}) {{ released notFound }}")
    assert (released, errors) == ({"released": 1, "notFound": [ids["umbrella-1"]]}, [])
    both = f'recordIds: ["{ids["acme-2"]}", "{ids["umbrella-2"]}"]'
    dropped, errors = await outcome(gateway, headers, f"dropQuarantinedRecords({both}) {{ dropped notFound }}")
    assert (dropped, errors) == ({"dropped": 1, "notFound": [ids["umbrella-2"]]}, [])
    left = (await gateway.graphql(listing, await gateway.key("admin")))["data"]["quarantinedRecords"]
    assert {node["requestId"] for node in left["nodes"]} == {"umbrella-1", "umbrella-2"}
