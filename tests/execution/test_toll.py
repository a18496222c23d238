"""What is asked for before root fields run, and how many of them begin in one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from app.execution.compiled import Dialect
from app.execution.engine import Demand, Engine
from app.execution.limits import Limits
from app.execution.toll import ROOTS_AT_ONCE, RootField

turn = 0
begun: list[int] = []


@strawberry.type
class Query:
    @strawberry.field
    async def told(self, number: int = 0) -> int:
        begun.append(turn)
        return number


class Refused(Exception):
    """What the toll says."""


def engine_with(asked: list[list[dict[str, Any]]], *, compiled: bool, refuses: bool = False) -> Engine:
    async def wait() -> None:
        await asyncio.sleep(0)
        if refuses:
            raise Refused("too dear")

    def toll(roots: Sequence[RootField], _: Any) -> Awaitable[None] | None:
        asked.append([dict(root.arguments()) for root in roots if root.definition.args])
        return wait() if asked[-1] else None

    return Engine(strawberry.Schema(query=Query), Limits(), Dialect(), lambda error, _: error, toll=toll, compiled=compiled)


DOCUMENT = """
query Numbers($one: Int!, $no: Boolean = false) {
  __typename
  a: told(number: $one)
  ...Two
  ... { ...Two }
  never: told(number: 9) @include(if: $no)
}
fragment Two on Query { b: told(number: 2) c: told }
"""


@pytest.mark.parametrize("compiled", [True, False])
async def test_every_alias_is_told_once_with_its_arguments(compiled: bool) -> None:
    asked: list[list[dict[str, Any]]] = []
    engine = engine_with(asked, compiled=compiled)
    for _ in range(2):
        answer = await engine.run(Demand(DOCUMENT, {"one": 1}), None)
        assert answer.data == {"__typename": "Query", "a": 1, "b": 2, "c": 0}
        assert asked.pop() == [{"number": 1}, {"number": 2}, {"number": 0}]
    assert (await engine.run(Demand("{ __typename }"), None)).data == {"__typename": "Query"}


@pytest.mark.parametrize("compiled", [True, False])
async def test_what_is_refused_does_not_run(compiled: bool) -> None:
    begun.clear()
    answer = await engine_with([], compiled=compiled, refuses=True).run(Demand(DOCUMENT, {"one": 1}), None)
    assert (answer.data, answer.has_run, begun) == (None, False, [])
    (error,) = answer.errors
    assert isinstance(error, GraphQLError)
    assert isinstance(error.original_error, Refused)


@pytest.mark.parametrize("compiled", [True, False])
async def test_few_root_fields_begin_in_one_turn_of_the_event_loop(compiled: bool) -> None:
    global turn
    turn = 0
    begun.clear()
    loop = asyncio.get_running_loop()
    running = True

    def count() -> None:
        global turn
        turn += 1
        if running:
            loop.call_soon(count)

    count()
    document = f"{{ {' '.join(f'x{number}: told(number: {number})' for number in range(30))} }}"
    answer = await engine_with([], compiled=compiled).run(Demand(document), None)
    running = False
    assert answer.data == {f"x{number}": number for number in range(30)}
    assert max(Counter(begun).values()) == ROOTS_AT_ONCE
    assert len(set(begun)) == 30 - ROOTS_AT_ONCE + 1
