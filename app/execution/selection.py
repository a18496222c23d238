"""Which fields a selection asks for, through its fragments; each fragment is looked through once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode


def selected_names(selection_sets: Iterable[SelectionSetNode | None], fragments: Mapping[str, FragmentDefinitionNode]) -> frozenset[str]:
    """Return the names, not the aliases, of the fields directly in selection sets, skipped ones included. None: a set of nothing."""
    names: set[str] = set()
    seen: set[str] = set()
    waiting = list(selection_sets)
    while waiting:
        current = waiting.pop()
        for selection in current.selections if current is not None else ():
            if isinstance(selection, FieldNode):
                names.add(selection.name.value)
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = fragments.get(selection.name.value)
                if fragment is not None:
                    waiting.append(fragment.selection_set)
    return frozenset(names)
