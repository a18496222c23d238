"""From a presented key to its holder. Unknown, expired, disabled and revoked keys are told the same."""

from __future__ import annotations

import hmac
from datetime import datetime

from app.auth.keys import hash_key, same_secret
from app.db.engine import Database
from app.domain.errors import UnauthenticatedError
from app.domain.principal import Principal, Role

_SELECT = (
    "/* app:authenticate */ SELECT k.key_hash, k.id, k.role, t.external_id, k.tenant_id FROM api_keys k"
    " LEFT JOIN tenants t ON t.id = k.tenant_id"
    " WHERE k.key_hash = %s AND k.revoked_at IS NULL AND k.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %s)"
)

_GATEWAY_SECRET = Principal(key_id="gateway-secret", role=Role.GATEWAY)


class Authenticator:
    """Knows the keys of one database, and the gateway's own secret if one is set."""

    def __init__(self, database: Database, gateway_secret: str | None) -> None:
        self._database = database
        self._gateway_secret = gateway_secret

    async def authenticate(self, secret: str, now: datetime) -> Principal:
        """Return the holder of a key. UnauthenticatedError: it opens nothing."""
        if self._gateway_secret is not None and same_secret(secret, self._gateway_secret):
            return _GATEWAY_SECRET
        digest = hash_key(secret)
        async with self._database.read_connection() as connection:
            row = await (await connection.execute(_SELECT, [digest, now])).fetchone()
        if row is None or not hmac.compare_digest(bytes(row[0]), digest):
            raise UnauthenticatedError
        return Principal(key_id=row[1], role=Role(row[2]), tenant_id=row[3], tenant_key=row[4])


def presented_key(authorization: str | None, api_key: str | None) -> str | None:
    """Return the key in `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: neither header. UnauthenticatedError: another scheme."""
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthenticatedError
        return key.strip()
    return api_key.strip() if api_key is not None and api_key.strip() else None
