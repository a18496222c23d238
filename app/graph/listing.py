"""Objects of the graph by their keys and by pages, each batch of keys or parents in one SELECT, within the reader's scope.

A `Listing` declares one kind of object; its relation takes the scope, so that no way to read it can go around that. Pages are keysets
over names in code point order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from app.analytics.fetch import fetch_rows
from app.analytics.select import CompiledSelect
from app.db.engine import Database
from app.domain.principal import Scope

R = TypeVar("R", bound=tuple[Any, ...])


class Reach(Enum):
    """How far a scope reaches; with the tenant's surrogate, all of the scope that decides SQL."""

    EVERYTHING = "everything"
    TENANT = "tenant"
    PUBLIC = "public"


def reach_of(scope: Scope) -> Reach:
    """Return how far a scope reaches."""
    if not scope.identities:
        return Reach.PUBLIC
    return Reach.EVERYTHING if scope.tenant_key is None else Reach.TENANT


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation by which rows are asked for, and its SQL type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Listing(Generic[R]):
    """A kind of object. `relation`: a SELECT with a column for each field of `row`, of no row that the reach does not cover.

    `order`: text columns, by code point, that name a row; `parent`: the column by which pages are asked for many parents at once.
    `shared`: the relation costs as much for one parent as for all, so it is computed once a statement.
    """

    name: str
    row: type[R]
    order: tuple[str, ...]
    relation: Callable[[Reach], str]
    parent: Column | None = None
    shared: bool = False

    def position(self, row: R) -> tuple[str, ...]:
        """Return where a row stands in the order."""
        return tuple(getattr(row, name) for name in self.order)


Position = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The first `size` rows between two positions, or the last ones if `backward`; among the children of `parent`, if there is one.

    `inclusive`: the rows at the positions are between them too.
    """

    parent: int | str | None
    size: int
    after: Position | None = None
    before: Position | None = None
    backward: bool = False
    inclusive: bool = False

    def up_to(self, position: Position) -> PageRequest:
        """Return the request for the last row up to a position."""
        return PageRequest(self.parent, 1, before=position, backward=True, inclusive=True)

    def onward_from(self, position: Position) -> PageRequest:
        """Return the request for the first row from a position on."""
        return PageRequest(self.parent, 1, after=position, inclusive=True)


def _columns(listing: Listing[Any]) -> str:
    fields: tuple[str, ...] = listing.row._fields
    return ", ".join(f"x.{name}" for name in fields)


def _in_order(listing: Listing[Any]) -> str:
    return ", ".join(f"x.{name}" for name in listing.order)


@lru_cache(maxsize=256)
def select_by_keys(listing: Listing[Any], reach: Reach, keys: tuple[Column, ...]) -> CompiledSelect:
    """Return the SELECT of the rows whose `keys` are among the arrays `key_0`, `key_1`, ...: the keys, then the row."""
    head = f"/* app:{listing.name}_by_key */ SELECT {', '.join(f'x.{key.name}' for key in keys)}, {_columns(listing)}"
    if len(keys) == 1:
        where = f"x.{keys[0].name} = ANY(%(key_0)s::{keys[0].type}[])"
        return CompiledSelect(f"{head} FROM ({listing.relation(reach)}) x WHERE {where}", {})
    arrays = ", ".join(f"%(key_{number})s::{key.type}[]" for number, key in enumerate(keys))
    names = ", ".join(key.name for key in keys)
    matches = " AND ".join(f"x.{key.name} = w.{key.name}" for key in keys)
    return CompiledSelect(f"{head} FROM unnest({arrays}) AS w ({names}) JOIN ({listing.relation(reach)}) x ON {matches}", {})


def _comparisons(*, inclusive: bool) -> tuple[str, str]:
    return (">=", "<=") if inclusive else (">", "<")


@lru_cache(maxsize=256)
def select_page(listing: Listing[Any], reach: Reach, *, after: bool, before: bool, backward: bool, inclusive: bool) -> CompiledSelect:
    """Return the SELECT of a page, in its direction, between the positions `after_0`, ... and `before_0`, ... where they are given."""
    numbers = range(len(listing.order))
    behind, ahead = _comparisons(inclusive=inclusive)
    conditions = [
        f"({_in_order(listing)}) {comparison} ({', '.join(f'%({side}_{number})s::text' for number in numbers)})"
        for side, is_given, comparison in (("after", after, behind), ("before", before, ahead))
        if is_given
    ]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(f"x.{name}{' DESC' if backward else ''}" for name in listing.order)
    return CompiledSelect(
        f"/* app:{listing.name} */ SELECT {_columns(listing)} FROM ({listing.relation(reach)}) x{where}"
        f" ORDER BY {order} LIMIT %(size)s::integer",
        {},
    )


@lru_cache(maxsize=256)
def select_pages(listing: Listing[Any], reach: Reach, *, backward: bool, inclusive: bool) -> CompiledSelect:
    """Return the SELECT of many pages: (number of the request, row), at most `at_most` rows, for arrays `parents`, `sizes`, ..."""
    if listing.parent is None or len(listing.order) != 1:
        raise ValueError(f"{listing.name} has no pages by parent")
    (name,) = listing.order
    behind, ahead = _comparisons(inclusive=inclusive)
    return CompiledSelect(
        f"/* app:{listing.name} */ WITH x AS {'MATERIALIZED ' if listing.shared else ''}({listing.relation(reach)})"
        " SELECT w.number, y.*"
        f" FROM unnest(%(parents)s::{listing.parent.type}[], %(sizes)s::integer[], %(afters)s::text[], %(befores)s::text[])"
        " WITH ORDINALITY AS w (parent, size, after, before, number)"
        f" CROSS JOIN LATERAL (SELECT {_columns(listing)} FROM x WHERE x.{listing.parent.name} = w.parent"
        f" AND (w.after IS NULL OR x.{name} {behind} w.after) AND (w.before IS NULL OR x.{name} {ahead} w.before)"
        f" ORDER BY x.{name}{' DESC' if backward else ''} LIMIT w.size) y LIMIT %(at_most)s::integer",
        {},
    )


def _within(scope: Scope, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"tenant": scope.tenant_key, **values}


async def fetch_by_keys(
    database: Database, listing: Listing[R], keys: tuple[Column, ...], wanted: Sequence[Any], scope: Scope
) -> dict[Any, R]:
    """Return the rows that are there and in scope, by key: a value, or a tuple where there are several key columns."""
    single = len(keys) == 1
    arrays = [list(wanted)] if single else [list(column) for column in zip(*wanted, strict=True)]
    values = {f"key_{number}": array for number, array in enumerate(arrays)}
    rows = await fetch_rows(database, select_by_keys(listing, reach_of(scope), keys), _within(scope, values))
    make, width = listing.row, len(keys)
    return {row[0] if single else row[:width]: make(*row[width:]) for row in rows}


async def fetch_page(database: Database, listing: Listing[R], request: PageRequest, scope: Scope) -> list[R]:
    """Return the rows of a page in scope, in the listing's order."""
    values: dict[str, Any] = {"size": request.size}
    for side, position in (("after", request.after), ("before", request.before)):
        values |= {f"{side}_{number}": part for number, part in enumerate(position or ())}
    statement = select_page(
        listing,
        reach_of(scope),
        after=request.after is not None,
        before=request.before is not None,
        backward=request.backward,
        inclusive=request.inclusive,
    )
    rows = [listing.row(*row) for row in await fetch_rows(database, statement, _within(scope, values))]
    return rows[::-1] if request.backward else rows


async def fetch_pages(
    database: Database, listing: Listing[R], requests: Sequence[PageRequest], at_most: int, scope: Scope
) -> list[list[R]]:
    """Return the rows of a page for each request, in the listing's order, by one statement for those of one direction.

    `at_most`: rows of the pages of a statement together; the rest is cut off.
    """
    pages: list[list[R]] = [[] for _ in requests]
    for backward, inclusive in dict.fromkeys((request.backward, request.inclusive) for request in requests):
        places = [place for place, one in enumerate(requests) if (one.backward, one.inclusive) == (backward, inclusive)]
        values = {
            "parents": [requests[place].parent for place in places],
            "sizes": [requests[place].size for place in places],
            "afters": [_only(requests[place].after) for place in places],
            "befores": [_only(requests[place].before) for place in places],
            "at_most": at_most,
        }
        statement = select_pages(listing, reach_of(scope), backward=backward, inclusive=inclusive)
        for number, *cells in await fetch_rows(database, statement, _within(scope, values)):
            pages[places[number - 1]].append(listing.row(*cells))
    for page in pages:
        page.sort(key=listing.position)
    return pages


def _only(position: Position | None) -> str | None:
    return None if position is None else position[0]
