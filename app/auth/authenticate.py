"""From a presented key to its holder. Unknown, expired, disabled and revoked keys are told the same."""

from __future__ import annotations

import asyncio
from datetime import datetime

from app.auth.keys import hash_key, same_secret
from app.db.engine import Database
from app.db.pipeline import Asked, ask
from app.db.shares import SERVICE, asker
from app.domain.errors import UnauthenticatedError, UnavailableError
from app.domain.principal import Principal, Role

_SELECT = (
    "/* app:authenticate */ SELECT k.key_hash, k.id, k.role, t.external_id, k.tenant_id, k.expires_at FROM api_keys k"
    " LEFT JOIN tenants t ON t.id = k.tenant_id"
    " WHERE k.key_hash = ANY(%(digests)s) AND k.revoked_at IS NULL AND k.disabled_at IS NULL"
)

_GATEWAY_SECRET = Principal(key_id="gateway-secret", role=Role.GATEWAY)

_Found = tuple[Principal, datetime | None]


class _KeyLookups:
    """Looks keys up, all that wait at a time by one statement. A statement begins after whoever it is for asked: nothing is out of date."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[bytes, asyncio.Future[_Found | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def find(self, digest: bytes) -> _Found | None:
        """Return the holder of a key that is neither revoked nor disabled, and when it expires."""
        found = self._waiting.get(digest)
        if found is None:
            found = self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_waiting())
        # Shielded: one of those who share it going away must not take it from the others.
        return await asyncio.shield(found)

    async def _read_waiting(self) -> None:
        asker.set(SERVICE)  # a task of its own, for all who wait
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                known = await self._read(list(asked))
            except BaseException as error:
                failed = list(asked.values())
                if isinstance(error, UnavailableError):
                    # Who came meanwhile would wait as long again for the same answer.
                    failed += self._waiting.values()
                    self._waiting = {}
                for future in failed:
                    future.set_exception(error if isinstance(error, Exception) else UnavailableError())
                    future.exception()  # whoever asked may be gone
                if not isinstance(error, Exception):
                    raise
            else:
                for digest, future in asked.items():
                    future.set_result(known.get(digest))

    async def _read(self, digests: list[bytes]) -> dict[bytes, _Found]:
        async with self._database.read_connection() as connection:
            (rows,) = await ask(connection, [Asked(_SELECT, {"digests": digests})])
        return {
            key_hash: (Principal(key_id, Role(role), tenant_id, tenant_key), expires_at)
            for key_hash, key_id, role, tenant_id, tenant_key, expires_at in rows
        }


class Authenticator:
    """Knows the keys of one database, and the gateway's own secret if one is set."""

    def __init__(self, database: Database, gateway_secret: str | None) -> None:
        self._lookups = _KeyLookups(database)
        self._gateway_secret = gateway_secret

    async def authenticate(self, secret: str, now: datetime) -> Principal:
        """Return the holder of a key. UnauthenticatedError: it opens nothing."""
        if self._gateway_secret is not None and same_secret(secret, self._gateway_secret):
            return _GATEWAY_SECRET
        found = await self._lookups.find(hash_key(secret))
        if found is None or (found[1] is not None and found[1] <= now):
            raise UnauthenticatedError
        return found[0]


def presented_key(authorization: str | None, api_key: str | None) -> str | None:
    """Return the key in `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: neither header. UnauthenticatedError: another scheme."""
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthenticatedError
        return key.strip()
    return api_key.strip() if api_key is not None and api_key.strip() else None
