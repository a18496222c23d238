"""Lists in pages: Relay-style connections whose cursors are positions by name, so that pages stay in place while objects come and go."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
import strawberry

from app.domain.errors import BadInputError
from app.graph.listing import Listing, PageRequest
from app.resolvers.arguments import given_text
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.loaders import Loaders

T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])

DEFAULT_PAGE = 50
MAX_PAGE = 100
_MAX_CURSOR = 2_000

First = Annotated[int, strawberry.argument(description=f"Objects at most, 1 to {MAX_PAGE}.")]
After = Annotated[str | None, strawberry.argument(description="Only what comes behind this cursor: an `endCursor` of the page before.")]


def page_rows(arguments: Mapping[str, Any], _: datetime) -> int:
    """Return the rows that a root list reads for a page."""
    first: int = arguments.get("first", DEFAULT_PAGE)
    return max(0, min(first, MAX_PAGE)) + 1


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more objects follow.")
    has_previous_page: bool = strawberry.field(description="Whether the page was asked for with `after`, or with an `offset`.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first object; null if the page is empty.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last object; null if the page is empty.")


@strawberry.type(description="An object and its place in the list.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Its place, opaque; stays valid when objects come and go.")
    node: T = strawberry.field(description="The object.")


@strawberry.type(description="One page of a list, by name in code point order.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The objects with their cursors.")
    nodes: list[T] = strawberry.field(description="The objects.")
    page_info: PageInfo = strawberry.field(description="Whether there are more, and how to ask for them.")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """A list's arguments, checked: `first` objects behind the position `after`."""

    loaders: Loaders
    listing: Listing[R]
    first: int
    after: tuple[str, ...] | None

    @property
    def size(self) -> int:
        """Rows to read: one more than asked, which tells whether more follow."""
        return self.first + 1

    async def of_all(self, shape: Callable[[R], T]) -> Connection[T]:
        """Return this page of everything in scope."""
        return self._connect(await self.loaders.page(self.listing, self.size, self.after), shape)

    async def of_children(self, parent: int, shape: Callable[[R], T]) -> Connection[T]:
        """Return this page of a parent's children; many parents are asked for at once."""
        request = PageRequest(parent, self.size, None if self.after is None else self.after[0])
        return self._connect(await self.loaders.children(self.listing).load(request), shape)

    def _connect(self, rows: Sequence[R], shape: Callable[[R], T]) -> Connection[T]:
        given = rows[: self.first]
        self.loaders.count(len(given))
        edges = [Edge(cursor=encode_cursor(self.listing, self.listing.position(row)), node=shape(row)) for row in given]
        return Connection(
            edges=edges,
            nodes=[edge.node for edge in edges],
            page_info=PageInfo(
                has_next_page=len(rows) > self.first,
                has_previous_page=self.after is not None,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
        )


def read_page(info: ResolverInfo, listing: Listing[R], first: int, after: str | None) -> Page[R]:
    """Check the arguments of a list. BadInputError: `first` out of bounds, or a cursor that is not of this list."""
    if not 1 <= first <= MAX_PAGE:
        raise BadInputError(f"first must be from 1 to {MAX_PAGE}", "first")
    cursor = given_text(after)
    return Page(loaders_of(info.context), listing, first, None if cursor is None else decode_cursor(listing, cursor))


def encode_cursor(listing: Listing[Any], position: Sequence[str]) -> str:
    """Return a position in a list as URL-safe text."""
    return base64.urlsafe_b64encode(orjson.dumps([listing.name, *position])).decode().rstrip("=")


def decode_cursor(listing: Listing[Any], cursor: str) -> tuple[str, ...]:
    """Return the position that a cursor names. BadInputError: the list gave no such cursor."""
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        name, *position = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if name != listing.name or len(position) != len(listing.order):
            raise ValueError
        if not all(isinstance(part, str) and "\0" not in part for part in position):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise BadInputError("the cursor is not one that this list gave", "after") from None
    return tuple(position)
