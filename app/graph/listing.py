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


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The first `size` rows behind the position `after`, among the children of `parent`."""

    parent: int | str
    size: int
    after: str | None = None


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


@lru_cache(maxsize=256)
def select_page(listing: Listing[Any], reach: Reach, *, after: bool) -> CompiledSelect:
    """Return the SELECT of the first `size` rows, behind the position `after_0`, `after_1`, ... if asked."""
    positions = ", ".join(f"%(after_{number})s::text" for number in range(len(listing.order)))
    behind = f" WHERE ({_in_order(listing)}) > ({positions})" if after else ""
    return CompiledSelect(
        f"/* app:{listing.name} */ SELECT {_columns(listing)} FROM ({listing.relation(reach)}) x{behind}"
        f" ORDER BY {_in_order(listing)} LIMIT %(size)s::integer",
        {},
    )


@lru_cache(maxsize=256)
def select_pages(listing: Listing[Any], reach: Reach) -> CompiledSelect:
    """Return the SELECT of many pages: (number of the request, row), at most `at_most` rows, for arrays `parents`, `sizes`, `afters`."""
    if listing.parent is None or len(listing.order) != 1:
        raise ValueError(f"{listing.name} has no pages by parent")
    (name,) = listing.order
    return CompiledSelect(
        f"/* app:{listing.name} */ WITH x AS {'MATERIALIZED ' if listing.shared else ''}({listing.relation(reach)})"
        " SELECT w.number, y.*"
        f" FROM unnest(%(parents)s::{listing.parent.type}[], %(sizes)s::integer[], %(afters)s::text[])"
        " WITH ORDINALITY AS w (parent, size, after, number)"
        f" CROSS JOIN LATERAL (SELECT {_columns(listing)} FROM x WHERE x.{listing.parent.name} = w.parent"
        f" AND (w.after IS NULL OR x.{name} > w.after) ORDER BY x.{name} LIMIT w.size) y"
        " LIMIT %(at_most)s::integer",
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


async def fetch_page(database: Database, listing: Listing[R], size: int, after: Sequence[str] | None, scope: Scope) -> list[R]:
    """Return the first `size` rows in scope behind the position `after`."""
    values: dict[str, Any] = {"size": size, **{f"after_{number}": part for number, part in enumerate(after or ())}}
    statement = select_page(listing, reach_of(scope), after=after is not None)
    return [listing.row(*row) for row in await fetch_rows(database, statement, _within(scope, values))]


async def fetch_pages(
    database: Database, listing: Listing[R], requests: Sequence[PageRequest], at_most: int, scope: Scope
) -> list[list[R]]:
    """Return a page for each request, in one statement. `at_most`: rows of all pages together; the rest is cut off."""
    values = {
        "parents": [request.parent for request in requests],
        "sizes": [request.size for request in requests],
        "afters": [request.after for request in requests],
        "at_most": at_most,
    }
    pages: list[list[R]] = [[] for _ in requests]
    for number, *cells in await fetch_rows(database, select_pages(listing, reach_of(scope)), _within(scope, values)):
        pages[number - 1].append(listing.row(*cells))
    for page in pages:
        page.sort(key=listing.position)
    return pages
