"""Which records a question is about: conditions on dimensions and on numbers of the single record, joined by and, or, not. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from app.cube.usage_dimensions import UsageDimension


class Match(Enum):
    """How a dimension's value is compared."""

    IN = "in"
    """With any of the values; a value that nothing has matches nothing."""
    STARTS_WITH = "starts_with"
    CONTAINS = "contains"
    ABSENT = "absent"
    """The record has none."""


class Bound(Enum):
    """How a number of the record is compared."""

    GT = ">"
    GTE = ">="
    LT = "<"
    LTE = "<="


@dataclass(frozen=True, slots=True)
class Named:
    """The dimension's label (or key, where it has no label) matches."""

    dimension: UsageDimension
    match: Match
    values: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number of the record lies in a bound; a record that has no such number does not."""

    number: str
    bound: Bound
    value: Decimal


@dataclass(frozen=True, slots=True)
class All:
    """Every condition holds; none: everything."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one condition holds; none: nothing."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Condition


Condition = Named | Bounded | All | Some | Not

EVERYTHING = All(())


def parts_of(condition: Condition) -> Iterator[Named | Bounded]:
    """Return every comparison of a condition."""
    match condition:
        case All(conditions) | Some(conditions):
            for part in conditions:
                yield from parts_of(part)
        case Not(inner):
            yield from parts_of(inner)
        case _:
            yield condition
