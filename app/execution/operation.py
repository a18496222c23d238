"""What the standard's executor finds out anew with every request of a document, found out once for one that is kept.

Anything that is not plainly right (an operation that is not known, a variable that cannot be taken) is left to the standard's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    VariableDefinitionNode,
    coerce_input_value,
    default_field_resolver,
    default_type_resolver,
    is_leaf_type,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values
from strawberry.execution.is_awaitable import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig

from app.execution.executor import CompiledSelections, CompilingExecutor
from app.execution.roots import PreparedField
from app.execution.selection import selected_fields
from app.execution.toll import Toll


@dataclass(frozen=True, slots=True)
class _Variable:
    """`is_leaf`: its values have no parts. `absent`: what stands for it where it is not given, if it has a default."""

    definition: VariableDefinitionNode
    signature: GraphQLVariableSignature
    is_leaf: bool
    absent: VariableValues


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the operations of a document share: one of many has all of its fragments. `config`: the schema's, as strawberry has it."""

    document: DocumentNode
    definitions: dict[str, FragmentDefinitionNode]
    details: dict[str, FragmentDetails]
    config: StrawberryConfig


class KeptOperation:
    """An operation of a kept document, ready to run."""

    __slots__ = ("_document", "_fragment_definitions", "_fragments", "_operation", "_prepared", "_schema", "_variables")

    def __init__(self, schema: GraphQLSchema, parts: _Parts, operation: OperationDefinitionNode) -> None:
        """LookupError: it is for the standard's code."""
        if operation.operation is not OperationType.QUERY:
            raise LookupError("no mutations")
        self._schema = schema
        self._document = parts.document
        self._operation = operation
        self._fragment_definitions = parts.definitions
        self._fragments = parts.details
        self._variables = {node.variable.name.value: _prepare(schema, node) for node in operation.variable_definitions or ()}
        self._prepared = _prepare_fields(schema, parts, operation)

    def start(
        self, context: Any, inputs: Mapping[str, Any], selections: CompiledSelections, toll: Toll | None = None
    ) -> CompilingExecutor | None:
        """Return the executor of one request. None: the standard's code is to look at the variables."""
        values = self._coerce(inputs)
        if values is None:
            return None
        return CompilingExecutor(
            self._schema,
            self._fragment_definitions,
            self._fragments,
            None,
            context,
            self._operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=cast(Any, optimized_is_awaitable),
            toll=toll,
            prepared=self._prepared,
            selections=selections,
            kept_document=self._document,
        )

    def _coerce(self, inputs: Mapping[str, Any]) -> VariableValues | None:
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for name, variable in self._variables.items():
            value = inputs.get(name, Undefined)
            if value is Undefined:
                if isinstance(variable.signature.type, GraphQLNonNull) and name not in variable.absent.coerced:
                    return None
                sources[name] = VariableValueSource(variable.signature)
                coerced.update(variable.absent.coerced)
                continue
            if not variable.is_leaf:
                found = get_variable_values(self._schema, (variable.definition,), {name: value})
                if isinstance(found, list):
                    return None
                sources[name] = VariableValueSource(variable.signature, value)
                coerced.update(found.coerced)
                continue
            taken = coerce_input_value(value, variable.signature.type)
            if taken is Undefined:
                return None
            sources[name] = VariableValueSource(variable.signature, value)
            coerced[name] = taken
        return VariableValues(sources, coerced)


def _prepare(schema: GraphQLSchema, definition: VariableDefinitionNode) -> _Variable:
    signature = get_variable_signature(schema, definition)
    if isinstance(signature, GraphQLError):
        raise LookupError(signature.message)
    kind = signature.type.of_type if isinstance(signature.type, GraphQLNonNull) else signature.type
    absent = VariableValues({}, {})
    if definition.default_value is not None:
        found = get_variable_values(schema, (definition,), {})
        if isinstance(found, list):
            raise LookupError("its default cannot be taken")
        if not is_leaf_type(kind):
            raise LookupError("a default of parts would be shared by requests")
        absent = found
    return _Variable(definition, signature, is_leaf_type(kind), absent)


def _prepare_fields(schema: GraphQLSchema, parts: _Parts, operation: OperationDefinitionNode) -> dict[int, PreparedField]:
    """Return the root fields that are ready, by the identity of their nodes, which the document keeps."""
    found: dict[int, PreparedField] = {}
    for node in selected_fields([operation.selection_set], parts.definitions):
        definition = schema.query_type.fields.get(node.name.value) if schema.query_type is not None else None
        if definition is not None:
            with suppress(LookupError):
                found[id(node)] = PreparedField(definition, node, parts.config)
    return found


def prepare_operations(schema: GraphQLSchema, document: DocumentNode, config: StrawberryConfig) -> dict[str | None, KeptOperation]:
    """Return the operations of a valid document by name, None being the only one's; those are left out that are not ready to run."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    definitions = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    if any(node.variable_definitions for node in definitions.values()):
        return {}
    parts = _Parts(document, definitions, {name: FragmentDetails(node, None) for name, node in definitions.items()}, config)
    found: dict[str | None, KeptOperation] = {}
    for node in operations:
        try:
            kept = KeptOperation(schema, parts, node)
        except LookupError:
            continue
        if node.name is not None:
            found[node.name.value] = kept
        if len(operations) == 1:
            found[None] = kept
    return found
