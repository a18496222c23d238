"""Lists of objects that stay rows: made into objects one by one where somebody looks, and read as they are by compiled code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast, overload

T = TypeVar("T")

Row = tuple[Any, ...]


class RowShape(Generic[T]):
    """How a row is an object: `make` is its class, `names` the attributes that the row's cells are, in order. One for each place of use.

    TypeError: the class does not take just these, or does not keep them as they are.
    """

    __slots__ = ("make", "names")

    def __init__(self, make: Callable[..., T], *names: str) -> None:
        self.make = make
        self.names = names
        if hasattr(make, "__post_init__"):
            raise TypeError(f"{make} may change what it is given")
        cells = tuple(object() for _ in names)
        made = self.build(cells)
        if not all(getattr(made, name) is cell for name, cell in zip(names, cells, strict=True)):
            raise TypeError(f"{make} does not keep {names} as it is given them")

    def build(self, row: Row) -> T:
        """Return the object."""
        return self.make(**dict(zip(self.names, row, strict=True)))


def as_list(rows: RowList[T]) -> list[T]:
    """Return the rows as a resolver's type says: a list of objects. They stay rows."""
    return cast(list[T], rows)


class RowList(Sequence[T]):
    """Objects of one shape, as rows. What reads it as a sequence gets objects, made anew each time."""

    __slots__ = ("rows", "shape")

    def __init__(self, shape: RowShape[T], rows: Sequence[Row]) -> None:
        self.shape = shape
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> RowList[T]: ...
    def __getitem__(self, index: int | slice) -> T | RowList[T]:
        if isinstance(index, slice):
            return RowList(self.shape, self.rows[index])
        return self.shape.build(self.rows[index])

    def __iter__(self) -> Iterator[T]:
        return map(self.shape.build, self.rows)
