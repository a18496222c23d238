"""Values that a resolver should not give for a type, and some that it may; made anew at each call, since some can be used up."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from graphql import GraphQLError, Undefined


class Letter(StrEnum):
    """A string that is more than a string."""

    A = "a"


class Digit(IntEnum):
    """An integer that is more than an integer."""

    ONE = 1


class OddError(Exception, Enum):
    """Members that are exceptions."""

    ONE = "one"


class Text(str):
    """A string by inheritance."""

    __slots__ = ()


class Number(int):
    """An integer by inheritance."""

    __slots__ = ()

    def __str__(self) -> str:
        return "a number"


class Shown:
    """Something that a string can be made of."""

    def __str__(self) -> str:
        return "shown"

    def __repr__(self) -> str:
        return "Shown()"


class Later:
    """An awaitable that nobody needs to await."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value

    def __repr__(self) -> str:
        return "Later()"


def _generator(*values: Any) -> Iterator[Any]:
    yield from values


async def _async_generator(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


ANYTHING: list[Callable[[], Any]] = [
    lambda: None,
    lambda: Undefined,
    lambda: ValueError("a value that is an exception"),
    lambda: GraphQLError("an error of the library", extensions={"code": "ODD"}),
    lambda: Later("later"),
    lambda: Later(7),
    lambda: Later(None),
    lambda: Later(KeyError("later")),
    lambda: object,
    lambda: {"title": "a dict"},
    lambda: ["a list"],
    lambda: (),
    lambda: SimpleNamespace(title="a namespace", count=3),
    lambda: Shown(),
    lambda: OddError.ONE,
]

LEAVES: list[Callable[[], Any]] = [
    *ANYTHING,
    lambda: "",
    lambda: "text",
    lambda: "\ud800\x00",
    lambda: Text("inherited"),
    lambda: Letter.A,
    lambda: b"bytes",
    lambda: 0,
    lambda: 2**31 - 1,
    lambda: 2**31,
    lambda: -(2**31),
    lambda: -(2**31) - 1,
    lambda: 2**53 + 1,
    lambda: 10**400,
    lambda: Digit.ONE,
    lambda: Number(5),
    lambda: True,
    lambda: False,
    lambda: 1.0,
    lambda: -0.0,
    lambda: 1.5,
    lambda: 1e300,
    lambda: math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: "1.5",
    lambda: "7",
    lambda: "RED",
    lambda: "red",
    lambda: Decimal("2.50"),
    lambda: Decimal("NaN"),
    lambda: Decimal("3"),
    lambda: Fraction(1, 3),
    lambda: UUID(int=5),
    lambda: 1j,
]


def lists_of(values: list[Any]) -> list[Callable[[], Any]]:
    """Return other things than a list that could stand for one."""
    return [
        *ANYTHING,
        lambda: tuple(values),
        lambda: deque(values),
        lambda: _generator(*values),
        lambda: _async_generator(*values),
        lambda: dict(enumerate(values)),
        lambda: (value for value in values),
        lambda: Later(values),
        lambda: [*values, None],
        lambda: [Later(value) for value in values],
        lambda: [*values, IndexError("an item that is an exception")],
        lambda: {"a", "set"},
        lambda: frozenset({1}),
        lambda: "a string",
        lambda: type("Listed", (list,), {})(values),
    ]


class Maker:
    """Makes values for one place of an answer, each time the same. `hostility`: how many of them are none of their type's, 0 to 1."""

    def __init__(self, seed: str, hostility: float) -> None:
        self.random = Random(seed)
        self._hostility = hostility

    def is_hostile(self) -> bool:
        """Return whether the next value is to be a bad one."""
        return self.random.random() < self._hostility

    def leaf(self, *good: Any) -> Any:
        """Return one of the values, or what should not be there."""
        return self.random.choice(LEAVES)() if self.is_hostile() else self.random.choice(good)

    def list(self, make: Callable[[], Any], *sizes: int) -> Any:
        """Return a list of one of the sizes, or what could stand for it."""
        values = [make() for _ in range(self.random.choice(sizes))]
        return self.random.choice(lists_of(values))() if self.is_hostile() else values
