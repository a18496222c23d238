"""What questions cost: points, by the rows that each root may read, as is declared with the root. Summed before anything is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app.domain.errors import TokengraphError
from app.execution.toll import RootField
from app.request.context import RequestContext
from app.resolvers.points import MAX_POINTS, points_for

Rows = Callable[[Mapping[str, Any], datetime], int]
"""From a root's arguments, by their names in GraphQL, and the time of the request to the rows that it may read."""

_DECLARED: Final = "cost"


def reads(rows: int | Rows) -> dict[str, Any]:
    """Return the metadata of a root that may read so many rows; 0: it costs nothing."""
    return {_DECLARED: rows}


def rows_of(root: RootField, now: datetime) -> int:
    """Return the rows that a root may read; none for one that the schema does not declare, as `__typename`."""
    field = root.definition.extensions.get("strawberry-definition")
    rows: int | Rows = field.metadata.get(_DECLARED, 0) if field is not None else 0
    if isinstance(rows, int):
        return rows
    try:
        return max(1, rows(root.arguments(), now))
    except TokengraphError:
        return 1  # it is refused before it reads


def charge(roots: Sequence[RootField], context: RequestContext) -> Awaitable[None] | None:
    """Return what counts the cost of an operation for its caller; None: it costs nothing."""
    points = sum(points_for(rows_of(root, context.now)) for root in roots)
    return context.pay(points, MAX_POINTS) if points else None
