"""Authentication: from an API key to its principal. Unknown, expired, disabled and revoked keys get the same error."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import islice
from typing import Final

from app.auth.keys import hash_key, same_secret
from app.db.engine import Database
from app.db.pipeline import Select, ask
from app.db.shares import SERVICE, current_workload
from app.domain.errors import UnauthenticatedError, UnavailableError
from app.domain.principal import Principal, Role

_SELECT = (
    "/* app:authenticate */ SELECT k.key_hash, k.id, k.role, t.external_id, k.tenant_id, k.expires_at FROM api_keys k"
    " LEFT JOIN tenants t ON t.id = k.tenant_id"
    " WHERE k.key_hash = ANY(%(digests)s) AND k.revoked_at IS NULL AND k.disabled_at IS NULL"
)

GUESSES_AT_ONCE: Final = 8

_GATEWAY_SECRET = Principal(key_id="gateway-secret", role=Role.GATEWAY)

_Found = tuple[Principal, datetime | None]


class _KeyLookups:
    """Looks keys up, all waiting ones by one statement. A statement starts after the look-ups that it serves, so no result is stale.

    One statement runs at a time. It includes at most GUESSES_AT_ONCE look-ups of addresses with too many invalid keys, so that
    guesses neither load the database nor delay other callers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[bytes, asyncio.Future[_Found | None]] = {}
        self._guesses: dict[bytes, asyncio.Future[_Found | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def find(self, digest: bytes, *, guessed: bool) -> _Found | None:
        """Return the principal of a key that is neither revoked nor disabled, and its expiry."""
        found = self._waiting.get(digest) or self._guesses.get(digest)
        if found is None:
            found = asyncio.get_running_loop().create_future()
            (self._guesses if guessed else self._waiting)[digest] = found
        elif not guessed and self._guesses.pop(digest, None) is not None:
            self._waiting[digest] = found
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_waiting())
        # Shielded: the cancellation of one waiter must not affect the others.
        return await asyncio.shield(found)

    async def _read_waiting(self) -> None:
        current_workload.set(SERVICE)  # a separate task, for all waiters
        while self._waiting or self._guesses:
            batch, self._waiting = self._waiting, {}
            for digest in list(islice(self._guesses, GUESSES_AT_ONCE)):
                batch[digest] = self._guesses.pop(digest)
            try:
                known = await self._read(list(batch))
            except BaseException as error:
                failed = list(batch.values())
                if isinstance(error, UnavailableError):
                    # Later waiters would wait as long for the same error.
                    failed += [*self._waiting.values(), *self._guesses.values()]
                    self._waiting, self._guesses = {}, {}
                for future in failed:
                    future.set_exception(error if isinstance(error, Exception) else UnavailableError())
                    future.exception()  # the waiter may be gone
                if not isinstance(error, Exception):
                    raise
            else:
                for digest, future in batch.items():
                    future.set_result(known.get(digest))

    async def _read(self, digests: list[bytes]) -> dict[bytes, _Found]:
        async with self._database.read_connection() as connection:
            (rows,) = await ask(connection, [Select(_SELECT, {"digests": digests})])
        return {
            key_hash: (Principal(key_id, Role(role), tenant_id, tenant_key), expires_at)
            for key_hash, key_id, role, tenant_id, tenant_key, expires_at in rows
        }


class Authenticator:
    """Authenticates by the keys of one database and by the gateway secret, if one is set."""

    def __init__(self, database: Database, gateway_secret: str | None) -> None:
        self._lookups = _KeyLookups(database)
        self._gateway_secret = gateway_secret

    async def authenticate(self, secret: str, now: datetime, *, guessed: bool = False) -> Principal:
        """Return the principal of a key. UnauthenticatedError: invalid. `guessed`: probably invalid, and looked up last."""
        if self._gateway_secret is not None and same_secret(secret, self._gateway_secret):
            return _GATEWAY_SECRET
        found = await self._lookups.find(hash_key(secret), guessed=guessed)
        if found is None or (found[1] is not None and found[1] <= now):
            raise UnauthenticatedError
        return found[0]


def presented_key(authorization: str | None, api_key: str | None) -> str | None:
    """Return the key in `Authorization: Bearer KEY`, or else in `X-API-Key: KEY`; None: neither header was sent.

    UnauthenticatedError: `Authorization` has another scheme, and there is no `X-API-Key`.
    """
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if api_key is not None and api_key.strip():
        return api_key.strip()
    if authorization is not None:
        raise UnauthenticatedError
    return None
