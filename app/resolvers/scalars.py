"""Scalars that GraphQL lacks: whole numbers past 32 bits, instants and dates in the documents' forms."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
Instant = NewType("Instant", str)
CalendarDate = NewType("CalendarDate", str)
AsOf = NewType("AsOf", str)
ExactNumber = NewType("ExactNumber", Decimal)


def parse_big_int(value: object) -> int:
    """Accept a JSON integer, an integral number or a string of decimal digits."""
    if isinstance(value, bool):
        raise GraphQLError("BigInt must be a whole number")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) <= 40 and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit():
        return int(value)
    raise GraphQLError("BigInt must be a whole number")


def parse_text(value: object) -> str:
    """Accept a string; the field that takes it checks its form and names it."""
    if not isinstance(value, str):
        raise GraphQLError("must be a string")
    return value


def parse_number(value: object) -> object:
    """Accept a JSON number or a string; the field that takes it checks its form and names it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise GraphQLError("must be a number or a decimal string")
    return value


def format_number(value: Decimal) -> str:
    """Return every digit, without exponent."""
    return format(value, "f")


def format_date(value: date | str) -> str:
    """Return `YYYY-MM-DD`."""
    return value if isinstance(value, str) else value.isoformat()


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer of any size. A JSON number in answers; arguments may also be decimal strings.",
        serialize=int,
        parse_value=parse_big_int,
        specified_by_url="https://www.w3.org/TR/xmlschema11-2/#integer",
    ),
    Instant: strawberry.scalar(
        name="DateTime",
        description="An instant in UTC, ISO 8601 with `Z`: `2026-06-26T12:00:00.000Z`.",
        serialize=str,
        parse_value=parse_text,
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
    ),
    CalendarDate: strawberry.scalar(
        name="Date",
        description="A UTC calendar date, `YYYY-MM-DD`.",
        serialize=format_date,
        parse_value=parse_text,
        specified_by_url="https://scalars.graphql.org/andimarek/local-date",
    ),
    AsOf: strawberry.scalar(
        name="AsOf",
        description="A state of the data, as the instant in UTC up to which all that was stored is in it: `2026-06-26T12:00:00.000Z`.",
        serialize=str,
        parse_value=parse_text,
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
    ),
    ExactNumber: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number. A string in answers, `"0.0000025"`; arguments may also be JSON numbers.',
        serialize=format_number,
        parse_value=parse_number,
        specified_by_url="https://www.w3.org/TR/xmlschema11-2/#decimal",
    ),
}
