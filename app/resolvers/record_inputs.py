"""Input types that have the fields of the usage record, made from the table of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_never

import strawberry
from strawberry import UNSET

from app.domain.describe import describe
from app.domain.fields import Amount, Choice, Cost, Count, DisplayName, Flag, Instant, Kind, ModelName, Name, SmallNumber, Text
from app.domain.usage import FIELDS, UsageRecord, name_of
from app.resolvers import scalars
from app.resolvers.arguments import GraphQLSpelling

SPELLING = GraphQLSpelling(UsageRecord._fields)
"""Spells the names of the record's fields as GraphQL does."""


def _scalar_of(kind: Kind) -> Any:
    match kind:
        case Instant():
            return scalars.Instant
        case Text() | Name() | ModelName() | DisplayName() | Choice():
            return str
        case Count():
            return scalars.BigInt
        case SmallNumber():
            return int
        case Flag():
            return bool
        case Amount() | Cost():
            return scalars.ExactNumber
        case _:
            assert_never(kind)


def _make_input(name: str, description: str, *, is_whole: bool, more: Mapping[str, str]) -> Any:
    """Return an input type. `is_whole`: what a record must have is required; `more`: by field, what else its description says."""
    annotations: dict[str, Any] = {}
    members: dict[str, Any] = {}
    # Input objects list what is required first.
    for field in sorted(FIELDS, key=lambda field: not (is_whole and field.is_required)):
        scalar = _scalar_of(field.kind)
        text = SPELLING.sentence(" ".join(filter(None, (describe(field), more.get(field.name)))))
        if is_whole and field.is_required:
            annotations[field.name], members[field.name] = scalar, strawberry.field(description=text)
        else:
            annotations[field.name], members[field.name] = scalar | None, strawberry.field(default=UNSET, description=text)
    body = {"__annotations__": annotations, "__module__": __name__, "__doc__": description, **members}
    return strawberry.input(type(name, (), body), description=description)


if TYPE_CHECKING:

    class UsageRecordInput:
        """Any fields of a record."""

    class UsageRecordChangesInput:
        """Any fields of a record."""

else:
    UsageRecordInput = _make_input(
        "UsageRecordInput",
        "One request at the router. Token counts are inclusive: cached is part of prompt, reasoning of completion.",
        is_whole=True,
        more={},
    )
    UsageRecordChangesInput = _make_input(
        "UsageRecordChangesInput",
        "Changes to the values of a quarantined record. Omitted fields are not changed; null removes a value, so that the default applies.",
        is_whole=False,
        more={
            name_of(lambda record: record.request_id): "For one record at a time only.",
            name_of(lambda record: record.occurred_at): "Not before the first retained record.",
            name_of(lambda record: record.tenant_id): "Without it a record is its sender's tenant's, and stays in the quarantine if it"
            " names another.",
        },
    )
