"""What a document is measured at: as if its fragments were written out, with work that is linear in its size."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    get_introspection_query,
    parse,
    visit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from app.execution.engine import Demand, Engine
from app.execution.introspection import IntrospectionCost
from app.execution.limits import Limits, Measure, QueryTooExpensiveError, check_document, check_variables, measure_document
from app.execution.parsing import parse_document
from app.resolvers.connections import MAX_PAGE
from app.resolvers.engine import build_engine
from app.resolvers.errors import MAX_MESSAGE
from app.resolvers.loaders import MAX_OBJECTS
from app.resolvers.schema import build_schema
from tests.execution.differential import LOOSE
from tests.execution.synthetic import DIALECT, World, build_synthetic
from tests.hostile_requests import DOCUMENTS, doubling, doubling_fields

SCHEMA = build_synthetic()._schema


@st.composite
def selections(draw: st.DrawFn, spreads: list[str], depth: int = 0) -> str:
    """Return a selection set; `spreads`: names of fragments that it may spread."""
    kinds = ["leaf", "alias", "spread", "spread", "schema", *(["field", "inline"] if depth < 3 else [])]
    parts = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
        if kind == "leaf":
            parts.append("f")
        elif kind == "alias":
            parts.append(draw(st.sampled_from(["a: f", "longer: f"])))
        elif kind == "schema":
            parts.append("__schema")
        elif kind == "spread":
            parts += [f"...{draw(st.sampled_from(spreads))}"] if spreads else []
        else:
            parts.append(("f " if kind == "field" else "... ") + draw(selections(spreads, depth + 1)))
    return "{ " + " ".join(parts) + " }"


@st.composite
def texts(draw: st.DrawFn, *, cycles: bool = False) -> str:
    """Return a document of operations and fragments, which spread later ones, or any and unknown ones with `cycles`."""
    names = [f"F{number}" for number in range(draw(st.integers(0, 6)))]
    known = [*names, "Unknown"] if cycles else names
    parts = [f"query q{number} {draw(selections(known))}" for number in range(draw(st.integers(1, 3)))]
    for position, name in enumerate(names):
        parts.append(f"fragment {name} on Query {draw(selections(known if cycles else names[position + 1 :]))}")
    return " ".join(parts)


def written_out(selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], *, is_top: bool = True) -> Measure:
    """Return a measure by walking every spread anew."""
    total = Measure()
    for selection in selection_set.selections:
        total.selections += 1
        inner: SelectionSetNode | None = None
        if isinstance(selection, FieldNode):
            total.root_fields += is_top
            total.aliases += selection.alias is not None
            total.alias_characters = max(total.alias_characters, len(selection.alias.value) if selection.alias else 0)
            total.introspections += selection.name.value in ("__schema", "__type")
            inner = selection.selection_set
        elif isinstance(selection, InlineFragmentNode):
            inner = selection.selection_set
        elif isinstance(selection, FragmentSpreadNode):
            inner = fragments[selection.name.value].selection_set
        if inner is not None:
            is_field = isinstance(selection, FieldNode)
            below = written_out(inner, fragments, is_top=is_top and not is_field)
            total.depth = max(total.depth, below.depth + is_field)
            total.nesting = max(total.nesting, below.nesting + 1)
            total.root_fields += below.root_fields
            total.aliases += below.aliases
            total.selections += below.selections
            total.introspections += below.introspections
            total.alias_characters = max(total.alias_characters, below.alias_characters)
    return total


@given(texts())
def test_fragments_count_wherever_they_are_spread(text: str) -> None:
    document = parse(text)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    assert measure_document(document)[0] == [written_out(node.selection_set, fragments) for node in operations]


def nodes_of(document: DocumentNode) -> int:
    """Return how many nodes a document has."""
    found = 0

    class Count(Visitor):
        def enter(self, *_: Any) -> None:
            nonlocal found
            found += 1

    visit(document, Count())
    return found


def calls_of(work: Callable[[], Any]) -> int:
    """Return how many functions are called, of Python and of C: the measure of work that no other process changes."""
    found = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    except GraphQLError:
        pass
    finally:
        sys.setprofile(None)
    return found


CALLS_PER_NODE = 20


@given(texts(cycles=True))
def test_the_work_of_measuring_is_linear(text: str) -> None:
    document = parse(text)
    assert calls_of(lambda: check_document(document, Limits())) <= CALLS_PER_NODE * nodes_of(document) + 500


@pytest.mark.parametrize("make", [doubling, doubling_fields, lambda levels: doubling(levels, ""), lambda levels: doubling(levels, "...F0")])
def test_the_work_of_measuring_grows_by_the_level_not_by_the_power(make: Callable[[int], str]) -> None:
    few, many = (parse(make(levels)) for levels in (50, 500))
    assert calls_of(lambda: check_document(many, LOOSE)) <= 11 * calls_of(lambda: check_document(few, LOOSE))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_work_of_measuring_hostile_documents_is_linear(name: str) -> None:
    try:
        document = parse_document(DOCUMENTS[name], Limits())
    except GraphQLError:
        return  # refused before it is walked
    assert calls_of(lambda: check_document(document, Limits())) <= CALLS_PER_NODE * nodes_of(document) + 500
    introspection = IntrospectionCost(SCHEMA)
    assert introspection.standard
    assert (
        calls_of(lambda: check_document(document, Limits()) and introspection.of(document)) <= 5 * CALLS_PER_NODE * nodes_of(document) + 500
    )


MOST_CALLS = 1_000_000
"""To refuse or prepare any document: a tenth of a second."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_work_of_preparing_hostile_documents_is_bounded(name: str, engine: Engine) -> None:
    assert calls_of(lambda: engine.prepare(DOCUMENTS[name])) <= MOST_CALLS


def test_a_long_document_is_prepared_beside_the_event_loop(engine: Engine) -> None:
    """The calls are those of the thread that runs the event loop."""
    text = DOCUMENTS["fragments compared in pairs"]
    assert calls_of(lambda: engine.prepare(text)) > 100_000
    assert calls_of(lambda: asyncio.run(engine.obtain(text))) < 5_000


@settings(max_examples=30)
@given(texts(cycles=True))
def test_the_work_of_preparing_is_linear(engine: Engine, text: str) -> None:
    assert calls_of(lambda: engine.prepare(text)) <= 250 * len(text) + 10_000


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = build_engine(build_schema())
    made.prepare("{ __schema { description } }")  # what is found out once about the schema
    return made


BEYOND = {
    "characters": ("{ a } #" + "x" * 70_000, "the document has 70,007 characters; at most 65,536 are allowed"),
    "tokens": ("{ " + "a " * 5_000 + "}", "the document has more than 4,000 tokens, comments included; no more are allowed"),
    "digits": ("{ a(b: " + "7" * 401 + ") }", "a number has more than 400 characters; no more are allowed"),
    "depth": ("{ a" * 18 + " }" * 18, "fields with sub-selections are nested 17 levels deep; at most 16 are allowed"),
    "nesting": ("{ ..." * 100 + "{ a" + " }" * 101, "the document is nested 101 levels deep; at most 100 are allowed"),
    "root_fields": (
        doubling(6),
        "an operation asks for 64 root fields, each fragment counted wherever it is spread; at most 50 are allowed",
    ),
    "aliases": (
        "{ z { ...F0 } } " + doubling(7, "a: b").removeprefix("{ ...F0 }"),
        "an operation has 128 aliases, each fragment counted wherever it is spread; at most 100 are allowed",
    ),
    "alias_characters": ("{ " + "a" * 101 + ": b }", "an alias has 101 characters; at most 100 are allowed"),
    "selections": (
        "{ z { ...F0 } } " + doubling(40, "b").removeprefix("{ ...F0 }"),
        "the operations select more than 1,000,000,000 fields and fragments, each fragment counted wherever it is spread;"
        " at most 4,000 are allowed",
    ),
}


@pytest.mark.parametrize("limit", BEYOND)
def test_what_is_beyond_a_limit_is_told_the_limit_and_the_value(limit: str) -> None:
    text, message = BEYOND[limit]
    with pytest.raises(GraphQLError) as caught:
        check_document(parse_document(text, Limits()), Limits())
    assert caught.value.message == message
    assert isinstance(caught.value, QueryTooExpensiveError) is (limit != "digits")


def test_variables_have_a_depth_and_those_of_queries_a_size() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        return {"v": value}

    check_variables(nested(16), Limits(), is_query=True)
    with pytest.raises(GraphQLError, match="nested more than 16 levels deep"):
        check_variables(nested(17), Limits(), is_query=False)
    large = {"ids": ["x" * 1_000] * 100}
    check_variables(large, Limits(), is_query=False)
    with pytest.raises(QueryTooExpensiveError, match="the variables of the query have 100,019 characters; at most 65,536 are allowed"):
        check_variables(large, Limits(), is_query=True)


def test_the_standard_introspection_is_one_of_two() -> None:
    cost = IntrospectionCost(SCHEMA)
    standard = get_introspection_query()
    assert 0 < cost.of(parse(standard)) <= cost.standard
    assert cost.of(parse("{ a: __typename }")) == 0
    thrice = standard.replace("__schema {", "a: __schema { ...S } b: __schema { ...S } c: __schema { ...S } } fragment S on __Schema {", 1)
    assert cost.of(parse(thrice.replace("\n  }\n}", "\n}", 1))) == 3 * cost.of(parse(standard))


@pytest.mark.parametrize("compiled", [True, False])
def test_fragments_that_are_spread_twice_are_executed_once(compiled: bool) -> None:
    engine = Engine(build_synthetic(), Limits(), DIALECT, lambda error, _: error, compiled=compiled)

    def run(levels: int) -> None:
        answer = asyncio.run(engine.run(Demand(doubling(levels, "words")), World(1, 0)))
        assert list(answer.data or ()) == ["words"]

    for levels in (1, 3, 5) * 3:  # until everything is prepared and compiled
        run(levels)
    calls = [calls_of(lambda levels=levels: run(levels)) for levels in (1, 3, 5)]  # type: ignore[misc]
    assert calls[2] - calls[0] <= 3 * (calls[1] - calls[0]) + 50


def test_the_limits_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/graphql-limits.md").read_text(encoding="utf-8")
    for number in (MAX_MESSAGE, MAX_PAGE, MAX_OBJECTS):
        assert f" {number:,} " in page
    for one in fields(Limits):
        assert f"| `{one.name}` | {one.default:,} |" in page, one.name
