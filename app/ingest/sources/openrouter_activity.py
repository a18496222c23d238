"""OpenRouter's activity export of single requests (CSV): a row into a candidate. Pure.

Its times have no offset and are UTC; its cached tokens are part of the prompt's, its reasoning tokens of the completion's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Final

from app.domain.usage import COST_BOUND
from app.ingest.fields import RULES, BrokenRuleError, decimal_reader
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.conventions import CONVENTIONS, TokenCounts, read_tokens
from app.ingest.sources.genai import FAILED, provider_of
from app.ingest.sources.instants import EXACT, in_zone
from app.ingest.sources.openrouter import key_label

NAME: Final = "openrouter-activity"
NEEDED: Final = ("generation_id", "created_at", "model_permaslug", "tokens_prompt", "tokens_completion")
COLUMNS: Final = frozenset(NEEDED) | {
    "cost_total",
    "cost_web_search",
    "cost_cache",
    "cost_file_processing",
    "byok_usage_inference",
    "tokens_reasoning",
    "tokens_cached",
    "provider_name",
    "variant",
    "cancelled",
    "streamed",
    "user",
    "finish_reason_raw",
    "finish_reason_normalized",
    "generation_time_ms",
    "time_to_first_token_ms",
    "api_key_disabled",
    "api_key_name",
    "app_name",
    "num_search_results",
}
"""Every column that the export is known to have; those without a place in the record are named in docs/connect/files.md."""

PLAIN_VARIANT: Final = "standard"

_read_amount = decimal_reader(COST_BOUND, RULES["cost_usd"], inclusive=False)


def _given(row: Mapping[str, object], column: str) -> object:
    value = row.get(column)
    return None if value == "" else value


def _amount(value: object) -> Decimal | None:
    """An amount of dollars; None if there is none, or what is there is no such amount."""
    try:
        return None if value is None else _read_amount(value)
    except BrokenRuleError:
        return None


def _cost(row: Mapping[str, object], own_key: Decimal) -> object:
    """What the request cost: OpenRouter's charge and, with a key of one's own, the provider's estimated one. None: not said."""
    charged = _given(row, "cost_total")
    known = _amount(charged)
    if known is None:
        # What is no amount goes on as it is, for the rule of the field to refuse.
        return charged
    return EXACT.add(known, own_key)


def activity_candidate(row: Mapping[str, object]) -> Candidate:
    """Return what a row says: cells of text, or native values of the same columns."""
    tokens = read_tokens(
        TokenCounts(
            prompt=_given(row, "tokens_prompt"),
            completion=_given(row, "tokens_completion"),
            cached=_given(row, "tokens_cached"),
            reasoning=_given(row, "tokens_reasoning"),
        ),
        CONVENTIONS[NAME],
    )
    own_key = _given(row, "byok_usage_inference")
    own_key_amount = _amount(own_key)
    model, variant = row.get("model_permaslug"), _given(row, "variant")
    permaslug = model
    if isinstance(model, str) and model and isinstance(variant, str) and variant != PLAIN_VARIANT:
        model = model.removesuffix(f":{variant}")
        permaslug = f"{model}:{variant}"
    named = _given(row, "provider_name")
    provider = provider_of(named)
    values: dict[str, object] = {
        "request_id": _given(row, "generation_id"),
        "occurred_at": in_zone(_given(row, "created_at"), UTC),
        "model_id": model,
        "model_permaslug": permaslug,
        "provider": provider.slug if provider else named,
        "user_id": _given(row, "user"),
        "api_key_id": key_label(_given(row, "api_key_name")),
        "project_id": key_label(_given(row, "app_name")),
        "status_code": FAILED if _given(row, "finish_reason_normalized") == "error" else None,
        "interrupted": _given(row, "cancelled"),
        "traffic_mode": "byok" if own_key_amount else "shared",
        "cost_usd": own_key if own_key is not None and own_key_amount is None else _cost(row, own_key_amount or Decimal(0)),
        "latency_ms": _given(row, "generation_time_ms"),
        "ttft_ms": _given(row, "time_to_first_token_ms"),
        **tokens.values,
    }
    return Candidate(values, tokens.contradictions)
