"""The rules of the usage record's fields: a row in, the stored record or every rule that it breaks out.

Pure: `now` comes in with `FieldRules`. Messages name the rule and never repeat what was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from app.domain.usage import MAX_ATTEMPT, MAX_COUNT, OTHER, PLAUSIBLE_UP_TO, UNKNOWN, Reason, UsageRecord

EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(days=1)
MAX_STATUS: Final = 599
MAX_PLACES: Final = 40
COST_BOUND: Final = 10**12
MAX_DURATION_MS: Final = 10**12
SHORT_TEXT: Final = 128
LONG_TEXT: Final = 256
TRAFFIC_MODES: Final = frozenset({"shared", "byok"})

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")
_UNPRINTED = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_TEXTS: Final = {limit: re.compile(rf"[^{_UNPRINTED}]{{1,{limit}}}") for limit in (SHORT_TEXT, LONG_TEXT)}
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"((?:[01][0-9]|2[0-3]):[0-5][0-9])(?:(:[0-5][0-9])(?:[.,]([0-9]+))?)?"
    r"(?:([Zz])|([+-](?:[01][0-9]|2[0-3]))(?::?([0-5][0-9]))?)?"
)
_MAX_INSTANT_LENGTH = 64
_DIGITS: Final = re.compile(r"[0-9]{1,40}")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
# Room for the greatest number with all its places, a sign and an exponent; a longer string is refused before it is read.
_MAX_NUMBER_LENGTH = 128
_ZERO: Final = Decimal(0)
_FLAGS: Final = {"true": True, "false": False}

IS_REQUIRED: Final = "is required"
ID_RULE: Final = "must be 1 to 128 characters, each one of A-Z a-z 0-9 . _ : @ / -"
INSTANT_RULE: Final = "must be an ISO 8601 instant such as 2026-03-12T08:30:00Z"
OFFSET_RULE: Final = "needs a UTC offset such as Z or +01:00"
EARLIEST_RULE: Final = "must not be before 2020-01-01T00:00:00Z"
AHEAD_RULE: Final = "must not be more than 1 day after the time of arrival"
COUNT_RULE: Final = f"must be an integer from 0 to {MAX_COUNT}"
STATUS_RULE: Final = f"must be an integer from 0 to {MAX_STATUS}"
COST_RULE: Final = f"must be a number from 0 to less than {COST_BOUND} with at most {MAX_PLACES} decimal places"
DURATION_RULE: Final = f"must be a number from 0 to {MAX_DURATION_MS} with at most {MAX_PLACES} decimal places, or null"
ATTEMPT_RULE: Final = f"must be an integer from 1 to {MAX_ATTEMPT}"
FLAG_RULE: Final = "must be true or false"
TRAFFIC_RULE: Final = 'must be "shared" or "byok"'
MODEL_RULE: Final = "is required unless the request failed before routing"
RESERVED_RULE: Final = '"other" is reserved: it names the tail of the rankings'
CACHED_RULE: Final = "is part of prompt_tokens and may not exceed it"
REASONING_RULE: Final = "is part of completion_tokens and may not exceed it"

INTEGER_FIELDS: Final = frozenset(
    {"status_code", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "search_requests", "attempt"}
    | {"shared_model_spend", "byok_platform_fee", "managed_tool_fee", "agent_runtime_fee"}
)

T = TypeVar("T")


class BrokenRuleError(ValueError):
    """A value breaks the rule that the message names."""


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What the rules depend on beside the row: the time of arrival and the tenant that the caller's key is bound to."""

    now: datetime
    tenant_id: str | None

    @property
    def latest(self) -> datetime:
        """The last instant that a record may carry."""
        return self.now + AHEAD


def read_id(value: object) -> str:
    """Read an identifier of the narrow alphabet."""
    if isinstance(value, str) and ID_PATTERN.fullmatch(value):
        return value
    raise BrokenRuleError(ID_RULE)


def text_reader(limit: int) -> Callable[[object], str]:
    """Make the reader of a string of 1 to `limit` characters (128 or 256) without control characters or lone surrogates."""
    matches = _TEXTS[limit].fullmatch
    rule = f"must be a string of 1 to {limit} characters without control characters"

    def read_text(value: object) -> str:
        if isinstance(value, str) and matches(value):
            return value
        raise BrokenRuleError(rule)

    return read_text


read_short_text: Final = text_reader(SHORT_TEXT)
read_long_text: Final = text_reader(LONG_TEXT)


def read_model(value: object) -> str:
    """Read a model's name."""
    name = read_long_text(value)
    if name == OTHER:
        raise BrokenRuleError(RESERVED_RULE)
    return name


def read_traffic_mode(value: object) -> str:
    """Read how the request was paid for."""
    if isinstance(value, str) and value in TRAFFIC_MODES:
        return value
    raise BrokenRuleError(TRAFFIC_RULE)


def integer_reader(maximum: int, rule: str, *, minimum: int = 0) -> Callable[[object], int]:
    """Make the reader of an integer from `minimum` to `maximum`: an integer, an integral number, or a string of decimal digits."""

    def read_integer(value: object) -> int:
        if isinstance(value, bool):
            raise BrokenRuleError(rule)
        if isinstance(value, str):
            value = int(value) if _DIGITS.fullmatch(value) else -1
        # The comparison comes first: it is cheap and false for NaN, and only then is int() sure to be small.
        if isinstance(value, Decimal) and not value.is_finite():
            raise BrokenRuleError(rule)
        if isinstance(value, int | float | Decimal) and minimum <= value <= maximum and int(value) == value:
            return int(value)
        raise BrokenRuleError(rule)

    return read_integer


read_count: Final = integer_reader(MAX_COUNT, COUNT_RULE)
read_status: Final = integer_reader(MAX_STATUS, STATUS_RULE)
read_attempt: Final = integer_reader(MAX_ATTEMPT, ATTEMPT_RULE, minimum=1)


def read_flag(value: object) -> bool:
    """Read a boolean, or the word for one."""
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise BrokenRuleError(FLAG_RULE)
    return found


def _plain_decimal(value: object) -> Decimal | None:
    """The decimal that a number or a decimal string writes, floats by their shortest writing; None if it is neither."""
    if isinstance(value, str):
        if len(value) > _MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(value):
            return None
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else None


def decimal_reader(bound: int, rule: str, *, inclusive: bool) -> Callable[[object], Decimal]:
    """Make the reader of a decimal from 0 to `bound`, with at most 40 decimal places as written."""

    def read_decimal(value: object) -> Decimal:
        number = _plain_decimal(value)
        if number is None or not (0 <= number < bound or (inclusive and number == bound)):
            raise BrokenRuleError(rule)
        if not number:
            return _ZERO
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -MAX_PLACES:
            raise BrokenRuleError(rule)
        return number if exponent <= 0 else Decimal(int(number))

    return read_decimal


read_cost: Final = decimal_reader(COST_BOUND, COST_RULE, inclusive=False)
read_duration_ms: Final = decimal_reader(MAX_DURATION_MS, DURATION_RULE, inclusive=True)


def _written_instant(text: str) -> datetime:
    match = _INSTANT.fullmatch(text) if len(text) <= _MAX_INSTANT_LENGTH else None
    if match is None:
        raise BrokenRuleError(INSTANT_RULE)
    date, time, seconds, fraction, zulu, hours, minutes = match.groups()
    offset = "+00:00" if zulu else f"{hours}:{minutes or '00'}" if hours else ""
    try:
        return datetime.fromisoformat(f"{date}T{time}{seconds or ''}{'.' + fraction[:6] if fraction else ''}{offset}")
    except ValueError:
        raise BrokenRuleError(INSTANT_RULE) from None


def read_instant(value: object, latest: datetime) -> datetime:
    """Read an instant, in UTC to the microsecond: ISO 8601 with an offset, or an aware datetime; none later than `latest`."""
    if isinstance(value, str):
        value = _written_instant(value)
    if not isinstance(value, datetime):
        raise BrokenRuleError(INSTANT_RULE)
    if value.utcoffset() is None:
        raise BrokenRuleError(OFFSET_RULE)
    # Compared before it is converted: near year 1 and year 9999 the conversion overflows.
    if value < EARLIEST:
        raise BrokenRuleError(EARLIEST_RULE)
    if value > latest:
        raise BrokenRuleError(AHEAD_RULE)
    return value.astimezone(UTC)


class _Row:
    """One row while it is read: the values asked for, and the first broken rule of each field."""

    def __init__(self, row: Mapping[str, object]) -> None:
        self.values = row
        self.errors: dict[str, str] = {}

    def optional(self, name: str, read: Callable[[object], T], default: T, *, empty_is_absent: bool = False) -> T:
        """The field, or `default` where it is absent, null or wrong; an empty string is absent if the field says so."""
        value = self.values.get(name)
        if value is None or (empty_is_absent and value == ""):
            return default
        try:
            return read(value)
        except BrokenRuleError as error:
            self.errors[name] = str(error)
            return default

    def required(self, name: str, read: Callable[[object], T], default: T) -> T:
        """The field; it is an error, and `default`, where it is absent, null, empty or wrong."""
        value = self.values.get(name)
        if value is None or value == "":
            self.errors[name] = IS_REQUIRED
            return default
        return self.optional(name, read, default)

    def text(self, name: str, read: Callable[[object], str]) -> str | None:
        """An optional string: null and empty are absent."""
        return self.optional(name, read, None, empty_is_absent=True)


def _tenant(row: _Row, rules: FieldRules) -> str:
    bound = rules.tenant_id
    if bound is None:
        return row.required("tenant_id", read_id, "")
    named = row.text("tenant_id", read_id)
    if named is not None and named != bound:
        row.errors["tenant_id"] = f"this key writes records of tenant {bound} only"
    return bound


def _model(row: _Row, *, succeeded: bool) -> str:
    """The model, or `unknown` where a request that failed before routing has none. An empty one is none."""
    model_id = row.text("model_id", read_model)
    if model_id is None and succeeded:
        row.errors.setdefault("model_id", MODEL_RULE)
    return model_id or UNKNOWN


def check_record(values: Mapping[str, object], rules: FieldRules) -> UsageRecord | dict[str, str]:
    """Check every field of a row: the record, or the broken rules by field."""
    row = _Row(values)
    tenant_id = _tenant(row, rules)
    request_id = row.required("request_id", read_short_text, "")
    occurred_at = row.required("occurred_at", lambda value: read_instant(value, rules.latest), EARLIEST)
    status_code = row.optional("status_code", read_status, 200)
    succeeded = 200 <= status_code < 300 and "status_code" not in row.errors
    model_id = _model(row, succeeded=succeeded)
    prompt = row.optional("prompt_tokens", read_count, 0)
    completion = row.optional("completion_tokens", read_count, 0)
    cached = row.optional("cached_tokens", read_count, 0)
    reasoning = row.optional("reasoning_tokens", read_count, 0)
    if cached > prompt and "prompt_tokens" not in row.errors:
        row.errors["cached_tokens"] = CACHED_RULE
    if reasoning > completion and "completion_tokens" not in row.errors:
        row.errors["reasoning_tokens"] = REASONING_RULE
    record = UsageRecord(
        tenant_id=tenant_id,
        request_id=request_id,
        occurred_at=occurred_at,
        project_id=row.text("project_id", read_id),
        api_key_id=row.text("api_key_id", read_id),
        user_id=row.text("user_id", read_short_text),
        username=row.text("username", read_long_text),
        model_id=model_id,
        model_permaslug=row.text("model_permaslug", read_model) or model_id,
        provider=row.text("provider", read_long_text),
        status_code=status_code,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        cost_usd=row.optional("cost_usd", read_cost, None),
        traffic_mode=row.optional("traffic_mode", read_traffic_mode, "shared", empty_is_absent=True),
        shared_model_spend=row.optional("shared_model_spend", read_count, 0),
        byok_platform_fee=row.optional("byok_platform_fee", read_count, 0),
        managed_tool_fee=row.optional("managed_tool_fee", read_count, 0),
        agent_runtime_fee=row.optional("agent_runtime_fee", read_count, 0),
        search_requests=row.optional("search_requests", read_count, 0),
        latency_ms=row.optional("latency_ms", read_duration_ms, None),
        ttft_ms=row.optional("ttft_ms", read_duration_ms, None),
        attempt=row.optional("attempt", read_attempt, 1),
        cache_hit=row.optional("cache_hit", read_flag, False, empty_is_absent=True),
        interrupted=row.optional("interrupted", read_flag, False, empty_is_absent=True),
    )
    return row.errors or record


def find_implausible(record: UsageRecord) -> tuple[Reason, ...]:
    """Return why a record that breaks no rule is to wait for a person: each field that is over what one request can mean."""
    return tuple(
        Reason(name, f"is implausible: over {bound} for one request")
        for name, bound in PLAUSIBLE_UP_TO.items()
        if (getattr(record, name) or 0) > bound
    )
