"""What a document may cost: the limits, and a measure that is taken in one walk, before anything else looks at the document.

The walk is linear in the document's size: each fragment is measured once and counted as often as it is spread, by arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
)

TOO_EXPENSIVE: Final = "QUERY_TOO_EXPENSIVE"
_MANY: Final = 10**9
"""Counts end here: nested fragments reach numbers of hundreds of digits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on one document and its variables. `docs/graphql-limits.md` says what each is for."""

    characters: int = 65_536
    """Of the text of the document."""
    tokens: int = 4_000
    """Names, values, punctuators and comments of the text."""
    digits: int = 400
    """Characters of a number: those of the largest double, and far fewer than Python reads as an integer."""
    depth: int = 16
    """Fields with sub-selections in each other."""
    nesting: int = 100
    """Fields, inline fragments and fragments in each other; brackets of the text too."""
    root_fields: int = 50
    """Fields of the root type in one operation."""
    aliases: int = 100
    """Aliases in one operation."""
    alias_characters: int = 100
    """Of one alias, which the answer repeats for every object."""
    selections: int = 4_000
    """Fields, inline fragments and spreads of all operations."""
    introspections: int = 2
    """What one operation asks of the schema itself, in units of the standard introspection query."""
    comparisons: int = 20_000
    """Steps in comparing fields of the same name, which GraphQL merges."""
    errors: int = 5
    """Errors that are reported of one document; of its variables as well."""
    variable_depth: int = 16
    """Lists and objects in each other in the variables."""
    variable_size: int = 65_536
    """Characters of the variables of a query, each number, boolean, list and object counting 8."""


class QueryTooExpensiveError(GraphQLError):
    """A document, or its variables, is beyond a limit. The message names the limit and what was found."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": TOO_EXPENSIVE})


@dataclass(slots=True)
class Measure:
    """What a selection set holds, its fragments counted wherever they are spread. No number is above 10 ** 9."""

    depth: int = 0
    nesting: int = 1
    root_fields: int = 0
    aliases: int = 0
    selections: int = 0
    introspections: int = 0
    """Fields `__schema` and `__type`."""
    alias_characters: int = 0
    """Of the longest alias."""


@dataclass(slots=True)
class _Part:
    """A definition by itself. `spreads`: by name, depth and nesting, and whether the spread's fields are the definition's own."""

    own: Measure = field(default_factory=Measure)
    spreads: list[tuple[str, int, int, bool]] = field(default_factory=list)


def _read(selection_set: SelectionSetNode) -> _Part:
    """Visit each node of a definition once."""
    part = _Part()
    own = part.own
    waiting: list[tuple[SelectionSetNode, int, int, bool]] = [(selection_set, 0, 1, True)]
    while waiting:
        current, depth, nesting, is_top = waiting.pop()
        own.depth = max(own.depth, depth)
        own.nesting = max(own.nesting, nesting)
        own.selections += len(current.selections)
        for selection in current.selections:
            if isinstance(selection, FragmentSpreadNode):
                part.spreads.append((selection.name.value, depth, nesting, is_top))
                continue
            is_field = isinstance(selection, FieldNode)
            if isinstance(selection, FieldNode):
                own.root_fields += is_top
                if selection.alias is not None:
                    own.aliases += 1
                    own.alias_characters = max(own.alias_characters, len(selection.alias.value))
                own.introspections += selection.name.value in ("__schema", "__type")
            inner: SelectionSetNode | None = getattr(selection, "selection_set", None)
            if inner is not None:
                waiting.append((inner, depth + is_field, nesting + 1, is_top and not is_field))
    return part


def _add(part: _Part, fragments: Mapping[str, Measure]) -> Measure:
    """Return the measure of a definition from its own and those of the fragments it spreads; unknown ones count nothing."""
    total = part.own
    for name, depth, nesting, is_top in part.spreads:
        fragment = fragments.get(name)
        if fragment is None:
            continue
        total.depth = max(total.depth, min(depth + fragment.depth, _MANY))
        total.nesting = max(total.nesting, min(nesting + fragment.nesting, _MANY))
        total.alias_characters = max(total.alias_characters, fragment.alias_characters)
        total.root_fields = min(total.root_fields + is_top * fragment.root_fields, _MANY)
        total.aliases = min(total.aliases + fragment.aliases, _MANY)
        total.selections = min(total.selections + fragment.selections, _MANY)
        total.introspections = min(total.introspections + fragment.introspections, _MANY)
    return total


def _innermost_first(parts: Mapping[str, _Part]) -> Iterator[str]:
    """Give the names of fragments, each after those that it spreads; of a cycle, which validation refuses, in any order."""
    done: set[str] = set()
    for root in parts:
        if root in done:
            continue
        done.add(root)
        path = [(root, iter(parts[root].spreads))]
        while path:
            name, spreads = path[-1]
            for spread, *_ in spreads:
                if spread in parts and spread not in done:
                    done.add(spread)
                    path.append((spread, iter(parts[spread].spreads)))
                    break
            else:
                path.pop()
                yield name


def measure_document(document: DocumentNode) -> tuple[list[Measure], list[Measure]]:
    """Return the measures of a document's operations, in their order, and of its fragments."""
    parts = {node.name.value: _read(node.selection_set) for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    fragments: dict[str, Measure] = {}
    for name in _innermost_first(parts):
        fragments[name] = _add(parts[name], fragments)
    operations = [_add(_read(node.selection_set), fragments) for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return operations, list(fragments.values())


def check_text(text: str, limits: Limits) -> None:
    """QueryTooExpensiveError: the text is too long to be parsed."""
    _check("the document has", len(text), limits.characters, "characters")


def check_tokens(count: int, limits: Limits) -> None:
    """QueryTooExpensiveError: the text has too many tokens, of which no more need to have been counted."""
    if count > limits.tokens:
        raise QueryTooExpensiveError(f"the document has more than {limits.tokens:,} tokens, comments included; no more are allowed")


def check_nesting(found: int, limits: Limits) -> None:
    """QueryTooExpensiveError: fields, fragments or values are too deep in each other."""
    _check("the document is nested", found, limits.nesting, "levels deep")


def check_document(document: DocumentNode, limits: Limits) -> list[Measure]:
    """Return the measures of a document's operations. QueryTooExpensiveError: a limit is passed; the first in the order of `Limits`."""
    operations, fragments = measure_document(document)
    everything = [*operations, *fragments]
    _check("fields with sub-selections are nested", _largest(one.depth for one in everything), limits.depth, "levels deep")
    check_nesting(_largest(one.nesting for one in everything), limits)
    _check("an operation asks for", _largest(one.root_fields for one in operations), limits.root_fields, "root fields", _SPREAD)
    _check("an operation has", _largest(one.aliases for one in operations), limits.aliases, "aliases", _SPREAD)
    _check("an alias has", _largest(one.alias_characters for one in everything), limits.alias_characters, "characters")
    in_all = min(sum(one.selections for one in operations), _MANY)
    _check("the operations select", in_all, limits.selections, "fields and fragments", _SPREAD)
    _check("a fragment selects", _largest(one.selections for one in fragments), limits.selections, "fields and fragments", _SPREAD)
    return operations


def check_introspection(cost: int, standard: int, limits: Limits) -> None:
    """QueryTooExpensiveError: an operation asks for too much of the schema. Both costs as `IntrospectionCost` counts them."""
    _check("the introspection of an operation gives up to", cost, limits.introspections * standard, "fields")


_SPREAD: Final = ", each fragment counted wherever it is spread"


def _largest(counts: Iterable[int]) -> int:
    return max(counts, default=0)


def _check(subject: str, found: int, limit: int, what: str, how: str = "") -> None:
    if found > limit:
        number = f"{found:,}" if found < _MANY else f"more than {_MANY:,}"
        raise QueryTooExpensiveError(f"{subject} {number} {what}{how}; at most {limit:,} are allowed")


def check_variables(variables: Mapping[str, Any], limits: Limits, *, is_query: bool) -> None:
    """GraphQLError: lists and objects of the variables are too deep in each other. QueryTooExpensiveError: a query has too large ones."""
    size = 0
    level: list[Any] = [variables]
    depth = 0
    while level:
        if depth > limits.variable_depth:
            raise GraphQLError(f"the variables are nested more than {limits.variable_depth} levels deep; no more are allowed")
        depth += 1
        inner: list[Any] = []
        for container in level:
            size += 8
            items: Iterable[Any] = container
            if isinstance(container, dict):
                size += sum(map(len, container))
                items = container.values()
            for item in items:
                if isinstance(item, str):
                    size += len(item)
                elif isinstance(item, dict | list):
                    inner.append(item)
                else:
                    size += 8
        level = inner
    if is_query:
        _check("the variables of the query have", size, limits.variable_size, "characters")
