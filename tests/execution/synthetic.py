"""A schema made to be nasty: every construction that compiled code must either complete exactly or leave alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any, Generic, NewType, TypeVar, cast

import strawberry
from graphql import GraphQLError
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig

from app.execution.compiled import Dialect
from app.execution.rows import RowList, RowShape
from tests.execution.hostile import ANYTHING, Later, Maker

Shout = NewType("Shout", str)
Moody = NewType("Moody", str)
Big = NewType("Big", int)
Stamp = NewType("Stamp", str)
Anything = NewType("Anything", object)


def _shout(value: object) -> str:
    return str(value).upper() + "!"


def _moody(value: object) -> object:
    if value == "raise":
        raise GraphQLError("not in the mood")
    return {"none": None, "list": [1, 2], "exception": KeyError("given")}.get(str(value), value)


SCALARS: dict[object, Any] = {
    Shout: strawberry.scalar(name="Shout", serialize=_shout),
    Moody: strawberry.scalar(name="Moody", serialize=_moody),
    Big: strawberry.scalar(name="Big", serialize=int, parse_value=int),
    Stamp: strawberry.scalar(name="Stamp", serialize=str),
    Anything: strawberry.scalar(name="Anything", serialize=lambda value: value),
}
DIALECT = Dialect(unchanged={"Big": int, "Stamp": str})


class World:
    """One request's context: the values of a seed, and a log of all code that ran."""

    def __init__(self, seed: int, hostility: float) -> None:
        self.seed = seed
        self.hostility = hostility
        self.log: list[str] = []

    def maker(self, info: Info) -> Maker:
        """Return the maker of the values of a field, and note that it was resolved."""
        self.log.append("/".join(str(key) for key in info.path.as_list()))
        return Maker(f"{self.seed} {self.log[-1]}", self.hostility)


Info = strawberry.Info[World, None]


class Nobody(BasePermission):
    """Denies."""

    message = "nobody may"

    def has_permission(self, source: Any, info: Info, **_: Any) -> bool:
        info.context.log.append("denied")
        return False


class NobodyLater(BasePermission):
    """Denies, after a while."""

    message = "nobody ever may"

    async def has_permission(self, source: Any, info: Info, **_: Any) -> bool:
        return False


class Everybody(BasePermission):
    """Allows, and says so."""

    def has_permission(self, source: Any, info: Info, **_: Any) -> bool:
        info.context.log.append("allowed")
        return True


class Reverse(FieldExtension):
    """Changes the value."""

    def resolve(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs))[::-1]


@strawberry.enum
class Colour(Enum):
    RED = "red"
    GREEN = "green"


@strawberry.interface
class Named:
    name: str
    nick: str | None = None


@strawberry.type
class Cat(Named):
    lives: int = 9


@strawberry.type
class Dog(Named):
    barks: bool = True
    friends: list[Named] = strawberry.field(default_factory=list)


@strawberry.type
class Rock:
    title: str = "rock"
    weight: float = 1.0


@strawberry.type
class Judged:
    """What is one is decided by code."""

    title: str = "judged"

    @classmethod
    def is_type_of(cls, value: Any, _: Any) -> bool:
        return value is not None and getattr(value, "title", "") != "rock"


@strawberry.type
class Problem(Exception):
    """Objects that are exceptions: given as values, they are raised."""

    title: str = "problem"


@strawberry.type
class Promise:
    """Objects that are awaitable: what they give takes their place."""

    title: str = "promise"

    def __await__(self) -> Any:
        yield from ()
        return Promise(title="kept") if self.title == "promise" else self


@strawberry.type
class Computed:
    """Attributes that are code, which notes how often it runs."""

    log: strawberry.Private[list[str]]
    sure: str = "sure"
    title: str = ""
    count: int = 0


def _title(self: Computed) -> str:
    self.log.append("title")
    return "computed"


def _count(self: Computed) -> int:
    self.log.append("count")
    if len(self.log) % 3 == 0:
        raise RuntimeError("no third time")
    return len(self.log)


def _set(_: Computed, __: Any) -> None:
    """Let the class's __init__ have its way."""


for _name, _attribute in (("title", property(_title, _set)), ("count", property(_count, _set))):
    setattr(Computed, _name, _attribute)


T = TypeVar("T")


@strawberry.type
class Box(Generic[T]):
    content: T
    label: str = "box"


@strawberry.type
class Part:
    code: str
    amount: int | None
    price: float
    colours: list[Colour | None]


@strawberry.type
class Cell:
    """What rows are read as."""

    code: str
    amount: int | None
    price: float
    big: Big = Big(0)
    part: Part | None = None
    parts: list[Part] = strawberry.field(default_factory=list)


@strawberry.type
class Thing:
    title: str
    note: str | None
    count: int
    maybe_count: int | None
    ratio: float
    maybe_ratio: float | None
    flag: bool
    key: strawberry.ID
    colour: Colour
    shade: Colour | None
    shout: Shout
    moody: Moody | None
    big: Big
    stamp: Stamp | None
    anything: Anything | None
    tags: list[str]
    holes: list[int | None]
    grid: list[list[float]]
    holey_grid: list[list[Colour | None] | None] | None
    part: Part
    maybe_part: Part | None
    parts: list[Part]
    cells: list[Cell]
    maybe_cells: list[Cell | None] | None
    secret: strawberry.Private[str] = "a secret"
    child: Thing | None = None
    children: list[Thing] = strawberry.field(default_factory=list)
    maybe_children: list[Thing | None] | None = None
    table: list[list[Thing]] | None = None
    pet: Cat | Dog | None = None
    named: Named | None = None
    renamed: str = strawberry.field(name="called", default="by another name")
    denied: str = strawberry.field(permission_classes=[Nobody], default="a secret")
    denied_later: str | None = strawberry.field(permission_classes=[NobodyLater], default="a secret")
    denied_parts: list[Part] | None = strawberry.field(permission_classes=[Nobody], default_factory=list)
    allowed: str = strawberry.field(permission_classes=[Everybody], default="for all")
    extended: str = strawberry.field(extensions=[Reverse()], default="reversed")

    @strawberry.field
    def loud(self, info: Info) -> str:
        info.context.log.append("loud")
        return str(self.title).upper()

    @strawberry.field
    async def later(self, times: int = 2) -> str | None:
        return str(self.note) * times

    @strawberry.field(name="note2")  # type: ignore[untyped-decorator]
    def annotated(self, text: Annotated[str, strawberry.argument(name="with")] = "-") -> str:
        return f"{self.note}{text}"


@strawberry.type
class SpecialThing(Thing):
    """A type of its own whose objects are things too."""

    special: int = 1


class PlainThing(Thing):
    """A class of no type whose objects are things too."""


PARTS: RowShape[Part] = RowShape(Part, "code", "amount", "price", "colours")
CELLS: RowShape[Cell] = RowShape(Cell, "price", "code", "amount", "big", "parts")
FEW_CELLS: RowShape[Cell] = RowShape(Cell, "price", "code", "amount")


def make_part(make: Maker) -> Any:
    """Return a part."""
    return Part(
        code=make.leaf("p1", "p2"),
        amount=make.leaf(1, None),
        price=make.leaf(0.5, 2.0),
        colours=make.list(lambda: make.leaf(Colour.RED, None), 0, 2),
    )


def make_cells(make: Maker, *sizes: int) -> Any:
    """Return rows of cells, or what is not quite that."""
    size = make.random.choice(sizes)
    shape = make.random.choice([CELLS, FEW_CELLS])

    def row() -> tuple[Any, ...]:
        parts = [make_part(make)] if make.random.random() < 0.5 else RowList(PARTS, [("p", 1, 0.5, [])])
        return (make.leaf(0.5), make.leaf("c"), make.leaf(1, None), make.leaf(2**40), parts)[: len(shape.names)]

    rows = [row() for _ in range(size)]
    if not make.is_hostile():
        return RowList(shape, rows)
    odd: list[Callable[[], Any]] = [
        lambda: RowList(PARTS, [("p", 1, 0.5, []) for _ in range(size + 1)]),
        lambda: RowList(shape, [*rows, row()[:-1]]),
        lambda: RowList(shape, [*rows, (*row(), "one too many")]),
        lambda: RowList(shape, [*rows, cast(Any, None)]),
        lambda: RowList(shape, [*rows, ()]),
        lambda: RowList(shape, cast(Any, [list(one) for one in rows])),
        lambda: RowList(shape, tuple(rows)),
        lambda: list(RowList(shape, rows)),
        lambda: RowList(shape, rows)[:1],
        lambda: [*RowList(shape, rows), make_part(make)],
    ]
    return make.random.choice(odd)()


def make_thing(make: Maker, depth: int) -> Any:
    """Return a thing, or what could be taken for one."""
    if make.is_hostile():
        others: list[Callable[[], Any]] = [*ANYTHING, Rock, lambda: SimpleNamespace(title="n"), lambda: Later(Rock())]
        return make.random.choice(others)()
    kind = SpecialThing if make.random.random() < 0.02 else PlainThing if make.random.random() < 0.02 else Thing
    few = (0, 1, 2) if depth > 0 else (0,)
    return kind(
        title=make.leaf("a", "b"),
        note=make.leaf("n", None),
        count=make.leaf(1, -1, 2**31 - 1),
        maybe_count=make.leaf(2, None),
        ratio=make.leaf(0.5, -0.0, 3),
        maybe_ratio=make.leaf(1.5, None),
        flag=make.leaf(True, False),
        key=make.leaf("id", 7),
        colour=make.leaf(Colour.RED, Colour.GREEN, "red"),
        shade=make.leaf(Colour.GREEN, None),
        shout=make.leaf("hey", 5),
        moody=make.leaf("fine", "fine", "fine", "raise", "none", "list", "exception", None),
        big=make.leaf(2**60, 1, "12"),
        stamp=make.leaf("2026-01-01", None),
        anything=make.leaf(None, {"b": 1, "a": [True]}, [1, None]),
        tags=make.list(lambda: make.leaf("t"), 0, 1, 3),
        holes=make.list(lambda: make.leaf(1, None), 0, 2, 33),
        grid=make.list(lambda: make.list(lambda: make.leaf(1.0), 0, 2), 0, 2),
        holey_grid=make.list(lambda: make.leaf(None, [Colour.RED, None]), 0, 2),
        part=make_part(make),
        maybe_part=make.leaf(None, make_part(make)),
        parts=make.list(lambda: make_part(make), 0, 2),
        cells=make_cells(make, 0, 2),
        maybe_cells=make.leaf(None, make_cells(make, 1)),
        child=make_thing(make, depth - 1) if depth > 0 else None,
        children=make.list(lambda: make_thing(make, depth - 1), *few),
        maybe_children=make.list(lambda: make_thing(make, depth - 1), *few),
        table=make.list(lambda: make.list(lambda: make_thing(make, 0), *few), 0, 1) if depth > 0 else None,
        pet=make.leaf(None, Cat(name="c"), Dog(name="d", friends=[Cat(name="f")])),
        named=make.leaf(None, Dog(name="d"), Cat(name="c", nick="n")),
    )


@strawberry.type
class Query:
    @strawberry.field
    def thing(self, info: Info) -> Thing:
        return cast(Thing, make_thing(info.context.maker(info), 2))

    @strawberry.field
    async def things(self, info: Info, size: int = 3) -> list[Thing]:
        make = info.context.maker(info)
        return cast(list[Thing], make.list(lambda: make_thing(make, 1 if size < 5 else 0), size))

    @strawberry.field
    def maybe_things(self, info: Info, size: int | None = None) -> list[Thing | None] | None:
        make = info.context.maker(info)
        return cast(list[Thing | None], make.list(lambda: make_thing(make, 0), size or 2, 40))

    @strawberry.field
    def many(self, info: Info) -> list[Part]:
        make = info.context.maker(info)
        return cast(list[Part], make.list(lambda: make_part(make), 32, 33, 31, 60))

    @strawberry.field
    def cells(self, info: Info, size: int = 3) -> list[Cell]:
        return cast(list[Cell], make_cells(info.context.maker(info), size, 40))

    @strawberry.field
    async def maybe_cells(self, info: Info) -> list[Cell | None] | None:
        return cast(list[Cell | None], make_cells(info.context.maker(info), 0, 1, 40))

    @strawberry.field
    def words(self, info: Info) -> list[str]:
        make = info.context.maker(info)
        return cast(list[str], make.list(lambda: make.leaf("w"), 0, 3, 40))

    @strawberry.field
    def pets(self, info: Info) -> list[Cat | Dog | Rock]:
        make = info.context.maker(info)
        return cast(list[Cat | Dog | Rock], make.list(lambda: make.leaf(Cat(name="c"), Dog(name="d"), Rock()), 2, 40))

    @strawberry.field
    def solids(self, info: Info) -> list[Rock | Part | None]:
        make = info.context.maker(info)
        return cast(list[Rock | Part | None], make.list(lambda: make.leaf(Rock(), make_part(make), None), 2, 40))

    @strawberry.field
    def named(self, info: Info) -> list[Named]:
        make = info.context.maker(info)
        return cast(list[Named], make.list(lambda: make.leaf(Cat(name="c"), Dog(name="d", friends=[Dog(name="e")])), 2, 40))

    @strawberry.field
    def judged(self, info: Info) -> list[Judged]:
        make = info.context.maker(info)
        return cast(list[Judged], make.list(lambda: make.leaf(Judged(), SimpleNamespace(title="too")), 2, 40))

    @strawberry.field
    def problems(self, info: Info) -> list[Problem | None]:
        info.context.maker(info)
        return [Problem(title="first"), None, *(Problem() for _ in range(40))]

    @strawberry.field
    def promises(self, info: Info) -> list[Promise]:
        info.context.maker(info)
        return [Promise() for _ in range(40)]

    @strawberry.field
    def computed(self, info: Info, size: int = 3) -> list[Computed | None]:
        info.context.maker(info)
        return [Computed(log=info.context.log) for _ in range(min(size, 50))]

    @strawberry.field
    def boxes(self, info: Info) -> list[Box[int]]:
        make = info.context.maker(info)
        return cast(list[Box[int]], make.list(lambda: Box(content=make.leaf(1, 2)), 2, 40))

    @strawberry.field
    def box(self, info: Info) -> Box[Thing] | None:
        return Box(content=make_thing(info.context.maker(info), 1))

    @strawberry.field(permission_classes=[Nobody])  # type: ignore[untyped-decorator]
    def denied(self) -> list[Thing] | None:
        return []

    @strawberry.field
    def failing(self, info: Info) -> list[Thing] | None:
        info.context.maker(info)
        raise LookupError("no things")

    @strawberry.field
    async def stream(self, info: Info) -> list[Part] | None:
        make = info.context.maker(info)

        async def parts() -> AsyncIterator[Any]:
            for _ in range(3):
                yield make_part(make)

        return cast(list[Part], parts())


@strawberry.type
class Mutation:
    @strawberry.mutation
    def add(self, info: Info, size: int = 1) -> list[Part] | None:
        """Change the context: what comes after sees it."""
        info.context.seed += size
        make = info.context.maker(info)
        return cast(list[Part], make.list(lambda: make_part(make), 1, 40))

    @strawberry.mutation
    async def add_thing(self, info: Info) -> Thing | None:
        info.context.seed += 1
        return cast(Thing, make_thing(info.context.maker(info), 1))


def build_synthetic(**config: Any) -> strawberry.Schema:
    """Return the schema; `config` as StrawberryConfig has it."""
    settings = StrawberryConfig(**{"scalar_map": SCALARS, **config})
    return strawberry.Schema(query=Query, mutation=Mutation, types=[SpecialThing], config=settings)
