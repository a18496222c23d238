"""`/openapi.json` is valid, complete and true: generated requests get no answer that it does not describe, and never a 5xx."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.analytics.snapshot import take_snapshot
from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.settings import Settings
from app.web.app import Wiring, create_app
from app.write.batch import Ingestor
from tests.factories import make_batch, make_record
from tests.live import listening

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance)
FUZZ = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@dataclass(frozen=True)
class Live:
    """A gateway that listens, with a key that may do most."""

    url: str
    keys: dict[str, str]
    openapi: dict[str, Any]


@pytest.fixture
def live(database_url: str) -> Iterator[Live]:
    async def prepare() -> dict[str, str]:
        async with Database(database_url) as database:
            now = system_clock()
            records = [
                make_record(user_id="u", api_key_id="k", project_id="p", occurred_at=now),
                make_record(occurred_at=now, status_code=500),
            ]
            await Ingestor(database).ingest(make_batch(records))
            await take_snapshot(database, now)
            requests = {
                "admin": KeyRequest(Role.ADMIN),
                "tenant": KeyRequest(Role.TENANT, tenant_id="acme"),
                "ingest": KeyRequest(Role.INGEST),
            }
            return {name: (await create_key(database, request, now)).secret for name, request in requests.items()}

    keys = asyncio.run(prepare())
    app = create_app(Settings(database_url=database_url), Wiring(jobs=False))
    with listening(app) as url:
        yield Live(url, keys, app.openapi())


def test_the_document_is_valid_and_every_route_is_in_it(live: Live) -> None:
    validate(live.openapi)
    assert set(live.openapi["paths"]) == {
        "/api/v1/analytics/network",
        "/api/v1/datasets/rankings-daily",
        "/api/usage/analytics",
        "/v1/analytics",
        "/v1/customer/analytics",
        "/v1/customer/analytics/export.csv",
        "/v1/customer/logs",
        "/v1/customer/billing/usage-statement.csv",
        "/v1/ingest/litellm",
        "/v1/ingest/openrouter",
        "/v1/ingest/usage",
        "/v1/traces",
        "/healthz",
        "/readyz",
        "/metrics",
        "/schema.graphql",
    }
    for path, operations in live.openapi["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert all(parameter["description"] for parameter in operation.get("parameters", [])), path


@pytest.mark.parametrize("role", ["none", "admin", "tenant", "ingest"])
def test_generated_requests_get_described_answers(live: Live, role: str) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    headers = {} if role == "none" else {"Authorization": f"Bearer {live.keys[role]}"}
    called = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @FUZZ
        @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)))
        def call(case: Any) -> None:
            nonlocal called
            called += 1
            case.call_and_validate(headers=headers, checks=CHECKS)

        call()
    assert called > 100


@pytest.mark.parametrize("role", ["none", "admin", "tenant"])
def test_generated_documents_get_graphql_answers(live: Live, role: str) -> None:
    schema = schemathesis.graphql.from_url(f"{live.url}/graphql")
    headers = {} if role == "none" else {"Authorization": f"Bearer {live.keys[role]}"}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @FUZZ
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            response = case.call(headers=headers)
            assert response.status_code == 200, response.text
            codes = {error["extensions"]["code"] for error in response.json().get("errors") or []}
            assert codes <= {"UNAUTHENTICATED", "FORBIDDEN", "BAD_USER_INPUT", "NOT_FOUND", "RATE_LIMITED", "QUERY_TOO_EXPENSIVE"}, (
                response.text
            )

        call()
