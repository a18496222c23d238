"""Root fields of a kept document: what their resolvers are called with, found once, but for what the variables say.

Only what is plainly right is prepared: an async resolver, behind permissions at most, with arguments that are leaves. All else is left to
graphql-core and strawberry, which find out anew with each request what an argument's default is and what its value becomes in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    GraphQLString,
    NameNode,
    Undefined,
    VariableNode,
    get_argument_values,
    is_leaf_type,
    is_required_argument,
)
from graphql.execution.values import VariableValues
from strawberry.permission import PermissionExtension
from strawberry.relay.types import GlobalID
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

_DEFINITION: Final = "strawberry-definition"
_ASYNC: Final = "GraphQLCoreConverter.from_resolver.<locals>._async_resolver"
_UNCHANGEABLE: Final = (str, int, float, Decimal, date, Enum)
"""Types of values that nobody can change, so that requests may share them."""


@dataclass(frozen=True, slots=True)
class _FromVariable:
    """An argument that a variable gives. `absent`: its value where the variable has none, if it has a default."""

    argument: str
    variable: str
    is_required: bool
    takes_null: bool
    absent: Mapping[str, Any]


class PreparedField:
    """A root field of a document, ready to be resolved."""

    __slots__ = ("_constants", "_field", "_info_class", "_names", "_permissions", "_resolver", "_takes_info", "_takes_self", "_variables")

    def __init__(self, definition: GraphQLField, node: FieldNode, config: StrawberryConfig) -> None:
        """LookupError: it is for the standard's code."""
        field = definition.extensions.get(_DEFINITION)
        if type(field) is not StrawberryField or getattr(definition.resolve, "__qualname__", "") != _ASYNC or field.base_resolver is None:
            raise LookupError("it is resolved in another way")
        permissions = [extension for extension in field.extensions if type(extension) is PermissionExtension]
        if len(permissions) > 1 or permissions != field.extensions:
            raise LookupError("it has other extensions")
        reserved = {parameter.name for parameter in field.base_resolver.reserved_parameters.values() if parameter is not None}
        if not reserved <= {"info", "self"}:
            raise LookupError("its resolver takes more than its arguments")
        self._field = field
        self._info_class = config.info_class
        self._takes_info = "info" in reserved
        self._takes_self = "self" in reserved
        self._resolver: Callable[..., Any] = field.base_resolver
        self._permissions = permissions[0] if permissions else None
        self._names = {config.name_converter.from_argument(one): _python_name(one) for one in field.arguments}
        self._constants: dict[str, Any] = {}
        self._variables: list[_FromVariable] = []
        given = {argument.name.value: argument for argument in node.arguments or ()}
        for name, argument in definition.args.items():
            if name not in self._names or argument.out_name not in (None, name):
                raise LookupError("its arguments have other names")
            said = given.get(name)
            if said is not None and isinstance(said.value, VariableNode):
                self._variables.append(_from_variable(name, argument, said.value.name.value))
            else:
                self._constants |= _constant(name, argument, said)

    def arguments(self, variables: VariableValues) -> dict[str, Any] | None:
        """Return the coerced arguments by their names in GraphQL. None: one cannot be taken, which the standard's code says."""
        coerced = variables.coerced
        found = self._constants.copy()
        for one in self._variables:
            value = coerced.get(one.variable, Undefined)
            if value is Undefined:
                if one.is_required:
                    return None
                found.update(one.absent)
            elif value is None and not one.takes_null:
                return None
            else:
                found[one.argument] = value
        return found

    async def resolve(self, source: Any, raw_info: Any, arguments: Mapping[str, Any]) -> Any:
        """Return what the resolver returns for whom the permissions pass. Raises what they raise."""
        names = self._names
        given = {names[name]: value for name, value in arguments.items()}
        info = self._info_class(_raw_info=raw_info, _field=self._field)
        if self._permissions is None:
            return await self._call(source, info, **given)
        return await self._permissions.resolve_async(self._call, source, info, **given)

    def _call(self, source: Any, info: Any, **given: Any) -> Any:
        if self._takes_info:
            given["info"] = info
        return self._resolver(source, **given) if self._takes_self else self._resolver(**given)


def _python_name(argument: StrawberryArgument) -> str:
    """Return the name that the resolver has for an argument. LookupError: what it is given is not what GraphQL has."""
    kind = argument.type
    if argument.is_maybe:
        raise LookupError("what is not given is told apart")
    if isinstance(kind, StrawberryOptional):
        kind = kind.of_type
    if kind is GlobalID or isinstance(kind, LazyType):
        raise LookupError("it becomes another object")
    return argument.python_name


def _from_variable(name: str, argument: GraphQLArgument, variable: str) -> _FromVariable:
    if not _is_leaf(argument):
        raise LookupError("it has parts")
    is_required = is_required_argument(argument)
    absent = {} if is_required else _constant(name, argument, None)
    return _FromVariable(name, variable, is_required, not isinstance(argument.type, GraphQLNonNull), absent)


def _constant(name: str, argument: GraphQLArgument, said: ArgumentNode | None) -> dict[str, Any]:
    """Return the value that a document, or else its default, gives an argument; nothing if neither does. LookupError: it is no constant."""
    node = FieldNode(name=NameNode(value=name), arguments=() if said is None else (said,))
    try:
        found = get_argument_values(GraphQLField(GraphQLString, {name: argument}), node)
    except GraphQLError as error:
        raise LookupError(error.message) from None
    if any(value is not None and not (_is_leaf(argument) and isinstance(value, _UNCHANGEABLE)) for value in found.values()):
        raise LookupError("it has parts, or would be shared by requests")
    return found


def _is_leaf(argument: GraphQLArgument) -> bool:
    return is_leaf_type(argument.type.of_type if isinstance(argument.type, GraphQLNonNull) else argument.type)
