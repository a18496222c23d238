"""What has an `id`, clients cache as `__typename:id`: one id is one object, whoever asks and whosever it is."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLObjectType, build_schema

from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.resolvers.schema import print_schema
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

TENANTS = ("acme", "acme:1", "umbrella")


def test_the_types_with_an_id_are_those_below() -> None:
    kinds = build_schema(print_schema()).type_map.values()
    with_id = {kind.name for kind in kinds if isinstance(kind, GraphQLObjectType) and "id" in kind.fields}
    # What is still quarantined has the id of its quarantined record, under another type.
    assert with_id == {"ApiKey", "QuarantinedRecord", "RecordStillQuarantined", "TenantRequest"}


async def test_equal_requests_of_several_tenants_have_ids_of_their_own(gateway: Gateway) -> None:
    same = {"request_id": "r 1:x", "occurred_at": NOW}
    await gateway.store([make_record(tenant_id=tenant, **same) for tenant in TENANTS])
    admin = await gateway.key("admin")
    found: dict[str, str] = {}
    for tenant in TENANTS:
        own = await gateway.key("tenant", tenant)
        asked = "query ($t: String) { tenantRequests(tenantId: $t) { nodes { id requestId } } }"
        seen = [(await gateway.graphql(asked, headers, t=name))["data"] for headers, name in ((own, None), (own, tenant), (admin, tenant))]
        assert seen[0] == seen[1] == seen[2], "one object has one id, whoever asks"
        found[tenant] = seen[0]["tenantRequests"]["nodes"][0]["id"]
        (row,) = (await gateway.client.get("/v1/customer/logs", headers=own)).json()["data"]
        assert row["id"] == found[tenant]
        assert found[tenant] in (await gateway.client.get("/v1/customer/billing/usage-statement.csv", headers=own)).text
    assert len(set(found.values())) == len(TENANTS)


async def test_equal_quarantined_records_and_keys_too(gateway: Gateway) -> None:
    values: dict[str, Any] = {"request_id": "r", "prompt_tokens": 1}
    kept = [Quarantined(number, "otlp", NOW, tenant, values, (Reason(None, "odd"),)) for number, tenant in enumerate((*TENANTS, None))]
    await Ingestor(gateway.database).ingest(ParsedBatch(received=len(kept), quarantined=kept))
    for tenant in TENANTS:
        await gateway.key("tenant", tenant)
    asked = "{ quarantinedRecords { nodes { id } } apiKeys { nodes { id } } }"
    answer = (await gateway.graphql(asked, await gateway.key("admin")))["data"]
    assert len({node["id"] for node in answer["quarantinedRecords"]["nodes"]}) == len(kept)
    assert len({node["id"] for node in answer["apiKeys"]["nodes"]}) == len(TENANTS) + 1
