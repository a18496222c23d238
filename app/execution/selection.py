"""Which fields a selection asks for, through its fragments; each fragment is looked through once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode


def selected_fields(
    selection_sets: Iterable[SelectionSetNode | None], fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """Return the fields directly in selection sets, skipped ones included. None: a set of nothing."""
    seen: set[str] = set()
    waiting = list(selection_sets)
    while waiting:
        current = waiting.pop()
        for selection in current.selections if current is not None else ():
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = fragments.get(selection.name.value)
                if fragment is not None:
                    waiting.append(fragment.selection_set)


def selected_names(selection_sets: Iterable[SelectionSetNode | None], fragments: Mapping[str, FragmentDefinitionNode]) -> frozenset[str]:
    """Return the names, not the aliases, of the fields directly in selection sets, skipped ones included."""
    return frozenset(node.name.value for node in selected_fields(selection_sets, fragments))


def selections_of(
    selection_sets: Iterable[SelectionSetNode | None], fragments: Mapping[str, FragmentDefinitionNode], *path: str
) -> list[SelectionSetNode | None]:
    """Return what is selected under the fields that a path of names leads to from selection sets."""
    found = list(selection_sets)
    for name in path:
        found = [node.selection_set for node in selected_fields(found, fragments) if node.name.value == name]
    return found
