"""Compiled code against the stock executor on a schema made to be nasty: generated documents, hostile values, the same code that ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import strawberry
from graphql import GraphQLArgument
from hypothesis import given, settings
from hypothesis import strategies as st

from app.execution.engine import Demand
from tests.execution.differential import LOOSE, Counting, Pair, examples, typed
from tests.execution.documents import Document, Plan, documents
from tests.execution.synthetic import DIALECT, SCALARS, Shout, World, build_synthetic

SCHEMA = build_synthetic()

_VALUES: dict[str, Sequence[Any]] = {"size": [0, 1, 3, 40], "times": [0, 2], "with": ["-", "+"]}


def _pool(_: str, argument: str, __: GraphQLArgument) -> tuple[Sequence[Any], Sequence[Any]]:
    return _VALUES[argument], [-1, "x", None, 2**31]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The two engines of the schema; at the end, compiled code must have run for a good part of the documents."""
    made = Pair.of(SCHEMA, LOOSE, DIALECT, lambda error, _: error)
    yield made
    print(made.tally)  # noqa: T201 - what a run at length has shown
    assert made.tally.compiled >= 0.35 * made.tally.documents > 0
    assert made.tally.valid >= 0.75 * made.tally.documents


_worlds = st.tuples(st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 0.02, 0.2]))
_queries = documents(Plan(SCHEMA._schema, _pool))
_mutations = documents(Plan(SCHEMA._schema, _pool, root="mutation", depth=3))


@settings(max_examples=examples(50))
@given(document=st.one_of(_queries, _queries, _mutations), world=_worlds)
async def test_generated_documents(pair: Pair, document: Document, world: tuple[int, float]) -> None:
    await pair.compare(document, lambda: World(*world))


@settings(max_examples=examples(20))
@given(document=documents(Plan(SCHEMA._schema, _pool, fields=15)), world=_worlds)
async def test_generated_documents_with_small_caches(document: Document, world: tuple[int, float]) -> None:
    small = Pair.of(SCHEMA, LOOSE, DIALECT, lambda error, _: error)
    selections = small.compiled._selections = Counting(DIALECT, small.tally, limit=2)
    await small.compare(document, lambda: World(*world))
    assert len(selections) <= 2


FULL = """
query One($yes: Boolean!, $no: Boolean = false) {
  __schema { queryType { name } }
  __type(name: "Part") { fields { name type { kind ofType { name } } } }
  things(size: 40) { ...Parts @skip(if: $no) called title: note flag @include(if: $yes) child { ... on Thing { tags } } parts { amount } }
  maybeThings { __typename children { parts { code } ...Parts } table { title grid holeyGrid } }
  cells(size: 40) { code price big parts { price } }
  denied { title }
}
query Two { things { title denied } words }
mutation Three { first: add(size: 3) { code } thing: addThing { parts { code } deniedLater allowed extended } last: add { code } }
fragment Parts on Thing { parts { code colours price @skip(if: $no) } maybePart { ...Codes } }
fragment Codes on Part { code again: code }
"""


@pytest.mark.parametrize(("hostility", "seeds"), [(0.0, 1), (0.02, 2), (0.2, 2)])
async def test_a_document_of_everything(pair: Pair, hostility: float, seeds: int) -> None:
    variables: tuple[dict[str, Any], ...] = (
        *({"yes": yes, "no": no} for yes in (True, False) for no in (True, False, None)),
        {"yes": True},
        {},
    )
    document = Document(FULL, ("One", "Two", "Three", None, "Four"), variables)
    for seed in range(seeds):
        await pair.compare(document, partial(World, seed, hostility))


ODD_ROOTS = (
    "promises { title }",
    "computed(size: 40) { sure title count }",
    "solids { __typename ... on Rock { title weight } ... on Part { code title: amount } }",
    "pets { __typename ... on Cat { name lives } ... on Dog { name: barks friends { name } } }",
    "named { name nick }",
    "boxes { content label }",
    "maybeCells { code amount }",
    "things(size: 40) { shout }",
    "maybeThings { moody }",
)


@pytest.mark.parametrize("selection", ODD_ROOTS)
async def test_what_looks_like_plain_objects_and_is_not(selection: str) -> None:
    pair = Pair.of(SCHEMA, LOOSE, DIALECT, lambda error, _: error)
    for hostility in (0.0, 0.2):
        await pair.compare(Document(f"{{ {selection} }}", (None,), ({},)), partial(World, 1, hostility))


@pytest.mark.parametrize("root", ["things(size: 40)", "maybeThings", "thing"])
async def test_denied_fields_are_denied(pair: Pair, root: str) -> None:
    text = f"{{ {root} {{ title denied deniedLater deniedParts {{ code }} }} }}"
    await pair.compare(Document(text, (None,), ({},)), lambda: World(1, 0))
    for _ in range(3):
        answer = await pair.compiled.run(Demand(text), World(1, 0))
        assert "a secret" not in str(answer.data)
        assert {error.message for error in answer.errors} <= {"nobody may", "nobody ever may"}
        assert answer.errors


async def test_two_schemas_at_once() -> None:
    def quiet(value: object) -> str:
        return str(value).lower()

    scalars = {**SCALARS, Shout: strawberry.scalar(name="Shout", serialize=quiet)}
    schemas = (SCHEMA, build_synthetic(scalar_map=scalars, auto_camel_case=False))
    pairs = [Pair.of(schema, LOOSE, DIALECT, lambda error, _: error) for schema in schemas]
    shouts = set()
    for _ in range(3):
        for pair in pairs:
            await pair.compare(Document("{ things(size: 40) { shout title parts { code } } }", (None,), ({},)), lambda: World(1, 0))
            answer = await pair.compiled.run(Demand("{ things(size: 40) { shout } }"), World(1, 0))
            assert answer.data is not None
            shouts.add(tuple(sorted({thing["shout"] for thing in answer.data["things"]})))
    assert len(shouts) == 2
    assert all(pair.tally.completions for pair in pairs)


async def test_the_stock_engine_is_strawberrys_own() -> None:
    stock = Pair.of(SCHEMA, LOOSE, DIALECT, lambda error, _: error).stock
    for seed in range(6):
        for name in ("One", "Two", "Three"):
            variables = {"yes": True}
            answer = await stock.run(Demand(FULL, variables, name), World(seed, seed % 3 / 10))
            expected = await SCHEMA.execute(FULL, variables, World(seed, seed % 3 / 10), operation_name=name)
            assert typed(answer.data) == typed(expected.data)
            assert [error.formatted for error in answer.errors] == [error.formatted for error in expected.errors or []]
