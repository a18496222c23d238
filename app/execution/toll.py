"""A hook between an operation's root fields, which are known by then, and their resolvers, of which none has run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError, GraphQLField, GraphQLObjectType, OperationType
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.execution.roots import PreparedField


@dataclass(slots=True)
class RootField:
    """A field of the root type as an operation asks for it: once for each alias. `prepared` None: it is for the standard's code."""

    definition: GraphQLField
    details: FieldDetails
    variables: VariableValues
    prepared: PreparedField | None = None
    taken: Mapping[str, Any] | None = None
    """The arguments of a prepared field; None: it has none, or one of them cannot be taken."""

    def __post_init__(self) -> None:
        if self.prepared is not None:
            self.taken = self.prepared.arguments(self.variables)

    def arguments(self) -> Mapping[str, Any]:
        """Return its coerced arguments by their names in GraphQL; none if one cannot be taken, which the executor says itself."""
        if self.taken is not None:
            return self.taken
        try:
            return get_argument_values(self.definition, self.details.node, self.variables, self.details.fragment_variable_values)
        except GraphQLError:
            return {}

    def resolve(self, source: Any, info: Any) -> Awaitable[Any]:
        """Return what gives the value of a prepared field whose arguments could be taken."""
        if self.prepared is None or self.taken is None:
            raise AssertionError("it is for the standard's code")
        return self.prepared.resolve(source, info, self.taken)


Toll = Callable[[Sequence[RootField], Any], Awaitable[None] | None]
"""From the root fields and the request's context to what is to be awaited before they are resolved, if anything; it may raise instead."""


ROOTS_AT_ONCE: Final = 4
"""Root fields of an operation that begin in one turn of the event loop; each other one has a turn of its own."""

_NONE: Final[Mapping[int, PreparedField]] = {}


class TollingExecutor(StrawberryGraphQLCoreExecutionContext):
    """The standard executor, which asks for the toll first, and begins many root fields one after the other.

    `toll` None: it is free; `prepared`: root fields that are ready to be resolved, by the identity of their nodes.
    """

    def __init__(self, *args: Any, toll: Toll | None = None, prepared: Mapping[int, PreparedField] = _NONE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._toll = toll
        self._prepared = prepared
        self._roots: dict[str, RootField] = {}
        self._begun = 0

    def execute_root_grouped_field_set(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: Any, serially: bool, delivery_group_map: Any
    ) -> Any:
        """Execute the root fields, after the toll."""
        execute = super().execute_root_grouped_field_set
        self._roots = self._find_roots(root_type, grouped_field_set)
        due = None if self._toll is None else self._toll(list(self._roots.values()), self.context_value)
        if due is None:
            return execute(root_type, root_value, grouped_field_set, serially, delivery_group_map)

        async def paid() -> Any:
            await due
            result = execute(root_type, root_value, grouped_field_set, serially, delivery_group_map)
            return await result if self.is_awaitable(result) else result

        return paid()

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: list[FieldDetails], path: Path, position_context: Any
    ) -> Any:
        """Execute a field; one of the root type in its turn."""
        if path.prev is not None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        root = self._roots.get(str(path.key))
        if root is not None and root.taken is not None:
            info = self.build_resolve_info(root.definition, [one.node for one in field_details_list], parent_type, path)
            result: Any = self._resolve_prepared(root, info, field_details_list, position_context)
        else:
            result = super().execute_field(parent_type, source, field_details_list, path, position_context)
        if self.operation.operation is not OperationType.QUERY or not self.is_awaitable(result):
            return result
        self._begun += 1
        return result if self._begun <= ROOTS_AT_ONCE else _in_turn(self._begun - ROOTS_AT_ONCE, result)

    async def _resolve_prepared(self, root: RootField, info: Any, details: list[FieldDetails], position_context: Any) -> Any:
        """Resolve a field that is ready, and complete it; what goes wrong is handled as the standard does."""
        return_type = root.definition.type
        try:
            resolved = await root.resolve(self.root_value, info)
            completed = self.complete_value(return_type, details, info, info.path, resolved, position_context)
            return await completed if self.is_awaitable(completed) else completed
        except Exception as error:
            self.handle_field_error(error, return_type, details, info.path)
            return None

    def _find_roots(self, root_type: GraphQLObjectType, grouped_field_set: Mapping[str, Sequence[FieldDetails]]) -> dict[str, RootField]:
        found = {}
        for name, details in grouped_field_set.items():
            node = details[0].node
            definition = self.schema.get_field(root_type, node.name.value)
            if definition is not None:
                found[name] = RootField(definition, details[0], self.variable_values, self._prepared.get(id(node)))
        return found


async def _in_turn(turns: int, result: Awaitable[Any]) -> Any:
    """Wait for so many turns of the event loop, then for the result, which is begun by that."""
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
    except BaseException:
        if isinstance(result, Coroutine):
            result.close()  # nobody will wait for it
        raise
    return await result
