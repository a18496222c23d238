"""Rows of LiteLLM's spend logs, native and as CSV, and beside the same calls by the callback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.fields import FieldRules
from app.ingest.parse import Unreadable
from app.ingest.sources.candidates import collect_candidates
from app.ingest.sources.litellm import Delivery, read_payload
from app.ingest.sources.litellm_spend_logs import NAME, spend_log_candidate, without_other_calls
from app.ingest.sources.litellm_vocabulary import PASSED_OVER
from tests.litellm_payloads import CONTENT, failure, payload

NOW = datetime(2026, 6, 27, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    """A row of the table for the payload of tests/litellm_payloads.py, as JSON has it."""
    metadata = {
        "user_api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_project_id": None,
        "status": "success",
        "usage_object": payload()["metadata"]["usage_object"],
        "attempted_retries": 0,
        "attempted_fallbacks": 0,
        "error_information": {},
        "model_map_information": {"model_map_key": "openai/gpt-4o"},
        **changes.pop("metadata", {}),
    }
    return {
        "request_id": "chatcmpl-840b5417-f238-4ba9-a9b7-0a4551da34a4",
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.00022500000000000002,
        "total_tokens": 120,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "startTime": "2026-06-26T12:00:00.918Z",
        "endTime": "2026-06-26T12:00:02.168Z",
        "completionStartTime": "2026-06-26T12:00:02.168Z",
        "model": "openai/gpt-4o",
        "model_id": "259dc066",
        "model_group": "gpt",
        "custom_llm_provider": "openai",
        "user": "5f0c1c3e-8f5c-4a53-9d0e-3c1f0b1f6f51",
        "metadata": metadata,
        "cache_hit": "None",
        "team_id": "acme",
        "organization_id": "",
        "end_user": "enduser",
        "status": "success",
        "messages": {"content": CONTENT},
        "response": {"content": CONTENT},
        **changes,
    }


def in_csv(cells: Mapping[str, Any]) -> dict[str, object]:
    """The row as PostgreSQL's COPY writes it to CSV."""
    made: dict[str, object] = {}
    for name, cell in cells.items():
        text = json.dumps(cell) if isinstance(cell, dict) else "" if cell is None else str(cell)
        made[name] = text.replace("T", " ").removesuffix("Z") if name.endswith("Time") else text
    return made


def collect(*rows: Mapping[str, Any], tenant_id: str | None = None) -> ParsedBatch:
    return collect_candidates((spend_log_candidate(cells) for cells in rows), NAME, FieldRules(NOW, tenant_id))


def record_of(cells: Mapping[str, Any], **how: Any) -> UsageRecord:
    batch = collect(cells, **how)
    assert not batch.quarantined, batch.quarantined
    return batch.records[0]


def fields_that_wait(cells: Mapping[str, Any]) -> set[str | None]:
    (item,) = collect(cells).quarantined
    assert CONTENT not in repr(item)
    return {reason.field for reason in item.reasons}


def test_a_row_is_the_call_that_the_callback_reports() -> None:
    (sent,) = collect_candidates([read_payload(payload(), Delivery())], "litellm", FieldRules(NOW, None)).records
    # The table has no e-mail addresses and keeps milliseconds.
    assert record_of(row()) == sent._replace(username=None, occurred_at=sent.occurred_at.replace(microsecond=918000))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "failure", "spend": 0, "metadata": {"error_information": {"error_code": "503"}}, "cache_hit": "False"},
        {"completionStartTime": "2026-06-26T12:00:01.168Z", "cache_hit": "True", "spend": 0.0},
        {"metadata": {"attempted_retries": 2, "attempted_fallbacks": 1}, "user": "default_user_id"},
        {"user": "", "end_user": "x" * 200, "custom_llm_provider": "azure", "model": "azure/d", "api_key": "sk-1"},
    ],
)
def test_csv_says_the_same_as_json(changes: dict[str, Any]) -> None:
    assert record_of(in_csv(row(**changes))) == record_of(row(**changes))


def test_native_cells() -> None:
    start = datetime(2026, 6, 26, 12, 0, 0, 918000)
    times = {"startTime": start, "endTime": datetime(2026, 6, 26, 12, 0, 2, 168000, UTC), "completionStartTime": start.replace(second=1)}
    record = record_of(row(**times, spend=Decimal("0.000225")))
    assert record.occurred_at == start.replace(tzinfo=UTC)
    assert [record.latency_ms, record.ttft_ms, record.cost_usd] == [Decimal(1250), Decimal(1000), Decimal("0.000225")]


def test_what_failed() -> None:
    record = record_of(row(status="failure", spend=0, metadata={"error_information": {"error_code": "429"}}))
    assert (record.status_code, record.cost_usd, record.attempt) == (429, Decimal(0), 1)
    unknown = record_of(row(status="failure", model="unknown-model", metadata={"error_information": {"error_code": "400"}}))
    assert unknown.model_id == "unknown"
    left = record_of(row(metadata={"error_information": {"error_code": "499"}}))
    assert (left.status_code, left.interrupted) == (499, True)
    before_the_column = row(status=None)
    before_the_column["metadata"].pop("status")
    assert record_of(before_the_column).status_code == 200


@pytest.mark.parametrize(
    ("changes", "bound", "tenant"),
    [
        ({}, None, "acme"),
        ({"team_id": None, "organization_id": "org"}, None, "org"),
        ({"team_id": "", "metadata": {"spend_logs_metadata": {"tokengraph_tenant_id": "noted"}}}, None, "noted"),
        ({"team_id": None, "api_key": "litellm-internal-health-check"}, None, "litellm-internal-health-check"),
        ({"team_id": None}, "bound", "bound"),
    ],
)
def test_tenants(changes: dict[str, Any], bound: str | None, tenant: str) -> None:
    assert record_of(row(**changes), tenant_id=bound).tenant_id == tenant


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"team_id": None}, "tenant_id"),
        ({"total_tokens": 1}, "total_tokens"),
        ({"prompt_tokens": 2**53, "total_tokens": 0}, "prompt_tokens"),
        ({"prompt_tokens": "many"}, "prompt_tokens"),
        ({"metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 101}}}}, "cached_tokens"),
        ({"metadata": {"usage_object": {"completion_tokens_details": {"reasoning_tokens": 21}}}}, "reasoning_tokens"),
        ({"metadata": {"attempted_retries": "some"}}, "attempt"),
        ({"endTime": "2026-06-26T11:00:00Z"}, "latency_ms"),
        ({"endTime": "soon"}, "latency_ms"),
        ({"completionStartTime": "2026-06-26T11:00:00Z"}, "ttft_ms"),
        ({"startTime": ""}, "occurred_at"),
        ({"startTime": "2019-06-26T11:00:00Z"}, "occurred_at"),
        ({"spend": "nan"}, "cost_usd"),
        ({"request_id": "a\0b"}, "request_id"),
        ({"status": "unsure"}, "status_code"),
        ({"cache_hit": "perhaps"}, "cache_hit"),
    ],
)
def test_what_contradicts_itself_waits(changes: dict[str, Any], field: str) -> None:
    assert field in fields_that_wait(row(**changes))


@pytest.mark.parametrize("cell", ["{broken", "[1]", "7", ["x"], 7])
def test_metadata_that_cannot_be_read(cell: object) -> None:
    assert None in fields_that_wait({**row(), "metadata": cell})


def test_rows_of_other_calls_are_named() -> None:
    nothing = {"call_type": "list_mcp_tools", "spend": "0.0", "prompt_tokens": "0", "completion_tokens": "", "total_tokens": 0}
    rows: list[Mapping[str, object] | Unreadable] = [row(), row(**nothing), row(call_type="aretrieve_batch"), Unreadable("is broken")]
    assert list(without_other_calls(iter(rows))) == [rows[0], Unreadable(PASSED_OVER), rows[2], rows[3]]


CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(sorted(row())), CELLS | st.datetimes() | st.binary(max_size=4), max_size=6), st.booleans())
def test_any_row_is_a_record_or_waits(changes: dict[str, Any], bare: bool) -> None:
    batch = collect(changes if bare else {**row(), **changes})
    assert len(batch.records) + len(batch.quarantined) == 1


def test_failures_of_the_callback_have_ids_of_their_own() -> None:
    (attempt,) = collect_candidates([read_payload(failure(), Delivery())], "litellm", FieldRules(NOW, None)).records
    assert attempt.request_id != record_of(row(request_id=payload()["litellm_call_id"], status="failure")).request_id
