"""Rows as objects, and the work that compiled code does for each: counted in calls, so that no machine is too slow for the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import strawberry

from app.execution.compiled import Dialect
from app.execution.engine import Demand, Engine
from app.execution.limits import Limits
from app.execution.rows import RowList, RowShape, as_list

DOCUMENT = "{ items { name size share note } }"


@strawberry.type
class Item:
    name: str
    size: int
    share: float
    note: str | None = None


SHAPE = RowShape(Item, "size", "name", "share")
FULL = RowShape(Item, "size", "name", "share", "note")


def rows_of(shape: RowShape[Item], number: int) -> RowList[Item]:
    """Return so many rows."""
    return RowList(shape, [(size, f"n{size}", size / 2, None)[: len(shape.names)] for size in range(number)])


def test_rows_are_read_as_objects() -> None:
    rows = rows_of(SHAPE, 5)
    assert len(rows) == 5
    assert rows[1] == Item(name="n1", size=1, share=0.5)
    assert rows[-1] == Item(name="n4", size=4, share=2.0)
    assert list(rows) == [Item(name=f"n{size}", size=size, share=size / 2) for size in range(5)]
    assert rows[2] in rows
    assert rows.index(rows[2]) == 2
    with pytest.raises(IndexError):
        rows[5]


def test_a_part_of_rows_stays_rows() -> None:
    part = rows_of(SHAPE, 5)[1:3]
    assert isinstance(part, RowList)
    assert part.shape is SHAPE
    assert list(part) == list(rows_of(SHAPE, 5))[1:3]
    assert as_list(part) is part  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("row", [(), (1, "n"), (1, "n", 0.5, "more")])
def test_a_row_of_another_length_is_refused(row: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="zip"):
        SHAPE.build(row)


@strawberry.type
class Query:
    @strawberry.field
    def items(self, info: strawberry.Info[Any, None]) -> list[Item]:
        return info.context  # type: ignore[no-any-return]


async def calls_for(engine: Engine, items: Any) -> int:
    """Return how many Python functions are called to answer with these items."""
    counted = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal counted
        counted += event == "call"

    demand = Demand(DOCUMENT)
    await engine.run(demand, items)
    sys.setprofile(count)
    try:
        answer = await engine.run(demand, items)
    finally:
        sys.setprofile(None)
    assert answer.errors == []
    assert answer.data is not None
    assert len(answer.data["items"]) == len(items)
    return counted


async def calls_per_item(make: Callable[[int], Any], *, compiled: bool) -> float:
    """Return how many more calls each further item takes."""
    engine = Engine(strawberry.Schema(query=Query), Limits(), Dialect(), lambda error, _: error, compiled=compiled)
    few, many = [await calls_for(engine, make(number)) for number in (100, 500)]
    return (many - few) / 400


async def test_rows_take_no_call_each() -> None:
    assert await calls_per_item(lambda number: rows_of(FULL, number), compiled=True) == 0


async def test_objects_take_one_call_each() -> None:
    assert await calls_per_item(lambda number: list(rows_of(SHAPE, number)), compiled=True) <= 1


async def test_the_stock_executor_takes_many() -> None:
    assert await calls_per_item(lambda number: list(rows_of(SHAPE, number)), compiled=False) > 20
