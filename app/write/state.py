"""What every writer must know to be current, and must notice when it no longer is: the row of `write_state`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.db.engine import Connection, Database


@dataclass(frozen=True, slots=True)
class WriteState:
    """`epoch`: grows whenever what writers remember may be wrong; `records_since`: older records were dropped and are refused."""

    epoch: int
    records_since: datetime | None


class StaleWriterError(Exception):
    """What a writer remembers was overtaken: roll back, forget, try again."""


async def fetch_write_state(database: Database) -> WriteState:
    """Return the state now."""
    async with database.read_connection() as connection:
        return await read_write_state(connection)


async def read_write_state(connection: Connection) -> WriteState:
    """Return the state as a connection sees it."""
    row = await (await connection.execute("/* app:write_state */ SELECT epoch, records_since FROM write_state")).fetchone()
    if row is None:
        raise AssertionError("write_state has one row, made by its migration")
    return WriteState(*row)
