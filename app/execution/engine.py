"""Runs documents: each text parsed and validated once, executed by the compiling executor, with errors as the caller may see them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final, Protocol, cast

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    ValidationContext,
    execute,
    specified_rules,
    validate,
)
from graphql.validation.validate import ValidationAbortedError
from strawberry.execution.is_awaitable import optimized_is_awaitable

from app.execution.compiled import Dialect
from app.execution.executor import CompiledSelections, CompilingExecutor
from app.execution.introspection import IntrospectionCost
from app.execution.limits import (
    Limits,
    QueryTooExpensiveError,
    check_document,
    check_introspection,
    check_variables,
)
from app.execution.operation import KeptOperation, prepare_operations
from app.execution.parsing import parse_document
from app.execution.toll import Toll, TollingExecutor

MAX_DOCUMENTS: Final = 1_000
MAX_CACHED_LENGTH: Final = 20_000
MAX_CACHED_TOGETHER: Final = 500_000
"""Documents that are kept prepared, and characters of one and of all of them. Prepared, a character may take 130 bytes: 65 MB in all."""

PREPARED_AT_ONCE: Final = 2_000
"""Characters of a document that is prepared on the event loop: at most about 30 ms. The standard introspection query is shorter."""

Show = Callable[[GraphQLError, Any], GraphQLError]
"""From an error and the request's context to the error as its caller may see it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was parsed and validated. `errors`: why it cannot run; `is_kept`: it is worth compiling."""

    document: DocumentNode | None
    errors: tuple[GraphQLError, ...]
    operations: Mapping[str | None, OperationType]
    """By operation name; None: the only one there is."""
    is_kept: bool = False
    ready: Mapping[str | None, KeptOperation] = field(default_factory=dict)
    """Operations that run without being looked through first, by name likewise."""

    def runs_query(self, operation_name: str | None) -> bool:
        """Return whether the operation of a name is a query, as is said of one that there is not."""
        return self.operations.get(operation_name, OperationType.QUERY) is OperationType.QUERY


@dataclass(frozen=True, slots=True)
class Demand:
    """One request to run a document. `only_queries`: it may change nothing."""

    query: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None
    only_queries: bool = False


def _bounded_merging(steps: int) -> type[OverlappingFieldsCanBeMergedRule]:
    """Return the rule on merged fields, which compares them in pairs, with a budget of its own: the library's takes a second."""

    class BoundedMergingRule(OverlappingFieldsCanBeMergedRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            self.rule_context.remaining_complexity_budget = steps

    return BoundedMergingRule


@dataclass(slots=True)
class Answer:
    """What a request gave. `has_run` False: no field was resolved, and the errors are about the request itself.

    `is_forbidden`: the operation is of a kind that this way of asking does not allow.
    """

    data: dict[str, Any] | None
    errors: list[GraphQLError] = field(default_factory=list)
    has_run: bool = True
    is_forbidden: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the body of a GraphQL response. Where the request itself is wrong, it has no `data`."""
        data = {"data": self.data} if self.has_run else {}
        return {**data, "errors": [error.formatted for error in self.errors]} if self.errors else data


class DocumentEngine(Protocol):
    """What prepares and answers documents of one schema: an `Engine`, or whatever wraps one."""

    @property
    def schema(self) -> GraphQLSchema:
        """The schema of the documents."""

    def prepare(self, query: str) -> Prepared:
        """Return the document of a text, parsed and validated."""

    async def obtain(self, query: str) -> Prepared:
        """Return the document of a text as `prepare` does, without holding up the event loop."""

    async def answer(self, prepared: Prepared, demand: Demand, context: Any) -> Answer:
        """Run a prepared document, or say why it cannot run. Never raises, unless it is cancelled."""


class Engine:
    """Executes on one schema. `toll`: asked before root fields are resolved; `compiled` False: by the stock executor, for comparison."""

    def __init__(
        self, schema: strawberry.Schema, limits: Limits, dialect: Dialect, show: Show, *, toll: Toll | None = None, compiled: bool = True
    ) -> None:
        self.schema = schema._schema
        self._config = schema.config
        self._limits = limits
        self._introspection = IntrospectionCost(self.schema)
        self._rules = tuple(
            _bounded_merging(limits.comparisons) if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules
        )
        self._show = show
        self._toll = toll
        self._selections = CompiledSelections(dialect) if compiled else None
        self._documents: OrderedDict[str, Prepared] = OrderedDict()
        self._characters = 0
        self._aside = ThreadPoolExecutor(1, "prepare")  # whose thread begins with the first long document

    def prepare(self, query: str) -> Prepared:
        """Return the document of a text, from memory if it was asked before."""
        prepared = self._documents.get(query)
        if prepared is not None:
            self._documents.move_to_end(query)
            return prepared
        return self._keep(query, self._prepare(query))

    async def obtain(self, query: str) -> Prepared:
        """Return the document of a text as `prepare` does; a long one that is new is prepared in a thread, one at a time."""
        if len(query) <= PREPARED_AT_ONCE or query in self._documents:
            return self.prepare(query)
        prepared = await asyncio.get_running_loop().run_in_executor(self._aside, self._prepare, query)
        return self._keep(query, prepared)

    def _keep(self, query: str, prepared: Prepared) -> Prepared:
        if prepared.is_kept and query not in self._documents:
            self._documents[query] = prepared
            self._characters += len(query)
            while len(self._documents) > MAX_DOCUMENTS or self._characters > MAX_CACHED_TOGETHER:
                self._forget(*self._documents.popitem(last=False))
        return prepared

    def _forget(self, query: str, prepared: Prepared) -> None:
        self._characters -= len(query)
        if prepared.document is not None and self._selections is not None:
            self._selections.forget(prepared.document)

    def _prepare(self, query: str) -> Prepared:
        limits = self._limits
        try:
            document = parse_document(query, limits)
            if any(one.introspections for one in check_document(document, limits)):
                check_introspection(self._introspection.of(document), self._introspection.standard, limits)
        except GraphQLError as error:
            return Prepared(None, (error,), {})
        errors = self._validate(document)
        operations: dict[str | None, OperationType] = {
            node.name.value if node.name else None: node.operation
            for node in document.definitions
            if isinstance(node, OperationDefinitionNode)
        }
        if len(operations) == 1:
            operations[None] = next(iter(operations.values()))
        is_kept = not errors and len(query) <= MAX_CACHED_LENGTH
        ready = prepare_operations(self.schema, document, self._config) if is_kept and self._selections is not None else {}
        return Prepared(document, errors, operations, is_kept, ready)

    def _validate(self, document: DocumentNode) -> tuple[GraphQLError, ...]:
        errors = validate(self.schema, document, self._rules, max_errors=self._limits.errors)
        if errors and isinstance(errors[-1], ValidationAbortedError):
            errors[-1] = (
                GraphQLError(f"the document has more errors; the first {self._limits.errors} are reported")
                if len(errors) > self._limits.errors
                else QueryTooExpensiveError(
                    f"the document repeats too many fields and fragments: it is validated in {self._limits.comparisons:,} steps or refused"
                )
            )
        return tuple(errors)

    async def run(self, demand: Demand, context: Any) -> Answer:
        """Run a request. Never raises, unless it is cancelled: whatever goes wrong is among the answer's errors."""
        return await self.answer(await self.obtain(demand.query), demand, context)

    async def answer(self, prepared: Prepared, demand: Demand, context: Any) -> Answer:
        """Run a prepared document, or say why it cannot run. Never raises, unless it is cancelled."""
        if prepared.errors or prepared.document is None:
            return self._refuse(prepared.errors, context)
        if demand.only_queries and not prepared.runs_query(demand.operation_name):
            answer = self._refuse((GraphQLError("mutations are not allowed when using GET"),), context)
            answer.is_forbidden = True
            return answer
        return await self.run_prepared(prepared, demand, context)

    async def run_prepared(self, prepared: Prepared, demand: Demand, context: Any) -> Answer:
        """Run a document that is known to be valid. Never raises, unless it is cancelled."""
        if prepared.document is None:
            return self._refuse(prepared.errors, context)
        try:
            if demand.variables:
                check_variables(demand.variables, self._limits, is_query=prepared.runs_query(demand.operation_name))
            outcome = self._execute(prepared, prepared.document, demand, context)
            result: ExecutionResult = await outcome if isawaitable(outcome) else outcome
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not the request was cancelled, but what a field shared with another one that failed.
            cause = RuntimeError("a field was cancelled")
            cause.__cause__ = error
            return self._refuse((GraphQLError(str(cause), original_error=cause),), context)
        except Exception as error:
            return self._refuse((error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error),), context)
        if not result.errors:
            return Answer(result.data)
        has_run = result.data is not None or any(error.path for error in result.errors)
        return Answer(result.data, [self._show(error, context) for error in result.errors], has_run)

    def _execute(self, prepared: Prepared, document: DocumentNode, demand: Demand, context: Any) -> Any:
        """Return the result, or what gives it when awaited."""
        if self._selections is not None:
            ready = prepared.ready.get(demand.operation_name)
            started = None if ready is None else ready.start(context, demand.variables or {}, self._selections, self._toll)
            if started is not None:
                return started.execute_operation()
        executor: dict[str, Any] = {"executor_class": TollingExecutor}
        if self._selections is not None and prepared.is_kept:
            executor = {"executor_class": CompilingExecutor, "selections": self._selections, "kept_document": document}
        return execute(
            self.schema,
            document,
            context_value=context,
            variable_values=None if demand.variables is None else dict(demand.variables),
            operation_name=demand.operation_name,
            is_awaitable=cast(Any, optimized_is_awaitable),
            max_coercion_errors=self._limits.errors,
            toll=self._toll,
            **executor,
        )

    def _refuse(self, errors: tuple[GraphQLError, ...], context: Any) -> Answer:
        return Answer(None, [self._show(error, context) for error in errors], has_run=False)
