"""Rows of LiteLLM's table LiteLLM_SpendLogs, of a CSV or JSON export, into candidates. Pure; messages and responses are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from app.domain.usage import Reason
from app.ingest.fields import BrokenRuleError, read_instant
from app.ingest.parse import Unreadable
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.conventions import TokenCounts
from app.ingest.sources.instants import in_zone
from app.ingest.sources.litellm_vocabulary import (
    HEALTH_CHECKS,
    NO_USER,
    PASSED_OVER,
    TENANT_METADATA,
    Routed,
    as_object,
    attempt_of,
    first_given,
    given,
    is_passed_over,
    key_id,
    model_names,
    read_outcome,
    read_usage,
    searches_of,
    shortened,
)

NAME: Final = "litellm-spend-logs"

_AMOUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "spend")
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def without_other_calls(rows: Iterator[Mapping[str, object] | Unreadable]) -> Iterator[Mapping[str, object] | Unreadable]:
    """Give the rows; what is no call of a model and has no usage is replaced by what says so, and is rejected by itself."""
    for row in rows:
        yield Unreadable(PASSED_OVER) if isinstance(row, Mapping) and is_passed_over(row, _AMOUNTS) else row


def spend_log_candidate(row: Mapping[str, object]) -> Candidate:
    """Return what a row says. Cells are native values, or text as in CSV; times without an offset are UTC, as LiteLLM writes them."""
    metadata, wrong_metadata = _metadata(row.get("metadata"))
    usage = as_object(metadata.get("usage_object")) or as_object(metadata.get("additional_usage_values"))
    completion = given(row.get("completion_tokens"))
    # Before there was the column, the table had successes only.
    status = first_given(row.get("status"), metadata.get("status"), "success")
    outcome = read_outcome(status, as_object(metadata.get("error_information")), answered=completion not in (None, 0, "0"))
    counts = TokenCounts(prompt=given(row.get("prompt_tokens")), completion=completion, total=given(row.get("total_tokens")))
    tokens = read_usage(counts, usage, NAME)
    attempt, wrong_attempt = attempt_of(metadata.get("attempted_retries"), metadata.get("attempted_fallbacks"))
    times, wrong_times = _times(row)
    user = given(row.get("user"))
    values: dict[str, object] = {
        "request_id": shortened(given(row.get("request_id"))),
        "tenant_id": _tenant(row, metadata),
        "project_id": given(metadata.get("user_api_key_project_id")),
        "api_key_id": key_id(row.get("api_key")),
        "user_id": user if user not in (None, NO_USER) else shortened(given(row.get("end_user"))),
        "status_code": outcome.status_code,
        "interrupted": outcome.interrupted,
        "cost_usd": given(row.get("spend")),
        "search_requests": searches_of(usage),
        "attempt": attempt,
        "cache_hit": given(row.get("cache_hit")),
        **times,
        **model_names(
            Routed(
                row.get("model"),
                row.get("custom_llm_provider"),
                as_object(metadata.get("model_map_information")).get("model_map_key"),
                failed=status == "failure",
            )
        ),
        **tokens.values,
    }
    return Candidate(values, (*wrong_metadata, *outcome.contradictions, *tokens.contradictions, *wrong_attempt, *wrong_times))


def _metadata(cell: object) -> tuple[Mapping[str, object], tuple[Reason, ...]]:
    """The object in a cell, which in CSV is JSON text; without it a part of the tokens would be missed."""
    if given(cell) is None or isinstance(cell, Mapping):
        return as_object(cell), ()
    wrong = (Reason(None, "the column metadata must be a JSON object"),)
    if not isinstance(cell, str):
        return {}, wrong
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return {}, wrong
    return (value, ()) if isinstance(value, dict) else ({}, wrong)


def _tenant(row: Mapping[str, object], metadata: Mapping[str, object]) -> object:
    """The team, the organisation, or what the request's metadata for these logs says, in this order."""
    noted = as_object(metadata.get("spend_logs_metadata")).get(TENANT_METADATA)
    return first_given(
        row.get("team_id"), row.get("organization_id"), noted, HEALTH_CHECKS if row.get("api_key") == HEALTH_CHECKS else None
    )


def _times(row: Mapping[str, object]) -> tuple[dict[str, object], tuple[Reason, ...]]:
    """When the call began, how long it took and, where the answer began before it ended, when that was."""
    start, end, first = (in_zone(given(row.get(name)), UTC) for name in ("startTime", "endTime", "completionStartTime"))
    values: dict[str, object] = {"occurred_at": start}
    begun = _instant(start)
    if begun is None:
        # What is no instant is refused by the rule of the field.
        return values, ()
    wrong = []
    ended, answered = _instant(end), _instant(first)
    for name, given_value, instant in (("endTime", end, ended), ("completionStartTime", first, answered)):
        field = "latency_ms" if name == "endTime" else "ttft_ms"
        if given_value is not None and instant is None:
            wrong.append(Reason(field, f"{name} must be an ISO 8601 instant"))
        elif instant is not None and instant < begun:
            wrong.append(Reason(field, f"{name} is before startTime"))
    if ended is not None:
        values["latency_ms"] = _milliseconds(begun, ended)
        # Of an answer in one piece LiteLLM writes the end here too.
        if answered is not None and answered < ended:
            values["ttft_ms"] = _milliseconds(begun, answered)
    return values, tuple(wrong)


def _instant(value: object) -> datetime | None:
    try:
        return read_instant(value, _END_OF_TIME)
    except BrokenRuleError:
        return None


def _milliseconds(start: datetime, end: datetime) -> float:
    return (end - start) // _MICROSECOND / 1000
