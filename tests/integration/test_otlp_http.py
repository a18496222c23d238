"""`/v1/traces` as OpenTelemetry's own exporter and collectors use it: spans through to GraphQL, retries, warnings, refusals."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace import Status as SpanStatus

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.gateway import Gateway
from tests.live import listening
from tests.spans import CHAT, START, request, span, to_protobuf

URL = "/v1/traces"
JSON = "application/json"
PROTOBUF = "application/x-protobuf"
USAGE = """query($start: Date!, $end: Date!) {
  usageAnalytics(dateFrom: $start, dateTo: $end) { byModel { modelId providerId promptTokens completionTokens requests } }
}"""


async def post(gateway: Gateway, content: bytes, headers: dict[str, str], kind: str = JSON, **more: str) -> Any:
    return await gateway.client.post(URL, content=content, headers={"Content-Type": kind, **headers, **more})


async def stored(gateway: Gateway) -> list[tuple[Any, ...]]:
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT t.external_id, r.request_id, r.prompt_tokens, r.status_code"
            " FROM usage_records r JOIN tenants t ON t.id = r.tenant_id ORDER BY 1, 2"
        )
        return await cursor.fetchall()


async def quarantined(gateway: Gateway) -> list[tuple[Any, ...]]:
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT source, sender_tenant_id, tenant_id, request_id, reasons FROM quarantined_records ORDER BY request_id"
        )
        return await cursor.fetchall()


def numbered(count: int, **given: Any) -> list[dict[str, Any]]:
    return [span(**given, spanId=f"{number:016x}") for number in range(1, count + 1)]


@dataclass(frozen=True)
class Live:
    """A gateway that listens, and the secrets of keys to it."""

    url: str
    ingest: str
    tenant_ingest: str
    admin: str


@pytest.fixture
def live(database_url: str) -> Iterator[Live]:
    async def make_keys() -> list[str]:
        async with Database(database_url) as database:
            requests = (KeyRequest(Role.INGEST), KeyRequest(Role.INGEST, tenant_id="acme"), KeyRequest(Role.ADMIN))
            return [(await create_key(database, one, system_clock())).secret for one in requests]

    keys = asyncio.run(make_keys())
    with listening(create_app(Settings(database_url=database_url), Wiring(jobs=False))) as url:
        yield Live(url, *keys)


def make_spans(tenant: str | None) -> Sequence[ReadableSpan]:
    """Return the spans of an agent's run as the SDK records them: the agent, two calls of models, a tool."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "helpdesk"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests")
    whose = {"tenant.id": tenant} if tenant else {}
    usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50}
    with tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent", **usage, **whose}):
        with tracer.start_as_current_span("chat gpt-4o", kind=SpanKind.CLIENT) as chat:
            chat.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4o",
                    "gen_ai.response.model": "gpt-4o-2024-08-06",
                    "gen_ai.response.finish_reasons": ("stop",),
                    "gen_ai.input.messages": '[{"role": "user", "content": "a secret"}]',
                    "gen_ai.usage.cache_read.input_tokens": 400,
                    **usage,
                    **whose,
                }
            )
        with tracer.start_as_current_span("execute_tool", attributes={"gen_ai.operation.name": "execute_tool"}):
            pass
        with tracer.start_as_current_span("chat claude", kind=SpanKind.CLIENT) as failed:
            failed.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "anthropic",
                    "gen_ai.request.model": "claude-sonnet-4",
                    "error.type": "529",
                    **whose,
                }
            )
            failed.set_status(SpanStatus(StatusCode.ERROR))
    provider.shutdown()
    return memory.get_finished_spans()


def export(
    live: Live, spans: Sequence[ReadableSpan], headers: dict[str, str], compression: Compression = Compression.NoCompression
) -> SpanExportResult:
    exporter = OTLPSpanExporter(f"{live.url}/v1/traces", headers=headers, compression=compression)
    try:
        return exporter.export(spans)
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_official_exporter_through_to_graphql(live: Live, compression: Compression) -> None:
    spans = make_spans("acme")
    now = system_clock()
    variables = {"start": (now - timedelta(days=1)).date().isoformat(), "end": (now + timedelta(days=1)).date().isoformat()}
    for _ in range(2):  # the second time is an exporter's retry
        sent = export(live, spans, {"authorization": f"Bearer {live.ingest}"}, compression)
        assert sent is SpanExportResult.SUCCESS
        answer = httpx.post(
            f"{live.url}/graphql",
            json={"query": USAGE, "variables": variables},
            headers={"Authorization": f"Bearer {live.admin}"},
            timeout=60,
        ).json()
        assert answer.get("errors") is None, answer
        rows = sorted(answer["data"]["usageAnalytics"]["byModel"], key=lambda row: str(row["modelId"]))
        assert [(row["modelId"], row["providerId"], row["promptTokens"], row["completionTokens"], row["requests"]) for row in rows] == [
            ("anthropic/claude-sonnet-4", "anthropic", 0, 0, 1),
            ("openai/gpt-4o", "openai", 1000, 50, 1),
        ]


def test_the_exporter_of_a_tenant_needs_no_attribute(live: Live) -> None:
    assert export(live, make_spans(None), {"x-api-key": live.tenant_ingest}) is SpanExportResult.SUCCESS
    assert export(live, make_spans(None), {"x-api-key": "wrong"}) is SpanExportResult.FAILURE


async def test_both_encodings_write_the_same_once(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    body = request(*numbered(3))
    sent = [
        await post(gateway, orjson.dumps(body), headers),
        await post(gateway, to_protobuf(body), headers, PROTOBUF),
        await post(gateway, gzip.compress(to_protobuf(body)), headers, PROTOBUF, **{"Content-Encoding": "gzip"}),
        await gateway.client.put(URL, content=orjson.dumps(body), headers={"Content-Type": "application/json; charset=utf-8", **headers}),
    ]
    assert [(answer.status_code, answer.headers["content-type"], answer.content) for answer in sent] == [
        (200, JSON, b"{}"),
        (200, PROTOBUF, b""),
        (200, PROTOBUF, b""),
        (200, JSON, b"{}"),
    ]
    trace = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"]
    assert await stored(gateway) == [("acme", f"{trace}:{number:016x}", 100, 200) for number in (1, 2, 3)]


async def test_what_waits_in_the_quarantine_is_a_warning_and_not_a_loss(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    bad = span({**CHAT, "gen_ai.usage.prompt_tokens": 7}, spanId="00000000000000aa")
    body = request(bad, *numbered(2))
    answer = (await post(gateway, orjson.dumps(body), headers)).json()
    assert set(answer) == {"partialSuccess"}
    assert set(answer["partialSuccess"]) == {"errorMessage"}
    message = answer["partialSuccess"]["errorMessage"]
    assert message.startswith("1 of 3 spans of model calls are quarantined")
    assert message.endswith("the first: prompt_tokens gen_ai.usage.input_tokens and gen_ai.usage.prompt_tokens differ")
    same = ExportTraceServiceResponse.FromString((await post(gateway, to_protobuf(body), headers, PROTOBUF)).content)
    assert same.partial_success.rejected_spans == 0
    assert same.partial_success.error_message == message
    assert len(await stored(gateway)) == 2
    assert [row[0] for row in await quarantined(gateway)] == ["otlp"]


async def test_another_tenants_spans_under_a_bound_key(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    other = span({**CHAT, "tenant.id": "globex"}, spanId="00000000000000aa")
    mine = span({**CHAT, "tenant.id": None})
    answer = (await post(gateway, orjson.dumps(request(other, mine)), headers)).json()
    assert "this key writes records of tenant acme only" in answer["partialSuccess"]["errorMessage"]
    assert [row[0] for row in await stored(gateway)] == ["acme"]
    (row,) = await quarantined(gateway)
    assert row[:3] == ("otlp", "acme", "acme")
    # The header is a default for spans without a tenant, and no way round the key.
    answer = (await post(gateway, orjson.dumps(request(mine)), headers, **{"X-Tokengraph-Tenant": "globex"})).json()
    assert "this key writes records of tenant acme only" in answer["partialSuccess"]["errorMessage"]
    assert {row[0] for row in await stored(gateway)} == {"acme"}


async def test_headers_for_tenant_and_token_convention(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    values = {**CHAT, "tenant.id": None, "gen_ai.usage.cache_read.input_tokens": 900}
    body = orjson.dumps(request(span(values)))
    sent = {"X-Tokengraph-Tenant": "initech", "X-Token-Convention": "Exclusive"}
    assert (await post(gateway, body, headers, **sent)).content == b"{}"
    assert [(row[0], row[2]) for row in await stored(gateway)] == [("initech", 1000)]
    for name, value in (("X-Tokengraph-Tenant", "not a tenant"), ("X-Token-Convention", "both")):
        refused = await post(gateway, body, headers, **{name: value})
        assert refused.status_code == 400
        assert name in refused.json()["message"]


async def test_a_test_of_the_connection_reads_nothing(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    assert (await post(gateway, orjson.dumps(request(span())), headers, **{"X-Test-Connection": "true"})).content == b"{}"
    assert (await post(gateway, b"", headers, PROTOBUF, **{"X-Test-Connection": "true"})).status_code == 200
    assert (await post(gateway, b"", {}, **{"X-Test-Connection": "true"})).status_code == 401
    assert await stored(gateway) == []


@pytest.mark.parametrize(
    ("role", "tenant", "content", "kind", "expected"),
    [
        (None, None, b"{}", JSON, (401, 16)),
        ("tenant", "acme", b"{}", JSON, (403, 7)),
        ("gateway", None, b"", PROTOBUF, (403, 7)),
        ("ingest", None, b"{", JSON, (400, 3)),
        ("ingest", None, b"\xff\xff", PROTOBUF, (400, 3)),
        ("ingest", None, b"{}", "text/plain", (415, 3)),
        ("ingest", None, b"{}", "", (415, 3)),
        (None, None, b"{}", "text/plain", (401, 16)),
    ],
)
async def test_refusals_are_a_status_in_the_encoding_of_the_request(
    gateway: Gateway, role: str | None, tenant: str | None, content: bytes, kind: str, expected: tuple[int, int]
) -> None:
    headers = await gateway.key(role, tenant) if role else {}
    answer = await post(gateway, content, headers, kind)
    assert answer.status_code == expected[0], answer.text
    if kind == PROTOBUF:
        assert answer.headers["content-type"] == PROTOBUF
        status = Status.FromString(answer.content)
        code, message = status.code, status.message
    else:
        assert answer.headers["content-type"] == JSON
        code, message = answer.json()["code"], answer.json()["message"]
    assert code == expected[1]
    assert 5 < len(message) < 300
    assert await stored(gateway) == []
    assert await quarantined(gateway) == []


async def test_a_database_that_is_away_asks_for_a_retry(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    assert (await post(gateway, orjson.dumps(request(span())), headers)).status_code == 200
    await gateway.database.close()
    answer = await post(gateway, to_protobuf(request(span(spanId="00000000000000aa"))), headers, PROTOBUF)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert Status.FromString(answer.content).code == 14


async def test_ten_thousand_spans_in_one_export(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    content = to_protobuf(request(*numbered(10_000)))
    assert (await post(gateway, content, headers, PROTOBUF)).content == b""
    assert (await post(gateway, content, headers, PROTOBUF)).content == b""
    assert len(await stored(gateway)) == 10_000


async def test_prompts_and_completions_are_nowhere_in_the_database(gateway: Gateway) -> None:
    secret = "my diagnosis is"
    content = {"gen_ai.input.messages": secret, "gen_ai.completion": secret, "gen_ai.prompt.0.content": secret, "input.value": secret}
    good, bad = span({**CHAT, **content}), span({**CHAT, **content, "gen_ai.usage.output_tokens": -1}, spanId="00000000000000aa")
    headers = await gateway.key("ingest")
    assert (await post(gateway, orjson.dumps(request(good, bad, span(content, name=secret))), headers)).status_code == 200
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in await cursor.fetchall()]
        assert {"usage_records", "quarantined_records"} <= set(tables)
        for table in tables:
            cursor = await connection.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', [f"%{secret}%"])
            assert await cursor.fetchone() == (0,), table
    assert len(await stored(gateway)) == 1
    assert len(await quarantined(gateway)) == 1


async def test_the_instant_of_the_request_is_the_start_of_its_span(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    await post(gateway, orjson.dumps(request(span())), headers)
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint FROM usage_records")
        assert await cursor.fetchone() == (START // 1000,)
