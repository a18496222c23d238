"""Lists in pages: Relay-style connections whose cursors are positions by name, so that pages stay in place while objects come and go."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

import orjson
import strawberry

from app.domain.errors import BadInputError
from app.execution.selection import selected_names, selections_of
from app.graph.listing import Listing, PageRequest
from app.resolvers.arguments import given_text
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.loaders import Loaders

T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])

DEFAULT_PAGE = 50
MAX_PAGE = 100
_MAX_CURSOR = 2_000

First = Annotated[
    int | None, strawberry.argument(description=f"The first objects, 1 to {MAX_PAGE}; {DEFAULT_PAGE} if neither this nor `last` is given.")
]
After = Annotated[str | None, strawberry.argument(description="Only objects after this cursor: the `endCursor` of the previous page.")]
Last = Annotated[int | None, strawberry.argument(description=f"The last objects, 1 to {MAX_PAGE}; not together with `first`.")]
Before = Annotated[str | None, strawberry.argument(description="Only what comes ahead of this cursor: a `startCursor` of the page behind.")]


def page_rows(arguments: Mapping[str, Any], _: datetime) -> int:
    """Return the rows that a root list reads for a page: one more than asked for, and one on the other side."""
    size: int = arguments.get("last") or arguments.get("first") or DEFAULT_PAGE
    return max(0, min(size, MAX_PAGE)) + 2


@strawberry.type(description="Position of a page in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether objects follow: of a page by `last`, only if `before` is given.")
    has_previous_page: bool = strawberry.field(
        description="Whether objects come before: of a page by `first`, only if `after` or an offset is given."
    )
    start_cursor: str | None = strawberry.field(description="Cursor of the first object; null if the page is empty.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last object; null if the page is empty.")


@strawberry.type(description="An object and its cursor.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Opaque cursor of the object; valid also after objects are added or removed.")
    node: T = strawberry.field(description="The object.")


@strawberry.type(description="One page of a list, by name in code point order.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The objects with their cursors.")
    nodes: list[T] = strawberry.field(description="The objects.")
    page_info: PageInfo = strawberry.field(description="Whether there are more pages, and their cursors.")


@dataclass(frozen=True, slots=True)
class PageArguments:
    """What a list is asked for with. `first` and `last`: at most one is given."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """A list's arguments, checked. `count`: objects of the page at most; `looks_back`: whether it is asked what lies on the other side."""

    loaders: Loaders
    listing: Listing[R]
    count: int
    request: PageRequest
    looks_back: bool

    async def of_all(self, shape: Callable[[R], T]) -> Connection[T]:
        """Return this page of everything in scope."""
        return await self._connect(self.request, partial(self.loaders.page, self.listing), shape)

    async def of_children(self, parent: int, shape: Callable[[R], T]) -> Connection[T]:
        """Return this page of a parent's children; many parents are asked for at once."""
        return await self._connect(replace(self.request, parent=parent), self.loaders.children(self.listing).load, shape)

    async def _connect(
        self, request: PageRequest, load: Callable[[PageRequest], Awaitable[list[R]]], shape: Callable[[R], T]
    ) -> Connection[T]:
        # One row more than the page holds tells whether the list goes on; what lies behind the cursor is looked for where it is asked.
        behind = request.before if request.backward else request.after
        other: PageRequest | None = None
        if self.looks_back and behind is not None:
            other = request.onward_from(behind) if request.backward else request.up_to(behind)
        rows, beyond = await asyncio.gather(load(request), _nothing() if other is None else load(other))
        goes_on = len(rows) > self.count
        given = rows[-self.count :] if request.backward else rows[: self.count]
        self.loaders.count(len(given))
        edges = [Edge(cursor=encode_cursor(self.listing, self.listing.position(row)), node=shape(row)) for row in given]
        return Connection(
            edges=edges,
            nodes=[edge.node for edge in edges],
            page_info=PageInfo(
                has_next_page=bool(beyond) if request.backward else goes_on,
                has_previous_page=goes_on if request.backward else bool(beyond),
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
        )


async def _nothing() -> list[Any]:
    return []


def read_count(given: PageArguments) -> int:
    """Return how many objects a page may hold. BadInputError: `first` and `last` together, or out of bounds."""
    if given.first is not None and given.last is not None:
        raise BadInputError("give first or last, not both", "last", "first")
    count = given.last if given.last is not None else DEFAULT_PAGE if given.first is None else given.first
    name = "first" if given.last is None else "last"
    if not 1 <= count <= MAX_PAGE:
        raise BadInputError(f"{name} must be from 1 to {MAX_PAGE}", name)
    return count


def looks_back(info: ResolverInfo, *, backward: bool) -> bool:
    """Return whether it is asked what lies on the other side of the page."""
    raw = info._raw_info
    page_info = selections_of([node.selection_set for node in raw.field_nodes], raw.fragments, "pageInfo")
    return ("hasNextPage" if backward else "hasPreviousPage") in selected_names(page_info, raw.fragments)


def read_page(info: ResolverInfo, listing: Listing[R], given: PageArguments) -> Page[R]:
    """Check the arguments of a list. BadInputError: as `read_count`, or a cursor that is not of this list."""
    count, backward = read_count(given), given.last is not None
    after, before = given_text(given.after), given_text(given.before)
    request = PageRequest(
        None,
        count + 1,
        after=None if after is None else decode_cursor(listing, after, "after"),
        before=None if before is None else decode_cursor(listing, before, "before"),
        backward=backward,
    )
    return Page(loaders_of(info.context), listing, count, request, looks_back(info, backward=backward))


def encode_cursor(listing: Listing[Any], position: Sequence[str]) -> str:
    """Return a position in a list as URL-safe text."""
    return base64.urlsafe_b64encode(orjson.dumps([listing.name, *position])).decode().rstrip("=")


def decode_cursor(listing: Listing[Any], cursor: str, argument: str) -> tuple[str, ...]:
    """Return the position that a cursor names. BadInputError: the list gave no such cursor; it names the argument."""
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        name, *position = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if name != listing.name or len(position) != len(listing.order):
            raise ValueError
        if not all(isinstance(part, str) and "\0" not in part for part in position):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise BadInputError("the cursor is not one that this list gave", argument) from None
    return tuple(position)
