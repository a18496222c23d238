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


@dataclass(frozen=True, slots=True)
class RootField:
    """A field of the root type as an operation asks for it: once for each alias."""

    definition: GraphQLField
    details: FieldDetails
    variables: VariableValues

    def arguments(self) -> Mapping[str, Any]:
        """Return its coerced arguments by their names in GraphQL; none if one cannot be taken, which the executor says itself."""
        try:
            return get_argument_values(self.definition, self.details.node, self.variables, self.details.fragment_variable_values)
        except GraphQLError:
            return {}


Toll = Callable[[Sequence[RootField], Any], Awaitable[None] | None]
"""From the root fields and the request's context to what is to be awaited before they are resolved, if anything; it may raise instead."""


ROOTS_AT_ONCE: Final = 4
"""Root fields of an operation that begin in one turn of the event loop; each other one has a turn of its own."""


class TollingExecutor(StrawberryGraphQLCoreExecutionContext):
    """The standard executor, which asks for the toll first, and begins many root fields one after the other. `toll` None: it is free."""

    def __init__(self, *args: Any, toll: Toll | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._toll = toll
        self._begun = 0

    def execute_root_grouped_field_set(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: Any, serially: bool, delivery_group_map: Any
    ) -> Any:
        """Execute the root fields, after the toll."""
        execute = super().execute_root_grouped_field_set
        due = None if self._toll is None else self._toll(self._roots(root_type, grouped_field_set), self.context_value)
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
        result = super().execute_field(parent_type, source, field_details_list, path, position_context)
        if path.prev is not None or self.operation.operation is not OperationType.QUERY or not self.is_awaitable(result):
            return result
        self._begun += 1
        return result if self._begun <= ROOTS_AT_ONCE else _in_turn(self._begun - ROOTS_AT_ONCE, result)

    def _roots(self, root_type: GraphQLObjectType, grouped_field_set: Mapping[str, Sequence[FieldDetails]]) -> list[RootField]:
        found = ((self.schema.get_field(root_type, details[0].node.name.value), details[0]) for details in grouped_field_set.values())
        return [RootField(definition, first, self.variable_values) for definition, first in found if definition is not None]


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
