"""API keys in the database: create, import, list, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.auth.keys import NewKey, generate_key, import_key
from app.db.engine import Connection, Database
from app.domain.errors import BadInputError, NotFoundError
from app.domain.principal import Role


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Attributes of a new key. `tenant_id`: external id, created if new; `expires_at`: in UTC; None: never."""

    role: Role
    tenant_id: str | None = None
    name: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in a list, without its secret."""

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


def _check(request: KeyRequest, now: datetime) -> None:
    if request.role is Role.TENANT and request.tenant_id is None:
        raise BadInputError("a key of role tenant needs a tenant", "tenant_id")
    if request.role is Role.GATEWAY and request.tenant_id is not None:
        raise BadInputError("a key of role gateway cannot belong to a tenant", "tenant_id")
    if request.expires_at is not None and request.expires_at <= now:
        raise BadInputError("expires_at must be in the future", "expires_at")


async def _insert(connection: Connection, request: KeyRequest, keys: Sequence[NewKey], now: datetime) -> set[bytes]:
    """Insert keys with new hashes; return the hashes that were inserted."""
    if request.tenant_id is not None:
        await connection.execute(
            "INSERT INTO tenants (external_id) SELECT %s WHERE NOT EXISTS (SELECT FROM tenants WHERE external_id = %s)"
            " ON CONFLICT DO NOTHING",
            [request.tenant_id, request.tenant_id],
        )
    cursor = await connection.execute(
        "/* app:insert_keys */ INSERT INTO api_keys (id, key_hash, prefix, name, role, tenant_id, created_at, expires_at)"
        " SELECT id, key_hash, prefix, %s, %s, (SELECT id FROM tenants WHERE external_id = %s), %s, %s"
        " FROM unnest(%s::text[], %s::bytea[], %s::text[]) AS given (id, key_hash, prefix) ORDER BY key_hash"
        " ON CONFLICT (key_hash) DO NOTHING RETURNING key_hash",
        [
            *(request.name, request.role.value, request.tenant_id, now, request.expires_at),
            *([key.id for key in keys], [key.hash for key in keys], [key.prefix for key in keys]),
        ],
    )
    return {key_hash for (key_hash,) in await cursor.fetchall()}


async def create_key(database: Database, request: KeyRequest, now: datetime) -> NewKey:
    """Create and store a key; only the result contains its secret. BadInputError: a tenant key without a tenant, a past expiry."""
    _check(request, now)
    key = generate_key()
    async with database.transaction() as connection:
        await _insert(connection, request, [key], now)
    return key


async def import_keys(database: Database, request: KeyRequest, lines: Sequence[str], now: datetime) -> tuple[list[NewKey], int]:
    """Import keys of another system, one per line; return the new ones, and the number of those that exist with the same role and tenant.

    All or none. BadInputError names the line: an invalid or guessable key, one with another role or tenant, or an inactive one.
    """
    _check(request, now)
    keys: dict[bytes, tuple[int, NewKey]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                key = import_key(line.strip())
            except BadInputError as error:
                raise BadInputError(f"line {number}: {error.message}") from None
            keys.setdefault(key.hash, (number, key))
    async with database.transaction() as connection:
        inserted = await _insert(connection, request, [key for _, key in keys.values()], now)
        cursor = await connection.execute(
            "/* app:known_keys */ SELECT k.key_hash, k.id, k.role, t.external_id, k.expires_at, k.disabled_at, k.revoked_at"
            " FROM api_keys k LEFT JOIN tenants t ON t.id = k.tenant_id WHERE k.key_hash = ANY(%s)",
            [[digest for digest in keys if digest not in inserted]],
        )
        known = await cursor.fetchall()
        for digest, key_id, role, tenant_id, expires_at, disabled_at, revoked_at in known:
            number = keys[digest][0]
            if disabled_at is not None or revoked_at is not None or (expires_at is not None and expires_at <= now):
                raise BadInputError(f"line {number}: this key exists as {key_id} and is not active; it cannot be imported again")
            if (role, tenant_id) != (request.role.value, request.tenant_id):
                of_tenant = "" if tenant_id is None else f" of tenant {tenant_id}"
                raise BadInputError(f"line {number}: this key exists already, as {key_id} of role {role}{of_tenant}")
    return [key for digest, (_, key) in keys.items() if digest in inserted], len(known)


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


async def revoke_key(database: Database, key_id: str, now: datetime, tenant_key: int | None = None) -> None:
    """Revoke a key; revoking it again is no error. `tenant_key`: only one of this tenant. NotFoundError: no such id."""
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s)"
            " WHERE id = %s AND (%s::integer IS NULL OR tenant_id = %s) RETURNING id",
            [now, key_id, tenant_key, tenant_key],
        )
        if await cursor.fetchone() is None:
            raise NotFoundError(f"no key has the id {key_id}")
