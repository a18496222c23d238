"""The window in which a retry is recognised whatever its timestamp: two generations of request ids, the older one dropped."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.db.engine import Database

RETRY_WINDOW = timedelta(days=3)
"""A request id is remembered for at least this long after it came in, and for at most twice as long."""

_FARTHEST_AHEAD = timedelta(days=30)


async def rotate_request_ids(database: Database, now: datetime) -> bool:
    """Drop the older generation and begin a new one if the current one is `RETRY_WINDOW` old; True if it was. Once among all hosts."""
    async with database.transaction() as connection:
        # Begun by a clock that was far ahead: it would last until that time comes. Not moved to now, or a host whose clock stays days
        # ahead would begin a new one each time that another host has moved it, and ids would be forgotten early.
        farthest = now + _FARTHEST_AHEAD
        await connection.execute("UPDATE request_rotation SET rotated_at = %s WHERE rotated_at > %s", [farthest, farthest])
        cursor = await connection.execute(
            "UPDATE request_rotation SET rotated_at = %s WHERE rotated_at <= %s RETURNING id", [now, now - RETRY_WINDOW]
        )
        if await cursor.fetchone() is None:
            return False
        # Waits for the writes under way and holds the new ones for the moment of the exchange.
        await connection.execute("LOCK TABLE recent_requests, previous_requests IN ACCESS EXCLUSIVE MODE")
        await connection.execute("TRUNCATE previous_requests")
        await connection.execute("ALTER TABLE previous_requests RENAME TO dropped_requests")
        await connection.execute("ALTER TABLE recent_requests RENAME TO previous_requests")
        await connection.execute("ALTER TABLE dropped_requests RENAME TO recent_requests")
    return True
