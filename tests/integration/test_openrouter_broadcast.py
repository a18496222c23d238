"""OpenRouter's Broadcast: its two routes in, its attributes to records, its tests and attempts that are no requests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from app.domain.usage import UsageRecord
from app.ingest.fields import FieldRules
from app.ingest.sources.traces import Delivery, Encoding, parse_traces
from tests.clock import NOW
from tests.gateway import Gateway
from tests.spans import SPAN, START, TRACE, attributes, request, span

URL = "/v1/ingest/openrouter"
GENERATION = "gen-1787971242-ZNNkqbzHERdScNd64gYK"
SECRET = "What is the capital of France?"
SENT = {
    "trace.name": "Order Processing",
    "trace.input": SECRET,
    "trace.output": SECRET,
    "span.type": "generation",
    "span.level": "DEFAULT",
    "span.input": SECRET,
    "span.output": SECRET,
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "anthropic",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "anthropic/claude-sonnet-4.5",
    "gen_ai.response.model": "anthropic/claude-sonnet-4.5",
    "gen_ai.response.id": GENERATION,
    "gen_ai.response.finish_reason": "stop",
    "gen_ai.response.finish_reasons": '["stop"]',
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 340,
    "gen_ai.usage.total_tokens": 1540,
    "gen_ai.usage.input_tokens.cached": 1024,
    "gen_ai.usage.input_tokens.cache_write": 0,
    "gen_ai.usage.output_tokens.reasoning": 40,
    "gen_ai.usage.input_cost": 0.008,
    "gen_ai.usage.output_cost": 0.005542,
    "gen_ai.usage.total_cost": 0.013542,
    "gen_ai.prompt": SECRET,
    "gen_ai.completion": SECRET,
    "user.id": "user_12345",
    "session.id": "session_abc",
    "trace.metadata.tenant_id": "acme",
    "span.metadata.tenant_id": "acme",
    "trace.metadata.project_id": "orders",
    "trace.metadata.order_id": "ORD-12345",
    "trace.metadata.openrouter.api_key_name": "Orders (prod)",
    "trace.metadata.openrouter.provider_name": "Amazon Bedrock",
    "trace.metadata.openrouter.provider_slug": "amazon-bedrock",
    "trace.metadata.openrouter.first_token_ms": 412.5,
    "trace.metadata.openrouter.user_id": "user_2gNF",
    "trace.metadata.openrouter_generation.is_byok": False,
}
ATTEMPT = {
    "span.type": "span",
    "gen_ai.response.id": f"{GENERATION}:attempt-0",
    "span.metadata.attempt_index": 0,
    "trace.metadata.openrouter.provider_name": "Amazon Bedrock",
}
RESOURCE = {"service.name": "openrouter", "openrouter.trace.id": GENERATION}


def delivery(values: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """Return what Broadcast sends for one request: the generation, and below it the attempt at a provider."""
    generation = span(SENT if values is None else values, **{"name": "LLM Generation", **given})
    attempt = span(ATTEMPT, name="provider attempt 1: Amazon Bedrock", spanId="00000000000000aa", parentSpanId=SPAN)
    return request(generation, attempt, resource=RESOURCE, scope="openrouter")


def read(values: dict[str, Any], **given: Any) -> UsageRecord:
    """Return the one record, the same by both routes."""
    body = orjson.dumps(delivery(values, **given))
    by_its_own = parse_traces(body, Delivery(Encoding.JSON, all_openrouter=True), FieldRules(NOW, None))
    by_traces = parse_traces(body, Delivery(Encoding.JSON), FieldRules(NOW, None))
    assert by_its_own.quarantined == []
    assert by_its_own.records == by_traces.records
    (record,) = by_its_own.records
    return record


async def send(gateway: Gateway, body: Any, headers: dict[str, str], url: str = URL, method: str = "POST", **more: str) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return await gateway.client.request(method, url, content=content, headers={"Content-Type": "application/json", **headers, **more})


async def count(gateway: Gateway, table: str) -> int:
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute(f"SELECT count(*) FROM {table}")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


def test_a_whole_generation() -> None:
    record = read(SENT)
    assert (record.tenant_id, record.project_id, record.user_id, record.request_id) == ("acme", "orders", "user_12345", GENERATION)
    assert (record.model_id, record.model_permaslug) == ("anthropic/claude-sonnet-4.5",) * 2
    assert record.provider == "amazon-bedrock"
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens, record.reasoning_tokens) == (1200, 1024, 340, 40)
    assert (record.cost_usd, record.ttft_ms, record.latency_ms) == (Decimal("0.013542"), Decimal("412.5"), Decimal(1000))
    assert record.api_key_id is not None
    assert record.api_key_id.startswith("Orders--prod-")
    assert (record.traffic_mode, record.status_code, record.interrupted) == ("shared", 200, False)


def test_the_names_it_used_at_first_and_everything_as_text() -> None:
    values = {
        "gen_ai.request.model": "openai/gpt-oss-120b:free",
        "gen_ai.usage.prompt_tokens": "100",
        "gen_ai.usage.completion_tokens": "50",
        "gen_ai.usage.cost": "0.02",
        "openrouter.provider_name": "OpenAI",
        "openrouter.api_key_name": "Test API Key",
        "trace.metadata.tenant_id": "acme",
    }
    record = read(values)
    assert (record.request_id, record.model_id, record.model_permaslug) == (
        f"{TRACE}:{SPAN}",
        "openai/gpt-oss-120b",
        "openai/gpt-oss-120b:free",
    )
    assert (record.prompt_tokens, record.completion_tokens, record.cost_usd) == (100, 50, Decimal("0.02"))
    assert (record.provider, record.api_key_id) == ("openai", "Test-API-Key")


def test_byok_cancellation_routers_and_failure() -> None:
    assert read({**SENT, "trace.metadata.openrouter_generation.is_byok": True}).traffic_mode == "byok"
    assert read({**SENT, "span.metadata.openrouter_generation.cancelled": True}).interrupted is True
    assert read({**SENT, "gen_ai.request.model": "openrouter/auto"}).model_id == "anthropic/claude-sonnet-4.5"
    usage = {name: None for name in SENT if name.startswith("gen_ai.usage.")}
    failed = read({**SENT, **usage}, status={"code": 2, "message": "Provider returned error"})
    assert (failed.status_code, failed.prompt_tokens, failed.completion_tokens) == (500, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        delivery({**SENT, "source": "observability-test-button"}),
        delivery({}, name="openrouter-connection-test"),
        delivery(SENT, name="openrouter-connection-test"),
        delivery(ATTEMPT),
        request(span({"span.type": "span", "span.level": "DEFAULT"}, name="generation"), resource=RESOURCE),
    ],
)
def test_tests_attempts_and_other_parts_are_no_requests(body: dict[str, Any]) -> None:
    for all_openrouter in (True, False):
        batch = parse_traces(orjson.dumps(body), Delivery(Encoding.JSON, all_openrouter=all_openrouter), FieldRules(NOW, None))
        assert batch.received == 0


def test_a_collector_may_mix_its_spans_with_others() -> None:
    mixed = delivery()
    mixed["resourceSpans"] = [*request(span())["resourceSpans"], *mixed["resourceSpans"], *request(span(spanId="f" * 16))["resourceSpans"]]
    batch = parse_traces(orjson.dumps(mixed), Delivery(Encoding.JSON), FieldRules(NOW, None))
    assert [record.request_id for record in batch.records] == [f"{TRACE}:{SPAN}", GENERATION, f"{TRACE}:{'f' * 16}"]
    assert batch.indexes == [0, 1, 2]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("url", [URL, "/v1/traces"])
async def test_either_route_writes_it_once(gateway: Gateway, url: str, method: str) -> None:
    headers = await gateway.key("ingest")
    for _ in range(2):
        answer = await send(gateway, delivery(), headers, url, method)
        assert (answer.status_code, answer.content) == (200, b"{}")
    again = await send(gateway, delivery(), headers, "/v1/traces" if url == URL else URL)
    assert again.content == b"{}"
    assert await count(gateway, "usage_records") == 1


async def test_the_connection_test(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    for body in (b"", b"{}", b'{"resourceSpans":[]}', orjson.dumps(delivery(SENT))):
        answer = await gateway.client.post(URL, content=body, headers={**headers, "X-Test-Connection": "true"})
        assert (answer.status_code, answer.content) == (200, b"{}")
    refused = await gateway.client.post(URL, content=b"", headers={"Authorization": "Bearer wrong", "X-Test-Connection": "true"})
    assert refused.status_code == 401
    assert refused.json()["message"]
    assert await count(gateway, "usage_records") == 0


async def test_it_is_charged_as_openrouter_charged_it_and_its_texts_are_not_kept(gateway: Gateway) -> None:
    headers = await gateway.key("ingest", "acme")
    await send(gateway, delivery(), headers)
    # A request that failed at every provider comes without its trace object: the key's tenant says whose it is.
    values = {**SENT, "gen_ai.response.id": "gen-2", "trace.metadata.tenant_id": None, "span.metadata.tenant_id": None}
    await send(gateway, delivery(values, status={"code": 2}), headers)
    bad = {**SENT, "gen_ai.response.id": "gen-3", "gen_ai.usage.total_tokens": 1}
    answer = (await send(gateway, delivery(bad), headers)).json()
    assert "total_tokens is not the sum of prompt and completion tokens" in answer["partialSuccess"]["errorMessage"]
    async with gateway.database.read_connection() as connection:
        cursor = await connection.execute("SELECT request_id, cost_usd, status_code FROM usage_records ORDER BY request_id")
        assert await cursor.fetchall() == [(GENERATION, Decimal("0.013542"), 200), ("gen-2", Decimal("0.013542"), 500)]
        cursor = await connection.execute("SELECT source, request_id, record::text FROM quarantined_records")
        ((source, request_id, record),) = await cursor.fetchall()
    assert (source, request_id) == ("openrouter", "gen-3")
    assert SECRET not in record


async def test_a_generation_without_a_tenant_says_where_it_looked(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    values = {**SENT, "trace.metadata.tenant_id": None, "span.metadata.tenant_id": None}
    answer = (await send(gateway, delivery(values), headers)).json()
    assert "trace.metadata.tenant_id" in answer["partialSuccess"]["errorMessage"]
    assert (await send(gateway, delivery(values), headers, **{"X-Tokengraph-Tenant": "acme"})).content == b"{}"
    assert await count(gateway, "usage_records") == 1


def test_the_example_of_its_documentation_is_read() -> None:
    """The `trace_id` there is no identifier of a trace; the body is read all the same, and waits for a person."""
    values = {"gen_ai.request.model": "openai/gpt-4", "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 50}
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes({"service.name": "openrouter"})},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "abc123...",
                                "spanId": "def456...",
                                "name": "chat",
                                "startTimeUnixNano": str(START),
                                "endTimeUnixNano": str(START + 10**9),
                                "attributes": attributes(values),
                            }
                        ]
                    }
                ],
            }
        ]
    }
    batch = parse_traces(orjson.dumps(body), Delivery(Encoding.JSON, all_openrouter=True), FieldRules(NOW, "acme"))
    assert [reason.field for reason in batch.quarantined[0].reasons] == ["request_id", "request_id"]
    assert batch.quarantined[0].values["prompt_tokens"] == 100
