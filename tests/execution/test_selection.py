"""Which fields a selection asks for: all of them, with work that is linear in the document."""

from __future__ import annotations

from graphql import FragmentDefinitionNode, OperationDefinitionNode, SelectionSetNode, parse

from app.execution.selection import selected_names
from tests.execution.test_limits import calls_of
from tests.hostile_requests import doubling


def read(text: str) -> tuple[SelectionSetNode, dict[str, FragmentDefinitionNode]]:
    definitions = parse(text).definitions
    (operation,) = (node for node in definitions if isinstance(node, OperationDefinitionNode))
    return operation.selection_set, {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}


def test_names_through_fragments() -> None:
    selection_set, fragments = read(
        "{ a x: b { hidden } ... { c @skip(if: true) } ...F ...Unknown } fragment F on Query { d ...G ...F } fragment G on Query { ...F e }"
    )
    assert selected_names([selection_set, None], fragments) == {"a", "b", "c", "d", "e"}


def test_a_fragment_is_looked_through_once() -> None:
    few, many = (read(doubling(levels)) for levels in (40, 400))
    assert selected_names([many[0]], many[1]) == {"network"}
    assert calls_of(lambda: selected_names([many[0]], many[1])) <= 11 * calls_of(lambda: selected_names([few[0]], few[1]))
