"""OpenRouter's activity export: its columns as it writes them, and what each becomes."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.fields import FieldRules
from app.ingest.files import ReadOptions, iter_batches
from app.ingest.sources.candidates import collect_candidates
from app.ingest.sources.openrouter import key_label
from app.ingest.sources.openrouter_activity import COLUMNS, activity_candidate

NOW = datetime(2026, 7, 1, tzinfo=UTC)
HEADER = (
    "generation_id,created_at,cost_total,cost_web_search,cost_cache,cost_file_processing,byok_usage_inference,tokens_prompt,"
    "tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,provider_name,variant,cancelled,streamed,user,finish_reason_raw,"
    "finish_reason_normalized,generation_time_ms,time_to_first_token_ms,api_key_disabled,api_key_name,app_name"
)
ROW: dict[str, Any] = {
    "generation_id": "gen-1782618417-abc",
    "created_at": "2026-06-28 03:46:57.713",
    "cost_total": "0.0123",
    "cost_web_search": "0",
    "cost_cache": "-0.001",
    "cost_file_processing": "0",
    "byok_usage_inference": "0",
    "tokens_prompt": "10389",
    "tokens_completion": "137",
    "tokens_reasoning": "37",
    "tokens_cached": "10000",
    "model_permaslug": "openai/gpt-oss-120b",
    "provider_name": "DeepInfra",
    "variant": "standard",
    "cancelled": "false",
    "streamed": "true",
    "user": "u-1",
    "finish_reason_raw": "stop",
    "finish_reason_normalized": "stop",
    "generation_time_ms": "2315",
    "time_to_first_token_ms": "480",
    "api_key_disabled": "false",
    "api_key_name": "production",
    "app_name": "Chat Room",
}


def read(**changed: Any) -> ParsedBatch:
    return collect_candidates([activity_candidate({**ROW, **changed})], "openrouter-activity", FieldRules(NOW, "acme"))


def record(**changed: Any) -> UsageRecord:
    batch = read(**changed)
    assert batch.quarantined == []
    return batch.records[0]


def reasons(**changed: Any) -> list[str | None]:
    return [reason.field for item in read(**changed).quarantined for reason in item.reasons]


def test_a_row() -> None:
    assert tuple(ROW) == tuple(HEADER.split(","))
    assert set(ROW) <= COLUMNS
    assert record() == UsageRecord(
        tenant_id="acme",
        request_id="gen-1782618417-abc",
        occurred_at=datetime(2026, 6, 28, 3, 46, 57, 713000, tzinfo=UTC),
        project_id="Chat-Room",
        api_key_id="production",
        user_id="u-1",
        username=None,
        model_id="openai/gpt-oss-120b",
        model_permaslug="openai/gpt-oss-120b",
        provider="deepinfra",
        status_code=200,
        prompt_tokens=10389,
        completion_tokens=137,
        cached_tokens=10000,
        reasoning_tokens=37,
        cost_usd=Decimal("0.0123"),
        traffic_mode="shared",
        shared_model_spend=0,
        byok_platform_fee=0,
        managed_tool_fee=0,
        agent_runtime_fee=0,
        search_requests=0,
        latency_ms=Decimal(2315),
        ttft_ms=Decimal(480),
    )


def test_times_are_utc_unless_they_say_otherwise() -> None:
    at = datetime(2026, 6, 28, 3, 46, 57, tzinfo=UTC)
    for written in ("2026-06-28 03:46:57", "2026-06-28T03:46:57Z", "2026-06-28T05:46:57+02:00", at.replace(tzinfo=None), at):
        assert record(created_at=written).occurred_at == at
    assert reasons(created_at="yesterday") == ["occurred_at"]
    assert reasons(created_at="") == ["occurred_at"]


def test_a_variant_is_part_of_the_permaslug() -> None:
    for written in ("openai/gpt-oss-120b", "openai/gpt-oss-120b:free"):
        taken = record(variant="free", model_permaslug=written)
        assert (taken.model_id, taken.model_permaslug) == ("openai/gpt-oss-120b", "openai/gpt-oss-120b:free")
    assert record(variant="").model_permaslug == "openai/gpt-oss-120b"
    assert reasons(variant="free", model_permaslug="") == reasons(model_permaslug="") == ["model_id"]


def test_a_key_of_ones_own_adds_what_its_provider_takes() -> None:
    taken = record(cost_total="0.0005", byok_usage_inference="0.01")
    assert (taken.traffic_mode, taken.cost_usd) == ("byok", Decimal("0.0105"))
    exact = record(cost_total="0.0000000000000000000000000000000000000001", byok_usage_inference="999999")
    assert exact.cost_usd == Decimal("999999.0000000000000000000000000000000000000001")


def test_costs_that_are_none() -> None:
    assert (record(cost_total="").cost_usd, record(cost_total="", byok_usage_inference="").traffic_mode) == (None, "shared")
    assert record(cost_total="1.2e-05").cost_usd == Decimal("0.000012")
    assert reasons(cost_total="-1") == reasons(cost_total="x") == reasons(byok_usage_inference="-1") == ["cost_usd"]


def test_cancelled_is_interrupted_and_an_error_is_a_failure() -> None:
    assert (record(cancelled="true").interrupted, record(cancelled="true").status_code) == (True, 200)
    assert (record(cancelled="").interrupted, record(finish_reason_normalized="error").status_code) == (False, 500)
    assert reasons(cancelled="perhaps") == ["interrupted"]


def test_what_contradicts_itself_is_quarantined() -> None:
    assert reasons(tokens_cached="10390") == ["cached_tokens"]
    assert reasons(tokens_reasoning="138") == ["reasoning_tokens"]
    assert reasons(tokens_prompt="-1") == ["prompt_tokens"]
    assert reasons(generation_id="") == ["request_id"]


def test_names_are_those_that_broadcast_gives() -> None:
    taken = record(api_key_name="my key", app_name="ключ", provider_name="Amazon Bedrock")
    assert (taken.api_key_id, taken.provider) == ("my-key", "amazon-bedrock")
    assert taken.project_id == key_label("ключ") != record(app_name="кот").project_id
    assert (record(provider_name="").provider, record(api_key_name=" ").api_key_id) == (None, None)


@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)))
def test_every_row_is_a_record_or_quarantined(row: dict[str, Any]) -> None:
    batch = collect_candidates([activity_candidate(row)], "openrouter-activity", FieldRules(NOW, "acme"))
    assert len(batch.records) + len(batch.quarantined) == 1


class TestTheFile:
    def write(self, path: Path, *rows: dict[str, Any], header: str = HEADER) -> Path:
        text = io.StringIO()
        writer = csv.DictWriter(text, header.split(","), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())
        return path

    def test_is_recognised_by_its_columns(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "a.csv", ROW, {**ROW, "tokens_cached": "99999"}, {**ROW, "new_column": "x"}, header=f"{HEADER},new_column"
        )
        (batch,) = iter_batches(path, "csv", ReadOptions(NOW, "acme"))
        assert (batch.parsed.indexes, [item.index for item in batch.parsed.quarantined]) == ([0, 2], [1])
        assert batch.parsed.quarantined[0].source == "openrouter-activity"
        assert batch.parsed.unknown_fields == {"new_column": 3}
        assert batch.parsed.records[0] == record()

    def test_needs_a_tenant(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.csv", ROW)
        with pytest.raises(BadInputError, match=r"OpenRouter's activity export names no tenant.*--tenant"):
            list(iter_batches(path, "csv", ReadOptions(NOW)))

    def test_lacks_a_column(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.csv", ROW, header="generation_id,created_at,cost_total,model_permaslug")
        with pytest.raises(BadInputError, match="there is no column tokens_prompt and no column tokens_completion, which OpenRouter's"):
            list(iter_batches(path, "csv", ReadOptions(NOW, "acme", "openrouter-activity")))

    def test_of_days_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("date,model,model_permaslug,usage,requests,prompt_tokens,completion_tokens\n2026-06-28,m,m,1,5,1,1\n")
        for source in (None, "usage", "openrouter-activity", "export"):
            with pytest.raises(BadInputError, match="each row is many requests"):
                list(iter_batches(path, "csv", ReadOptions(NOW, "acme", source)))
