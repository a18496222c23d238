"""Traces to records: the two encodings, old and new attribute names, what counts, what contradicts itself, what never gets through."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.errors import BadInputError, BodyTooLargeError
from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.fields import FieldRules
from app.ingest.sources.conventions import EXCLUSIVE
from app.ingest.sources.genai_attributes import FIRST_TOKEN_EVENTS, GENAI, PROVIDERS, Attributes, Vocabulary, names_of
from app.ingest.sources.openrouter import OPENROUTER, key_label
from app.ingest.sources.traces import Delivery, Encoding, parse_traces
from tests.clock import NOW
from tests.spans import CHAT, SECOND, SPAN, START, TRACE, attributes, request, span, to_protobuf


def parse(body: dict[str, Any] | bytes, *, tenant: str | None = None, **given: Any) -> ParsedBatch:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return parse_traces(content, Delivery(Encoding.JSON, **given), FieldRules(NOW, tenant))


def read(values: dict[str, Any], *, resource: dict[str, Any] | None = None, **given: Any) -> UsageRecord:
    """Return the record of one span, and check that protobuf gives the same."""
    body = request(span(values, **given), resource=resource)
    batch = parse(body)
    assert batch.quarantined == []
    other = parse_traces(to_protobuf(body), Delivery(Encoding.PROTOBUF), FieldRules(NOW, None))
    assert other.records == batch.records
    return batch.records[0]


def reasons(values: dict[str, Any], **given: Any) -> list[tuple[str | None, str]]:
    """Return why a span was quarantined, and check that protobuf says the same."""
    body = request(span(values, **given))
    batch = parse(body)
    assert batch.records == []
    other = parse_traces(to_protobuf(body), Delivery(Encoding.PROTOBUF), FieldRules(NOW, None))
    assert [item.reasons for item in other.quarantined] == [item.reasons for item in batch.quarantined]
    return [(reason.field, reason.message) for reason in batch.quarantined[0].reasons]


def test_a_whole_span() -> None:
    record = read(
        {
            **CHAT,
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.cache_read.input_tokens": 40,
            "gen_ai.usage.reasoning.output_tokens": 5,
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.usage.cost": 0.00125,
            "user.id": 42,
            "user.name": "Ada",
            "tokengraph.api_key_id": "key-1",
            "tokengraph.attempt": 2,
        },
        resource={"service.name": "checkout"},
    )
    assert record == UsageRecord(
        tenant_id="acme",
        request_id=f"{TRACE}:{SPAN}",
        occurred_at=datetime.fromtimestamp(START // SECOND, UTC).replace(microsecond=123_456),
        project_id="checkout",
        api_key_id="key-1",
        user_id="42",
        username="Ada",
        model_id="openai/gpt-4o",
        model_permaslug="openai/gpt-4o-2024-08-06",
        provider="openai",
        status_code=200,
        prompt_tokens=100,
        completion_tokens=20,
        cached_tokens=40,
        reasoning_tokens=5,
        cost_usd=Decimal("0.00125"),
        traffic_mode="shared",
        shared_model_spend=0,
        byok_platform_fee=0,
        managed_tool_fee=0,
        agent_runtime_fee=0,
        search_requests=0,
        latency_ms=Decimal(1000),
        ttft_ms=Decimal(250),
        attempt=2,
    )


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3}, (7, 3, 0, 0)),
        ({"gen_ai.usage.input_tokens": 7, "gen_ai.usage.prompt_tokens": 7, "llm.usage.total_tokens": 7}, (7, 0, 0, 0)),
        ({"gen_ai.usage.input_tokens": "7", "gen_ai.usage.prompt_tokens": 7.0}, (7, 0, 0, 0)),
        ({"gen_ai.usage.input_tokens": 7.0, "gen_ai.usage.output_tokens": "3"}, (7, 3, 0, 0)),
        ({"gen_ai.usage.input_tokens": 10**12}, (10**12, 0, 0, 0)),
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.input_tokens.cached": 8, "gen_ai.usage.cached_input_tokens": 8}, (9, 0, 8, 0)),
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.cache_read_input_tokens": 8}, (9, 0, 8, 0)),
        ({"gen_ai.usage.output_tokens": 9, "gen_ai.usage.output_tokens.reasoning": 8}, (0, 9, 0, 8)),
        ({"gen_ai.usage.output_tokens": 9, "gen_ai.usage.reasoning_tokens": 8}, (0, 9, 0, 8)),
        ({"llm.token_count.prompt": 5, "llm.token_count.completion": 4, "llm.token_count.total": 9}, (5, 4, 0, 0)),
        ({}, (0, 0, 0, 0)),
    ],
)
def test_token_names_and_number_forms(values: dict[str, Any], tokens: tuple[int, ...]) -> None:
    usage = {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    record = read({**CHAT, **usage, **values})
    assert (record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens) == tokens


def test_json_integers_as_strings_and_numbers_are_one() -> None:
    body = request(span({**CHAT, "gen_ai.usage.input_tokens": {"intValue": 100}, "gen_ai.usage.output_tokens": {"intValue": "20"}}))
    body["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= {"startTimeUnixNano": START, "unknownField": {"deep": [1]}, "flags": None}
    assert parse(body).records == parse(request(span())).records


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"gen_ai.usage.prompt_tokens": 99}, ("prompt_tokens", "gen_ai.usage.input_tokens and gen_ai.usage.prompt_tokens differ")),
        ({"gen_ai.system": "anthropic"}, ("provider", "gen_ai.provider.name and gen_ai.system differ")),
        ({"llm.usage.total_tokens": 121}, ("total_tokens", "is not the sum of prompt and completion tokens")),
        (
            {"gen_ai.usage.cost": 0.1, "gen_ai.usage.total_cost": "0.2"},
            ("cost_usd", "gen_ai.usage.cost and gen_ai.usage.total_cost differ"),
        ),
        (
            {"gen_ai.usage.cache_read.input_tokens": 101},
            ("cached_tokens", "is part of prompt_tokens and may not exceed it"),
        ),
        (
            {"gen_ai.usage.cache_creation.input_tokens": 101},
            ("prompt_tokens", "is less than the tokens read from and written to the prompt cache together"),
        ),
        ({"gen_ai.usage.input_tokens": 2**53 - 1}, ("prompt_tokens", "is implausible: over 1000000000000 for one request")),
        ({"gen_ai.usage.input_tokens": 2**53}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.usage.input_tokens": 2**63 - 1}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.usage.input_tokens": -1}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.usage.input_tokens": 1.5}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.usage.input_tokens": True}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.usage.input_tokens": [1, 2]}, ("prompt_tokens", "must be an integer from 0 to 9007199254740991")),
        ({"gen_ai.request.model": None}, ("model_id", "is required unless the request failed before routing")),
        (
            {"gen_ai.request.model": "other", "gen_ai.provider.name": None},
            ("model_id", '"other" is reserved: it names the tail of the rankings'),
        ),
        ({"user.id": "a\0b"}, ("user_id", "must be a string of 1 to 128 characters without control characters")),
        ({"user.id": "u" * 129}, ("user_id", "must be a string of 1 to 128 characters without control characters")),
        ({"user.id": {"kvlistValue": {}}}, ("user_id", "must be a string of 1 to 128 characters without control characters")),
        ({"tenant.id": {"kvlistValue": {}}}, ("tenant_id", "must be 1 to 128 characters, each one of A-Z a-z 0-9 . _ : @ / -")),
    ],
)
def test_what_contradicts_itself_or_breaks_a_rule_is_quarantined(values: dict[str, Any], reason: tuple[str, str]) -> None:
    assert reason in reasons({**CHAT, **values})


def test_times_and_ids_that_are_none() -> None:
    required = ("occurred_at", "is required")
    assert required in reasons(CHAT, startTimeUnixNano=None)
    assert required in reasons(CHAT, startTimeUnixNano="0")
    ahead = ("occurred_at", "must not be more than 1 day after the time of arrival")
    assert reasons(CHAT, startTimeUnixNano=str(2**64 - 1), endTimeUnixNano=None) == [ahead]
    assert ("latency_ms", "the span ends before it starts") in reasons(CHAT, endTimeUnixNano=str(START - 1))
    for ids in ({"traceId": "0" * 32}, {"spanId": "0" * 16}, {"traceId": TRACE[:-2]}, {"spanId": None}):
        assert reasons(CHAT, **ids)[0][0] == "request_id"
    assert parse(request(span(traceId="order_processing_001"))).quarantined[0].reasons[0].field == "request_id"
    assert parse(request(span(traceId=TRACE.upper()))).records[0].request_id == f"{TRACE}:{SPAN}"
    assert read(CHAT, endTimeUnixNano=None).latency_ms is None


def test_a_span_without_a_tenant_says_where_it_looked() -> None:
    found = reasons({**CHAT, "tenant.id": None})
    assert "tokengraph.tenant_id, tenant.id" in found[0][1]
    assert "X-Tokengraph-Tenant" in found[0][1]
    assert parse(request(span({**CHAT, "tenant.id": None})), tenant="acme").records[0].tenant_id == "acme"
    assert parse(request(span({**CHAT, "tenant.id": None})), default_tenant="acme").records[0].tenant_id == "acme"
    assert parse(request(span()), default_tenant="other-one").records[0].tenant_id == "acme"


@pytest.mark.parametrize(("named", "default"), [("globex", None), (None, "globex")])
def test_a_bound_key_takes_no_other_tenant(named: str | None, default: str | None) -> None:
    batch = parse(request(span({**CHAT, "tenant.id": named})), tenant="acme", default_tenant=default)
    assert batch.records == []
    assert batch.quarantined[0].tenant_id == "acme"
    assert batch.quarantined[0].reasons[0].message == "this key writes records of tenant acme only"


def test_whose_it_is_span_first_then_resource() -> None:
    resource = {"tokengraph.tenant_id": "globex", "service.namespace": "shop", "service.name": "cart", "enduser.id": "u1"}
    record = read({**CHAT, "tenant.id": None}, resource=resource)
    assert (record.tenant_id, record.project_id, record.user_id) == ("globex", "shop", "u1")
    assert read({**CHAT, "tokengraph.project_id": "p"}, resource=resource).project_id == "p"
    assert read({**CHAT, "tokengraph.tenant_id": "first"}).tenant_id == "first"
    assert read(CHAT, resource={"service.name": "unknown_service:python"}).project_id is None
    assert read(CHAT, resource={"service.name": "My Service"}).project_id is None


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"gen_ai.operation.name": "embeddings"}, True),
        ({"gen_ai.operation.name": "text_completion"}, True),
        ({"gen_ai.operation.name": "generate_content"}, True),
        ({"gen_ai.operation.name": "invoke_agent"}, False),
        ({"gen_ai.operation.name": "execute_tool"}, False),
        ({"gen_ai.operation.name": "create_agent"}, False),
        ({"gen_ai.operation.name": "invoke_workflow"}, False),
        ({"gen_ai.operation.name": ["chat"]}, False),
        ({"gen_ai.operation.name": {"kvlistValue": {}}}, False),
        ({"gen_ai.operation.name": None}, True),
        ({"gen_ai.operation.name": None, "llm.request.type": "chat"}, True),
        ({"gen_ai.operation.name": None, "llm.request.type": "rerank"}, False),
        ({"gen_ai.operation.name": None, "traceloop.span.kind": "agent"}, False),
        ({"gen_ai.operation.name": None, "openinference.span.kind": "LLM"}, True),
        ({"gen_ai.operation.name": None, "openinference.span.kind": "CHAIN"}, False),
        ({"gen_ai.operation.name": None, "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}, False),
        ({"gen_ai.operation.name": None, "gen_ai.provider.name": None, "gen_ai.request.model": None}, False),
        (dict.fromkeys(CHAT) | {"http.request.method": "GET"}, False),
    ],
)
def test_which_spans_count(values: dict[str, Any], counts: bool) -> None:
    batch = parse(request(span({**CHAT, **values})))
    assert batch.received == len(batch.records) == int(counts)
    assert batch.quarantined == []


@pytest.mark.parametrize(
    ("provider", "asked", "answered", "names"),
    [
        ("openai", "gpt-4o", None, ("openai/gpt-4o", "openai/gpt-4o", "openai")),
        ("gcp.vertex_ai", "gemini-2.5-pro", None, ("google/gemini-2.5-pro", "google/gemini-2.5-pro", "google")),
        ("gcp.gemini", "models/gemini-2.5-pro", None, ("google/gemini-2.5-pro", "google/gemini-2.5-pro", "google")),
        ("azure.ai.openai", "gpt-4o", "gpt-4o-2024-08-06", ("openai/gpt-4o", "openai/gpt-4o-2024-08-06", "azure")),
        ("Mistral_AI", "mistral-large", None, ("mistralai/mistral-large", "mistralai/mistral-large", "mistralai")),
        ("openai.chat", "gpt-4o", None, ("openai/gpt-4o", "openai/gpt-4o", "openai")),
        (None, "gpt-4o", None, ("gpt-4o", "gpt-4o", None)),
        (None, None, "gpt-4o", ("gpt-4o", "gpt-4o", None)),
        ("openai", "openai/gpt-oss-120b:free", "openai/gpt-oss-120b", ("openai/gpt-oss-120b", "openai/gpt-oss-120b:free", "openai")),
        ("ollama", "llama3.1:8b", None, ("ollama/llama3.1:8b", "ollama/llama3.1:8b", "ollama")),
        ("openrouter", "openrouter/auto", "anthropic/claude-sonnet-4", ("anthropic/claude-sonnet-4",) * 2 + ("openrouter",)),
    ],
)
def test_models_and_providers(provider: str | None, asked: str | None, answered: str | None, names: tuple[str | None, ...]) -> None:
    record = read({**CHAT, "gen_ai.provider.name": provider, "gen_ai.request.model": asked, "gen_ai.response.model": answered})
    assert (record.model_id, record.model_permaslug, record.provider) == names


def test_two_spellings_of_a_provider_agree() -> None:
    assert read({**CHAT, "gen_ai.provider.name": "azure.ai.openai", "gen_ai.system": "az.ai.openai"}).provider == "azure"
    assert read({**CHAT, "gen_ai.provider.name": "OpenAI", "gen_ai.system": "openai"}).provider == "openai"


ERROR = {"code": 2, "message": "it failed"}


@pytest.mark.parametrize(
    ("values", "status", "outcome"),
    [
        ({}, None, (200, False)),
        ({}, {"code": 1}, (200, False)),
        ({}, ERROR, (500, False)),
        ({"error.type": "timeout"}, None, (500, False)),
        ({"error.type": "429"}, ERROR, (429, False)),
        ({"http.response.status_code": 529}, ERROR, (529, False)),
        ({"http.status_code": "503"}, None, (503, False)),
        ({"http.response.status_code": 200}, None, (200, False)),
        ({"http.response.status_code": 200}, ERROR, (500, True)),
        ({"http.response.status_code": 200, "error.type": "asyncio.CancelledError"}, ERROR, (499, True)),
        ({"error.type": "AbortError"}, ERROR, (499, True)),
        ({"gen_ai.response.finish_reasons": ["cancelled"]}, None, (200, True)),
        ({"gen_ai.response.finish_reasons": '["stop"]'}, None, (200, False)),
        ({"tokengraph.interrupted": True}, None, (200, True)),
    ],
)
def test_outcomes(values: dict[str, Any], status: dict[str, Any] | None, outcome: tuple[int, bool]) -> None:
    record = read({**CHAT, **values}, status=status)
    assert (record.status_code, record.interrupted) == outcome


def test_a_call_that_failed_before_routing_needs_no_model() -> None:
    record = read({**CHAT, "gen_ai.request.model": None, "error.type": "server_certificate_invalid"}, status=ERROR)
    assert (record.model_id, record.status_code) == ("unknown", 500)


def test_first_token_by_attribute_or_event() -> None:
    chunks = [{"name": "gen_ai.content.completion.chunk", "timeUnixNano": str(START + at)} for at in (3 * 10**8, 2 * 10**8)]
    assert read(CHAT, events=[{"name": "exception", "timeUnixNano": str(START + 5)}, *chunks]).ttft_ms == 200
    assert read({**CHAT, "gen_ai.response.time_to_first_chunk": "0.5"}, events=chunks).ttft_ms == 500
    assert read({**CHAT, "ai.response.msToFirstChunk": 120}).ttft_ms == 120
    assert ("ttft_ms", "must be a number from 0 to 1000000000000 with at most 40 decimal places, or null") in reasons(
        {**CHAT, "gen_ai.response.time_to_first_chunk": -1.0}
    )


def test_the_exclusive_convention_adds_what_is_beside() -> None:
    values = {**CHAT, "gen_ai.usage.cache_read.input_tokens": 400, "gen_ai.usage.cache_creation.input_tokens": 50}
    record = parse(request(span(values)), convention=EXCLUSIVE).records[0]
    assert (record.prompt_tokens, record.cached_tokens) == (550, 400)


def test_no_message_content_gets_through() -> None:
    secret = "the patient's name is Ada"
    values = {
        **CHAT,
        "gen_ai.input.messages": secret,
        "gen_ai.output.messages": {"kvlistValue": {"values": [{"key": "text", "value": {"stringValue": secret}}]}},
        "gen_ai.prompt": secret,
        "gen_ai.completion.0.content": secret,
        "input.value": secret,
        "trace.input": secret,
        "gen_ai.system_instructions": [secret],
        "gen_ai.usage.input_tokens": -1,
    }
    event = {"name": "gen_ai.user.message", "timeUnixNano": str(START), "attributes": attributes({"content": secret})}
    body = request(span(values, name=secret, events=[event], status={"code": 2, "message": secret}), resource={"process.command": secret})
    for batch in (parse(body), parse_traces(to_protobuf(body), Delivery(Encoding.PROTOBUF), FieldRules(NOW, None))):
        assert len(batch.quarantined) == 1
        assert secret not in repr(batch)


def test_nested_and_huge_attributes() -> None:
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(40):
        deep = {"arrayValue": {"values": [deep]}}
    values = {**CHAT, "gen_ai.input.messages": deep, "app.blob": "x" * 1_000_000, "user.id": None}
    assert read(values).prompt_tokens == 100
    batch = parse(request(span({**CHAT, "user.id": "x" * 1_000_000})))
    assert len(str(batch.quarantined[0].values["user_id"])) == 512
    deeper = b'{"resourceSpans":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(BadInputError):
        parse(deeper)


def test_lone_surrogates_in_a_text_do_not_cost_the_batch() -> None:
    body = orjson.dumps(request(span())).replace(b"chat gpt-4o", b"\\ud83d")
    assert len(parse(body).records) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"[]", "object"),
        (b"{", "malformed JSON"),
        (b'{"resourceSpans": {}}', "array"),
        (b'{"resourceSpans": [1]}', "array"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": 5}]}]}]}', "attributes"),
        (b'{"resourceSpans": [{"resource": 5}]}', "resource"),
    ],
)
def test_bodies_that_are_no_traces(body: bytes, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        parse(body)


def test_empty_requests_are_fine() -> None:
    for body in (b"{}", b'{"resourceSpans": []}', b'{"resourceSpans": null}', b'{"resourceSpans": [{}]}'):
        assert parse(body).received == 0
    assert parse_traces(b"", Delivery(Encoding.PROTOBUF), FieldRules(NOW, None)).received == 0


def test_the_number_of_parts_is_bounded() -> None:
    with pytest.raises(BodyTooLargeError):
        parse(b'{"resourceSpans": [' + b"{}," * 100_000 + b"{}]}")
    with pytest.raises(BodyTooLargeError):
        parse_traces(b"\x0a\x00" * 100_001, Delivery(Encoding.PROTOBUF), FieldRules(NOW, None))


def test_ten_thousand_spans_take_a_moment() -> None:
    spans = [span({**CHAT, "gen_ai.input.messages": "x" * 200}, spanId=f"{number:016x}") for number in range(1, 10_001)]
    content = to_protobuf(request(*spans))
    started = time.perf_counter()
    batch = parse_traces(content, Delivery(Encoding.PROTOBUF), FieldRules(NOW, None))
    assert time.perf_counter() - started < 5
    assert len(batch.records) == batch.received == 10_000
    assert batch.indexes == list(range(10_000))


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["chat", "STOP", "12", "-1", "1e9"]),
)
_JSON = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8
)
_KINDS = ("stringValue", "intValue", "doubleValue", "boolValue", "arrayValue", "kvlistValue", "bytesValue", "values", "other")
_NAMES = sorted({*CHAT, "gen_ai.system", "gen_ai.response.id", "error.type", "http.status_code", "source", "span.type", "user.id"})
_ATTRIBUTE = st.fixed_dictionaries(
    {}, optional={"key": st.sampled_from(_NAMES) | _JSON, "value": st.dictionaries(st.sampled_from(_KINDS), _JSON, max_size=2) | _JSON}
)
_SPAN = st.fixed_dictionaries(
    {},
    optional={
        "traceId": st.just(TRACE) | _JSON,
        "spanId": st.just(SPAN) | _JSON,
        "startTimeUnixNano": st.just(str(START)) | _JSON,
        "endTimeUnixNano": st.integers(0, 2**64) | _JSON,
        "attributes": st.lists(_ATTRIBUTE | _JSON, max_size=6) | _JSON,
        "events": st.lists(_JSON, max_size=2),
        "status": _JSON | st.just({"code": 2}),
    },
)


def _only_refuses(content: bytes, encoding: Encoding) -> None:
    for from_openrouter in (False, True):
        try:
            batch = parse_traces(content, Delivery(encoding, all_openrouter=from_openrouter), FieldRules(NOW, None))
        except BadInputError:
            continue
        assert batch.received == len(batch.records) + len(batch.quarantined)
        assert all(item.reasons for item in batch.quarantined)


@settings(max_examples=300)
@given(st.lists(_SPAN | _JSON, max_size=3))
@example([{"attributes": attributes(CHAT), "startTimeUnixNano": 1e308}])
def test_any_json_is_read_or_refused(spans: Sequence[Any]) -> None:
    _only_refuses(json.dumps(request(*spans)).encode("utf-8", "replace"), Encoding.JSON)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(content: bytes, at: int, byte: int) -> None:
    _only_refuses(content, Encoding.PROTOBUF)
    _only_refuses(content, Encoding.JSON)
    whole = bytearray(to_protobuf(request(span())))
    whole[at % len(whole)] = byte
    _only_refuses(bytes(whole), Encoding.PROTOBUF)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("prod", "prod"),
        ("Test API Key", "Test-API-Key"),
        ("ключ", "--159323c9"),
        ("", None),
        (None, None),
    ],
)
def test_api_key_names_as_identifiers(name: str | None, label: str | None) -> None:
    assert key_label(name) == label


def test_labels_of_long_and_foreign_names_are_identifiers_and_distinct() -> None:
    labels = {key_label(name) for name in ("ключ один", "ключ два", "x" * 400, "x" * 401, "\ud800", "a\0b")}
    assert len(labels) == 6
    assert all(isinstance(label, str) and 1 <= len(label) <= 128 for label in labels)


DOCS = Path(__file__).parents[2] / "docs" / "connect"


def documented(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading line, its cells as lists of what is set in code."""
    below = (DOCS / page).read_text().split(heading, 1)[1].strip().splitlines()[2:]
    rows = (line for line in below[: next(at for at, line in enumerate([*below, ""]) if not line.startswith("|"))])
    return [re.findall(r"`([^`]+)`", cells) for cells in (row.split("|", 2)[2] for row in rows)]


def test_every_attribute_that_is_read_is_documented_and_no_other() -> None:
    table = "<!-- attributes: a test holds this table to the code -->"
    named = {name for row in documented("opentelemetry.md", table) for name in row}
    assert named - {"unknown_service"} == names_of(GENAI) | FIRST_TOKEN_EVENTS
    own = {name for row in documented("openrouter.md", table) for name in row} - {"traceid:spanid", "user", "byok"}
    changed = {fact: attributes for fact, attributes in OPENROUTER.facts.items() if attributes != GENAI.facts.get(fact)}
    expected = {name for attributes in changed.values() for name in attributes.names}
    assert own == expected | {"gen_ai.usage.total_cost", "gen_ai.usage.cost"}


def test_every_provider_is_documented() -> None:
    page = (DOCS / "opentelemetry.md").read_text()
    rows = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \| `([a-z-]+)` \| `([a-z-]+)` \|$", page, re.MULTILINE)
    shown = {name: (slug, author) for names, slug, author in rows for name in re.findall(r"`([^`]+)`", names)}
    assert shown == {name: (provider.slug, provider.author) for name, provider in PROVIDERS.items()}


def test_a_name_belongs_to_one_fact() -> None:
    with pytest.raises(ValueError, match="two facts"):
        Vocabulary({"a": Attributes(("x",)), "b": Attributes(("x",))})
