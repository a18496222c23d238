"""Who uses the router, as the graph reads it: tenants, their projects, users, keys at the router, and keys to this gateway.

`in_tenant` is the one place where a tenant's own is told from others'.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.graph.listing import Column, Listing, Reach


class TenantRow(NamedTuple):
    """A tenant: surrogate, public id."""

    key: int
    external_id: str


class ProjectRow(NamedTuple):
    """A project and its tenant."""

    tenant_key: int
    tenant_id: str
    key: int
    external_id: str


class CallerKeyRow(NamedTuple):
    """A tenant's key at the router, as records name it."""

    tenant_key: int
    tenant_id: str
    key: int
    external_id: str


class UserRow(NamedTuple):
    """An end user, with the newest name that the records in scope gave."""

    key: int
    external_id: str
    username: str | None


class ApiKeyRow(NamedTuple):
    """A key to this gateway: never its hash."""

    id: str
    prefix: str
    name: str
    role: str
    tenant_key: int | None
    tenant_id: str | None
    created_at: datetime
    expires_at: datetime | None
    disabled_at: datetime | None
    revoked_at: datetime | None


def in_tenant(reach: Reach, column: str) -> str:
    """Return the condition under which a row of the tenant in `column` may be seen."""
    return {Reach.EVERYTHING: "true", Reach.TENANT: f"{column} = %(tenant)s::integer", Reach.PUBLIC: "false"}[reach]


def _username(reach: Reach) -> str:
    return (
        f"(SELECT n.username FROM tenant_users n WHERE n.user_id = u.id AND n.username IS NOT NULL AND {in_tenant(reach, 'n.tenant_id')}"
        ' ORDER BY n.username_at DESC, n.username COLLATE "C" DESC LIMIT 1) AS username'
    )


def _tenants(reach: Reach) -> str:
    return f"SELECT t.id AS key, t.external_id FROM tenants t WHERE {in_tenant(reach, 't.id')}"


def _owned(table: str) -> str:
    return (
        f"SELECT o.tenant_id AS tenant_key, t.external_id AS tenant_id, o.id AS key, o.external_id FROM {table} o"
        " JOIN tenants t ON t.id = o.tenant_id WHERE "
    )


def _projects(reach: Reach) -> str:
    return _owned("projects") + in_tenant(reach, "o.tenant_id")


def _caller_keys(reach: Reach) -> str:
    return _owned("caller_keys") + in_tenant(reach, "o.tenant_id")


def _users(reach: Reach) -> str:
    known = f"EXISTS (SELECT FROM tenant_users v WHERE v.user_id = u.id AND {in_tenant(reach, 'v.tenant_id')})"
    return f"SELECT u.id AS key, u.external_id, {_username(reach)} FROM users u WHERE {'true' if reach is Reach.EVERYTHING else known}"


def _members(reach: Reach) -> str:
    return (
        f"SELECT v.tenant_id AS tenant_key, u.id AS key, u.external_id, {_username(reach)}"
        f" FROM tenant_users v JOIN users u ON u.id = v.user_id WHERE {in_tenant(reach, 'v.tenant_id')}"
    )


def _memberships(reach: Reach) -> str:
    return (
        "SELECT v.user_id AS user_key, t.id AS key, t.external_id"
        f" FROM tenant_users v JOIN tenants t ON t.id = v.tenant_id WHERE {in_tenant(reach, 'v.tenant_id')}"
    )


def _api_keys(reach: Reach) -> str:
    return (
        "SELECT k.id, k.prefix, k.name, k.role, k.tenant_id AS tenant_key, t.external_id AS tenant_id,"
        " k.created_at, k.expires_at, k.disabled_at, k.revoked_at"
        f" FROM api_keys k LEFT JOIN tenants t ON t.id = k.tenant_id WHERE {in_tenant(reach, 'k.tenant_id')}"
    )


BY_ID = (Column("id", "text"),)
BY_NAME = (Column("external_id", "text"),)
BY_KEY = (Column("key", "integer"),)
BY_TENANT_AND_NAME = (Column("tenant_key", "integer"), Column("external_id", "text"))
BY_TENANT_NAME_AND_NAME = (Column("tenant_id", "text"), Column("external_id", "text"))
BY_TENANT_AND_KEY = (Column("tenant_key", "integer"), Column("key", "integer"))

_TENANT_KEY = Column("tenant_key", "integer")

TENANTS = Listing("tenants", TenantRow, ("external_id",), _tenants)
PROJECTS = Listing("projects", ProjectRow, ("tenant_id", "external_id"), _projects)
CALLER_KEYS = Listing("caller_keys", CallerKeyRow, ("tenant_id", "external_id"), _caller_keys)
USERS = Listing("users", UserRow, ("external_id",), _users)
API_KEYS = Listing("api_keys", ApiKeyRow, ("id",), _api_keys)

TENANT_PROJECTS = Listing("tenant_projects", ProjectRow, ("external_id",), _projects, _TENANT_KEY)
TENANT_CALLER_KEYS = Listing("tenant_caller_keys", CallerKeyRow, ("external_id",), _caller_keys, _TENANT_KEY)
TENANT_USERS = Listing("tenant_users", UserRow, ("external_id",), _members, _TENANT_KEY)
TENANT_API_KEYS = Listing("tenant_api_keys", ApiKeyRow, ("id",), _api_keys, _TENANT_KEY)
USER_TENANTS = Listing("user_tenants", TenantRow, ("external_id",), _memberships, Column("user_key", "integer"))
