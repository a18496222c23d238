"""What the stored documents select of the schema: their answers' documented form, its OpenAPI models, and the columns of CSV files.

The documents and the schema are the only declarations; nothing is said of a field here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.domain.fields import Unit
from app.execution.selection import selected_fields
from app.money.rounding import USD_PLACES, round_half_up
from app.resolvers.surface_types import declaration_of
from app.surfaces.declare import Column, Part

_PYTHON: Final[dict[str, Any]] = {"BigInt": int, "Int": int, "Float": float, "Boolean": bool}
"""By the name of a scalar; the others are text."""


class Body(BaseModel):
    """An object with exactly the fields that it lists."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)


@dataclass(frozen=True, slots=True)
class Selected:
    """A selected field by its name in the answer, and what is selected under it."""

    name: str
    definition: GraphQLField
    below: tuple[Selected, ...]

    @property
    def column(self) -> Column:
        """Its declaration as a column; one that says nothing more if it has none."""
        declared = declaration_of(self.definition)
        return declared if isinstance(declared, Column) else Column(self.name, "")

    @property
    def part(self) -> Part | None:
        """Its declaration as a part, if it is one."""
        declared = declaration_of(self.definition)
        return declared if isinstance(declared, Part) else None

    @property
    def documented_name(self) -> str:
        """Its name in the documented body."""
        return (self.part and self.part.documented_as) or self.name

    @property
    def key(self) -> str:
        """The field by which the documented body keys its rows, empty if it lists them."""
        return self.part.keyed_by if self.part else ""

    def find(self, *path: str) -> Selected:
        """Return what the names lead to. StopIteration: it is not selected."""
        found = self
        for name in path:
            found = next(one for one in found.below if one.name == name)
        return found


def read_root(schema: GraphQLSchema, document: DocumentNode) -> Selected:
    """Return the one root field of a valid stored document."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    assert schema.query_type is not None
    (root,) = _read(schema.query_type, operation.selection_set, fragments)
    return root


def _read(
    parent: GraphQLObjectType, selection_set: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[Selected, ...]:
    found = []
    for node in selected_fields([selection_set], fragments):
        definition = parent.fields[node.name.value]
        named = get_named_type(definition.type)
        below = _read(named, node.selection_set, fragments) if isinstance(named, GraphQLObjectType) else ()
        found.append(Selected(node.alias.value if node.alias else node.name.value, definition, below))
    return tuple(found)


Shaper = Callable[[Any], Any]


def shaper_of(selected: Selected) -> Shaper | None:
    """Return what gives a value of a field its documented form; None: it has it.

    Values of enumerations are in lower case; lists that are declared so are objects by name; parts have their documented names.
    """
    if isinstance(get_named_type(selected.definition.type), GraphQLEnumType):
        return _each(selected, str.lower)
    forms = {one.name: form for one in selected.below if (form := shaper_of(one)) is not None}
    names = {one.name: one.documented_name for one in selected.below}
    key = selected.key
    keeps_names = all(name == documented for name, documented in names.items())
    if not forms and not key and keeps_names:
        return None

    def amend(value: dict[str, Any]) -> dict[str, Any]:
        amended = value.copy()
        for name in forms.keys() & value.keys():
            amended[name] = forms[name](value[name])
        return amended

    def shape(value: dict[str, Any]) -> dict[str, Any]:
        return {names[name]: forms[name](inner) if name in forms else inner for name, inner in value.items()}

    if not key:
        return _each(selected, amend if keeps_names else shape)
    return lambda rows: {row.pop(key): row for row in map(shape, rows)}


def _each(selected: Selected, shape: Shaper) -> Shaper:
    if is_list_type(get_nullable_type(selected.definition.type)):
        return lambda values: [shape(value) for value in values]
    return shape if isinstance(selected.definition.type, GraphQLNonNull) else lambda value: None if value is None else shape(value)


_CAMEL_CASE = re.compile(r"`[a-z]+(?:[A-Z][a-z]*)+`")


def _described(description: str | None) -> str:
    """Return a description with the names that it quotes as the URLs spell them."""
    return _CAMEL_CASE.sub(lambda name: re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name[0]), description or "")


def model_of(selected: Selected, without: str = "") -> type[BaseModel]:
    """Return the model of the objects of a field as the documented body has them. `without`: a field that is their key instead."""
    named = get_named_type(selected.definition.type)
    fields: dict[str, Any] = {one.name: _field(one) for one in selected.below if one.name != without}
    return create_model(named.name, __base__=Body, __doc__=_described(named.description), **fields)


def _field(selected: Selected) -> tuple[Any, Any]:
    inner = get_nullable_type(selected.definition.type)
    named = get_named_type(inner)
    column = selected.column
    value: Any
    if isinstance(named, GraphQLObjectType):
        value = model_of(selected, selected.key)
        if selected.key:
            value = dict[str, value]
        elif is_list_type(inner):
            value = list[value]
    elif isinstance(named, GraphQLEnumType):
        value = Literal[tuple(name.lower() for name in named.values)]
    elif column.choices:
        value = Literal[column.choices]
    else:
        value = _PYTHON.get(named.name, str)
    return value if isinstance(selected.definition.type, GraphQLNonNull) else value | None, Field(
        alias=None if selected.documented_name == selected.name else selected.documented_name,
        description=_described(selected.definition.description),
        examples=list(column.examples) or (["2026-06-25"] if named.name == "Date" else None),
        ge=0 if named.name == "BigInt" else column.least,
        le=column.most,
        pattern=column.pattern,
        max_length=selected.part.most if selected.part else None,
    )


_NESTED_NAMES: Final = {"tokens": "{}_tokens"}
"""How a column is named whose field stands under another, if not as it is."""


class Table:
    """The columns of a CSV file: the fields of a selected row, in the order of the document, those under others among them.

    `without`: fields that are for paging.
    """

    def __init__(self, row: Selected, without: frozenset[str] = frozenset()) -> None:
        leaves: list[tuple[str, Selected]] = []
        self._groups: list[tuple[str, Callable[[Any], tuple[Any, ...]]]] = []
        for outer, group in groupby((one for one in row.below if one.name not in without), lambda one: one.name if one.below else ""):
            found = [leaf for one in group for leaf in one.below or (one,)]
            nested = _NESTED_NAMES.get(outer, "{}")
            leaves += [(nested.format(leaf.name), leaf) for leaf in found]
            self._groups.append((outer, _getter([leaf.name for leaf in found])))
        self.names = tuple(name for name, _ in leaves)
        types = [leaf.definition.type for _, leaf in leaves]
        self._nullable = [place for place, kind in enumerate(types) if not isinstance(kind, GraphQLNonNull)]
        self._dollars = [place for place, (_, leaf) in enumerate(leaves) if leaf.column.unit is Unit.USD]
        self._whole = [place for place, kind in enumerate(types) if get_named_type(kind).name == "BigInt"]

    def cells(self, node: Mapping[str, Any]) -> list[Any]:
        """Return the cells of a row of the documented form; what is not known is empty, dollars have all their digits."""
        cells: list[Any] = []
        for outer, getter in self._groups:
            cells += getter(node[outer] if outer else node)
        for place in self._nullable:
            if cells[place] is None:
                cells[place] = ""
        for place in self._dollars:
            cells[place] = round_half_up(Decimal(str(cells[place])), USD_PLACES)
        return cells

    def total(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """Return the cells of the sum of rows: of whole numbers and of dollars; the others are empty."""
        sums: list[Any] = [""] * len(self.names)
        for place in self._whole:
            sums[place] = 0
        for place in self._dollars:
            sums[place] = Decimal(0)
        summed = (*self._whole, *self._dollars)
        for row in rows:
            for place in summed:
                sums[place] += row[place]
        return sums


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        return lambda node: (node[names[0]],)
    return itemgetter(*names)
