"""Erases who a user is: the id and the names go, what the user used stays counted under an anonymous id. Sums do not change."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.engine import Connection, Database
from app.domain.errors import BadInputError, NotFoundError

ANONYMOUS = "erased-"
"""What an anonymous id begins with; the user's surrogate follows."""

NO_SUCH_USER = "no user has this id; if it was erased, that is done"
ALREADY_ANONYMOUS = "this is the anonymous id of a user who was erased"

_CARRIES_USER = "record ->> 'user_id' = %s"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased. `anonymous_id` None: no record of the user was ever stored; `tenants`: those who knew the user."""

    anonymous_id: str | None
    tenants: int
    quarantined_records: int


async def erase_user(database: Database, user_id: str) -> Erasure:
    """Take a user's id and usernames out of the names and the quarantine, in one transaction.

    NotFoundError: nothing carries the id; BadInputError: it is an anonymous one. Nothing is changed then. DatabaseBusyError: a write or a
    rebuild under way took too long; nothing is changed, ask again.

    Writers wait meanwhile, and forget what they remember of the user: a new record of the same id that comes later makes a new user; one
    that is there already is a duplicate, and makes none.
    """
    async with database.transaction() as connection:
        if await _find(connection, user_id) is None and not await _waits_in_quarantine(connection, user_id):
            raise NotFoundError(NO_SUCH_USER)  # without a look at who writes
        # Every write of records takes the first, before it registers a user or makes it a member of a tenant, and one that keeps records
        # aside the second after it. A write that has begun is waited for, because it may bring a username back; one that waits here then
        # sees the new epoch, rolls back and forgets.
        await connection.execute("LOCK TABLE recent_requests, quarantined_records IN SHARE ROW EXCLUSIVE MODE")
        found = await _find(connection, user_id)
        if found is None and not await _waits_in_quarantine(connection, user_id):
            raise NotFoundError(NO_SUCH_USER)
        anonymous_id = None if found is None else await _rename(connection, found[0], user_id)
        tenants = 0
        if found is not None:
            cursor = await connection.execute("UPDATE tenant_users SET username = NULL, username_at = NULL WHERE user_id = %s", [found[0]])
            tenants = cursor.rowcount
            await connection.execute("UPDATE write_state SET epoch = epoch + 1")
        cursor = await connection.execute(
            f"/* app:erase */ UPDATE quarantined_records SET record = record - '{{user_id,username}}'::text[] WHERE {_CARRIES_USER}",
            [user_id],
        )
        return Erasure(anonymous_id, tenants, cursor.rowcount)


async def _find(connection: Connection, user_id: str) -> tuple[int] | None:
    return await (await connection.execute("SELECT id FROM users WHERE external_id = %s", [user_id])).fetchone()


async def _waits_in_quarantine(connection: Connection, user_id: str) -> bool:
    cursor = await connection.execute(f"SELECT EXISTS (SELECT FROM quarantined_records WHERE {_CARRIES_USER})", [user_id])
    return await cursor.fetchone() == (True,)


async def _rename(connection: Connection, key: int, user_id: str) -> str:
    """Give the user an anonymous id that nobody has: records may carry any id, so that somebody may be called so."""
    plain = f"{ANONYMOUS}{key}"
    if user_id == plain or user_id.startswith(f"{plain}-"):
        raise BadInputError(ALREADY_ANONYMOUS)
    cursor = await connection.execute(
        "SELECT external_id FROM users WHERE external_id = %s OR starts_with(external_id, %s)", [plain, f"{plain}-"]
    )
    taken = {name for (name,) in await cursor.fetchall()}
    number = 1
    anonymous_id = plain
    while anonymous_id in taken:
        number += 1
        anonymous_id = f"{plain}-{number}"
    await connection.execute("UPDATE users SET external_id = %s WHERE id = %s", [anonymous_id, key])
    return anonymous_id
