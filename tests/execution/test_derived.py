"""Fields that are computed from attributes, and types with interfaces: compiled, with the standard's answers."""

from __future__ import annotations

from typing import Any

import strawberry

from app.execution.compiled import Dialect
from app.execution.derived import derived_id
from app.execution.engine import Demand
from app.execution.rows import RowList, RowShape, as_list
from tests.execution.differential import LOOSE, Pair
from tests.execution.documents import Document

MANY = 40


def label(first: str, second: int) -> str:
    if second == 13:
        raise ValueError("unlucky")
    return f"{first}-{second}"


@strawberry.interface
class Thing:
    id: strawberry.ID = strawberry.field(description="Its id.")


@strawberry.type
class Part(Thing):
    id: strawberry.ID = derived_id(label, "name", "number", description="Its id.")
    name: str
    number: int


@strawberry.type
class OtherPart(Part):
    """Another class than the field's type, though one of its kind."""


_PART = RowShape(Part, "name", "number")


@strawberry.type
class Query:
    @strawberry.field
    def parts(self, at: int = 0) -> list[Part | None]:
        return [Part(name="a", number=number) for number in range(at, at + MANY)]

    @strawberry.field
    def rows(self, at: int = 0) -> list[Part]:
        return as_list(RowList(_PART, [("r", number) for number in range(at, at + MANY)]))

    @strawberry.field
    def others(self) -> list[Part | None]:
        return [OtherPart(name="o", number=number) for number in range(20, 20 + MANY)]

    @strawberry.field
    def things(self) -> list[Thing]:
        return [Part(name="t", number=number) for number in range(20, 20 + MANY)]

    @strawberry.field
    def one(self) -> Part:
        return Part(name="one", number=1)


def pair() -> Pair:
    return Pair.of(strawberry.Schema(query=Query), LOOSE, Dialect(), lambda error, _: error)


async def compare(text: str) -> tuple[dict[str, Any], int]:
    """Compare; return the answer, and for how many documents compiled code completed something."""
    found = pair()
    await found.compare(Document(text, (None,), ({},)), object)
    return (await found.stock.run(Demand(text, None), object())).as_json(), found.tally.compiled


async def test_what_is_computed_from_attributes_is_compiled_for_objects_and_for_rows() -> None:
    for text in ("{ parts(at: 20) { id name } }", "{ rows(at: 20) { number id } }", "{ one { id } }"):
        answer, compiled = await compare(text)
        assert "errors" not in answer
        assert compiled == 1, text


async def test_one_that_fails_fails_as_by_the_standard() -> None:
    for text in ("{ parts { id } }", "{ rows { id } }"):
        answer, _ = await compare(text)
        assert [error["message"] for error in answer["errors"]] == ["unlucky"]


async def test_another_class_and_an_interface_are_left_to_the_standard() -> None:
    for text in ("{ others { id } }", "{ things { id ... on Part { name } } }"):
        answer, _ = await compare(text)
        assert "errors" not in answer
