"""What looks like reading an attribute and is not: each was, or could be, completed by compiled code where the standard does something else."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Any, NewType

import pytest
import strawberry
from strawberry.directive import DirectiveLocation
from strawberry.schema.config import StrawberryConfig
from strawberry.types.field import StrawberryField

from app.execution.compiled import Dialect
from app.execution.engine import Demand
from app.execution.rows import RowList, RowShape
from tests.execution.differential import LOOSE, Pair
from tests.execution.documents import Document

MANY = 40


def pair_of(query: type, **options: Any) -> Pair:
    dialect = options.pop("dialect", Dialect())
    return Pair.of(strawberry.Schema(query=query, **options), LOOSE, dialect, lambda error, _: error)


class Logged:
    """A context that notes which code ran."""

    def __init__(self) -> None:
        self.log: list[str] = []


async def compare(pair: Pair, text: str, *variables: dict[str, Any]) -> dict[str, Any]:
    """Compare, and return the last answer."""
    await pair.compare(Document(text, (None,), variables or ({},)), Logged)
    return (await pair.stock.run(Demand(text, (variables or ({},))[-1]), Logged())).as_json()


async def test_objects_that_are_exceptions_are_raised() -> None:
    @strawberry.type
    class Problem(Exception):
        title: str

    @strawberry.type
    class Query:
        @strawberry.field
        def problems(self) -> list[Problem | None]:
            return [Problem(title="p")] * MANY

    answer = await compare(pair_of(Query), "{ problems { title } }")
    assert len(answer["errors"]) == MANY


def _computed(kind: str) -> type:
    """Return a type whose title is code that notes in the context that it ran."""

    @strawberry.type
    class Computed:
        log: strawberry.Private[list[str]]
        title: str
        late: int | None

        def __init__(self, log: list[str], late: int) -> None:
            self.log = log
            self.late = late

    def title(self: Any) -> str:
        self.log.append("ran")
        return "computed"

    def any_attribute(self: Any, name: str) -> str:
        if name != "title":
            raise AttributeError(name)
        return title(self)

    def every_attribute(self: Any, name: str) -> Any:
        return title(self) if name == "title" else object.__getattribute__(self, name)

    name, attribute = {
        "property": ("title", property(title)),
        "__getattr__": ("__getattr__", any_attribute),
        "__getattribute__": ("__getattribute__", every_attribute),
    }[kind]
    setattr(Computed, name, attribute)
    return Computed


@pytest.mark.parametrize("kind", ["property", "__getattr__", "__getattribute__"])
async def test_attributes_that_are_code_run_as_often_as_by_the_standard(kind: str) -> None:
    computed: Any = _computed(kind)

    def resolve(info: strawberry.Info[Logged, None]) -> Any:
        # The last one's null makes a list that compiled code would begin, and the standard's would do again.
        return [*(computed(log=info.context.log, late=1) for _ in range(MANY)), computed(log=info.context.log, late=2**31)]

    @strawberry.type
    class Query:
        items: list[computed] = strawberry.field(resolver=resolve)

    answer = await compare(pair_of(Query), "{ items { title late } }")
    assert [error["path"] for error in answer["errors"]] == [["items", MANY, "late"]]


@strawberry.type
class Plain:
    title: str = "plain"
    count: int = 1
    ratio: float = 0.5


def _plain_query(make: Any = Plain) -> type:
    @strawberry.type
    class Query:
        @strawberry.field
        def items(self, size: int = MANY) -> list[Plain] | None:
            return [make() for _ in range(size)]

    return Query


async def test_a_null_condition_is_an_error_of_each_item() -> None:
    pair = pair_of(_plain_query())
    for size in (0, 1, MANY):
        text = f"query ($b: Boolean = true) {{ items(size: {size}) {{ title @include(if: $b) count @skip(if: $b) }} }}"
        await compare(pair, text, {"b": None}, {"b": True}, {}, {"b": False}, {"b": None})


async def test_directives_of_other_kinds_may_have_any_arguments() -> None:
    @strawberry.directive(locations=[DirectiveLocation.INLINE_FRAGMENT, DirectiveLocation.FIELD])
    def mark(names: list[str]) -> None: ...

    pair = pair_of(_plain_query(), directives=[mark])
    await compare(pair, "query ($names: [String!]!) { items { ... @mark(names: $names) { title } count } }", {"names": ["a"]})
    await compare(pair, "query ($names: [String!]!) { items { title @mark(names: $names) } }", {"names": ["a"]})


async def test_fields_of_a_class_with_its_own_way_to_a_value() -> None:
    class Secretive(StrawberryField):
        def get_result(self, source: Any, info: Any, args: Any, kwargs: Any) -> Any:
            return "hidden"

    @strawberry.type
    class Item:
        title: str = Secretive(default="a secret")  # type: ignore[assignment]

    @strawberry.type
    class Query:
        @strawberry.field
        def items(self) -> list[Item]:
            return [Item()] * MANY

    await compare(pair_of(Query), "{ items { title } }")


async def test_enum_members_that_are_exceptions_or_awaitable() -> None:
    class Odd(Exception, Enum):
        ONE = "one"

    class Waiting(Enum):
        ONE = "one"

        def __await__(self) -> Any:
            yield from ()
            return "waited for"

    for member in (Odd.ONE, Waiting.ONE):
        await compare(pair_of(_plain_query(lambda member=member: Plain(title=member))), "{ items { title } }")


async def test_names_that_python_keeps_for_itself() -> None:
    pair = pair_of(_plain_query())
    definition = pair.compiled.schema.type_map["Plain"].fields["title"].extensions["strawberry-definition"]  # type: ignore[attr-defined]
    definition.python_name = "class"
    try:
        await compare(pair, "{ items { title } }")
    finally:
        definition.python_name = "title"


@strawberry.type
class Nest:
    title: str = "n"
    inner: "Nest | None" = None


async def test_selections_that_are_too_deep_or_too_wide_to_compile() -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        def items(self) -> list[Nest]:
            return [Nest(inner=Nest())] * MANY

    pair = pair_of(Query)
    await compare(pair, "{ items " + "{ inner " * 190 + "{ title }" + " }" * 190 + " }")
    wide = " ".join(f"a{number}: title" for number in range(2_050))
    await compare(pair, f"{{ items {{ {wide} }} }}")


@strawberry.type
class Cell:
    title: str
    count: int = 1
    note: str | None = "a default"


CELLS: RowShape[Cell] = RowShape(Cell, "count", "title")


def _rows_query(rows: list[Any], shape: RowShape[Any] = CELLS) -> type:
    @strawberry.type
    class Query:
        @strawberry.field
        def cells(self) -> list[Cell] | None:
            return RowList(shape, rows)  # type: ignore[return-value]

    return Query


@pytest.mark.parametrize(
    "odd", [(1,), (1, "a", "b"), (), None, 7, "ab", [1, "a"], (2**31, "a"), (1, None), (None, "a"), (1, ValueError("cell"))]
)
@pytest.mark.parametrize("selection", ["title count", "title", "count", "__typename", "note", "title note", "title @skip(if: true)"])
async def test_rows_of_another_length_or_kind(odd: Any, selection: str) -> None:
    await compare(pair_of(_rows_query([(1, "a")] * MANY + [odd])), f"{{ cells {{ {selection} }} }}")
    await compare(pair_of(_rows_query([(1, "a")] * MANY)), f"{{ cells {{ {selection} }} }}")


async def test_attributes_that_a_shape_does_not_give_have_the_defaults_of_the_class() -> None:
    pair = pair_of(_rows_query([(1, "a")] * MANY))
    await compare(pair, "{ cells { title note } }")
    await compare(pair, "{ cells { title } }")
    assert pair.tally.completions


async def test_instants_that_are_equal_and_written_with_other_offsets_are_remembered_apart() -> None:
    written = NewType("written", str)

    @strawberry.type
    class Item:
        day: written

    noon = datetime(2026, 6, 25, 12, tzinfo=UTC)
    given: list[Any] = [noon, noon.astimezone(timezone(timedelta(hours=2))), date(2026, 6, 25), date(2026, 6, 25), "2026-06-25", True, 1]

    @strawberry.type
    class Query:
        @strawberry.field
        def items(self) -> list[Item]:
            return [Item(day=given[position % len(given)]) for position in range(MANY)]

    scalars: dict[object, Any] = {written: strawberry.scalar(name="Day", serialize=str)}
    pair = pair_of(Query, dialect=Dialect({"Day": str}, {"Day": date}), config=StrawberryConfig(scalar_map=scalars))
    await compare(pair, "{ items { day } }")
    await compare(pair, "{ items { again: day } }")
    assert pair.tally.completions


async def test_a_stream_is_no_list() -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        async def items(self) -> list[Plain]:
            async def stream() -> AsyncIterator[Plain]:
                for _ in range(MANY):
                    yield Plain()

            return stream()  # type: ignore[return-value]

    await compare(pair_of(Query), "{ items { title } }")


async def test_types_of_the_dialect_may_be_any_class() -> None:
    kind = NewType("kind", int)

    class Wide(int):
        pass

    @strawberry.type
    class Item:
        size: kind

    @strawberry.type
    class Query:
        @strawberry.field
        def items(self) -> list[Item]:
            size: Any = Wide(2**40)
            return [Item(size=size)] * MANY

    scalars: dict[object, Any] = {kind: strawberry.scalar(name="Wide", serialize=lambda value: value, parse_value=int)}
    pair = pair_of(Query, dialect=Dialect({"Wide": Wide}), config=StrawberryConfig(scalar_map=scalars))
    await compare(pair, "{ items { size } }")
    assert pair.tally.completions


async def test_types_that_refuse_some_of_their_own_objects() -> None:
    @strawberry.type
    class Judged:
        title: str

        @classmethod
        def is_type_of(cls, value: Any, _: Any) -> bool:
            return bool(value.title != "guilty")

    @strawberry.type
    class Query:
        @strawberry.field
        def items(self) -> list[Judged | None]:
            return [Judged(title="guilty" if number == 7 else "innocent") for number in range(MANY)]

    answer = await compare(pair_of(Query), "{ items { title } }")
    assert answer["data"]["items"][7] is None


async def test_fields_that_are_asked_for_in_several_places_are_one() -> None:
    text = "query ($a: Boolean!, $b: Boolean!) { items { title } ... @include(if: $a) { items { count } } ...F @skip(if: $b) }"
    pair = pair_of(_plain_query())
    both = [{"a": a, "b": b} for a in (True, False) for b in (True, False)]
    answer = await compare(pair, text + " fragment F on Query { items { ratio again: title } }", *both)
    assert list(answer["data"]["items"][0]) == ["title", "ratio", "again"]
    assert pair.tally.completions


async def test_conditions_in_fragments_are_compiled_for_each_value() -> None:
    pair = pair_of(_plain_query())
    text = "query ($b: Boolean!) { items { ...F } } fragment F on Plain { title ...G } fragment G on Plain { count @skip(if: $b) }"
    answer = await compare(pair, text, {"b": True}, {"b": False})
    assert list(answer["data"]["items"][0]) == ["title", "count"]
    assert pair.tally.completions >= 4


async def test_rows_of_another_class() -> None:
    @strawberry.type
    class Failure(Exception):
        title: str
        count: int

    @strawberry.type
    class Like:
        title: str
        count: int

    for shape in (RowShape(Failure, "count", "title"), RowShape(Like, "count", "title"), RowShape(Like, "title", "count")):
        answer = await compare(pair_of(_rows_query([(1, "a")] * MANY, shape)), "{ cells { title count } }")
        assert (answer["data"]["cells"] is None) == (shape.names[0] == "title" or shape.make is Failure)


def test_a_shape_gives_what_its_class_takes() -> None:
    @strawberry.type
    class Checked:
        title: str

        def __post_init__(self) -> None:
            self.title = self.title.upper()

    @strawberry.type
    class Parsed:
        title: str

        def __init__(self, title: str) -> None:
            self.title = f"<{title}>"

    for make, names in (
        (Cell, ("count",)),
        (Cell, ("title", "title")),
        (Cell, ("title", "other")),
        (Checked, ("title",)),
        (Parsed, ("title",)),
    ):
        with pytest.raises(TypeError):
            RowShape(make, *names)
