"""What the schema, OpenAPI and docs/usage-record.md say of a usage record's fields, in one wording. Pure."""

from __future__ import annotations

from typing import assert_never

from app.domain.fields import (
    AHEAD,
    EARLIEST,
    Amount,
    Choice,
    Cost,
    Count,
    DisplayName,
    Field,
    Flag,
    Instant,
    Kind,
    ModelName,
    Name,
    SmallNumber,
    Text,
)


def limits_of(kind: Kind) -> str:
    """Return which values a kind takes, beside what its type says; empty: all."""
    match kind:
        case Instant():
            return f"with UTC offset, from {EARLIEST.date()} to {AHEAD.days} day ahead"
        case Name(is_id=True, limit=limit):
            return f"1 to {limit} ASCII letters, digits and `. _ : @ / -`"
        case Text(limit=limit) | Name(limit=limit) | ModelName(limit=limit) | DisplayName(limit=limit):
            return f"1 to {limit} characters"
        case Choice(words=words):
            return " or ".join(f"`{word}`" for word in words)
        case SmallNumber(minimum=minimum, maximum=maximum):
            return f"{minimum} to {maximum}"
        case Count(part_of=whole):
            return "" if whole is None else f"at most `{whole}`"
        case Flag() | Amount() | Cost():
            return ""
        case _:
            assert_never(kind)


def default_of(field: Field) -> str:
    """Return what a field is if it is not given; empty: nothing, or its description says it."""
    if field.default is None:
        return ""
    value = str(field.default).lower() if isinstance(field.kind, Flag) else str(field.default)
    return f"`{value}`" if isinstance(field.kind, Choice) else value


def describe(field: Field) -> str:
    """Return a field's description: what it is, its limits, its default."""
    default = default_of(field)
    clauses = [clause for clause in (limits_of(field.kind), f"{default} if not given" if default else "") if clause]
    more = "; ".join(clauses)
    return f"{field.kind.description} {more[0].upper()}{more[1:]}." if more else field.kind.description
