"""`POST /v1/ingest/usage` as a router sees it: what it takes, what it answers, what it refuses and in which words."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
import zstandard

from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.gateway import Gateway

URL = "/v1/ingest/usage"


def raw(**given: Any) -> dict[str, Any]:
    return {
        "request_id": "r1",
        "occurred_at": "2026-06-25T10:30:00Z",
        "tenant_id": "acme",
        "model_id": "openai/gpt-4o",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        **given,
    }


async def post(gateway: Gateway, content: bytes, headers: dict[str, str], **more: str) -> Any:
    return await gateway.client.post(URL, content=content, headers={"Content-Type": "application/json", **headers, **more})


async def stored(gateway: Gateway) -> list[tuple[str, str, int]]:
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT t.external_id, r.request_id, r.prompt_tokens FROM usage_records r JOIN tenants t ON t.id = r.tenant_id ORDER BY 1, 2"
        )
        return await cursor.fetchall()


RECEIPT = {"received": 2, "inserted": 2, "duplicates": 0, "rejected": 0, "errors": []}


@pytest.mark.parametrize("kind", ["array", "records", "ndjson", "gzip", "zstd", "one"])
async def test_every_form_of_body(gateway: Gateway, kind: str) -> None:
    headers = await gateway.key("ingest")
    records = [raw(), raw(request_id="r2")]
    array = orjson.dumps(records)
    lines = b"\n".join(orjson.dumps(record) for record in records)
    response = {
        "array": lambda: post(gateway, array, headers),
        "records": lambda: post(gateway, orjson.dumps({"records": records}), headers),
        "ndjson": lambda: post(gateway, lines, headers, **{"Content-Type": "application/x-ndjson; charset=utf-8"}),
        "gzip": lambda: post(gateway, gzip.compress(array), headers, **{"Content-Encoding": "gzip"}),
        "zstd": lambda: post(
            gateway, zstandard.compress(lines), headers, **{"Content-Encoding": "zstd", "Content-Type": "application/x-ndjson"}
        ),
        "one": lambda: post(gateway, orjson.dumps(records[0]), headers),
    }[kind]()
    answer = await response
    assert answer.status_code == 200, answer.text
    assert answer.json() == (RECEIPT if kind != "one" else RECEIPT | {"received": 1, "inserted": 1})


async def test_good_records_go_in_and_bad_ones_are_named(gateway: Gateway) -> None:
    records: list[Any] = [
        raw(),
        raw(request_id="neg", prompt_tokens=-1),
        raw(request_id="2^53", prompt_tokens=2**53),
        raw(request_id="2^63", prompt_tokens=2**63),
        raw(request_id="2^64", prompt_tokens=2**64),
        raw(request_id="cached", cached_tokens=101),
        raw(request_id="1970", occurred_at="1970-01-01T00:00:00Z"),
        raw(request_id="2100", occurred_at="2100-01-01T00:00:00Z"),
        raw(request_id="naive", occurred_at="2026-06-25T10:30:00"),
        raw(request_id="other", model_permaslug="other"),
        raw(request_id="unknown", flavour="vanilla"),
        raw(request_id="r1", prompt_tokens=7),
        "not a record",
        raw(request_id="big", username="x" * 10_000_000),
    ]
    response = await post(gateway, b"[" + b",".join(_dump(record) for record in records) + b"]", await gateway.key("ingest"))
    assert response.status_code == 200, response.text[:300]
    receipt = response.json()
    assert (receipt["received"], receipt["inserted"], receipt["duplicates"], receipt["rejected"]) == (14, 2, 1, 11)
    assert [(error["index"], error["field"]) for error in receipt["errors"]] == [
        (1, "prompt_tokens"),
        (2, "prompt_tokens"),
        (3, "prompt_tokens"),
        (4, "prompt_tokens"),
        (5, "cached_tokens"),
        (6, "occurred_at"),
        (7, "occurred_at"),
        (8, "occurred_at"),
        (9, "model_permaslug"),
        (12, None),
        (13, "username"),
    ]
    assert all(len(error["message"]) < 300 for error in receipt["errors"])
    assert receipt["unknown_fields"] == ["flavour"]
    assert await stored(gateway) == [("acme", "r1", 100), ("acme", "unknown", 100)]


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        import json

        return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("body", "more", "status", "words"),
    [
        (b'[{"request_id": ', {}, 400, "JSON"),
        (b"", {}, 400, ""),
        (b"42", {}, 400, "array"),
        (b"[\xff\xfe]", {}, 400, ""),
        (gzip.compress(b"[]", mtime=0)[:-6], {"Content-Encoding": "gzip"}, 400, "gzip"),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400, "gzip"),
        (zstandard.compress(b"[]" * 500)[:-3], {"Content-Encoding": "zstd"}, 400, "zstd"),
        (b"[]", {"Content-Encoding": "br"}, 415, "gzip"),
        (b"[]", {"Content-Type": "text/plain"}, 415, "application/json"),
    ],
)
async def test_a_body_that_cannot_be_read(gateway: Gateway, body: bytes, more: dict[str, str], status: int, words: str) -> None:
    response = await post(gateway, body, await gateway.key("ingest"), **more)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_user_input")
    assert words in error["message"]
    assert await stored(gateway) == []


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
async def test_a_body_that_would_fill_the_memory(gateway: Gateway, encoding: str) -> None:
    zeros = b" " * (80 * 2**20)
    body = gzip.compress(zeros) if encoding == "gzip" else zstandard.compress(zeros) if encoding == "zstd" else zeros
    more = {} if encoding == "identity" else {"Content-Encoding": encoding}
    response = await post(gateway, body, await gateway.key("ingest"), **more)
    assert response.status_code == 413, response.text
    assert ("67108864" if encoding == "identity" else "100 times longer") in response.json()["error"]["message"]


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("ingest", 200), ("tenant", 403), ("gateway", 403)])
async def test_who_may_write(gateway: Gateway, role: str, status: int) -> None:
    headers = await gateway.key(role, "acme" if role == "tenant" else None)
    response = await post(gateway, orjson.dumps([raw()]), headers)
    assert response.status_code == status
    assert len(await stored(gateway)) == (status == 200)


async def test_no_key_and_a_wrong_one_write_nothing(gateway: Gateway) -> None:
    for headers in ({}, {"Authorization": "Bearer tg_wrong"}):
        response = await post(gateway, orjson.dumps([raw()]), headers)
        assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
    assert await stored(gateway) == []


async def test_a_tenants_key_writes_its_tenant_only(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    without = {name: value for name, value in raw(request_id="implied").items() if name != "tenant_id"}
    response = await post(gateway, orjson.dumps([without, raw(), raw(request_id="r3", tenant_id="umbrella")]), headers)
    receipt = response.json()
    assert (receipt["inserted"], receipt["rejected"], receipt["errors"][0]["field"]) == (2, 1, "tenant_id")
    assert await stored(gateway) == [("acme", "implied", 100), ("acme", "r1", 100)]


async def test_the_same_id_of_two_tenants_is_two_records(gateway: Gateway) -> None:
    headers = await gateway.key("admin")
    response = await post(gateway, orjson.dumps([raw(), raw(tenant_id="umbrella")]), headers)
    assert response.json()["inserted"] == 2


async def test_a_database_that_is_down(tmp_path: Any) -> None:
    import httpx

    app = create_app(Settings(database_url=f"postgresql://nobody@/none?host={tmp_path}"), Wiring(jobs=False))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client,
    ):
        for response in (
            await client.post(URL, json=[raw()], headers={"Authorization": "Bearer tg_any"}),
            await client.get("/api/v1/analytics/network"),
            await client.get("/readyz"),
        ):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        answer = (await client.post("/graphql", json={"query": "{ network { generatedAt } }"})).json()
        assert answer["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfter": 2}


async def test_ready_and_counted(gateway: Gateway) -> None:
    assert (await gateway.client.get("/readyz")).json() == {"status": "ready"}
    await post(gateway, orjson.dumps([raw(), raw(), raw(request_id="bad", prompt_tokens=-1)]), await gateway.key("ingest"))
    text = (await gateway.client.get("/metrics")).text
    assert 'tokengraph_ingest_records_total{result="inserted"} 1.0' in text
    assert 'tokengraph_ingest_records_total{result="duplicates"} 1.0' in text
    assert 'tokengraph_ingest_records_total{result="rejected"} 1.0' in text
    assert 'tokengraph_http_requests_total{method="POST",route="/v1/ingest/usage",status="200"} 1.0' in text


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_many_tiny_records_are_bounded_and_many_errors_cut(gateway: Gateway, kind: str) -> None:
    headers = await gateway.key("ingest")
    body = {"application/json": b"[" + b"1," * 100_000 + b"1]", "application/x-ndjson": b"1\n" * 100_001}[kind]
    response = await post(gateway, body, headers, **{"Content-Type": kind})
    assert (response.status_code, response.json()["error"]["message"]) == (413, "the body holds more than 100000 records: send several")
    receipt = (await post(gateway, b"[" + b"1," * 1500 + b"1]", headers)).json()
    assert (receipt["rejected"], len(receipt["errors"])) == (1501, 1000)


@pytest.mark.parametrize(
    ("role", "tenant", "told"), [("admin", None, True), ("admin", "acme", False), ("ingest", None, False), ("ingest", "acme", False)]
)
async def test_only_operators_are_told_which_models_are_new_and_private(
    gateway: Gateway, role: str, tenant: str | None, told: bool
) -> None:
    headers = await gateway.key(role, tenant)
    receipt = (await post(gateway, _dump(raw(model_id="lab/one")), headers)).json()
    assert receipt["inserted"] == 1
    assert receipt.get("private_models") == (["lab/one"] if told else None)
    mutation = "mutation ($r: UsageRecordInput!) { ingestUsage(records: [$r]) { inserted privateModels } }"
    record = {"requestId": "two", "occurredAt": raw()["occurred_at"], "tenantId": "acme", "modelId": "lab/two"}
    answer = (await gateway.graphql(mutation, headers, r=record))["data"]["ingestUsage"]
    assert answer == {"inserted": 1, "privateModels": ["lab/two"] if told else []}


async def test_what_no_request_can_mean_is_quarantined_through_every_way_in(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    absurd = raw(request_id="http", prompt_tokens=10**12 + 1)
    lines = _dump(absurd | {"request_id": "ndjson"}) + b"\n" + _dump(raw(request_id="good"))
    by_http = (await post(gateway, _dump([absurd]), headers)).json()
    by_lines = (await post(gateway, lines, headers, **{"Content-Type": "application/x-ndjson"})).json()
    assert (by_http["quarantined"], by_lines["quarantined"], by_lines["inserted"]) == (1, 1, 1)
    mutation = "mutation ($r: UsageRecordInput!) { ingestUsage(records: [$r]) { received inserted rejected quarantined } }"
    record = {"requestId": "graphql", "occurredAt": absurd["occurred_at"], "modelId": "m", "costUsd": 1_000_001}
    answer = (await gateway.graphql(mutation, headers, r=record))["data"]["ingestUsage"]
    assert answer == {"received": 1, "inserted": 0, "rejected": 0, "quarantined": 1}
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT source, request_id, sender_tenant_id FROM quarantined_records ORDER BY request_id")
        rows = await cursor.fetchall()
    assert rows == [("usage_record", name, "acme") for name in ("graphql", "http", "ndjson")]
