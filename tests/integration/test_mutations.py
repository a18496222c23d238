"""The mutations: keys, catalog, usage. Who may, what they change, what they refuse, and that nothing else happens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from graphql import build_schema
from inline_snapshot import snapshot

from app.resolvers import mutations
from app.resolvers.schema import print_schema
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

CREATE = """mutation ($input: ApiKeyInput!) { createApiKey(input: $input) {
    secret apiKey { keyId prefix name role status createdAt expiresAt revokedAt tenant { tenantId } } } }"""
REVOKE = "mutation ($id: String!) { revokeApiKey(keyId: $id) { keyId status revokedAt } }"
UPSERT = """mutation ($entries: [ModelEntryInput!]!, $validFrom: DateTime) { upsertModels(entries: $entries, validFrom: $validFrom) {
    entries added repriced models { modelId name isPublic provider { name } variants { permaslug
    prices { validFrom validTo costPerInputToken costPerOutputToken } } } } }"""
PUBLISH = "mutation ($pattern: String!) { publishModels(pattern: $pattern) { modelId isPublic variants { permaslug isListed } } }"
INGEST = """mutation ($records: [UsageRecordInput!]!) { ingestUsage(records: $records) {
    received inserted duplicates rejected errors { index field message } unknownFields privateModels } }"""

RECORD = {"requestId": "r1", "occurredAt": "2026-06-25T10:30:00Z", "tenantId": "acme", "modelId": "openai/gpt-4o", "promptTokens": 100}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "createApiKey": (CREATE, {"input": {"role": "ADMIN"}}),
    "revokeApiKey": (REVOKE, {"id": "key_any"}),
    "upsertModels": (UPSERT, {"entries": [{"modelId": "m/x", "costPerInputToken": "1"}]}),
    "publishModels": (PUBLISH, {"pattern": "*"}),
    "ingestUsage": (INGEST, {"records": [RECORD]}),
    "eraseUser": ("mutation ($id: String!) { eraseUser(userId: $id) { userId } }", {"id": "nobody"}),
    "releaseQuarantinedRecords": (
        "mutation ($ids: [String!]!) { releaseQuarantinedRecords(recordIds: $ids) { notFound } }",
        {"ids": ["a" * 32]},
    ),
    "dropQuarantinedRecords": ("mutation ($ids: [String!]!) { dropQuarantinedRecords(recordIds: $ids) { notFound } }", {"ids": ["a" * 32]}),
}
WRITERS = {"ingestUsage": {"admin", "ingest"}}


def error_of(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["errors"][0]["extensions"]["code"], answer["errors"][0]["message"]


async def run(gateway: Gateway, document: str, headers: dict[str, str], **variables: Any) -> Any:
    answer = await gateway.graphql(document, headers, **variables)
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


async def contents(gateway: Gateway) -> list[Any]:
    """All that a mutation could write."""
    tables = ["api_keys", "tenants", "users", "projects", "models", "model_prices", "providers", "usage_records", "usage_by_day_all"]
    tables += ["quarantined_records", "write_state"]
    async with gateway.database.read_connection() as connection:
        return [(table, await (await connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1")).fetchall()) for table in tables]


def test_every_mutation_is_tested_for_who_may_run_it() -> None:
    mutation = build_schema(print_schema()).mutation_type
    assert mutation is not None
    assert set(mutation.fields) == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("role", ["anonymous", "unknown", "gateway", "tenant", "ingest", "admin"])
async def test_who_may_run_it(gateway: Gateway, name: str, role: str) -> None:
    await gateway.store([make_record(model_id="lab/private")])
    without_role: dict[str, dict[str, str]] = {"anonymous": {}, "unknown": {"Authorization": "Bearer tg_wrong"}}
    headers = without_role[role] if role in without_role else await gateway.key(role, "acme" if role == "tenant" else None)
    before = await contents(gateway)
    document, variables = CALLS[name]
    with recorded() as statements:
        answer = await gateway.graphql(document, headers, **variables)
    if role in WRITERS.get(name, {"admin"}):
        assert len(statements) > 1
        assert error_of(answer)[0] == "NOT_FOUND" if name in ("revokeApiKey", "eraseUser") else "errors" not in answer
        return
    code = "UNAUTHENTICATED" if role in without_role else "FORBIDDEN"
    assert error_of(answer)[0] == code
    if code == "FORBIDDEN":
        assert error_of(answer)[1] == ("a key of role ingest or admin is needed to write" if name in WRITERS else "Admin access required")
    assert answer["data"] == {name: None}
    assert statements.names() == ([] if role == "anonymous" else ["authenticate"])
    assert await contents(gateway) == before


@pytest.mark.parametrize("name", CALLS)
async def test_none_runs_by_get(gateway: Gateway, name: str) -> None:
    document, variables = CALLS[name]
    headers = await gateway.key("admin")
    before = await contents(gateway)
    response = await gateway.client.get("/graphql", params={"query": document, "variables": json.dumps(variables)}, headers=headers)
    assert response.status_code == 400, response.text
    assert await contents(gateway) == before
    both = document.replace("mutation (", "mutation Change (") + " query Look { __typename }"
    parameters = {"query": both, "variables": json.dumps(variables), "operationName": "Change"}
    response = await gateway.client.get("/graphql", params=parameters, headers=headers)
    assert response.status_code == 400, response.text
    assert await contents(gateway) == before


async def test_a_key_is_made_shown_once_and_revoked(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    wanted = {"role": "TENANT", "tenantId": "acme", "name": "dashboard", "expiresAt": "2027-01-01T01:00:00+01:00"}
    made = await run(gateway, CREATE, admin, input=wanted)
    key = made["apiKey"]
    assert key == {
        "keyId": key["keyId"],
        "prefix": made["secret"][:11],
        "name": "dashboard",
        "role": "TENANT",
        "status": "ACTIVE",
        "createdAt": "2026-06-26T12:00:00.000Z",
        "expiresAt": "2027-01-01T00:00:00.000Z",
        "revokedAt": None,
        "tenant": {"tenantId": "acme"},
    }
    assert made["secret"] not in str(await contents(gateway))
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (await gateway.graphql("{ viewer { keyId tenantId } }", headers))["data"] == {
        "viewer": {"keyId": key["keyId"], "tenantId": "acme"}
    }
    gateway.clock.advance(timedelta(minutes=1))
    revoked = {"keyId": key["keyId"], "status": "REVOKED", "revokedAt": "2026-06-26T12:01:00.000Z"}
    assert await run(gateway, REVOKE, admin, id=key["keyId"]) == revoked
    gateway.clock.advance(timedelta(minutes=1))
    assert await run(gateway, REVOKE, admin, id=key["keyId"]) == revoked
    assert error_of(await gateway.graphql("{ viewer { keyId } }", headers))[0] == "UNAUTHENTICATED"
    assert error_of(await gateway.graphql(REVOKE, admin, id="key_none")) == ("NOT_FOUND", "no key has the id key_none")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"role": "TENANT"}, "a key of role tenant needs a tenant"),
        ({"role": "GATEWAY", "tenantId": "acme"}, "a key of role gateway cannot belong to a tenant"),
        ({"role": "INGEST", "tenantId": "a b"}, "tenantId must be 1 to 128 characters, each one of A-Z a-z 0-9 . _ : @ / -"),
        ({"role": "INGEST", "tenantId": ""}, "tenantId must be 1 to 128 characters, each one of A-Z a-z 0-9 . _ : @ / -"),
        ({"role": "ADMIN", "name": "x" * 257}, "name must be at most 256 printable characters"),
        ({"role": "ADMIN", "name": "a\x00b"}, "name must be at most 256 printable characters"),
        ({"role": "ADMIN", "expiresAt": "2026-06-26T12:00:00Z"}, "expiresAt must be in the future"),
        *(
            ({"role": "ADMIN", "expiresAt": text}, "expiresAt must be an ISO 8601 instant with an offset, such as 2027-01-31T00:00:00Z")
            for text in ("", "tomorrow", "2027-01-31", "2027-01-31T00:00:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00")
        ),
    ],
)
async def test_keys_that_cannot_be_right_are_not_made(gateway: Gateway, wanted: dict[str, Any], message: str) -> None:
    admin = await gateway.key("admin")
    before = await contents(gateway)
    assert error_of(await gateway.graphql(CREATE, admin, input=wanted)) == ("BAD_USER_INPUT", message)
    assert await contents(gateway) == before


async def test_models_are_added_priced_and_changed(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    entries = [
        {
            "modelId": "openai/gpt-4o",
            "name": "GPT-4o",
            "providerName": "OpenAI",
            "costPerInputToken": "0.0000025",
            "costPerOutputToken": 1e-5,
            "public": True,
        },
        {"modelId": "openai/gpt-4o", "permaslug": "openai/gpt-4o:free", "costPerInputToken": 0, "costPerOutputToken": "0"},
    ]
    free = {
        "permaslug": "openai/gpt-4o:free",
        "prices": [{"validFrom": None, "validTo": None, "costPerInputToken": "0", "costPerOutputToken": "0"}],
    }
    first = {"validFrom": None, "validTo": None, "costPerInputToken": "0.0000025", "costPerOutputToken": "0.00001"}
    model = {"modelId": "openai/gpt-4o", "name": "GPT-4o", "isPublic": True, "provider": {"name": "OpenAI"}}
    expected = {
        "entries": 2,
        "added": 2,
        "repriced": 2,
        "models": [model | {"variants": [{"permaslug": "openai/gpt-4o", "prices": [first]}, free]}],
    }
    assert await run(gateway, UPSERT, admin, entries=entries) == expected
    before = await contents(gateway)
    assert await run(gateway, UPSERT, admin, entries=entries) == expected | {"added": 0, "repriced": 0}
    assert await contents(gateway) == before
    changed = await run(
        gateway,
        UPSERT,
        admin,
        entries=[{"modelId": "openai/gpt-4o", "costPerInputToken": "0.000003"}],
        validFrom="2026-06-01T00:00:00.123456Z",
    )
    assert changed == {
        "entries": 1,
        "added": 0,
        "repriced": 1,
        "models": [
            model
            | {
                "variants": [
                    {
                        "permaslug": "openai/gpt-4o",
                        "prices": [
                            {
                                "validFrom": "2026-06-01T00:00:00.123Z",
                                "validTo": None,
                                "costPerInputToken": "0.000003",
                                "costPerOutputToken": None,
                            },
                            first | {"validTo": "2026-06-01T00:00:00.123Z"},
                        ],
                    },
                    free,
                ]
            }
        ],
    }


async def test_an_earlier_price_changes_no_cost_that_is_stored(gateway: Gateway) -> None:
    admin = await gateway.key("admin")

    async def costs() -> list[Decimal]:
        async with gateway.database.read_connection() as connection:
            cursor = await connection.execute("SELECT cost_usd FROM usage_records ORDER BY occurred_at, request_id")
            return [row[0] for row in await cursor.fetchall()]

    def record(request_id: str, day: int) -> Any:
        occurred = datetime(2026, 6, day, tzinfo=UTC)
        return make_record(request_id=request_id, model_id="m/x", occurred_at=occurred, prompt_tokens=1, completion_tokens=0)

    await run(gateway, UPSERT, admin, entries=[{"modelId": "m/x", "costPerInputToken": 1, "costPerOutputToken": 0}])
    await gateway.store([record("a1", 1), record("a2", 20)])
    await run(
        gateway,
        UPSERT,
        admin,
        entries=[{"modelId": "m/x", "costPerInputToken": 5, "costPerOutputToken": 0}],
        validFrom="2026-06-10T00:00:00Z",
    )
    await gateway.store([record("b1", 1), record("b2", 20)])
    assert await costs() == [1, 1, 1, 5]


async def test_a_future_price_waits_and_stays_when_todays_changes(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    for cost, since in ((1, None), (2, "2026-07-01T00:00:00Z"), (3, None)):
        changed = await run(gateway, UPSERT, admin, entries=[{"modelId": "m/x", "costPerInputToken": cost}], validFrom=since)
    assert [
        (price["validFrom"], price["validTo"], price["costPerInputToken"]) for price in changed["models"][0]["variants"][0]["prices"]
    ] == [
        ("2026-07-01T00:00:00.000Z", None, "2"),
        ("2026-06-26T12:00:00.000Z", "2026-07-01T00:00:00.000Z", "3"),
        (None, "2026-06-26T12:00:00.000Z", "1"),
    ]


async def test_a_variant_that_gets_its_own_price_later_keeps_the_one_that_it_followed(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    await run(gateway, UPSERT, admin, entries=[{"modelId": "m/x", "costPerInputToken": 1, "costPerOutputToken": 1}])
    await run(
        gateway,
        UPSERT,
        admin,
        entries=[{"modelId": "m/x", "costPerInputToken": 9, "costPerOutputToken": 9}],
        validFrom="2026-08-01T00:00:00Z",
    )
    await gateway.store([make_record(model_id="m/x", model_permaslug="m/x:beta")])
    entry = {"modelId": "m/x", "permaslug": "m/x:beta", "costPerInputToken": 0, "costPerOutputToken": 0}
    changed = await run(gateway, UPSERT, admin, entries=[entry], validFrom="2026-07-01T00:00:00Z")
    beta = next(variant for variant in changed["models"][0]["variants"] if variant["permaslug"] == "m/x:beta")
    assert [(price["validFrom"], price["validTo"], price["costPerInputToken"]) for price in beta["prices"]] == [
        ("2026-07-01T00:00:00.000Z", None, "0"),
        (None, "2026-07-01T00:00:00.000Z", "1"),
    ]


@pytest.mark.parametrize(
    ("entries", "since", "message"),
    [
        ([], None, "entries must be 1 to 1000"),
        ([{"modelId": "m"}] * 1001, None, "entries must be 1 to 1000"),
        ([{"modelId": "a"}, {"modelId": ""}], None, "entry 1: modelId must be a string of 1 to 256 printable characters"),
        ([{"modelId": "a"}, {"modelId": "a"}], None, "entry 1: a of a is listed twice"),
        ([{"modelId": "a", "permaslug": "other"}], None, "entry 0: 'other' is reserved"),
        ([{"modelId": "a", "providerName": "\x00"}], None, "entry 0: providerName must be a string of 1 to 256 printable characters"),
        *(
            (
                [{"modelId": "a", "costPerInputToken": price}],
                None,
                "entry 0: costPerInputToken must be a number of US dollars from 0 to 1,000,000, with at most 30 decimal places",
            )
            for price in ("free", "NaN", "-1", -0.5, "1e-31", "1e7", "Infinity", 10**400, "1e999999999")
        ),
        *(
            ([{"modelId": "a"}], since, "validFrom must be from 2020-01-01 to 366 days from now")
            for since in ("2019-12-31T23:59:59Z", "2027-06-27T12:00:00.001Z")
        ),
        ([{"modelId": "a"}], "now", "validFrom must be an ISO 8601 instant with an offset, such as 2027-01-31T00:00:00Z"),
    ],
)
async def test_entries_that_are_wrong_change_nothing(gateway: Gateway, entries: Any, since: str | None, message: str) -> None:
    admin = await gateway.key("admin")
    before = await contents(gateway)
    assert error_of(await gateway.graphql(UPSERT, admin, entries=entries, validFrom=since)) == ("BAD_USER_INPUT", message)
    assert await contents(gateway) == before


async def test_what_was_published_is_told_up_to_a_limit(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "MAX_ENTRIES", 2)
    await gateway.catalog(*({"model_id": f"lab/{number}"} for number in range(4)))
    found = await gateway.graphql('mutation { publishModels(pattern: "lab/*") { modelId } }', await gateway.key("admin"))
    assert found["data"]["publishModels"] == [{"modelId": "lab/0"}, {"modelId": "lab/1"}]
    listed = await gateway.graphql("{ models { nodes { isPublic } } }", await gateway.key("admin"))
    assert [node["isPublic"] for node in listed["data"]["models"]["nodes"]] == [True] * 4


async def test_models_are_published_by_pattern(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    await gateway.store(
        [make_record(model_id=name, model_permaslug=slug) for name, slug in (("b/x", "b/x:1"), ("b/x", "b/x:2"), ("a/x", "a/x"))]
    )
    published = await run(gateway, PUBLISH, admin, pattern="b/*")
    assert published == [
        {"modelId": "b/x", "isPublic": True, "variants": [{"permaslug": f"b/x:{number}", "isListed": True} for number in (1, 2)]}
    ]
    assert await run(gateway, PUBLISH, admin, pattern="b/*") == []
    assert await run(gateway, PUBLISH, admin, pattern="B/*") == []
    for pattern in ("", "*" * 257):
        assert error_of(await gateway.graphql(PUBLISH, admin, pattern=pattern)) == ("BAD_USER_INPUT", "pattern must be 1 to 256 characters")


async def test_usage_comes_in_by_the_same_rules_as_over_http(gateway: Gateway) -> None:
    records = [
        RECORD,
        RECORD | {"promptTokens": 7},
        RECORD | {"requestId": "r2", "tenantId": None, "cachedTokens": 101},
        RECORD | {"requestId": "r3", "occurredAt": "2026-06-25", "trafficMode": "free"},
        RECORD | {"requestId": "r4", "costUsd": "0.0000000000000000000001", "latencyMs": 12.5, "ttftMs": "3.25", "trafficMode": "byok"},
        RECORD | {"requestId": "r5", "modelId": None, "statusCode": 500, "promptTokens": str(10**12), "completionTokens": 0},
        RECORD | {"requestId": "r6", "modelPermaslug": "other", "costUsd": -1, "latencyMs": "NaN"},
        RECORD | {"requestId": "r7", "promptTokens": 2**70, "reasoningTokens": 1},
    ]
    receipt = await run(gateway, INGEST, await gateway.key("admin"), records=records)
    assert receipt == snapshot(
        {
            "received": 8,
            "inserted": 3,
            "duplicates": 1,
            "rejected": 4,
            "errors": [
                {"index": 2, "field": "tenantId", "message": "is required"},
                {"index": 2, "field": "cachedTokens", "message": "is part of promptTokens and may not exceed it"},
                {"index": 3, "field": "occurredAt", "message": "must be an ISO 8601 instant such as 2026-03-12T08:30:00Z"},
                {"index": 3, "field": "trafficMode", "message": 'must be "shared" or "byok"'},
                {"index": 6, "field": "modelPermaslug", "message": '"other" is reserved: it names the tail of the rankings'},
                {
                    "index": 6,
                    "field": "costUsd",
                    "message": "must be a number from 0 to less than 1000000000000 with at most 40 decimal places",
                },
                {
                    "index": 6,
                    "field": "latencyMs",
                    "message": "must be a number from 0 to 1000000000000 with at most 40 decimal places, or null",
                },
                {"index": 7, "field": "promptTokens", "message": "must be an integer from 0 to 9007199254740991"},
                {"index": 7, "field": "reasoningTokens", "message": "is part of completionTokens and may not exceed it"},
            ],
            "unknownFields": [],
            "privateModels": ["openai/gpt-4o", "unknown"],
        }
    )
    by_http = [_snake(record) for record in records]
    answer = (await gateway.client.post("/v1/ingest/usage", json=by_http, headers=await gateway.key("ingest"))).json()
    assert (answer["received"], answer["inserted"], answer["duplicates"], answer["rejected"]) == (8, 0, 4, 4)
    assert [(error["index"], _camel(error["field"])) for error in answer["errors"]] == [
        (error["index"], error["field"]) for error in receipt["errors"]
    ]
    text = (await gateway.client.get("/metrics")).text
    assert 'tokengraph_ingest_records_total{result="inserted"} 3.0' in text
    assert 'tokengraph_ingest_records_total{result="rejected"} 8.0' in text


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def _snake(record: dict[str, Any]) -> dict[str, Any]:
    return {"".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): value for name, value in record.items()}


async def test_a_tenants_key_writes_its_tenant_only(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    implied = {name: value for name, value in RECORD.items() if name != "tenantId"}
    records = [implied, RECORD | {"requestId": "r2"}, RECORD | {"requestId": "r3", "tenantId": "umbrella"}]
    receipt = await run(gateway, INGEST, headers, records=records)
    assert (receipt["inserted"], receipt["rejected"]) == (2, 1)
    assert receipt["errors"] == [{"index": 2, "field": "tenantId", "message": "this key writes records of tenant acme only"}]
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT external_id FROM tenants")
        assert await cursor.fetchall() == [("acme",)]


async def test_a_batch_is_bounded(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    for count in (0, 1001):
        answer = await gateway.graphql(INGEST, headers, records=[RECORD] * count)
        assert error_of(answer) == ("BAD_USER_INPUT", "records must be 1 to 1000")
    receipt = await run(gateway, INGEST, headers, records=[RECORD | {"requestId": f"r{number}"} for number in range(1000)])
    assert receipt["inserted"] == 1000


async def test_mutations_of_one_document_run_one_after_the_other(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    changes = " ".join(
        f'm{number}: upsertModels(entries: [{{modelId: "m/x", name: "name {number}", costPerInputToken: {number}}}]) '
        "{ models { name variants { prices { costPerInputToken } } } }"
        for number in range(20)
    )
    answer = await gateway.graphql(f'mutation {{ {changes} last: publishModels(pattern: "m/*") {{ name isPublic }} }}', admin)
    assert "errors" not in answer
    for number in range(20):
        # The first price holds for all time; the later ones replace each other at one instant.
        prices = [{"costPerInputToken": str(cost)} for cost in ([number, 0] if number else [0])]
        variants = [{"prices": prices}]
        assert answer["data"][f"m{number}"]["models"] == [{"name": f"name {number}", "variants": variants}]
    assert answer["data"]["last"] == [{"name": "name 19", "isPublic": True}]


async def test_a_failed_mutation_takes_nothing_from_the_others(gateway: Gateway) -> None:
    document = """mutation { a: createApiKey(input: {role: ADMIN}) { secret } b: revokeApiKey(keyId: "key_none") { keyId }
        c: upsertModels(entries: [{modelId: "m/y"}]) { added } }"""
    answer = await gateway.graphql(document, await gateway.key("admin"))
    assert (error_of(answer)[0], answer["errors"][0]["path"]) == ("NOT_FOUND", ["b"])
    secret = answer["data"]["a"]["secret"]
    assert (answer["data"]["b"], answer["data"]["c"]) == (None, {"added": 1})
    models = (await gateway.graphql("{ models { nodes { modelId } } }", {"X-API-Key": secret}))["data"]["models"]
    assert models == {"nodes": [{"modelId": "m/y"}]}
