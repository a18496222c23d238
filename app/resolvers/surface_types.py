"""GraphQL object types and roots, made from the declarations of surfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any, Final

import strawberry
from graphql import GraphQLField
from strawberry.utils.str_converters import to_camel_case

from app.domain.usage import TRAFFIC_MODES
from app.execution.rows import RowShape
from app.execution.selection import selected_names
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import reads
from app.resolvers.permissions import permission_of
from app.resolvers.scalars import BigInt, CalendarDate, Instant
from app.resolvers.usage_enums import TrafficMode
from app.surfaces.declare import Column, Part, Scalar, Section, Surface

_DECLARED: Final = "declared"
_TYPES: Final[dict[Section, Any]] = {}
_SCALARS: Final[dict[Scalar, Any]] = {
    Scalar.WHOLE: BigInt,
    Scalar.INTEGER: int,
    Scalar.NUMBER: float,
    Scalar.TEXT: str,
    Scalar.DATE: CalendarDate,
    Scalar.INSTANT: Instant,
    Scalar.FLAG: bool,
}

_ENUMS: Final[dict[tuple[str, ...], Any]] = {TRAFFIC_MODES: TrafficMode}
"""By the words of a choice, in the order of their codes: the enum of which a column with that choice is. Its values are the codes."""


def object_type(section: Section, relations: Mapping[str, tuple[Any, Any]] | None = None) -> Any:
    """Return the type of a section, one for each. `relations`: by name, further fields of its rows: type and strawberry's field.

    They are given when the type is made first, before that of a section which it is a part of.
    """
    if section not in _TYPES:
        beside = relations or {}
        annotations = {declared.name: _annotation(declared) for declared in section.fields}
        fields = {declared.name: field_of(declared) for declared in section.fields}
        body = {
            "__annotations__": annotations | {name: type_ for name, (type_, _) in beside.items()},
            "__module__": __name__,
            "__doc__": section.description,
            **fields,
            **{name: made for name, (_, made) in beside.items()},
        }
        _TYPES[section] = strawberry.type(type(section.name, (), body), description=section.description)
    elif relations:
        raise ValueError(f"{section.name} was made without its relations")
    return _TYPES[section]


def _annotation(declared: Column | Part) -> Any:
    if isinstance(declared, Part):
        part = object_type(declared.section)
        return GenericAlias(list, (part,)) if declared.is_list else part
    scalar = _ENUMS.get(declared.choices, _SCALARS[declared.scalar])
    return scalar | None if declared.is_nullable else scalar


def field_of(declared: Column | Part) -> Any:
    """Return the field of a declaration."""
    return strawberry.field(description=declared.description, metadata={_DECLARED: declared})


def rows_of(section: Section, relations: Mapping[str, tuple[Any, Any]] | None = None) -> RowShape[Any]:
    """Return how rows of a section's columns are objects of its type, which is made with these relations."""
    return RowShape(object_type(section, relations), *section.names)


def root(surface: Surface, resolver: Callable[..., Any]) -> Any:
    """Return the field of the root type that answers a surface."""
    return strawberry.field(
        resolver=resolver,
        description=surface.description,
        permission_classes=[] if surface.readers is None else [permission_of(surface.readers)],
        metadata={_DECLARED: surface, **reads(surface.cost)},
    )


def declaration_of(definition: GraphQLField) -> Column | Part | Surface | None:
    """Return what a field of the schema is made from; None: it is not of a surface."""
    field = definition.extensions.get("strawberry-definition")
    declared: Column | Part | Surface | None = None if field is None else field.metadata.get(_DECLARED)
    return declared


def names_below(info: ResolverInfo) -> frozenset[str]:
    """Return the names of the fields that are selected directly under the one being resolved."""
    raw = info._raw_info
    return selected_names([node.selection_set for node in raw.field_nodes], raw.fragments)


def questions_of(section: Section, selected: frozenset[str]) -> set[str]:
    """Return the questions that the selected fields of a section are made of."""
    found: set[str] = set()
    for declared in section.fields:
        if to_camel_case(declared.name) in selected:
            found.update(declared.asks or (declared.name,) if isinstance(declared, Part) else ("totals",))
    return found
