"""The `where` of the `usage` root: an input made from the declared dimensions, to the condition that it states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import strawberry
from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from app.cube.usage_dimensions import BY_OUTCOME, BY_PROMPT_SIZE, BY_TRAFFIC_MODE, RECORD_NUMBERS, USAGE_DIMENSIONS, Kind, UsageDimension
from app.db.engine import NOT_STORABLE
from app.domain.errors import BadInputError
from app.query.filters import All, Bound, Bounded, Condition, Match, Named, Not, Some, parts_of
from app.resolvers.arguments import read_decimal_argument
from app.resolvers.scalars import ExactNumber
from app.resolvers.usage_enums import Outcome, PromptSize, TrafficMode

MAX_COMPARISONS: Final = 100
MAX_VALUES: Final = 1_000
MAX_DEPTH: Final = 16

_ENUMS: Final[dict[UsageDimension, Any]] = {BY_TRAFFIC_MODE: TrafficMode, BY_OUTCOME: Outcome, BY_PROMPT_SIZE: PromptSize}
_EQUALITIES: Final = {"eq": "Equal to.", "ne": "Not equal to.", "in_": "Equal to one of these.", "not_in": "Equal to none of these."}


def _equalities(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    annotations = {name: (list[value] if name in ("in_", "not_in") else value) | None for name in _EQUALITIES}
    fields = {
        name: strawberry.field(default=UNSET, name="in" if name == "in_" else None, description=text) for name, text in _EQUALITIES.items()
    }
    return annotations, fields


def _input(name: str, description: str, annotations: dict[str, Any], fields: dict[str, Any]) -> Any:
    return strawberry.input(
        type(name, (), {"__annotations__": annotations, "__module__": __name__, "__doc__": description, **fields}), description=description
    )


def _text_filter() -> Any:
    annotations, fields = _equalities(str)
    for name, text in (("starts_with", "Starts with this text."), ("contains", "Contains this text.")):
        annotations[name], fields[name] = str | None, strawberry.field(default=UNSET, description=text)
    annotations["is_null"] = bool | None
    fields["is_null"] = strawberry.field(default=UNSET, description="Whether the record has no value.")
    return _input("TextFilter", "Conditions on a name, case-sensitive; all of them must be true.", annotations, fields)


def _range_filter() -> Any:
    texts = {"gt": "Greater than.", "gte": "At least.", "lt": "Less than.", "lte": "At most."}
    fields = {name: strawberry.field(default=UNSET, description=text) for name, text in texts.items()}
    return _input(
        "NumberRange",
        "Bounds of a number of the single record; all of them must be true. A record without the number does not match.",
        dict.fromkeys(texts, ExactNumber | None),
        fields,
    )


_TEXT = _text_filter()
_RANGE = _range_filter()
_INTEGER = _input("IntegerFilter", "Conditions on an integer; all of them must be true.", *_equalities(int))


def _type_of(dimension: UsageDimension) -> Any:
    match dimension.kind:
        case Kind.TEXT:
            return _TEXT
        case Kind.NUMBER:
            return _INTEGER
        case Kind.FLAG:
            return bool
        case Kind.CHOICE:
            enum = _ENUMS[dimension]
            return _input(f"{enum.__name__}Filter", "Conditions on a choice; all of them must be true.", *_equalities(enum))


def _usage_filter() -> Any:
    annotations: dict[str, Any] = {dimension.name: _type_of(dimension) | None for dimension in USAGE_DIMENSIONS}
    fields = {dimension.name: strawberry.field(default=UNSET, description=dimension.description) for dimension in USAGE_DIMENSIONS}
    for number in RECORD_NUMBERS:
        annotations[number] = _RANGE | None
        fields[number] = strawberry.field(default=UNSET, description=f"`{to_camel_case(number)}` of the single record.")
    for name, text in (("and", "All of these must be true."), ("or", "At least one of these must be true; an empty list matches nothing.")):
        annotations[f"{name}_"] = "list[UsageFilter] | None"
        fields[f"{name}_"] = strawberry.field(default=UNSET, name=name, description=text)
    annotations["not_"] = "UsageFilter | None"
    fields["not_"] = strawberry.field(default=UNSET, name="not", description="This must be false.")
    return _input("UsageFilter", "Filter of requests: all conditions must be true.", annotations, fields)


if TYPE_CHECKING:
    UsageFilter = Any
else:
    UsageFilter = _usage_filter()


def read_filter(given: Any) -> Condition:
    """Return the condition of a filter; everything if none is given. BadInputError: it is too large, or a number is none."""
    condition = All(()) if given is None else _read(given, 0)
    comparisons = list(parts_of(condition))
    texts = [value for part in comparisons if isinstance(part, Named) for value in part.values if isinstance(value, str)]
    if any(NOT_STORABLE.search(text) for text in texts):
        raise BadInputError("where may not hold NUL characters or lone surrogates", "where")
    values = sum(len(part.values) for part in comparisons if isinstance(part, Named))
    if len(comparisons) > MAX_COMPARISONS or values > MAX_VALUES:
        raise BadInputError(f"where may hold at most {MAX_COMPARISONS} comparisons with {MAX_VALUES} values", "where")
    return condition


def _is_given(value: Any) -> bool:
    return value is not UNSET and value is not None


def _read(given: Any, depth: int) -> Condition:
    if depth > MAX_DEPTH:
        raise BadInputError(f"where may be nested at most {MAX_DEPTH} deep", "where")
    found: list[Condition] = []
    for dimension in USAGE_DIMENSIONS:
        value = getattr(given, dimension.name)
        if _is_given(value):
            found.extend(_named(dimension, value))
    for number in RECORD_NUMBERS:
        value = getattr(given, number)
        if _is_given(value):
            bounds = ((bound, getattr(value, bound.name.lower())) for bound in Bound)
            found += [
                Bounded(number, bound, read_decimal_argument(limit, f"where.{number}")) for bound, limit in bounds if _is_given(limit)
            ]
    if _is_given(given.and_):
        found.append(All(tuple(_read(part, depth + 1) for part in given.and_)))
    if _is_given(given.or_):
        found.append(Some(tuple(_read(part, depth + 1) for part in given.or_)))
    if _is_given(given.not_):
        found.append(Not(_read(given.not_, depth + 1)))
    return All(tuple(found))


def _named(dimension: UsageDimension, given: Any) -> list[Condition]:
    if dimension.kind is Kind.FLAG:
        return [Named(dimension, Match.IN, (int(given),))]

    def key(value: Any) -> str | int:
        return value.value if dimension.kind is Kind.CHOICE else value  # type: ignore[no-any-return]

    found: list[Condition] = []
    if _is_given(given.eq):
        found.append(Named(dimension, Match.IN, (key(given.eq),)))
    if _is_given(given.ne):
        found.append(Not(Named(dimension, Match.IN, (key(given.ne),))))
    if _is_given(given.in_):
        found.append(Named(dimension, Match.IN, tuple(map(key, given.in_))))
    if _is_given(given.not_in):
        found.append(Not(Named(dimension, Match.IN, tuple(map(key, given.not_in)))))
    if dimension.kind is Kind.TEXT:
        if _is_given(given.starts_with):
            found.append(Named(dimension, Match.STARTS_WITH, (given.starts_with,)))
        if _is_given(given.contains):
            found.append(Named(dimension, Match.CONTAINS, (given.contains,)))
        if _is_given(given.is_null):
            absent = Named(dimension, Match.ABSENT)
            found.append(absent if given.is_null else Not(absent))
    return found
