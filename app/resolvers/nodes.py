"""The `node` and `nodes` roots: any object of the graph by its global id, in the caller's scope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import strawberry

from app.domain.errors import BadInputError
from app.graph.request_log import decode_id as decode_request_id
from app.resolvers.catalog import load_model, load_price, load_provider, load_variant
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.cost import reads
from app.resolvers.global_ids import Node, decode_id, split_names
from app.resolvers.identity import load_api_key, load_named_caller_key, load_named_project, load_tenant, load_user
from app.resolvers.permissions import AnyKey
from app.resolvers.quarantine import load_quarantined
from app.resolvers.tenant_requests import load_request
from app.resolvers.viewer import load_viewer

MAX_NODES: Final = 100
_NO_ID: Final = "is no id that this gateway gave"

Load = Callable[[ResolverInfo], Awaitable[Node | None]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type of objects: by how many names one is told, and what loads it by them."""

    names: int
    load: Callable[..., Awaitable[Node | None]]


_KINDS: Final = {
    "ApiKey": _Kind(1, load_api_key),
    "CallerKey": _Kind(2, load_named_caller_key),
    "Model": _Kind(1, load_model),
    "ModelPrice": _Kind(3, load_price),
    "ModelVariant": _Kind(2, load_variant),
    "Project": _Kind(2, load_named_project),
    "Provider": _Kind(1, load_provider),
    "QuarantinedRecord": _Kind(1, load_quarantined),
    "Tenant": _Kind(1, load_tenant),
    "User": _Kind(1, load_user),
    "Viewer": _Kind(1, load_viewer),
}


def _read_uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def read_node_id(text: str) -> Load | None:
    """Return what loads the object of an id; None: no object of any type could have it."""
    if (request := decode_request_id(text)) is not None:
        return lambda info: load_request(info, request)
    found = decode_id(text)
    kind = None if found is None else _KINDS.get(found[0])
    if found is None or kind is None:
        return None
    names: list[Any] = split_names(found[1])
    if len(names) != kind.names:
        return None
    if kind.load is load_quarantined:
        names = [_read_uuid(found[1])]
        if names == [None]:
            return None
    return lambda info: kind.load(info, *names)


async def resolve_node(
    info: ResolverInfo, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The global id of the object.")]
) -> Node | None:
    """Return one object. BadInputError: the id is malformed."""
    load = read_node_id(id_)
    if load is None:
        raise BadInputError(f"id {_NO_ID}", "id")
    loaders_of(info.context).count(1)
    return await load(info)


async def resolve_nodes(
    info: ResolverInfo,
    ids: Annotated[list[strawberry.ID], strawberry.argument(description=f"1 to {MAX_NODES} global ids, of any types.")],
) -> list[Node | None]:
    """Return the objects, in the order of their ids. BadInputError: too many ids, or a malformed one."""
    if not 1 <= len(ids) <= MAX_NODES:
        raise BadInputError(f"ids must be 1 to {MAX_NODES}", "ids")
    loads = [read_node_id(text) for text in ids]
    if None in loads:
        raise BadInputError(f"ids: the one at position {loads.index(None)}, from 0, {_NO_ID}", "ids")
    loaders_of(info.context).count(len(ids))
    return await asyncio.gather(*(load(info) for load in loads if load is not None))


def node_rows(arguments: Mapping[str, Any], _: datetime) -> int:
    """Return the rows that objects by their ids may read."""
    return max(1, min(len(arguments.get("ids", ())), MAX_NODES))


@strawberry.type
class NodeQuery:
    """The roots of the graph's objects by id."""

    node: Node | None = strawberry.field(
        resolver=resolve_node,
        metadata=reads(1),
        permission_classes=[AnyKey],
        description="An object by its global id; null if there is none, or it is outside the key's scope. Requires a valid key.",
    )
    nodes: list[Node | None] | None = strawberry.field(
        resolver=resolve_nodes,
        metadata=reads(node_rows),
        permission_classes=[AnyKey],
        description="Objects by global ids, in the same order; null for each id for which `node` is null. Requires a valid key.",
    )
