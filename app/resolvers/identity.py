"""The identities' roots: tenants, their projects, users and keys. An admin's key sees all, a tenant's its own, others none."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import strawberry

from app.auth.store import StoredKey
from app.cube.usage_dimensions import BY_API_KEY, BY_PROJECT, BY_TENANT, BY_USER
from app.domain.principal import Role
from app.domain.time_range import format_instant
from app.execution.derived import derived_id
from app.graph.identities import (
    API_KEYS,
    PROJECTS,
    TENANT_API_KEYS,
    TENANT_CALLER_KEYS,
    TENANT_PROJECTS,
    TENANT_USERS,
    TENANTS,
    USER_TENANTS,
    USERS,
    ApiKeyRow,
    CallerKeyRow,
    ProjectRow,
    TenantRow,
    UserRow,
)
from app.graph.listing import PageRequest
from app.query.filters import All, Condition, Match, Named
from app.resolvers.connections import After, Before, Connection, First, Last, PageArguments, page_rows, read_page
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.cost import reads
from app.resolvers.global_ids import GLOBAL_ID, Node, encode_id, named_id
from app.resolvers.permissions import IdentityReader
from app.resolvers.scalars import Instant
from app.resolvers.usage_arguments import OWN_USAGE, OwnUsage, resolve_own_usage

TenantId = Annotated[str, strawberry.argument(description="Id of the tenant in records.")]
UserId = Annotated[str, strawberry.argument(description="Id of the user in records.")]


def _project_id(tenant: Tenant, project_id: str) -> str:
    return encode_id("Project", tenant.tenant_id, project_id)


def _caller_key_id(tenant: Tenant, api_key_id: str) -> str:
    return encode_id("CallerKey", tenant.tenant_id, api_key_id)


@strawberry.enum(name="Role", description="Permissions of an API key. Any valid key reads the rankings and the public catalog.")
class KeyRole(Enum):
    ADMIN = strawberry.enum_value("admin", description="Reads and writes everything; with a tenant, only data of that tenant.")
    GATEWAY = strawberry.enum_value("gateway", description="Reads the gateway's statistics.")
    TENANT = strawberry.enum_value("tenant", description="Reads data of its tenant.")
    INGEST = strawberry.enum_value("ingest", description="Writes usage records; with a tenant, only of that tenant.")


@strawberry.enum(name="ApiKeyStatus", description="Whether a key is valid.")
class ApiKeyStatus(Enum):
    ACTIVE = strawberry.enum_value("active", description="Valid.")
    EXPIRED = strawberry.enum_value("expired", description="Expired.")
    DISABLED = strawberry.enum_value("disabled", description="Disabled.")
    REVOKED = strawberry.enum_value("revoked", description="Revoked permanently.")


async def resolve_tenant_projects(
    root: Tenant, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Project]:
    """Return a page of projects."""
    return await read_page(info, TENANT_PROJECTS, PageArguments(first, after, last, before)).of_children(root.key, shape_project)


async def resolve_tenant_users(
    root: Tenant, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[User]:
    """Return a page of users."""
    return await read_page(info, TENANT_USERS, PageArguments(first, after, last, before)).of_children(root.key, shape_user)


async def resolve_tenant_api_keys(
    root: Tenant, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[ApiKey]:
    """Return a page of keys to this gateway."""
    return await read_page(info, TENANT_API_KEYS, PageArguments(first, after, last, before)).of_children(
        root.key, lambda row: shape_api_key(info, row)
    )


async def resolve_tenant_caller_keys(
    root: Tenant, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[CallerKey]:
    """Return a page of keys at the router."""
    return await read_page(info, TENANT_CALLER_KEYS, PageArguments(first, after, last, before)).of_children(root.key, shape_caller_key)


@strawberry.type(description="A customer of the router.")
class Tenant(Node):
    key: strawberry.Private[int]
    id: strawberry.ID = named_id("Tenant", "tenant_id")
    tenant_id: str = strawberry.field(description="Id in records.")
    projects: Connection[Project] = strawberry.field(resolver=resolve_tenant_projects, description="Its projects, by id.")
    users: Connection[User] = strawberry.field(resolver=resolve_tenant_users, description="Users in its records, by id.")
    api_keys: Connection[ApiKey] = strawberry.field(
        resolver=resolve_tenant_api_keys, description="Its API keys of this gateway, by id, including revoked ones."
    )
    caller_keys: Connection[CallerKey] = strawberry.field(
        resolver=resolve_tenant_caller_keys, description="Its API keys at the router that are in records, by id."
    )
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return Named(BY_TENANT, Match.IN, (self.tenant_id,))


@strawberry.type(description="A project of one tenant.")
class Project(Node):
    id: strawberry.ID = derived_id(_project_id, "tenant", "project_id", description=GLOBAL_ID)
    project_id: str = strawberry.field(description="Id in records; unique within the tenant.")
    tenant: Tenant = strawberry.field(description="The tenant of the project.")
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return All((self.tenant.requests_of_it(), Named(BY_PROJECT, Match.IN, (self.project_id,))))


@strawberry.type(description="An API key at the router, as named in records. A dimension, not a credential of this gateway.")
class CallerKey(Node):
    id: strawberry.ID = derived_id(_caller_key_id, "tenant", "api_key_id", description=GLOBAL_ID)
    api_key_id: str = strawberry.field(description="Id in records; unique within the tenant.")
    tenant: Tenant = strawberry.field(description="The tenant of the key.")
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return All((self.tenant.requests_of_it(), Named(BY_API_KEY, Match.IN, (self.api_key_id,))))


async def resolve_user_tenant(root: User, info: ResolverInfo) -> Tenant | None:
    """Return the first of the user's tenants."""
    rows = await loaders_of(info.context).children(USER_TENANTS).load(PageRequest(root.key, 1))
    return shape_tenant(rows[0]) if rows else None


async def resolve_user_tenants(
    root: User, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Tenant]:
    """Return a page of the user's tenants."""
    return await read_page(info, USER_TENANTS, PageArguments(first, after, last, before)).of_children(root.key, shape_tenant)


@strawberry.type(description="An end user, with one id for all tenants.")
class User(Node):
    key: strawberry.Private[int]
    id: strawberry.ID = named_id("User", "user_id")
    user_id: str = strawberry.field(description="Id in records.")
    username: str | None = strawberry.field(
        description="The newest name in records (for a tenant's key in its own records); null if there is none."
    )
    tenant: Tenant | None = strawberry.field(
        resolver=resolve_user_tenant, description="The first by id of the tenants in the key's scope with records of the user."
    )
    tenants: Connection[Tenant] = strawberry.field(
        resolver=resolve_user_tenants, description="The tenants in the key's scope with records of the user, by id."
    )
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return Named(BY_USER, Match.IN, (self.user_id,))


@strawberry.type(description="An API key of this gateway. Its secret is shown once, on creation.")
class ApiKey(Node):
    id: strawberry.ID = named_id("ApiKey", "key_id")
    key_id: str = strawberry.field(description="The key's id, by which it is revoked and which `tokengraph keys list` shows; no secret.")
    prefix: str = strawberry.field(description="The first characters of the secret, to identify the key in lists.")
    name: str = strawberry.field(description="A note on the use of the key; may be empty.")
    role: KeyRole = strawberry.field(description="Permissions of the key.")
    tenant: Tenant | None = strawberry.field(description="The tenant of the key, if any.")
    created_at: Instant = strawberry.field(description="Time of creation.")
    expires_at: Instant | None = strawberry.field(description="Time of expiry; null: never.")
    revoked_at: Instant | None = strawberry.field(description="Time of revocation; null: not revoked.")
    status: ApiKeyStatus = strawberry.field(description="Whether the key is valid now.")


def shape_tenant(row: TenantRow) -> Tenant:
    """Return the GraphQL object of a row."""
    return Tenant(key=row.key, tenant_id=row.external_id)


def shape_project(row: ProjectRow) -> Project:
    """Return the GraphQL object of a row."""
    return Project(project_id=row.external_id, tenant=Tenant(key=row.tenant_key, tenant_id=row.tenant_id))


def shape_caller_key(row: CallerKeyRow) -> CallerKey:
    """Return the GraphQL object of a row."""
    return CallerKey(api_key_id=row.external_id, tenant=Tenant(key=row.tenant_key, tenant_id=row.tenant_id))


def shape_user(row: UserRow) -> User:
    """Return the GraphQL object of a row."""
    return User(key=row.key, user_id=row.external_id, username=row.username)


def shape_api_key(info: ResolverInfo, row: ApiKeyRow) -> ApiKey:
    """Return the GraphQL object of a row."""
    stored = StoredKey(
        id=row.id,
        prefix=row.prefix,
        name=row.name,
        role=Role(row.role),
        tenant_id=row.tenant_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        disabled_at=row.disabled_at,
        revoked_at=row.revoked_at,
    )
    tenant = None if row.tenant_key is None or row.tenant_id is None else Tenant(key=row.tenant_key, tenant_id=row.tenant_id)
    return ApiKey(
        key_id=stored.id,
        prefix=stored.prefix,
        name=stored.name,
        role=KeyRole[stored.role.name],
        tenant=tenant,
        created_at=Instant(format_instant(stored.created_at)),
        expires_at=None if stored.expires_at is None else Instant(format_instant(stored.expires_at)),
        revoked_at=None if stored.revoked_at is None else Instant(format_instant(stored.revoked_at)),
        status=ApiKeyStatus[stored.status(info.context.now).upper()],
    )


async def load_tenant(info: ResolverInfo, tenant_id: str) -> Tenant | None:
    """Return a tenant by its id; None if the caller sees none of that id."""
    row = await loaders_of(info.context).tenants.load(tenant_id)
    return None if row is None else shape_tenant(row)


async def load_tenant_by_key(info: ResolverInfo, tenant_key: int) -> Tenant | None:
    """Return a tenant by its surrogate; None if the caller does not see it."""
    row = await loaders_of(info.context).tenants_by_key.load(tenant_key)
    return None if row is None else shape_tenant(row)


async def load_user(info: ResolverInfo, user_id: str) -> User | None:
    """Return a user by its id; None if the caller sees none of that id."""
    row = await loaders_of(info.context).users.load(user_id)
    return None if row is None else shape_user(row)


async def load_project(info: ResolverInfo, tenant_key: int, project_id: str) -> Project | None:
    """Return a project by its tenant's surrogate and its id; None if the caller does not see it."""
    row = await loaders_of(info.context).projects.load((tenant_key, project_id))
    return None if row is None else shape_project(row)


async def load_named_project(info: ResolverInfo, tenant_id: str, project_id: str) -> Project | None:
    """Return a project by its tenant's id and its own; None if the caller does not see it."""
    row = await loaders_of(info.context).named_projects.load((tenant_id, project_id))
    return None if row is None else shape_project(row)


async def load_named_caller_key(info: ResolverInfo, tenant_id: str, api_key_id: str) -> CallerKey | None:
    """Return a key at the router by its tenant's id and its own; None if the caller does not see it."""
    row = await loaders_of(info.context).named_caller_keys.load((tenant_id, api_key_id))
    return None if row is None else shape_caller_key(row)


async def load_caller_key(info: ResolverInfo, tenant_key: int, api_key_id: str) -> CallerKey | None:
    """Return a key at the router by its tenant's surrogate and its id; None if the caller does not see it."""
    row = await loaders_of(info.context).caller_keys.load((tenant_key, api_key_id))
    return None if row is None else shape_caller_key(row)


async def load_api_key(info: ResolverInfo, key_id: str) -> ApiKey | None:
    """Return a key to this gateway by its id; None if the caller does not see it."""
    row = await loaders_of(info.context).api_keys.load(key_id)
    return None if row is None else shape_api_key(info, row)


async def resolve_tenants(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Tenant]:
    """Return a page of tenants."""
    return await read_page(info, TENANTS, PageArguments(first, after, last, before)).of_all(shape_tenant)


async def resolve_tenant(info: ResolverInfo, tenant_id: TenantId) -> Tenant | None:
    """Return one tenant."""
    return await load_tenant(info, tenant_id)


async def resolve_projects(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Project]:
    """Return a page of projects."""
    return await read_page(info, PROJECTS, PageArguments(first, after, last, before)).of_all(shape_project)


async def resolve_users(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[User]:
    """Return a page of users."""
    return await read_page(info, USERS, PageArguments(first, after, last, before)).of_all(shape_user)


async def resolve_user(info: ResolverInfo, user_id: UserId) -> User | None:
    """Return one user."""
    return await load_user(info, user_id)


async def resolve_api_keys(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[ApiKey]:
    """Return a page of keys to this gateway."""
    return await read_page(info, API_KEYS, PageArguments(first, after, last, before)).of_all(lambda row: shape_api_key(info, row))


@strawberry.type
class IdentityQuery:
    """The roots of the identities."""

    tenants: Connection[Tenant] | None = strawberry.field(
        resolver=resolve_tenants,
        metadata=reads(page_rows),
        permission_classes=[IdentityReader],
        description="Tenants by id. Role admin: all; role tenant: its own.",
    )
    tenant: Tenant | None = strawberry.field(
        resolver=resolve_tenant,
        metadata=reads(1),
        permission_classes=[IdentityReader],
        description="A tenant; null if `tenants` does not list it for this key. Requires role admin or tenant.",
    )
    projects: Connection[Project] | None = strawberry.field(
        resolver=resolve_projects,
        metadata=reads(page_rows),
        permission_classes=[IdentityReader],
        description="Projects by tenant, then id. Role admin: all; role tenant: those of its tenant.",
    )
    users: Connection[User] | None = strawberry.field(
        resolver=resolve_users,
        metadata=reads(page_rows),
        permission_classes=[IdentityReader],
        description="End users by id. Role admin: all; role tenant: those in records of its tenant.",
    )
    user: User | None = strawberry.field(
        resolver=resolve_user,
        metadata=reads(1),
        permission_classes=[IdentityReader],
        description="An end user; null if `users` does not list it for this key. Requires role admin or tenant.",
    )
    api_keys: Connection[ApiKey] | None = strawberry.field(
        resolver=resolve_api_keys,
        metadata=reads(page_rows),
        permission_classes=[IdentityReader],
        description="API keys of this gateway by id, including revoked ones. Role admin: all; role tenant: those of its tenant.",
    )
