"""The rules of the usage record's fields: a row in, the stored record or every rule that it breaks out.

Pure: `now` comes in with `FieldRules`. Messages name the rule and never repeat what was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, assert_never

from app.domain.fields import (
    AHEAD,
    EARLIEST,
    MAX_COUNT,
    Amount,
    Choice,
    Cost,
    Count,
    DisplayName,
    Flag,
    Instant,
    Kind,
    ModelName,
    Name,
    SmallNumber,
    Text,
    kinds_of,
)
from app.domain.usage import FIELDS, OTHER, PLAUSIBLE_UP_TO, UNKNOWN, Reason, UsageRecord, name_of

MAX_PLACES: Final = 40

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")
_UNPRINTED = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
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
EARLIEST_RULE: Final = f"must not be before {EARLIEST:%Y-%m-%dT%H:%M:%SZ}"
AHEAD_RULE: Final = f"must not be more than {AHEAD.days} day after the time of arrival"
COUNT_RULE: Final = f"must be an integer from 0 to {MAX_COUNT}"
FLAG_RULE: Final = "must be true or false"
MODEL_RULE: Final = "is required unless the request failed before routing"
RESERVED_RULE: Final = '"other" is reserved: it names the tail of the rankings'

PARTS: Final = {name: kind.part_of for name, kind in kinds_of(FIELDS, Count).items() if kind.part_of is not None}
"""Counts that another count includes, by name, and which."""


def part_rule(whole: str) -> str:
    """Return what a part of a count may not do."""
    return f"is part of {whole} and may not exceed it"


INTEGER_FIELDS: Final = frozenset({*kinds_of(FIELDS, Count), *kinds_of(FIELDS, SmallNumber)})


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


def text_reader(limit: int, rule: str) -> Callable[[object], str]:
    """Make the reader of a string of 1 to `limit` characters without control characters or lone surrogates."""
    matches = re.compile(rf"[^{_UNPRINTED}]{{1,{limit}}}").fullmatch

    def read_text(value: object) -> str:
        if isinstance(value, str) and matches(value):
            return value
        raise BrokenRuleError(rule)

    return read_text


def _model_reader(read_text: Callable[[object], str]) -> Callable[[object], str]:
    def read_model(value: object) -> str:
        name = read_text(value)
        if name == OTHER:
            raise BrokenRuleError(RESERVED_RULE)
        return name

    return read_model


def choice_reader(words: tuple[str, ...], rule: str) -> Callable[[object], str]:
    """Make the reader of one of a few words."""
    known = frozenset(words)

    def read_choice(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise BrokenRuleError(rule)

    return read_choice


def integer_reader(minimum: int, maximum: int, rule: str) -> Callable[[object], int]:
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


read_count: Final = integer_reader(0, MAX_COUNT, COUNT_RULE)


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


def rule_of(kind: Kind) -> str:
    """Return what a value of a kind must be, in the words of a reject."""
    match kind:
        case Instant():
            return INSTANT_RULE
        case Name(is_id=True):
            return ID_RULE
        case Text(limit=limit) | Name(limit=limit) | ModelName(limit=limit) | DisplayName(limit=limit):
            return f"must be a string of 1 to {limit} characters without control characters"
        case Choice(words=words):
            return "must be " + " or ".join(f'"{word}"' for word in words)
        case Count():
            return COUNT_RULE
        case SmallNumber(minimum=minimum, maximum=maximum):
            return f"must be an integer from {minimum} to {maximum}"
        case Flag():
            return FLAG_RULE
        case Amount(most=most):
            return f"must be a number from 0 to {most} with at most {MAX_PLACES} decimal places, or null"
        case Cost(below=below):
            return f"must be a number from 0 to less than {below} with at most {MAX_PLACES} decimal places"
        case _:
            assert_never(kind)


def _reader_of(kind: Kind) -> Callable[[object], Any] | None:
    """The reader of a kind; None: it depends on the time of arrival."""
    rule = rule_of(kind)
    match kind:
        case Instant():
            return None
        case Name(is_id=True):
            return read_id
        case Text(limit=limit) | Name(limit=limit) | DisplayName(limit=limit):
            return text_reader(limit, rule)
        case ModelName(limit=limit):
            return _model_reader(text_reader(limit, rule))
        case Choice(words=words):
            return choice_reader(words, rule)
        case Count():
            return read_count
        case SmallNumber(minimum=minimum, maximum=maximum):
            return integer_reader(minimum, maximum, rule)
        case Flag():
            return read_flag
        case Amount(most=most):
            return decimal_reader(most, rule, inclusive=True)
        case Cost(below=below):
            return decimal_reader(below, rule, inclusive=False)
        case _:
            assert_never(kind)


RULES: Final = {field.name: rule_of(field.kind) for field in FIELDS}
"""What each field's value must be, by name."""


@dataclass(frozen=True, slots=True)
class _Step:
    """How a field is read by itself. An empty text is an absent one where it could stand for a value."""

    name: str
    read: Callable[[object], Any] | None
    default: Any
    is_required: bool
    empty_is_absent: bool


_STEPS: Final = tuple(
    _Step(
        field.name,
        _reader_of(field.kind),
        field.default,
        field.is_required,
        field.is_required or not isinstance(field.kind, Count | SmallNumber | Amount | Cost),
    )
    for field in FIELDS
)
_TENANT: Final = name_of(lambda record: record.tenant_id)
_MODEL: Final = name_of(lambda record: record.model_id)
_PERMASLUG: Final = name_of(lambda record: record.model_permaslug)
_STATUS: Final = name_of(lambda record: record.status_code)


def check_record(values: Mapping[str, object], rules: FieldRules) -> UsageRecord | dict[str, str]:
    """Check every field of a row: the record, or the broken rules by field."""
    errors: dict[str, str] = {}
    taken: dict[str, Any] = {}
    for step in _STEPS:
        name = step.name
        value = values.get(name)
        if value is None or (value == "" and step.empty_is_absent):
            taken[name] = step.default
            if step.is_required:
                errors[name] = IS_REQUIRED
            continue
        try:
            taken[name] = read_instant(value, rules.latest) if step.read is None else step.read(value)
        except BrokenRuleError as error:
            taken[name] = step.default
            errors[name] = str(error)
    _settle_tenant(taken, errors, rules)
    _settle_model(taken, errors)
    for part, whole in PARTS.items():
        if taken[part] > taken[whole] and whole not in errors:
            errors[part] = part_rule(whole)
    return errors or UsageRecord(*taken.values())


def _settle_tenant(taken: dict[str, Any], errors: dict[str, str], rules: FieldRules) -> None:
    named = taken[_TENANT]
    if rules.tenant_id is None:
        if named is None:
            errors.setdefault(_TENANT, IS_REQUIRED)
        return
    if named is not None and named != rules.tenant_id:
        errors[_TENANT] = f"this key writes records of tenant {rules.tenant_id} only"
    taken[_TENANT] = rules.tenant_id


def _settle_model(taken: dict[str, Any], errors: dict[str, str]) -> None:
    """The model is `unknown` where a request that failed before routing has none. An empty one is none."""
    if taken[_MODEL] is None:
        if 200 <= taken[_STATUS] < 300 and _STATUS not in errors:
            errors.setdefault(_MODEL, MODEL_RULE)
        taken[_MODEL] = UNKNOWN
    taken[_PERMASLUG] = taken[_PERMASLUG] or taken[_MODEL]


def find_implausible(record: UsageRecord) -> tuple[Reason, ...]:
    """Return why a record that breaks no rule is to wait for a person: each field that is over what one request can mean."""
    return tuple(
        Reason(name, f"is implausible: over {bound} for one request")
        for name, bound in PLAUSIBLE_UP_TO.items()
        if (getattr(record, name) or 0) > bound
    )
