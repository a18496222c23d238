"""What has an `id`, clients cache as `__typename:id`: one id is one object, whoever asks and whosever it is."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLID, GraphQLObjectType, build_schema, get_named_type

from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.resolvers.schema import print_schema
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.integration.test_nodes import FIELDS

TENANTS = ("acme", "acme:1", "umbrella")


def test_what_has_an_id_is_a_node_that_can_be_asked_for() -> None:
    kinds = [kind for kind in build_schema(print_schema()).type_map.values() if isinstance(kind, GraphQLObjectType)]
    with_id = {kind.name for kind in kinds if "id" in kind.fields}
    assert with_id == {kind.name for kind in kinds if "Node" in {one.name for one in kind.interfaces}}
    assert with_id == set(FIELDS), "tests/integration/test_nodes.py asks for each"


def test_an_argument_named_id_takes_global_ids_and_nothing_else_does() -> None:
    schema = build_schema(print_schema())
    found = set()
    for kind in schema.type_map.values():
        for name, field in getattr(kind, "fields", {}).items():
            named = {name: get_named_type(field.type), **{key: get_named_type(one.type) for key, one in getattr(field, "args", {}).items()}}
            found |= {key for key, type_ in named.items() if type_ is GraphQLID}
    assert found == {"id", "ids"}


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
