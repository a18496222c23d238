"""Turns a selection on an object type into a Python function that reads plain objects and rows, and returns what GraphQL would.

Only what is provably trivial is compiled, of object types, lists and leaves: attributes without resolver, arguments, permissions and
extensions, and pure functions of them. The function raises on anything else that it meets (a null in a non-null place, another class, an
awaitable, an exception): then the standard's own code completes the value from the start, so that errors, paths and nulls are its.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from inspect import getattr_static
from types import MemberDescriptorType
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from app.execution.derived import derivation_of
from app.execution.rows import RowList, RowShape

Completer = Callable[[Any], Any]
"""From a resolved value to what the answer has for it. Any exception: this value is not for compiled code."""

_DEFINITION: Final = "strawberry-definition"
_MAX_FIELDS: Final = 2_000
# Values of these types are neither awaitable nor exceptions, so that a leaf of any of them may be serialized at once. Enums join when met.
_SETTLED: Final[set[type]] = {bool, int, float, str, Decimal, bytes, date, datetime}
REMEMBERED: Final = 4_096
_INT_MIN: Final = -(2**31)
_INT_MAX: Final = 2**31 - 1


CONDITIONS: Final = frozenset({"skip", "include"})
"""The directives that decide by a variable what is selected."""


class NotTrivialError(Exception):
    """The selection holds something that is left to the standard's executor."""


class UnexpectedValueError(Exception):
    """A value that compiled code does not judge."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """`unchanged`: by the name of a scalar, the exact Python type whose values its serializer returns as they are.

    `remembered`: by the name of a scalar, the exact Python type whose few values come again and again, so that what its serializer returns
    for them is remembered. Equal values of the type must be the same in every respect, as two equal instants with other offsets are not.
    """

    unchanged: Mapping[str, type] = field(default_factory=dict)
    remembered: Mapping[str, type] = field(default_factory=dict)


BUILT_IN: Final = {
    "String": ("str", ""),
    "ID": ("str", ""),
    "Boolean": ("bool", ""),
    "Int": ("int", f" and {_INT_MIN} <= {{v}} <= {_INT_MAX}"),
    # An infinity less itself, like a NaN, is no zero.
    "Float": ("float", " and {v} - {v} == 0.0"),
}
"""When a value of a built-in scalar is what the answer has: its exact type, and a further condition on `{v}`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The document's part in what a selection means. `variables`: only those that @skip and @include ask."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDetails]
    definition: OperationDefinitionNode
    variables: VariableValues

    def collect(self, object_type: GraphQLObjectType, details: list[FieldDetails]) -> dict[str, list[FieldDetails]]:
        """Return the sub-selection of the fields `details` on an object type, as the standard executor does."""
        collected = collect_subfields(self.schema, self.fragments, self.variables, self.definition, object_type, details, False)
        if collected.new_defer_usages:
            raise NotTrivialError
        return collected.grouped_field_set


class Compiler:
    """Compiles one selection of an operation."""

    def __init__(self, operation: Operation, dialect: Dialect) -> None:
        self._operation = operation
        self._dialect = dialect
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"RowList": RowList, "UnexpectedValueError": UnexpectedValueError}
        self._count = 0
        self._fields = 0

    def compile(self, value_type: GraphQLOutputType, details: list[FieldDetails]) -> Completer:
        """Return the completer of values of a type. NotTrivialError: it is none of the kind that can be compiled."""
        function = self._function(value_type, details)
        exec(compile("\n".join(self._lines), "<compiled selection>", "exec"), self._names)  # noqa: S102 - built below, of known names
        completer: Completer = self._names[function]
        return completer

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _bind(self, kind: str, value: Any) -> str:
        name = self._name(kind)
        self._names[name] = value
        return name

    def _function(self, value_type: GraphQLOutputType, details: list[FieldDetails]) -> str:
        """Write the function that completes a value that is not null; return its name."""
        inner = value_type.of_type if isinstance(value_type, GraphQLNonNull) else value_type
        if isinstance(inner, GraphQLObjectType):
            return self._object_function(inner, details)
        if isinstance(inner, GraphQLList):
            return self._list_function(inner.of_type, details)
        raise NotTrivialError

    def _object_function(self, object_type: GraphQLObjectType, details: list[FieldDetails]) -> str:
        source = self._bind("class", origin_of(object_type))
        name = self._name("object")
        body = self._object(object_type, details, lambda attribute: f"s.{attribute}")
        self._lines += [
            f"def {name}(s):",
            f"    if type(s) is not {source}: raise UnexpectedValueError",
            f"    return {body}",
        ]
        return name

    def _list_function(self, item_type: GraphQLOutputType, details: list[FieldDetails]) -> str:
        inner = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        name = self._name("list")
        prologue = []
        if is_leaf_type(inner):
            expression = self._nullable_leaf(item_type, "i")
        else:
            expression = f"{self._function(inner, details)}(i)"
            if not isinstance(item_type, GraphQLNonNull):
                expression = f"None if i is None else {expression}"
        if isinstance(inner, GraphQLObjectType):
            rows = self._bind("rows", _RowReaders(self, inner, details))
            prologue = [f"    if type(items) is RowList: return {rows}[items.shape](items.rows)"]
        self._lines += [
            f"def {name}(items):",
            *prologue,
            "    if type(items) is not list and type(items) is not tuple: raise UnexpectedValueError",
            f"    return [{expression} for i in items]",
        ]
        return name

    def _object(self, object_type: GraphQLObjectType, details: list[FieldDetails], read: Callable[[str], str]) -> str:
        """Return the dict display of an object. `read`: from an attribute's name to the expression that reads it."""
        entries = []
        for response_name, selected in self._operation.collect(object_type, details).items():
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise NotTrivialError
            entries.append(f"{response_name!r}: {self._field(object_type, selected, read)}")
        return "{" + ", ".join(entries) + "}"

    def _field(self, object_type: GraphQLObjectType, selected: list[FieldDetails], read: Callable[[str], str]) -> str:
        if not all(_is_plain(one) for one in selected):
            raise NotTrivialError
        node = selected[0].node
        if node.name.value == "__typename":
            return repr(object_type.name)
        definition = self._operation.schema.get_field(object_type, node.name.value)
        if definition is None or node.arguments:
            raise NotTrivialError
        access = self._access(origin_of(object_type), definition, read)
        inner = definition.type.of_type if isinstance(definition.type, GraphQLNonNull) else definition.type
        if is_leaf_type(inner):
            return self._nullable_leaf(definition.type, access)
        function = self._function(definition.type, selected)
        if isinstance(definition.type, GraphQLNonNull):
            return f"{function}({access})"
        value = self._name("v")
        return f"(None if ({value} := {access}) is None else {function}({value}))"

    def _access(self, origin: type, definition: GraphQLField, read: Callable[[str], str]) -> str:
        compute, attributes = value_of(definition)
        if not all(is_stored(origin, attribute) for attribute in attributes):
            raise NotTrivialError
        if compute is None:
            return read(attributes[0])
        return f"{self._bind('compute', compute)}({', '.join(read(attribute) for attribute in attributes)})"

    def _nullable_leaf(self, leaf_type: GraphQLOutputType, access: str) -> str:
        if isinstance(leaf_type, GraphQLNonNull):
            return self._leaf(leaf_type.of_type, access)
        value = self._name("v")
        return f"(None if ({value} := {access}) is None else {self._leaf(leaf_type, value)})"

    def _leaf(self, leaf_type: Any, access: str) -> str:
        serialize = self._bind("leaf", _serializer(leaf_type))
        unchanged = self._dialect.unchanged.get(leaf_type.name)
        known = BUILT_IN.get(leaf_type.name) if unchanged is None else (self._bind("class", unchanged), "")
        value = access if access.isidentifier() else self._name("v")
        tests = []
        remembered = self._dialect.remembered.get(leaf_type.name)
        if remembered is not None:
            tests.append((f"is {self._bind('class', remembered)}", f"{self._bind('memory', _memory(leaf_type))}[{value}]"))
        if known is not None:
            tests.append((f"is {known[0]}{known[1].format(v=value)}", value))
        if not tests:
            return f"{serialize}({access})"
        kind = f"type({value})" if value == access else f"type({value} := {access})"
        expression = ""
        for test, result in tests:
            expression += f"{result} if {kind} {test} else "
            kind = f"type({value})"
        return f"({expression}{serialize}({value}))"

    def row_reader(self, object_type: GraphQLObjectType, details: list[FieldDetails], shape: RowShape[Any]) -> Callable[[Any], Any]:
        """Return the function from rows of a shape to the answers' dicts. NotTrivialError: the shape is not of the type."""
        if shape.make is not origin_of(object_type):
            raise NotTrivialError
        positions = {attribute: position for position, attribute in enumerate(shape.names)}

        cells = ["_"] * len(shape.names)

        def read(attribute: str) -> str:
            if attribute not in positions:
                raise NotTrivialError
            position = positions[attribute]
            cells[position] = f"c_{position}"
            return cells[position]

        self._lines = []
        name = self._name("read_rows")
        body = self._object(object_type, details, read)
        # Unpacked, so that a row of another length is refused.
        self._lines.append(f"def {name}(rows): return [{body} for [{', '.join(cells)}] in rows]")
        exec(compile("\n".join(self._lines), "<compiled rows>", "exec"), self._names)  # noqa: S102 - as above
        reader: Callable[[Any], Any] = self._names[name]
        return reader


class _RowReaders(dict[RowShape[Any], Callable[[Any], Any]]):
    """The readers of one selection by shape, compiled when a shape is first met."""

    def __init__(self, compiler: Compiler, object_type: GraphQLObjectType, details: list[FieldDetails]) -> None:
        super().__init__()
        self._compiler = compiler
        self._object_type = object_type
        self._details = details

    def __missing__(self, shape: RowShape[Any]) -> Callable[[Any], Any]:
        try:
            reader = self._compiler.row_reader(self._object_type, self._details, shape)
        except NotTrivialError:
            reader = _refuse
        self[shape] = reader
        return reader


def _refuse(_: Any) -> Any:
    raise UnexpectedValueError


def origin_of(object_type: GraphQLObjectType) -> type:
    """Return the class whose instances are plain objects of a type.

    NotTrivialError: what is one is decided by code, or its instances are more than objects: exceptions are raised, awaitables awaited.
    For a type with interfaces strawberry asks `isinstance`, which is true of the very class that compiled code insists on.
    """
    definition = object_type.extensions.get(_DEFINITION)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_type_of is not None:
        raise NotTrivialError
    if object_type.is_type_of is not None and not definition.interfaces:
        raise NotTrivialError
    # Objects of a specialised generic type are made by the generic class.
    origin = (definition.concrete_of or definition).origin
    if issubclass(origin, Exception) or hasattr(origin, "__await__"):
        raise NotTrivialError
    return origin


def is_stored(origin: Any, attribute: str) -> bool:
    """Return whether reading an attribute of a class's instances runs no code, so that nobody can tell how often it was read."""
    found = getattr_static(origin, attribute, None)
    return (
        (not hasattr(type(found), "__get__") or isinstance(found, MemberDescriptorType))
        and origin.__getattribute__ is object.__getattribute__
        and not hasattr(origin, "__getattr__")
    )


def value_of(definition: GraphQLField) -> tuple[Callable[..., Any] | None, tuple[str, ...]]:
    """Return the function that a field is of attributes, and those; None: the one attribute. NotTrivialError: it takes more than that."""
    field_ = definition.extensions.get(_DEFINITION)
    kind: object = type(field_)
    if isinstance(field_, StrawberryField) and kind is StrawberryField and (found := derivation_of(field_)) is not None:
        return found.compute, found.names
    return None, (attribute_of(definition),)


def attribute_of(definition: GraphQLField) -> str:
    """Return the attribute that a field is. NotTrivialError: it takes more than reading it, or not everybody may."""
    field_ = definition.extensions.get(_DEFINITION)
    kind: object = type(field_)
    if (
        not isinstance(field_, StrawberryField)
        or kind is not StrawberryField  # another class of fields may have its own way to a value
        or definition.args
        or field_.base_resolver is not None
        or field_.extensions
        or field_.permission_classes
        or field_.default_resolver is not getattr
        or not getattr(definition.resolve, "_is_default", False)
        or not field_.python_name.isidentifier()
    ):
        raise NotTrivialError
    return field_.python_name


def _serializer(leaf_type: GraphQLLeafType) -> Completer:
    coerce = leaf_type.coerce_output_value

    def serialize(value: Any) -> Any:
        if type(value) not in _SETTLED:
            _settle(type(value))
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise UnexpectedValueError
        return coerced

    return serialize


class _Memory(dict[Any, Any]):
    """What a scalar's serializer returned, by value. A dict, because looking into one calls no function."""

    def __init__(self, serialize: Completer) -> None:
        super().__init__()
        self._serialize = serialize

    def __missing__(self, value: Any) -> Any:
        found = self._serialize(value)
        if len(self) >= REMEMBERED:
            self.clear()
        self[value] = found
        return found


@lru_cache(256)
def _memory(leaf_type: GraphQLLeafType) -> _Memory:
    """Return a scalar's memory, which all selections share."""
    return _Memory(_serializer(leaf_type))


def _settle(kind: type) -> None:
    """Note that values of an enumeration are settled. UnexpectedValueError: values of another type, of which nothing is known."""
    if not issubclass(kind, Enum) or issubclass(kind, Exception) or hasattr(kind, "__await__"):
        raise UnexpectedValueError
    _SETTLED.add(kind)


def _is_plain(details: FieldDetails) -> bool:
    """Whether a selected field carries nothing that could change its value; what was skipped is not among them any more."""
    if details.fragment_variable_values is not None or details.defer_usage is not None:
        return False
    return all(directive.name.value in CONDITIONS for directive in details.node.directives or ())
