"""Arguments that GraphQL's types do not check to the end, and the spelling of field names in both directions."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from app.domain.errors import BadInputError

_MAX_INSTANT = 64
_MAX_NUMBER = 40
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)


def given_text(text: str | None) -> str | None:
    """Return a text argument that filters, None if it is empty: forms and generated clients send what was left out as an empty text."""
    return text or None


def read_instant_argument(text: str, name: str) -> datetime:
    """Return an ISO 8601 instant with an offset, in UTC. BadInputError names the argument, `name` being in snake case."""
    try:
        instant = datetime.fromisoformat(text) if len(text) <= _MAX_INSTANT and "T" in text.upper() else None
        if instant is not None and instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadInputError(f"{name} must be an ISO 8601 instant with an offset, such as 2027-01-31T00:00:00Z", name)


def read_decimal_argument(value: object, name: str) -> Decimal:
    """Return a number that came as JSON number or text. BadInputError names the argument, in snake case: it is none, or too long."""
    text = repr(value) if isinstance(value, float) else str(value)
    if len(text) > _MAX_NUMBER or _NUMBER.fullmatch(text) is None:
        raise BadInputError(f"{name} must be a decimal number of at most {_MAX_NUMBER} characters", name)
    number = Decimal(text)
    if abs(number.adjusted()) > _MAX_NUMBER:
        raise BadInputError(f"{name} must be a decimal number of at most {_MAX_NUMBER} digits", name)
    return number


def given_fields(given: Any) -> dict[str, Any]:
    """Return the fields of an input object that the caller gave, nulls too, by their names in Python."""
    values = ((field.name, getattr(given, field.name)) for field in fields(given))
    return {name: value for name, value in values if value is not UNSET}


class GraphQLSpelling:
    """Spells the field names of records and entries as GraphQL does, in names by themselves and in sentences."""

    def __init__(self, names: Collection[str]) -> None:
        self._spelled = {name: to_camel_case(name) for name in names}
        longest_first = sorted(self._spelled, key=len, reverse=True)
        self._pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")

    def name(self, name: str) -> str:
        """Return one name."""
        return self._spelled.get(name, name)

    def sentence(self, text: str) -> str:
        """Return a message with every name in it respelled."""
        return self._pattern.sub(lambda match: self._spelled[match[0]], text)
