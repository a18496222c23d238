"""LiteLLM's StandardLoggingPayload, as its generic API callback sends it, into candidates. Pure; messages and responses are not read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

import orjson

from app.domain.errors import BadInputError, BodyTooLargeError
from app.domain.fields import SHORT_TEXT
from app.domain.usage import ParsedBatch, Reason
from app.ingest.elements import Elements
from app.ingest.fields import BrokenRuleError, FieldRules, decimal_reader
from app.ingest.parse import MAX_RECORDS, UTF8_BOM, Unreadable, json_value, line_values
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.choice import RowSource, collect_rows
from app.ingest.sources.conventions import TokenCounts
from app.ingest.sources.genai import TENANT_HEADER
from app.ingest.sources.instants import EXACT, instant_of_count
from app.ingest.sources.litellm_vocabulary import (
    HEALTH_CHECKS,
    NO_USER,
    NOT_CALLS,
    PASSED_OVER,
    TENANT_METADATA,
    Routed,
    as_object,
    attempt_of,
    first_given,
    given,
    has_amounts,
    is_passed_over,
    key_id,
    model_names,
    read_outcome,
    read_usage,
    searches_of,
    shortened,
)
from app.ingest.weight import refuse_heavy, weigh_json

NAME: Final = "litellm"

_LAST_SECOND: Final = 253_402_300_799
_read_seconds = decimal_reader(_LAST_SECOND, "must be a number of seconds since 1970-01-01T00:00:00Z", inclusive=True)
_AMOUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "response_cost")
_ATTEMPTS: Final = ("x-litellm-attempted-retries", "x-litellm-attempted-fallbacks")
UNATTRIBUTED: Final = "was refused before it was routed, and is of no known key and no tenant: passed over"
_FORMS: Final = "the body must be an array of LiteLLM's logging payloads, one payload, or one a line"


class TenantFrom(Enum):
    """What of a payload names the tenant, by the word in the sender's header."""

    TEAM = "team"
    """The team, else the organisation, else the metadata of the key or of the request."""
    ORGANIZATION = "organization"
    NONE = "none"
    """Nothing does: all payloads are of the default tenant or the key's."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender says beside the body: `default_tenant` is of payloads that name none; `key_tenant` is the one its key is bound to."""

    tenant_from: TenantFrom = TenantFrom.TEAM
    default_tenant: str | None = None
    key_tenant: str | None = None


@dataclass(frozen=True, slots=True)
class _Whose:
    """The tenant of a call and, if its team is not the tenant, the team."""

    tenant: object
    team: object
    contradictions: tuple[Reason, ...] = ()


TENANT_FIELDS: Final = (
    "metadata.user_api_key_team_id",
    "metadata.user_api_key_org_id",
    f"metadata.user_api_key_auth_metadata.{TENANT_METADATA}",
    f"metadata.requester_metadata.{TENANT_METADATA}",
    f"metadata.spend_logs_metadata.{TENANT_METADATA}",
)
"""What names the tenant, in this order: what LiteLLM itself knows of a key comes before what somebody wrote about it."""

_FIELDS_OF: Final = {
    TenantFrom.TEAM: TENANT_FIELDS,
    TenantFrom.ORGANIZATION: ("metadata.user_api_key_org_id",),
    TenantFrom.NONE: (),
}


def parse_payloads(body: bytes, delivery: Delivery, rules: FieldRules) -> ParsedBatch:
    """Read a body in any of LiteLLM's log formats: `json_array`, `ndjson`, `single`, told apart by the body.

    What is no call of a model and has no usage is a reject that says so. BadInputError: it is none of these; BodyTooLargeError: more than
    MAX_RECORDS.
    """
    payloads = _payloads(body.removeprefix(UTF8_BOM))
    source = RowSource(NAME, "LiteLLM's logging payloads", lambda payload: read_payload(payload, delivery), needed=(), names_tenant=True)
    return collect_rows(_screened(payloads, delivery), source, rules)


def _payloads(body: bytes) -> Iterator[object]:
    """Take a body apart, some payloads at a time. LiteLLM sends lines as application/json too, so that the media type says nothing."""
    if not body or body.isspace():
        raise BadInputError("the body is empty")
    elements = Elements(body, json_value)
    count = 0
    for count, payload in enumerate(elements, 1):
        _refuse_more_than_allowed(count)
        yield payload
    if not elements.skipped and _is_lines(body):
        if body.count(b"\n") > MAX_RECORDS:
            raise BodyTooLargeError(f"the body holds more than {MAX_RECORDS} lines: send several")
        yield from line_values(io.BytesIO(body))
        return
    refuse_heavy(elements.rest, weigh_json)
    try:
        value = json_value(elements.rest)
    except orjson.JSONDecodeError as error:
        line, column = elements.place_of(error)
        raise BadInputError(f"the body is malformed JSON at line {line} column {column}: {error.msg}") from None
    if not isinstance(value, list | dict | None):
        raise BadInputError(_FORMS)
    values = value if isinstance(value, list) else [value]
    _refuse_more_than_allowed(count + len(values))
    values.reverse()
    while values:  # letting go of each: they have whole conversations in them
        yield values.pop()


def _is_lines(body: bytes) -> bool:
    """Whether the first line is a payload, and more follows."""
    lines = io.BytesIO(body)
    first = next((line for line in lines if not line.isspace()), b"")
    if all(line.isspace() for line in lines):
        return False
    return not isinstance(next(line_values((first,)), None), Unreadable)


def _refuse_more_than_allowed(count: int) -> None:
    if count > MAX_RECORDS:
        raise BodyTooLargeError(f"the body holds more than {MAX_RECORDS} payloads: send several")


def _screened(values: Iterator[object], delivery: Delivery) -> Iterator[object]:
    """Put a reject in the place of each payload that is no call."""
    for value in values:
        if isinstance(value, Mapping):
            if is_passed_over(value, _AMOUNTS):
                yield Unreadable(PASSED_OVER)
                continue
            if _is_unattributed(value, delivery):
                yield Unreadable(UNATTRIBUTED)
                continue
        yield value


def _is_unattributed(payload: Mapping[str, object], delivery: Delivery) -> bool:
    """Whether a request was refused before its tenant was known, such as by an invalid key. Any client of LiteLLM can send them."""
    if payload.get("status") != "failure" or given(payload.get("custom_llm_provider")) is not None or has_amounts(payload, _AMOUNTS):
        return False
    metadata = as_object(payload.get("metadata"))
    known = first_given(metadata.get("user_api_key_hash"), delivery.key_tenant, _whose(metadata, delivery).tenant)
    return known is None


def read_payload(payload: Mapping[str, object], delivery: Delivery) -> Candidate:
    """Return what a payload says of its call."""
    metadata = as_object(payload.get("metadata"))
    usage = as_object(metadata.get("usage_object"))
    hidden = as_object(payload.get("hidden_params"))
    headers = as_object(hidden.get("additional_headers"))
    status = payload.get("status")
    answered = payload.get("completion_tokens")
    outcome = read_outcome(status, as_object(payload.get("error_information")), answered=answered not in (None, 0))
    counts = TokenCounts(prompt=payload.get("prompt_tokens"), completion=answered, total=payload.get("total_tokens"))
    tokens = read_usage(counts, usage, NAME)
    attempt, wrong_attempt = attempt_of(*(headers.get(name) for name in _ATTEMPTS))
    times, wrong_times = _times(payload)
    whose = _whose(metadata, delivery)
    values: dict[str, object] = {
        "request_id": _request_id(payload),
        "tenant_id": whose.tenant,
        "project_id": first_given(metadata.get("user_api_key_project_id"), whose.team),
        "api_key_id": key_id(metadata.get("user_api_key_hash")),
        "status_code": outcome.status_code,
        "interrupted": outcome.interrupted,
        "cost_usd": _cost(payload, hidden),
        "search_requests": searches_of(usage),
        "attempt": attempt,
        "cache_hit": given(payload.get("cache_hit")),
        **times,
        **_user(payload, metadata),
        **model_names(
            Routed(
                payload.get("model"),
                payload.get("custom_llm_provider"),
                as_object(payload.get("model_map_information")).get("model_map_key"),
                failed=status == "failure",
            )
        ),
        **tokens.values,
    }
    return Candidate(values, (*outcome.contradictions, *tokens.contradictions, *wrong_attempt, *wrong_times, *whose.contradictions))


def _request_id(payload: Mapping[str, object]) -> object:
    """LiteLLM's own id of the log. It is the same when the payload is sent again, and another for each attempt.

    The failed attempts of a request have one id, that of the request, and differ by their start. What reads the result of an earlier call
    has the id of that call, and differs by what it is.
    """
    name = first_given(payload.get("id"), payload.get("litellm_call_id"))
    call_type = payload.get("call_type")
    mark = f":{call_type}" if isinstance(call_type, str) and call_type in NOT_CALLS else ""
    if payload.get("status") == "failure":
        try:
            mark += f":{int(EXACT.multiply(_read_seconds(payload.get('startTime')), Decimal(10**6)))}"
        except BrokenRuleError:
            return name
    return f"{shortened(name, SHORT_TEXT - len(mark))}{mark}" if isinstance(name, str) else name


def _times(payload: Mapping[str, object]) -> tuple[dict[str, object], tuple[Reason, ...]]:
    """When the call began, how long it took and, of a stream, when its first piece came; `response_time` is now the one, now the other."""
    start, end, first = (given(payload.get(name)) for name in ("startTime", "endTime", "completionStartTime"))
    values: dict[str, object] = {"occurred_at": start}
    if start is None:
        return values, ()
    try:
        values["occurred_at"] = instant_of_count(start, "s")
        begun = _read_seconds(start)
    except BrokenRuleError as error:
        return values, (Reason("occurred_at", f"startTime {error}"),)
    wrong = []
    spans = [("latency_ms", "endTime", end)] + ([("ttft_ms", "completionStartTime", first)] if payload.get("stream") is True else [])
    for field, name, instant in spans:
        if instant is None:
            continue
        try:
            span = EXACT.subtract(_read_seconds(instant), begun)
        except BrokenRuleError as error:
            wrong.append(Reason(field, f"{name} {error}"))
            continue
        if span < 0:
            wrong.append(Reason(field, f"{name} is before startTime"))
        else:
            values[field] = EXACT.multiply(span, Decimal(1000))
    latency, to_first = values.get("latency_ms"), values.get("ttft_ms")
    if isinstance(latency, Decimal) and isinstance(to_first, Decimal) and to_first > latency:
        wrong.append(Reason("ttft_ms", "completionStartTime is after endTime"))
    return values, tuple(wrong)


def _cost(payload: Mapping[str, object], hidden: Mapping[str, object]) -> object:
    """What LiteLLM computed; None, for the catalog to price, where it says that it could not. Its 0 is then no price."""
    cost = payload.get("response_cost")
    if payload.get("status") != "success" or payload.get("cache_hit") is True or (cost is not None and cost != 0):
        return cost
    untold = "response_cost" in hidden and hidden["response_cost"] is None
    failed = payload.get("response_cost_failure_debug_info") or payload.get("zero_cost_diagnostic")
    return None if untold or failed else cost


def _user(payload: Mapping[str, object], metadata: Mapping[str, object]) -> dict[str, object]:
    """The user of LiteLLM's own whom the key belongs to; else the end user that the request names, in any text."""
    user = given(metadata.get("user_api_key_user_id"))
    if user is not None and user != NO_USER:
        return {"user_id": user, "username": given(metadata.get("user_api_key_user_email"))}
    return {"user_id": shortened(first_given(metadata.get("user_api_key_end_user_id"), payload.get("end_user")))}


def _whose(metadata: Mapping[str, object], delivery: Delivery) -> _Whose:
    team = given(metadata.get("user_api_key_team_id"))
    if team == HEALTH_CHECKS:
        # They are paid for as other calls are, but by whom only the sender knows.
        own = None if delivery.key_tenant is not None else HEALTH_CHECKS
        return _Whose(first_given(delivery.default_tenant, own), None)
    fields = _FIELDS_OF[delivery.tenant_from]
    named = first_given(*(_at(metadata, field) for field in fields))
    if named is not None:
        return _Whose(named, team if delivery.tenant_from is not TenantFrom.TEAM else None)
    tenant = delivery.default_tenant
    if tenant is not None or delivery.key_tenant is not None:
        return _Whose(tenant, team)
    where = f"is in none of {', '.join(fields)}, nor" if fields else "is not"
    return _Whose(None, team, (Reason("tenant_id", f"{where} in the header {TENANT_HEADER}"),))


def _at(metadata: Mapping[str, object], field: str) -> object:
    here: object = metadata
    for part in field.split(".")[1:]:
        here = as_object(here).get(part)
    return here
