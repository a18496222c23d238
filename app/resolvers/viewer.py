"""The `viewer` root: who the key is, and what it may ask and change."""

from __future__ import annotations

import strawberry
from strawberry.types.base import StrawberryObjectDefinition

from app.domain.errors import ForbiddenError
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import reads
from app.resolvers.global_ids import Node, named_id
from app.resolvers.identity import KeyRole, Tenant, load_tenant_by_key
from app.resolvers.permissions import AnyKey, ContextPermission


async def resolve_viewer_tenant(root: Viewer, info: ResolverInfo) -> Tenant | None:
    """Return the caller's tenant, if its role sees it."""
    tenant_key = (await info.context.principal()).tenant_key
    return None if tenant_key is None else await load_tenant_by_key(info, tenant_key)


async def resolve_viewer_queries(root: Viewer, info: ResolverInfo) -> list[str]:
    """Return what the caller may ask."""
    return await permitted_fields(info, "Query")


async def resolve_viewer_mutations(root: Viewer, info: ResolverInfo) -> list[str]:
    """Return what the caller may change."""
    return await permitted_fields(info, "Mutation")


@strawberry.type(description="The API key of the request.")
class Viewer(Node):
    id: strawberry.ID = named_id("Viewer", "key_id")
    key_id: str = strawberry.field(description="Id; `gateway-secret` for the gateway secret.")
    role: KeyRole = strawberry.field(description="Permissions of the key.")
    tenant_id: str | None = strawberry.field(description="The tenant of the key, if any.")
    tenant: Tenant | None = strawberry.field(
        resolver=resolve_viewer_tenant,
        description="The tenant of the key; null if there is none, or if its role may not read identities.",
    )
    queries: list[str] = strawberry.field(
        resolver=resolve_viewer_queries, description="The fields of `Query` that it may use, in the order of the schema."
    )
    mutations: list[str] = strawberry.field(
        resolver=resolve_viewer_mutations, description="The mutations that it may use, in the order of the schema."
    )


async def permitted_fields(info: ResolverInfo, type_name: str) -> list[str]:
    """Return the names of a root type's fields whose declared permissions pass the caller."""
    root = info.schema.get_type_by_name(type_name)
    if not isinstance(root, StrawberryObjectDefinition):
        raise TypeError(f"{type_name} is no object type")
    names = info.schema.config.name_converter
    return [
        names.get_graphql_name(field)
        for field in root.fields
        if await _is_permitted(info, [permission for permission in field.permission_classes if issubclass(permission, ContextPermission)])
    ]


async def _is_permitted(info: ResolverInfo, permissions: list[type[ContextPermission]]) -> bool:
    try:
        for permission in permissions:
            await permission().check(info.context)
    except ForbiddenError:
        return False
    return True


async def load_viewer(info: ResolverInfo, key_id: str) -> Viewer | None:
    """Return the caller, if this is its key."""
    viewer = await resolve_viewer(info)
    return viewer if viewer.key_id == key_id else None


async def resolve_viewer(info: ResolverInfo) -> Viewer:
    """Return the caller."""
    principal = await info.context.principal()
    return Viewer(key_id=principal.key_id, role=KeyRole[principal.role.name], tenant_id=principal.tenant_id)


@strawberry.type
class ViewerQuery:
    """The root that tells a caller about itself."""

    viewer: Viewer | None = strawberry.field(
        resolver=resolve_viewer,
        metadata=reads(1),
        permission_classes=[AnyKey],
        description="The API key of this request and its permissions. Requires a valid key.",
    )
