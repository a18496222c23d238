"""API keys in the database: made, listed, revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.auth.keys import NewKey, generate_key
from app.db.engine import Database
from app.domain.errors import BadInputError, NotFoundError
from app.domain.principal import Role


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a key is to be. `tenant_id`: external id, made if new; `expires_at`: in UTC, None for never."""

    role: Role
    tenant_id: str | None = None
    name: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as listed: never its secret."""

    id: str
    prefix: str
    name: str
    role: Role
    tenant_id: str | None
    created_at: datetime
    expires_at: datetime | None
    disabled_at: datetime | None
    revoked_at: datetime | None

    def status(self, now: datetime) -> str:
        """Return `active`, `expired`, `disabled` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.disabled_at is not None:
            return "disabled"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


async def create_key(database: Database, request: KeyRequest, now: datetime) -> NewKey:
    """Make and store a key; its secret is in the answer and nowhere else. BadInputError: a tenant key without a tenant, a past expiry."""
    if request.role is Role.TENANT and request.tenant_id is None:
        raise BadInputError("a key of role tenant needs a tenant")
    if request.role is Role.GATEWAY and request.tenant_id is not None:
        raise BadInputError("a key of role gateway belongs to no tenant")
    if request.expires_at is not None and request.expires_at <= now:
        raise BadInputError("expires must be in the future")
    key = generate_key()
    async with database.transaction() as connection:
        if request.tenant_id is not None:
            await connection.execute(
                "INSERT INTO tenants (external_id) SELECT %s WHERE NOT EXISTS (SELECT FROM tenants WHERE external_id = %s)"
                " ON CONFLICT DO NOTHING",
                [request.tenant_id, request.tenant_id],
            )
        await connection.execute(
            "INSERT INTO api_keys (id, key_hash, prefix, name, role, tenant_id, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, (SELECT id FROM tenants WHERE external_id = %s), %s, %s)",
            [key.id, key.hash, key.prefix, request.name, request.role.value, request.tenant_id, now, request.expires_at],
        )
    return key


async def list_keys(database: Database) -> list[StoredKey]:
    """Return every key, oldest first."""
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "/* app:keys */ SELECT k.id, k.prefix, k.name, k.role, t.external_id, k.created_at, k.expires_at, k.disabled_at, k.revoked_at"
            " FROM api_keys k LEFT JOIN tenants t ON t.id = k.tenant_id ORDER BY k.created_at, k.id"
        )
        return [
            StoredKey(key_id, prefix, name, Role(role), tenant_id, created_at, expires_at, disabled_at, revoked_at)
            for key_id, prefix, name, role, tenant_id, created_at, expires_at, disabled_at, revoked_at in await cursor.fetchall()
        ]


async def revoke_key(database: Database, key_id: str, now: datetime) -> None:
    """Revoke a key from now on; revoking twice is no error. NotFoundError: no such id."""
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s RETURNING id", [now, key_id]
        )
        if await cursor.fetchone() is None:
            raise NotFoundError(f"no key has the id {key_id}")
