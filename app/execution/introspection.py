"""What a document that asks for the schema itself costs: an upper bound of the fields in its answer, counted without running it.

Lists multiply: of all types, all fields and all their arguments it is known how many there are, and how long their descriptions; anywhere
else a list counts as the longest of its kind. Each selection is visited once for each of the few groups of objects that it may stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_introspection_query,
    get_named_type,
    introspection_from_schema,
    introspection_types,
    is_leaf_type,
    parse,
)

_ROOTS: Final = {"__schema": "__Schema", "__type": "__Type"}
_MANY: Final = 10**12
_CHARACTERS: Final = 20
"""Of a description or a name, that count as a field."""

_Group = tuple[str, ...]
"""All objects that one path of lists leads to from `__schema`."""


class IntrospectionCost:
    """Bounds the answers of one schema's introspection."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema

    @cached_property
    def standard(self) -> int:
        """The bound for the standard introspection query with everything that it can ask for."""
        query = get_introspection_query(
            specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True, one_of=True
        )
        return self.of(parse(query))

    def of(self, document: DocumentNode) -> int:
        """Return the bound for the costliest operation of a document that `check_document` let pass."""
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        walk = _Walk(fragments, self._counts)
        operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        return max((walk.root(operation.selection_set) for operation in operations), default=0)

    @cached_property
    def _counts(self) -> _Counts:
        return _Counts(introspection_from_schema(self._schema)["__schema"])


class _Counts:
    """How many objects the lists of a schema's introspection hold, in each group together and at most in one list; and descriptions."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.groups: dict[_Group, int] = {}
        self.longest: dict[str, int] = {}
        self.descriptions: dict[_Group, int] = {}
        self.longest_description = 0
        self._count((), [schema])

    def _count(self, group: _Group, objects: list[Mapping[str, Any]]) -> None:
        lengths = [len(one.get("description") or "") for one in objects]
        self.descriptions[group] = sum(lengths) // _CHARACTERS
        self.longest_description = max(self.longest_description, *lengths)
        for name in sorted({name for one in objects for name, value in one.items() if isinstance(value, list)}):
            lists = [one[name] or [] for one in objects]
            self.longest[name] = max(self.longest.get(name, 0), *map(len, lists))
            inner = [item for items in lists for item in items]
            self.groups[(*group, name)] = len(inner)
            # Interfaces and possible types are references here, without what the types hold.
            if inner and isinstance(inner[0], dict) and name not in ("interfaces", "possibleTypes"):
                self._count((*group, name), inner)


class _Walk:
    """Counts the operations of one document. Fragments are counted once for each group, or for a single object of the type."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], counts: _Counts) -> None:
        self._fragments = fragments
        self._counts = counts
        self._known: dict[tuple[str, str, _Group | None], int] = {}
        self._roots: dict[str, int] = {}

    def root(self, selection_set: SelectionSetNode) -> int:
        """Return the bound for the introspection fields of a root selection."""
        total = 0
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                kind = _ROOTS.get(selection.name.value)
                if kind is not None and selection.selection_set is not None:
                    total += self._below(selection.selection_set, kind, () if kind == "__Schema" else None)
            elif isinstance(selection, InlineFragmentNode):
                total += self.root(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in self._roots:
                    self._roots[name] = 0  # for those that spread themselves, which validation refuses
                    fragment = self._fragments.get(name)
                    self._roots[name] = 0 if fragment is None else self.root(fragment.selection_set)
                total += self._roots[name]
        return min(total, _MANY)

    def _below(self, selection_set: SelectionSetNode, kind: str, group: _Group | None) -> int:
        """Return the bound for a selection on all objects of a group, or on one object of a type."""
        count = 1 if group is None else self._counts.groups.get(group, 1)
        total = 0
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                name = selection.alias or selection.name
                total += count * (1 + len(name.value) // _CHARACTERS) + self._field(selection, kind, group, count)
            elif isinstance(selection, InlineFragmentNode):
                total += self._below(selection.selection_set, kind, group)
            elif isinstance(selection, FragmentSpreadNode):
                total += self._fragment(selection.name.value, kind, group)
        return min(total, _MANY)

    def _field(self, selection: FieldNode, kind: str, group: _Group | None, count: int) -> int:
        name = selection.name.value
        parent = introspection_types[kind]
        definition = parent.fields.get(name) if isinstance(parent, GraphQLObjectType) else None
        if definition is None:
            return 0
        if name == "description":
            known = self._counts.descriptions.get(group) if group is not None else None
            return count * self._counts.longest_description // _CHARACTERS if known is None else known
        if selection.selection_set is None:
            return 0
        named = get_named_type(definition.type)
        if is_leaf_type(named):
            return 0
        inner = None if group is None else (*group, name)
        if inner in self._counts.groups:
            return self._below(selection.selection_set, named.name, inner)
        return count * self._counts.longest.get(name, 1) * self._below(selection.selection_set, named.name, None)

    def _fragment(self, name: str, kind: str, group: _Group | None) -> int:
        key = (name, kind, group)
        if key not in self._known:
            self._known[key] = 0  # as above
            fragment = self._fragments.get(name)
            fits = fragment is not None and fragment.type_condition.name.value == kind
            self._known[key] = self._below(fragment.selection_set, kind, group) if fragment is not None and fits else 0
        return self._known[key]
