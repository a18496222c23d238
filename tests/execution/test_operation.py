"""Documents that are run without being looked through first: variables, operations and errors as the standard has them."""

from __future__ import annotations

import enum
from typing import Any

import pytest
import strawberry

from app.execution.compiled import Dialect
from app.execution.engine import Demand, Engine
from app.execution.limits import Limits


@strawberry.enum
class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@strawberry.input
class Window:
    first: int
    last: int = 9
    sizes: list[Size] = strawberry.field(default_factory=list)


@strawberry.type
class Query:
    @strawberry.field
    async def told(
        self,
        number: int = 1,
        text: str | None = strawberry.UNSET,
        size: Size = Size.SMALL,
        many: list[int] | None = None,
        window: Window | None = None,
    ) -> str:
        return f"{number!r} {text!r} {size!r} {many!r} {window!r}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def told(self, number: int) -> int:
        return number


DOCUMENTS = {
    "all": """query All($n: Int! = 3, $t: String, $s: Size! = LARGE, $m: [Int!], $w: Window) {
      told(number: $n, text: $t, size: $s, many: $m, window: $w) }""",
    "required": "query ($n: Int!) { told(number: $n) }",
    "absent": "query ($t: String) { told(text: $t) }",
    "parts": "query ($m: [Int!]! = [1, 2], $w: Window = {first: 1}) { told(many: $m, window: $w) }",
    "conditions": "query ($c: Boolean! = true, $n: Int = 4) { told(number: $n) @include(if: $c) again: told @skip(if: $c) }",
    "several": "query A($n: Int!) { told(number: $n) } query B { told } query C($c: Boolean!) { ...F @include(if: $c) __typename }"
    " fragment F on Query { told }",
    "mutation": "mutation ($n: Int!) { told(number: $n) }",
}
INPUTS: list[dict[str, Any] | None] = [
    None,
    {},
    {"n": 5, "t": "x", "s": "SMALL", "m": [1, 2], "w": {"first": 2, "sizes": ["LARGE"]}},
    {"n": None, "t": None, "s": None, "m": None, "w": None},
    {"n": "5", "t": 5, "s": "HUGE", "m": "x", "w": {"last": 1}},
    {"n": 2**31, "t": "\ud800", "s": "small", "m": [None], "w": {"first": 1, "more": 2}},
    {"n": 1.0, "m": 7, "w": {"first": 1, "last": None}, "c": False, "else": 1},
    {"n": True, "c": "true", "m": [], "w": []},
    {"c": None},
]


@pytest.fixture(scope="module")
def engines() -> tuple[Engine, Engine]:
    schema = strawberry.Schema(query=Query, mutation=Mutation)
    return (
        Engine(schema, Limits(), Dialect(), lambda error, _: error),
        Engine(schema, Limits(), Dialect(), lambda error, _: error, compiled=False),
    )


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("operation", [None, "A", "B", "C", "All", "Unknown"])
async def test_every_request_is_answered_as_by_the_standard(engines: tuple[Engine, Engine], name: str, operation: str | None) -> None:
    for inputs in INPUTS:
        demand = Demand(DOCUMENTS[name], inputs, operation)
        found = [(await engine.run(demand, None)).as_json() for engine in engines]
        assert found[0] == found[1], inputs


async def test_what_is_taken_from_one_request_is_not_the_next_ones(engines: tuple[Engine, Engine]) -> None:
    engine = engines[0]
    ask = DOCUMENTS["all"]
    full = (await engine.run(Demand(ask, INPUTS[2]), None)).as_json()
    empty = (await engine.run(Demand(ask, {}), None)).as_json()
    assert full["data"]["told"].startswith("5 'x'")
    assert empty == {"data": {"told": "3 UNSET <Size.LARGE: 'large'> None None"}}
    assert (await engine.run(Demand(ask, INPUTS[2]), None)).as_json() == full


def test_queries_are_ready_and_nothing_else(engines: tuple[Engine, Engine]) -> None:
    ready = {name: sorted(map(str, engines[0].prepare(text).ready)) for name, text in DOCUMENTS.items()}
    assert ready == {
        "all": ["All", "None"],
        "required": ["None"],
        "absent": ["None"],
        "parts": [],
        "conditions": ["None"],
        "several": ["A", "B", "C"],
        "mutation": [],
    }
    assert not engines[1].prepare(DOCUMENTS["all"]).ready
