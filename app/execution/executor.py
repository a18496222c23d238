"""The executor: the standard one, which hands objects and lists that compiled code can complete to it.

It overrides methods of graphql-core that are not public API; pyproject.toml pins the versions that the differential tests know.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails
from graphql.execution.values import VariableValues

from app.execution.compiled import CONDITIONS, Compiler, Completer, Dialect, Operation
from app.execution.rows import RowList
from app.execution.toll import TollingExecutor

MAX_SELECTIONS = 2_000
"""Compiled selections that are kept; beyond, the least recently used go."""

LONG_LIST = 32
"""A list of so many items is worth compiling its selection when it is first met; anything shorter when it is met again."""

_SEEN_ONCE = object()
_NOT_TRIVIAL = object()

_Key = tuple[Any, ...]


class CompiledSelections:
    """What was compiled, for one schema, by the syntax nodes of the selection and what @skip and @include say in it.

    The document is kept with it, so that the identity of its nodes stays theirs; one that is parsed anew has other nodes.
    """

    def __init__(self, dialect: Dialect, limit: int = MAX_SELECTIONS) -> None:
        self.dialect = dialect
        self._limit = limit
        self._entries: OrderedDict[_Key, tuple[Any, DocumentNode]] = OrderedDict()
        self._conditions: OrderedDict[_Key, tuple[tuple[str, ...], DocumentNode]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def conditions(self, details: list[FieldDetails], fragments: dict[str, FragmentDetails], document: DocumentNode) -> tuple[str, ...]:
        """Return the names of the variables that @skip and @include ask anywhere below the selected fields."""
        key = tuple(id(one.node) for one in details)
        found = self._conditions.get(key)
        if found is None:
            names: set[str] = set()
            seen: set[str] = set()
            for one in details:
                _find_conditions(one.node.selection_set, fragments, names, seen)
            found = self._conditions[key] = (tuple(sorted(names)), document)
            if len(self._conditions) > self._limit:
                self._conditions.popitem(last=False)
        return found[0]

    def get(self, key: _Key) -> Any:
        """Return what is known of a selection: its completer, a mark, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: _Key, value: Any, document: DocumentNode) -> None:
        """Note what is known of a selection."""
        self._entries[key] = (value, document)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def forget(self, document: DocumentNode) -> None:
        """Drop what is known of a document, which is many times as large."""
        for kept in (self._entries, self._conditions):
            for key in [key for key, (_, owner) in kept.items() if owner is document]:
                del kept[key]


def _find_conditions(
    selection_set: SelectionSetNode | None, fragments: dict[str, FragmentDetails], names: set[str], seen: set[str]
) -> None:
    for selection in selection_set.selections if selection_set is not None else ():
        for directive in selection.directives or ():
            if directive.name.value in CONDITIONS:
                values = [argument.value for argument in directive.arguments or ()]
                names.update(value.name.value for value in values if isinstance(value, VariableNode))
        if isinstance(selection, FieldNode | InlineFragmentNode):
            _find_conditions(selection.selection_set, fragments, names, seen)
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
            seen.add(selection.name.value)
            fragment = fragments.get(selection.name.value)
            if fragment is not None:
                _find_conditions(fragment.definition.selection_set, fragments, names, seen)


class CompilingExecutor(TollingExecutor):
    """Completes by compiled code what is trivial, and by the standard's all else.

    `selections`: those of the schema; `kept_document`: the one that is executed, which will be again.
    """

    def __init__(self, *args: Any, selections: CompiledSelections, kept_document: DocumentNode, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._selections = selections
        self._document = kept_document
        manager = self.middleware_manager
        # Middleware would see every field, and an abort signal may end the work between two of them.
        self._may_compile = (manager is None or not manager.middlewares) and self.abort_signal is None
        self._completers: dict[tuple[int, int], tuple[Any, Completer | None]] = {}

    def complete_list_value(
        self,
        return_type: GraphQLList[GraphQLOutputType],
        field_details_list: list[FieldDetails],
        info: Any,
        path: Any,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Complete a list."""
        if type(result) in (RowList, list, tuple):
            completer = self._completer(return_type, field_details_list, is_long=len(result) >= LONG_LIST)
            if completer is not None:
                try:
                    return completer(result)
                except Exception:  # noqa: S110 - whatever it is, the standard's code finds it again and says where it is
                    pass
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: list[FieldDetails],
        info: Any,
        path: Any,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Complete an object."""
        completer = self._completer(return_type, field_details_list, is_long=False)
        if completer is not None:
            try:
                return completer(result)
            except Exception:  # noqa: S110 - as above
                pass
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def _completer(self, value_type: GraphQLOutputType, details: list[FieldDetails], *, is_long: bool) -> Completer | None:
        here = (id(value_type), id(details))
        found = self._completers.get(here)
        if found is None:
            # The list is kept with it, so that its id is no other's while this operation runs.
            found = self._completers[here] = (details, self._find(value_type, details, is_long=is_long))
        return found[1]

    def _find(self, value_type: GraphQLOutputType, details: list[FieldDetails], *, is_long: bool) -> Completer | None:
        if not self._may_compile:
            return None
        selections, document = self._selections, self._document
        coerced = self.variable_values.coerced
        names = selections.conditions(details, self.fragments, document)
        key: _Key = (
            id(value_type),
            *(id(one.node) for one in details),
            *(coerced.get(name) for name in names),
        )
        known = selections.get(key)
        if known is _NOT_TRIVIAL:
            return None
        if known is not None and known is not _SEEN_ONCE:
            completer: Completer = known
            return completer
        if known is None and not is_long:
            selections.put(key, _SEEN_ONCE, document)
            return None
        sources = self.variable_values.sources
        variables = VariableValues(
            {name: sources[name] for name in names if name in sources}, {name: coerced[name] for name in names if name in coerced}
        )
        operation = Operation(self.schema, self.fragments, self.operation, variables)
        try:
            completer = Compiler(operation, selections.dialect).compile(value_type, details)
        except Exception:  # if it is an error of the request, the standard's code finds it again and says where it is
            selections.put(key, _NOT_TRIVIAL, document)
            return None
        selections.put(key, completer, document)
        return completer
