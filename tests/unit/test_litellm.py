"""LiteLLM's logging payloads: each field, each contradiction, each form of a body; docs/connect/litellm.md says what the code does."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import BadInputError, BodyTooLargeError
from app.domain.fields import MAX_COUNT
from app.domain.usage import PLAUSIBLE_UP_TO, ParsedBatch, UsageRecord
from app.ingest import parse
from app.ingest.fields import FieldRules
from app.ingest.sources import litellm
from app.ingest.sources.litellm import TENANT_FIELDS, UNATTRIBUTED, Delivery, TenantFrom, parse_payloads, read_payload
from app.ingest.sources.litellm_vocabulary import AUTHORED, NOT_CALLS, PASSED_OVER, PASSED_THROUGH, PROVIDERS, Routed, model_names
from tests.litellm_payloads import CONTENT, START, failure, payload, put

NOW = datetime(2026, 6, 27, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GUIDE = (Path(__file__).parents[2] / "docs/connect/litellm.md").read_text()


def read(*payloads: Any, key_tenant: str | None = None, **delivery: Any) -> ParsedBatch:
    return parse_payloads(orjson.dumps(list(payloads)), Delivery(key_tenant=key_tenant, **delivery), FieldRules(NOW, key_tenant))


def record_of(sent: dict[str, Any], **how: Any) -> UsageRecord:
    batch = read(sent, **how)
    assert not batch.quarantined, batch.quarantined
    return batch.records[0]


def reasons_of(sent: dict[str, Any], **how: Any) -> list[tuple[str | None, str]]:
    (item,) = read(sent, **how).quarantined
    assert item.source == "litellm"
    return [(reason.field, reason.message) for reason in item.reasons]


def test_a_call_of_a_proxy() -> None:
    assert record_of(payload()) == UsageRecord(
        tenant_id="acme",
        request_id="chatcmpl-840b5417-f238-4ba9-a9b7-0a4551da34a4",
        occurred_at=datetime(2026, 6, 26, 12, 0, 0, 918273, UTC),
        project_id=None,
        api_key_id="88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        user_id="5f0c1c3e-8f5c-4a53-9d0e-3c1f0b1f6f51",
        username="ada@example.com",
        model_id="openai/gpt-4o",
        model_permaslug="openai/gpt-4o",
        provider="openai",
        status_code=200,
        prompt_tokens=100,
        completion_tokens=20,
        cached_tokens=40,
        reasoning_tokens=8,
        cost_usd=Decimal("0.00022500000000000002"),
        traffic_mode="shared",
        shared_model_spend=0,
        byok_platform_fee=0,
        managed_tool_fee=0,
        agent_runtime_fee=0,
        search_requests=0,
        latency_ms=Decimal("1250.000"),
        ttft_ms=None,
    )


ROW = re.compile(r"^\| (`[a-z_`, ]+`) \| (.+) \|$", re.MULTILINE)
PATH = re.compile(r"`([A-Za-z_.-]+)`")
OTHERWISE: dict[str, Any] = {
    "startTime": START - 60,
    "endTime": START + 2,
    "completionStartTime": START + 0.5,
    "stream": True,
    "status": "failure",
    "prompt_tokens": 110,
    "completion_tokens": 30,
    "response_cost": 0.5,
    "cache_hit": True,
    "error_information.error_code": "499",
    "error_information.normalized_error": "404_NOT_FOUND",
    "custom_llm_provider": "groq",
    "metadata.usage_object.prompt_tokens_details.cached_tokens": 41,
    "metadata.usage_object.cache_read_input_tokens": 42,
    "metadata.usage_object.completion_tokens_details.reasoning_tokens": 9,
    "metadata.usage_object.prompt_tokens_details.web_search_requests": 2,
    "metadata.usage_object.server_tool_use.web_search_requests": 3,
    "hidden_params.additional_headers.x-litellm-attempted-retries": 1,
    "hidden_params.additional_headers.x-litellm-attempted-fallbacks": 2,
}
"""Other values than the payload's; of what is not here a text."""
NO_USER = {"metadata__user_api_key_user_id": None}
NO_ANSWER = {"status": "failure", "completion_tokens": 0, "metadata__usage_object": {}}
BASES: dict[tuple[str, str], dict[str, Any]] = {
    ("request_id", "litellm_call_id"): {"id": None},
    ("request_id", "startTime"): {"status": "failure"},
    ("ttft_ms", "startTime"): {"stream": True},
    ("ttft_ms", "completionStartTime"): {"stream": True},
    ("ttft_ms", "stream"): {"completionStartTime": START + 0.5},
    ("user_id", "metadata.user_api_key_end_user_id"): NO_USER,
    ("user_id", "end_user"): {**NO_USER, "metadata__user_api_key_end_user_id": None},
    ("status_code", "error_information.normalized_error"): {"status": "failure", "error_information__error_code": "rate_limited"},
    ("status_code", "error_information.error_code"): {"status": "failure"},
    ("interrupted", "error_information.error_code"): NO_ANSWER,
    ("interrupted", "completion_tokens"): NO_ANSWER,
    ("model_id", "custom_llm_provider"): {"model": "gpt-4o"},
    ("model_permaslug", "custom_llm_provider"): {"model": "gpt-4o"},
    ("model_id", "model_map_information.model_map_key"): {"custom_llm_provider": "azure"},
    ("model_permaslug", "model_map_information.model_map_key"): {"custom_llm_provider": "azure"},
    ("cached_tokens", "metadata.usage_object.cache_read_input_tokens"): {"metadata__usage_object__prompt_tokens_details": None},
}
"""What must be so for a part of the payload to have a say in a field."""


def documented_fields() -> list[tuple[str, str]]:
    table = GUIDE.split("## Mapping")[1].split("## Models")[0]
    pairs = []
    for names, sources in ROW.findall(table):
        for path in PATH.findall(sources):
            pairs += [(name, path) for name in re.findall("[a-z_]+", names)]
    return pairs


@pytest.mark.parametrize(("field", "path"), documented_fields())
def test_each_field_comes_from_where_the_guide_says(field: str, path: str) -> None:
    base = {"total_tokens": 0, **BASES.get((field, path), {})}
    before, after = payload(**base), payload(**base)
    put(after, path.split("."), OTHERWISE.get(path, "something-else"))
    values = [read_payload(sent, Delivery()).values.get(field) for sent in (before, after)]
    assert values[0] != values[1], values


def test_the_guide_names_every_field_that_is_filled() -> None:
    assert {field for field, _ in documented_fields()} | {"tenant_id"} == set(read_payload(payload(stream=True), Delivery()).values)


def test_the_guide_has_the_tables_of_the_code() -> None:
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \| `(\S+)` \|$", GUIDE, re.MULTILINE)
    assert rows == [(name, provider.slug, provider.author) for name, provider in PROVIDERS.items()]
    authored = GUIDE.split("- Models of ")[1].split(" that have an author")[0]
    assert set(re.findall("`(.+?)`", authored)) == AUTHORED
    assert tuple(re.findall(r"^[0-9]\. `(.+?)`", GUIDE, re.MULTILINE)) == TENANT_FIELDS
    assert set(re.findall(r"`X-Tokengraph-Tenant-From: (\w+)` \|", GUIDE)) == {word.value for word in TenantFrom}
    assert all(f"`{name}`" in GUIDE for name in PASSED_THROUGH)


@pytest.mark.parametrize(
    ("provider", "model", "names"),
    [
        ("openai", "gpt-4o", ("openai/gpt-4o", "openai/gpt-4o", "openai")),
        ("openai", "openai/gpt-4o", ("openai/gpt-4o", "openai/gpt-4o", "openai")),
        ("text-completion-openai", "gpt-3.5-turbo-instruct", ("openai/gpt-3.5-turbo-instruct",) * 2 + ("openai",)),
        ("azure", "azure/my-deploy", ("openai/gpt-4o-mini", "openai/gpt-4o-mini", "azure")),
        ("anthropic", "claude-sonnet-4-5", ("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "anthropic")),
        (
            "bedrock",
            "bedrock/converse/us-east-1/us.anthropic.claude-v1:0",
            ("amazon-bedrock/us.anthropic.claude-v1:0",) * 2 + ("amazon-bedrock",),
        ),
        ("vertex_ai", "vertex_ai/gemini-2.5-pro", ("google/gemini-2.5-pro", "google/gemini-2.5-pro", "google")),
        ("gemini", "gemini-2.5-pro", ("google/gemini-2.5-pro", "google/gemini-2.5-pro", "google")),
        ("openrouter", "openrouter/openai/gpt-4o:free", ("openai/gpt-4o", "openai/gpt-4o:free", "openrouter")),
        ("openrouter", "openai/gpt-4o", ("openai/gpt-4o", "openai/gpt-4o", "openrouter")),
        ("groq", "groq/openai/gpt-oss-20b", ("openai/gpt-oss-20b", "openai/gpt-oss-20b", "groq")),
        ("groq", "llama-3.1-8b-instant", ("groq/llama-3.1-8b-instant", "groq/llama-3.1-8b-instant", "groq")),
        ("hosted_vllm", "meta-llama/Llama-3.1-8B", ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B", "hosted_vllm")),
        ("ollama", "llama3:8b", ("ollama/llama3:8b", "ollama/llama3:8b", "ollama")),
        (None, "gpt-4o", ("gpt-4o", None, None)),
        ("openai", "", ("", None, "openai")),
    ],
)
def test_model_names(provider: str | None, model: str, names: tuple[str | None, ...]) -> None:
    assert tuple(model_names(Routed(model, provider, "azure/gpt-4o-mini")).values()) == names


def test_what_was_not_routed_is_of_the_model_unknown() -> None:
    record = record_of(failure(model="a whole prompt\nof a caller", custom_llm_provider=None))
    assert (record.model_id, record.provider, record.status_code) == ("unknown", None, 429)


def test_attempts_differ_and_a_payload_sent_again_does_not() -> None:
    attempts = [failure(), failure(startTime=START + 0.5), payload(hidden_params__additional_headers={"x-litellm-attempted-retries": "2"})]
    records, again = read(*attempts).records, read(*attempts).records
    assert [record.request_id for record in records] == [record.request_id for record in again]
    assert [record.request_id for record in records] == [
        "4e49f632-6a36-4f0e-94d4-9a4e2f1c0e6b:1782475200918273",
        "4e49f632-6a36-4f0e-94d4-9a4e2f1c0e6b:1782475201418273",
        "chatcmpl-840b5417-f238-4ba9-a9b7-0a4551da34a4",
    ]
    assert [record.attempt for record in records] == [1, 1, 3]
    assert [record.cost_usd for record in records] == [0, 0, Decimal("0.00022500000000000002")]


@pytest.mark.parametrize("sent", [payload(id="resp_" + "x" * 300), failure(id="resp_" + "x" * 300)])
def test_long_ids_stay_apart(sent: dict[str, Any]) -> None:
    other = {**sent, "id": sent["id"] + "y"}
    first, second = (record.request_id for record in read(sent, other).records)
    assert first != second
    assert len(first) == len(second) == 128


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_a_backend_without_ids(nothing: str | None) -> None:
    assert record_of(payload(id=nothing)).request_id == "4e49f632-6a36-4f0e-94d4-9a4e2f1c0e6b"


def test_the_result_of_a_batch_is_not_the_call_that_made_it() -> None:
    made = payload(id="batch_1", call_type="acreate_batch", response_cost=0, prompt_tokens=0, completion_tokens=0, total_tokens=0)
    done = payload(id="batch_1", call_type="aretrieve_batch")
    batch = read(made, done, done)
    assert [record.request_id for record in batch.records] == ["batch_1:aretrieve_batch"] * 2
    assert [(reject.index, reject.message) for reject in batch.rejects] == [(0, PASSED_OVER)]


@pytest.mark.parametrize(
    ("sent", "status", "interrupted"),
    [
        (failure(), 429, False),
        (failure(error_information={"error_code": 503}), 503, False),
        (failure(error_information={"error_code": "insufficient_quota", "normalized_error": "429_QUOTA"}), 429, False),
        (failure(error_information={"error_code": "", "error_class": "ModuleNotFoundError", "normalized_error": "UNCLASSIFIED"}), 0, False),
        (failure(error_information=None), 0, False),
        (payload(error_information={"error_code": "499", "error_class": "ClientDisconnected"}), 499, True),
        (failure(completion_tokens=3, total_tokens=3), 429, True),
    ],
)
def test_outcomes(sent: dict[str, Any], status: int, interrupted: bool) -> None:
    record = record_of(sent)
    assert (record.status_code, record.interrupted) == (status, interrupted)


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({}, Decimal("0.00022500000000000002")),
        ({"response_cost": 0.0}, Decimal(0)),
        ({"response_cost": 0.0, "hidden_params__response_cost": None}, None),
        ({"response_cost": 0.0, "response_cost_failure_debug_info": {"error_str": "no price"}}, None),
        ({"response_cost": 0.0, "zero_cost_diagnostic": {"reason": "missing_pricing_key"}}, None),
        ({"response_cost": 0.0, "hidden_params__response_cost": None, "cache_hit": True}, Decimal(0)),
        ({"response_cost": None}, None),
    ],
)
def test_costs(changes: dict[str, Any], cost: Decimal | None) -> None:
    assert record_of(payload(**changes)).cost_usd == cost


def test_a_stream() -> None:
    record = record_of(payload(stream=True, completionStartTime=START + 0.25, response_time=0.25))
    assert (record.latency_ms, record.ttft_ms) == (Decimal(1250), Decimal(250))


def test_a_total_of_nothing_is_none() -> None:
    assert record_of(payload(total_tokens=0)).prompt_tokens == 100


def test_keys_in_clear_are_hashed() -> None:
    assert record_of(payload(metadata__user_api_key_hash="sk-123")).api_key_id == sha256(b"sk-123").hexdigest()


def test_users() -> None:
    nobody = {"metadata__user_api_key_user_id": "default_user_id"}
    assert record_of(payload(**nobody)).user_id == "enduser"
    assert record_of(payload(**nobody)).username is None
    session = record_of(payload(**nobody, metadata__user_api_key_end_user_id="user_" + "5" * 200)).user_id
    assert session is not None
    assert len(session) == 128


NAMES_NOBODY = {"metadata__user_api_key_team_id": None}
IN_METADATA = {"metadata__requester_metadata__tokengraph_tenant_id": "caller"}
IN_KEY = {"metadata__user_api_key_auth_metadata": {"tokengraph_tenant_id": "key"}}
ORGANIZATION = {"metadata__user_api_key_org_id": "org"}


@pytest.mark.parametrize(
    ("changes", "how", "tenant", "project"),
    [
        ({**IN_METADATA, **IN_KEY, **ORGANIZATION}, {}, "acme", None),
        ({**NAMES_NOBODY, **IN_METADATA, **IN_KEY, **ORGANIZATION}, {}, "org", None),
        ({**NAMES_NOBODY, **IN_METADATA, **IN_KEY}, {}, "key", None),
        ({**NAMES_NOBODY, **IN_METADATA}, {"default_tenant": "header"}, "caller", None),
        ({**NAMES_NOBODY, "metadata__spend_logs_metadata": {"tokengraph_tenant_id": "logs"}}, {}, "logs", None),
        (NAMES_NOBODY, {"default_tenant": "header"}, "header", None),
        (NAMES_NOBODY, {"key_tenant": "bound"}, "bound", None),
        ({}, {"key_tenant": "acme"}, "acme", None),
        ({}, {"key_tenant": "bound", "tenant_from": TenantFrom.NONE}, "bound", "acme"),
        (ORGANIZATION, {"tenant_from": TenantFrom.ORGANIZATION}, "org", "acme"),
        (IN_METADATA, {"tenant_from": TenantFrom.ORGANIZATION, "default_tenant": "header"}, "header", "acme"),
        ({"metadata__user_api_key_project_id": "p1"}, {"tenant_from": TenantFrom.NONE, "default_tenant": "header"}, "header", "p1"),
        ({"metadata__user_api_key_team_id": "litellm-internal-health-check"}, {}, "litellm-internal-health-check", None),
        ({"metadata__user_api_key_team_id": "litellm-internal-health-check"}, {"default_tenant": "header"}, "header", None),
        ({"metadata__user_api_key_team_id": "litellm-internal-health-check"}, {"key_tenant": "bound"}, "bound", None),
    ],
)
def test_tenants(changes: dict[str, Any], how: dict[str, Any], tenant: str, project: str | None) -> None:
    record = record_of(payload(**changes), **how)
    assert (record.tenant_id, record.project_id) == (tenant, project)


@pytest.mark.parametrize(
    ("changes", "how", "words"),
    [
        (NAMES_NOBODY, {}, f"is in none of {', '.join(TENANT_FIELDS)}, nor in the header X-Tokengraph-Tenant"),
        ({}, {"tenant_from": TenantFrom.NONE}, "is not in the header X-Tokengraph-Tenant"),
        ({}, {"key_tenant": "bound"}, "this key writes records of tenant bound only"),
        (NAMES_NOBODY, {"key_tenant": "bound", "default_tenant": "other"}, "this key writes records of tenant bound only"),
        ({"metadata__user_api_key_team_id": "two words"}, {}, "must be 1 to 128 characters, each one of A-Z a-z 0-9 . _ : @ / -"),
    ],
)
def test_no_tenant_and_anothers(changes: dict[str, Any], how: dict[str, Any], words: str) -> None:
    assert ("tenant_id", words) in reasons_of(payload(**changes), **how)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"total_tokens": 121}, "total_tokens"),
        ({"total_tokens": "all"}, "total_tokens"),
        ({"metadata__usage_object__prompt_tokens_details__cached_tokens": 101}, "cached_tokens"),
        ({"metadata__usage_object__cache_read_input_tokens": 7}, "cached_tokens"),
        ({"metadata__usage_object__prompt_tokens_details__cache_creation_tokens": 61}, "prompt_tokens"),
        ({"metadata__usage_object__prompt_tokens_details__cache_creation_tokens": "some"}, "prompt_tokens"),
        ({"metadata__usage_object__completion_tokens_details__reasoning_tokens": 21}, "reasoning_tokens"),
        ({"prompt_tokens": 2**53, "total_tokens": 0}, "prompt_tokens"),
        ({"prompt_tokens": -1, "total_tokens": 0}, "prompt_tokens"),
        ({"completion_tokens": True, "total_tokens": 0}, "completion_tokens"),
        ({"endTime": START - 1}, "latency_ms"),
        ({"endTime": "later"}, "latency_ms"),
        ({"stream": True, "completionStartTime": START - 1}, "ttft_ms"),
        ({"stream": True, "completionStartTime": START + 2}, "ttft_ms"),
        ({"startTime": None}, "occurred_at"),
        ({"startTime": "2026-06-26T12:00:00Z"}, "occurred_at"),
        ({"startTime": START * 1000}, "occurred_at"),
        ({"startTime": 1e300}, "occurred_at"),
        ({"status": "success", "error_information__error_code": "500"}, "status_code"),
        ({"status": "failure", "error_information__error_code": "200"}, "status_code"),
        ({"status": None}, "status_code"),
        ({"response_cost": -1}, "cost_usd"),
        ({"cache_hit": "maybe"}, "cache_hit"),
        ({"hidden_params__additional_headers": {"x-litellm-attempted-retries": -1}}, "attempt"),
        ({"id": "a\0b"}, "request_id"),
        ({"id": None, "litellm_call_id": None}, "request_id"),
        ({"id": {"nested": 1}}, "request_id"),
        ({"model": None}, "model_id"),
        ({"model": 7}, "model_id"),
        ({"custom_llm_provider": ["openai"]}, "provider"),
    ],
)
def test_what_contradicts_itself_waits(changes: dict[str, Any], field: str) -> None:
    assert field in {name for name, _ in reasons_of(payload(**changes))}


def test_the_greatest_count() -> None:
    def counted(prompt: int) -> dict[str, Any]:
        return payload(prompt_tokens=prompt, completion_tokens=0, total_tokens=prompt, metadata__usage_object=None)

    most = PLAUSIBLE_UP_TO["prompt_tokens"]
    assert record_of(counted(most)).prompt_tokens == most
    assert [name for name, _ in reasons_of(counted(most + 1))] == [name for name, _ in reasons_of(counted(MAX_COUNT))] == ["prompt_tokens"]


def test_not_a_number() -> None:
    for name in ("startTime", "endTime", "response_cost", "prompt_tokens"):
        for word in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
            body = orjson.dumps(payload(**{name: "HERE"})).replace(b'"HERE"', word)
            batch = parse_payloads(body, Delivery(), FieldRules(NOW, None))
            assert (len(batch.records), len(batch.quarantined)) == (0, 1), (name, word)


def test_no_content_is_kept() -> None:
    wrong = [payload(total_tokens=1), failure(error_information__error_code="200"), payload(metadata=CONTENT), payload(status=CONTENT)]
    batch = read(payload(), failure(), *wrong)
    assert (len(batch.records), len(batch.quarantined)) == (2, 4)
    assert CONTENT not in repr(batch)


@pytest.mark.parametrize("call_type", sorted(NOT_CALLS))
@pytest.mark.parametrize("status", ["success", "failure"])
def test_what_is_no_call_is_passed_over(call_type: str, status: str) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "response_cost": 0.0}
    batch = read(payload(call_type=call_type, status=status, **nothing))
    assert (batch.received, [(reject.index, reject.message) for reject in batch.rejects]) == (1, [(0, PASSED_OVER)])
    assert len(read(payload(call_type=call_type)).records) == 1


@pytest.mark.parametrize("call_type", sorted(PASSED_THROUGH))
def test_what_is_passed_through_counts_if_it_failed_or_cost(call_type: str) -> None:
    nothing = payload(call_type=call_type, prompt_tokens=0, completion_tokens=0, total_tokens=0, response_cost=0, metadata__usage_object={})
    batch = read(nothing, payload(call_type=call_type), failure(call_type=call_type), {**nothing, "response_cost": 0.1})
    assert (len(batch.rejects), batch.indexes) == (1, [1, 2, 3])


def test_refusals_of_nobody_do_not_fill_the_quarantine() -> None:
    nobody = failure(custom_llm_provider=None, model="", metadata={})
    assert [reject.message for reject in read(nobody).rejects] == [UNATTRIBUTED]
    assert record_of(nobody, default_tenant="acme").status_code == 429
    assert record_of(nobody, key_tenant="acme").model_id == "unknown"
    assert len(read(failure(custom_llm_provider=None, metadata={"user_api_key_hash": "k"})).quarantined) == 1


TWO = [orjson.dumps(payload()), orjson.dumps(payload(id="two"))]


@pytest.mark.parametrize(
    ("body", "received", "records", "rejects"),
    [
        (b"[" + b",".join(TWO) + b"]", 2, 2, 0),
        (b"\n".join(TWO), 2, 2, 0),
        (b"\xef\xbb\xbf" + b"\r\n".join([*TWO, b"", b""]), 2, 2, 0),
        (TWO[0], 1, 1, 0),
        (TWO[0] + b"\n", 1, 1, 0),
        (b"[]", 0, 0, 0),
        (b"null", 1, 0, 1),
        (b"null\n" + TWO[0], 2, 1, 1),
        (b"[null," + TWO[0] + b', "x", 7]', 4, 1, 3),
        (TWO[0] + b"\n{broken\n" + TWO[1], 3, 2, 1),
    ],
)
def test_forms(body: bytes, received: int, records: int, rejects: int) -> None:
    batch = parse_payloads(body, Delivery(), FieldRules(NOW, None))
    assert (batch.received, len(batch.records), len(batch.rejects)) == (received, records, rejects)


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"{", b"[" + TWO[0], b"[\n" + TWO[0] + b"\n", b"42", b'"x"', b"true", b"a=1&b=2", b"\xff\xfe"]
)
def test_what_is_no_body(body: bytes) -> None:
    with pytest.raises(BadInputError):
        parse_payloads(body, Delivery(), FieldRules(NOW, None))


@pytest.mark.parametrize("body", [b"[1,2,3]", b"1\n2\n3\n"])
def test_too_many(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "MAX_RECORDS", 2)
    with pytest.raises(BodyTooLargeError):
        parse_payloads(body, Delivery(), FieldRules(NOW, None))
    assert parse.MAX_RECORDS == 100_000


@given(st.floats(min_value=1_577_836_800, max_value=1_782_500_000))
def test_instants_are_floored_to_the_microsecond(seconds: float) -> None:
    micros = int((Decimal(repr(seconds)) * 10**6).to_integral_value(ROUND_FLOOR))
    record = record_of(payload(startTime=seconds, endTime=None))
    assert record.occurred_at == EPOCH + timedelta(microseconds=micros)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["success", "failure", "acompletion", "list_mcp_tools", "openai", "sk-1", "\0", "\ud800", 2**53, START, START + 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = sorted(
    {path for _, path in documented_fields()}
    | {"total_tokens", "call_type", "metadata", "metadata.usage_object", "hidden_params"}
    | set(TENANT_FIELDS)
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(PATHS), JSON, max_size=6), st.booleans(), st.sampled_from([None, "acme", "other"]))
def test_any_object_is_a_record_or_waits_or_is_named(changes: dict[str, Any], bare: bool, key_tenant: str | None) -> None:
    sent: dict[str, Any] = {} if bare else payload()
    for path in sorted(changes):
        put(sent, path.split("."), changes[path])
    assert set(read_payload(sent, Delivery(key_tenant=key_tenant)).values) <= set(UsageRecord._fields)
    # The standard library writes NaN and lone surrogates, as LiteLLM does with it.
    batch = parse_payloads(json.dumps([sent]).encode(), Delivery(key_tenant=key_tenant), FieldRules(NOW, key_tenant))
    assert batch.received == len(batch.records) + len(batch.quarantined) + len(batch.rejects) == 1
    assert {reject.message for reject in batch.rejects} <= {PASSED_OVER, UNATTRIBUTED}
    assert all(item.reasons for item in batch.quarantined)
