"""Tools may ask for the schema as they do; asking for it many times at once is refused."""

from __future__ import annotations

from itertools import product

import pytest
from graphql import build_client_schema, get_introspection_query, print_schema

from app.execution.engine import Answer, Demand, Engine
from app.resolvers.engine import DIALECT, LIMITS
from app.resolvers.schema import build_schema

SCHEMA = build_schema()
OPTIONS = ("descriptions", "specified_by_url", "directive_is_repeatable", "schema_description", "input_value_deprecation", "one_of")
_FEATURES = " ".join(
    f'{name.lower()}: __type(name: "__{name}") {{ name fields {{ name args {{ name type {{ kind name ofType {{ kind name }} }} }} }} }}'
    for name in ("Schema", "Type", "Directive", "Field", "InputValue")
)
TOOLS = {
    "Strawberry Shake and Apollo Kotlin look for what a server knows": f"query Features {{ {_FEATURES} }}",
    "Relay asks for two levels of one type": '{ __type(name: "Query") { name fields { name type { name fields { name type { name } } } } } }',
    "a person looks for names": "{ __schema { queryType { name } types { name kind fields { name } } directives { name args { name } } } }",
    "a client asks for types beside data": '{ __typename __type(name: "Model") { fields { name } } network { generatedAt } }',
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(SCHEMA, LIMITS, DIALECT, lambda error, _: error)


async def ask(engine: Engine, text: str) -> Answer:
    return await engine.run(Demand(text), None)


async def test_the_standard_query_with_any_options(engine: Engine) -> None:
    for given in product((True, False), repeat=len(OPTIONS)):
        for depth in (1, 7, 9):
            text = get_introspection_query(**dict(zip(OPTIONS, given, strict=True)), type_depth=depth)
            assert engine.prepare(text).errors == (), (given, depth)


async def test_its_answer_is_the_schema(engine: Engine) -> None:
    answer = await ask(engine, get_introspection_query(specified_by_url=True, input_value_deprecation=True))
    assert answer.errors == []
    assert answer.data is not None
    assert print_schema(build_client_schema(answer.data)) == print_schema(SCHEMA._schema)  # type: ignore[arg-type]


@pytest.mark.parametrize("tool", TOOLS)
def test_what_tools_ask(engine: Engine, tool: str) -> None:
    assert engine.prepare(TOOLS[tool]).errors == ()


async def test_three_times_is_too_much(engine: Engine) -> None:
    standard = get_introspection_query()
    selection = standard[standard.index("{", standard.index("__schema")) : standard.index("fragment FullType")].rstrip().removesuffix("}")
    fragments = standard[standard.index("fragment FullType") :]
    twice, thrice = (
        " ".join(["query {", *(f"a{number}: __schema {selection}" for number in range(times)), "}", fragments]) for times in (2, 3)
    )
    assert (await ask(engine, twice)).errors == []
    (error,) = (await ask(engine, thrice)).errors
    assert (error.extensions or {})["code"] == "QUERY_TOO_EXPENSIVE"
    assert error.message.startswith("the introspection of an operation gives up to ")
