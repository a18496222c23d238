"""Rows of the surfaces lead into the catalog and identity graph, one statement a level."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded


@pytest.mark.parametrize("rows", [2, 40])
async def test_usage_rows_lead_to_models_providers_users_and_tenants(gateway: Gateway, rows: int) -> None:
    await gateway.catalog(
        *(
            {"model_id": f"maker{number % 3}/m{number}", "name": f"Model {number}", "provider_name": f"Maker {number % 3}"}
            for number in range(rows)
        )
    )
    await gateway.store(
        [
            make_record(
                model_id=f"maker{number % 3}/m{number}",
                user_id=f"u{number}",
                username=f"name {number}",
                tenant_id=f"t{number % 2}",
                occurred_at=NOW - timedelta(days=1),
            )
            for number in range(rows)
        ]
    )
    document = """{ usageAnalytics {
        byModel { modelId model { name provider { name } } provider { name } }
        topUsers { userId username user { username tenant { tenantId } } } } }"""
    admin = await gateway.key("admin")
    with recorded() as statements:
        answer = await gateway.graphql(document, admin)
    assert "errors" not in answer
    usage = answer["data"]["usageAnalytics"]
    assert len(usage["byModel"]) == len(usage["topUsers"]) == rows
    for row in usage["byModel"]:
        number = int(row["modelId"].rpartition("m")[2])
        assert row["model"] == {"name": f"Model {number}", "provider": {"name": f"Maker {number % 3}"}}
        assert row["provider"] == {"name": f"Maker {number % 3}"}
    for row in usage["topUsers"]:
        number = int(row["userId"][1:])
        assert row == {
            "userId": f"u{number}",
            "username": f"name {number}",
            "user": {"username": f"name {number}", "tenant": {"tenantId": f"t{number % 2}"}},
        }
    asked = [name for name in statements.names() if not name.startswith(("BEGIN", "COMMIT", "SET"))]
    assert len(asked) == len(set(asked)) <= 12, asked


async def test_a_request_leads_to_its_model(gateway: Gateway) -> None:
    await gateway.catalog({"model_id": "openai/gpt-4o", "name": "GPT-4o", "public": True})
    await gateway.store([make_record(request_id=f"r{number}") for number in range(30)])
    headers = await gateway.key("tenant", "acme")
    with recorded() as statements:
        answer = await gateway.graphql("{ tenantRequests { nodes { requestId model { name } } } }", headers)
    nodes = answer["data"]["tenantRequests"]["nodes"]
    assert len(nodes) == 30
    assert all(node["model"] == {"name": "GPT-4o"} for node in nodes)
    assert len(statements) == 3, statements.names()
