"""The write of a few records, as array parameters: one statement, or two around the registration of names that nobody has mentioned yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.db.engine import Connection
from app.domain.usage import UsageRecord
from app.write.claim import claim_new, find_stored
from app.write.columns import encode_keys, encode_tenant, has_display_names
from app.write.encode import encode_arrays
from app.write.identities import Missing, Names, register, resolve
from app.write.rollup import ingest_statement, store_arrays
from app.write.state import StaleWriterError, WriteState

_KINDS = [(with_names, with_shares) for with_names in (False, True) for with_shares in (False, True)]
_INGEST = {(names, shares): ingest_statement(with_names=names, with_shares=shares) for names, shares in _KINDS}
_STORE = {(names, shares): store_arrays(with_names=names, with_shares=shares) for names, shares in _KINDS}


@dataclass(frozen=True, slots=True)
class Few:
    """Records to write, each (tenant, request id) once. `parts[i]`: which of the `part_count` deliveries `records[i]` came with.

    `names`: those that are registered, all tenants among them.
    """

    records: Sequence[UsageRecord]
    parts: Sequence[int]
    part_count: int
    names: Names

    def only(self, positions: Sequence[int]) -> Few:
        """Return the same with the records at some positions only."""
        return replace(
            self, records=[self.records[position] for position in positions], parts=[self.parts[position] for position in positions]
        )


async def write_few(connection: Connection, few: Few, missing: Missing, state: WriteState) -> tuple[list[int], list[str]]:
    """Write records; return how many went in of each part, and the permaslugs of models that are new and private.

    `missing`: the names that nobody has registered. They are registered, and added to the names, for records that are new only.
    StaleWriterError: the state is another by now.
    """
    if not missing:
        return await _store(connection, few, _INGEST, state), []
    records, names = few.records, few.names
    tenants = [names.tenants[record.tenant_id] for record in records]
    keys = encode_keys(records, [encode_tenant(tenant) for tenant in tenants])
    new = await claim_new(connection, keys, len(records), state)
    unresolved = [position for position in new if missing.concerns(records[position])]
    stored = await find_stored(connection, records, unresolved, [tenants[position] for position in unresolved])
    new = [position for position in new if position not in stored]
    if not new:
        return [0] * few.part_count, []
    _, lacking = resolve([records[position] for position in unresolved if position not in stored], names)
    private_models = await register(connection, lacking, names) if lacking else []
    return await _store(connection, few.only(new), _STORE, state), private_models


async def _store(connection: Connection, few: Few, statements: dict[tuple[bool, bool], str], state: WriteState) -> list[int]:
    kind = has_display_names(few.records), few.part_count > 1
    cursor = await connection.execute(statements[kind], encode_arrays(few.records, few.parts, few.names))
    told = await cursor.fetchone()
    if told is None:
        raise AssertionError("the statement always gives a row")
    total, epoch, shares = told
    if epoch != state.epoch:
        raise StaleWriterError
    if few.part_count == 1:
        return [int(total)]
    return [int((shares or {}).get(str(part), 0)) for part in range(few.part_count)]
