"""Which records of a write are new: claims their keys, which locks them for this writer until its transaction ends.

In the caller's transaction, at READ COMMITTED: what a later statement sees is newer than what the claim locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

from app.db.engine import Connection
from app.domain.usage import UsageRecord
from app.write.columns import IntegerArray, Keys, Phrases, UuidArray, encode_keys, find_tenants
from app.write.rollup import ALL_KNOWN, CLAIM_ALL, CLAIM_SOME, STORED_BEFORE
from app.write.state import StaleWriterError, WriteState


class _ReadyDumper(Dumper):
    """Sends what is in the binary format already."""

    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        """Return it as it is."""
        return obj


class _IntegerArrayDumper(_ReadyDumper):
    oid = adapters.types["int4"].array_oid


class _UuidArrayDumper(_ReadyDumper):
    oid = adapters.types["uuid"].array_oid


adapters.register_dumper(IntegerArray, _IntegerArrayDumper)
adapters.register_dumper(UuidArray, _UuidArrayDumper)


async def are_known(connection: Connection, records: Sequence[UsageRecord], phrases: Phrases, state: WriteState) -> bool:
    """Tell whether every record is known, for certain if so; a look that a replay can end with. StaleWriterError: the state is another."""
    tenants = find_tenants(records, phrases)
    if None in tenants:
        return False
    told = await (await connection.execute(ALL_KNOWN, await asyncio.to_thread(encode_keys, records, tenants))).fetchone()
    if told is None:
        raise AssertionError("the statement always gives a row")
    all_known, epoch = told
    if epoch != state.epoch:
        raise StaleWriterError
    return bool(all_known)


async def claim_all(connection: Connection, keys: Keys, count: int) -> bool:
    """Claim keys that are taken for new; False, or a unique violation, if one is not."""
    return (await connection.execute(CLAIM_ALL, keys)).rowcount == count


async def claim_new(connection: Connection, keys: Keys, count: int, state: WriteState) -> Sequence[int]:
    """Claim those of `count` keys that are new; return their positions, ascending. StaleWriterError: the state is another by now."""
    told = await (await connection.execute(CLAIM_SOME, keys)).fetchone()
    if told is None:
        raise AssertionError("the claim always gives a row")
    fresh, epoch, positions = told
    if epoch != state.epoch:
        raise StaleWriterError
    return range(fresh and count) if positions is None else positions


async def find_stored(connection: Connection, records: Sequence[UsageRecord], positions: Sequence[int], tenants: Sequence[int]) -> set[int]:
    """Return those of some positions where the record is there from before the retry window, so that its key was claimed as if new.

    `tenants`: the surrogate of each position's tenant.
    """
    if not positions:
        return set()
    found = [records[position] for position in positions]
    rows = await connection.execute(
        STORED_BEFORE, [list(positions), list(tenants), [record.occurred_at for record in found], [record.request_id for record in found]]
    )
    return {position for (position,) in await rows.fetchall()}
