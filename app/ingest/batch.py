"""The one write: a batch of records becomes facts and rollups in one transaction, exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import psycopg

from app.cube.dimensions import TRAFFIC_MODES
from app.db.engine import Connection, Database
from app.db.partitions import ensure_partitions, month_of
from app.domain.errors import ConnectionLostError, DatabaseBusyError, UnavailableError
from app.domain.usage import ParsedBatch, Reject, UsageRecord
from app.ingest.names import Names, register, resolve
from app.ingest.rollup import COPY_STAGE, CREATE_STAGE, EMPTY_STAGE, FROM_ARRAYS, FROM_STAGE, ingest_statement

log = logging.getLogger(__name__)

ARRAYS_UP_TO = 500
"""Batches up to this many records travel as array parameters of the one statement; larger ones by COPY through a staging table."""

MAX_ERRORS = 1000
"""Errors that a receipt lists; `rejected` counts them all."""

_OVERFLOW_MESSAGE = "the sums that this record would change pass 2^63 - 1"
_MODE_KEYS = {name: key for key, name in enumerate(TRAFFIC_MODES)}
_STATEMENTS = {
    (source, with_names): ingest_statement(source, with_names=with_names)
    for source in (FROM_ARRAYS, FROM_STAGE)
    for with_names in (False, True)
}

Row = tuple[Any, ...]
"""A record as `STAGE` lists it."""


@dataclass(slots=True)
class Receipt:
    """What became of a batch. `received` = `inserted` + `duplicates` + `rejected`."""

    received: int
    inserted: int
    duplicates: int
    rejected: int
    errors: list[Reject] = field(default_factory=list)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    private_models: list[str] = field(default_factory=list)
    """Permaslugs that this batch was the first to mention and that stay private until the catalog publishes them."""

    def as_json(self) -> dict[str, Any]:
        """Return the documented object, with the first MAX_ERRORS errors; `unknown_fields` and `private_models` only if there are any."""
        answer: dict[str, Any] = {
            "received": self.received,
            "inserted": self.inserted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "errors": [{"index": error.index, "field": error.field, "message": error.message} for error in self.errors[:MAX_ERRORS]],
        }
        if self.unknown_fields:
            answer["unknown_fields"] = sorted(self.unknown_fields)
        if self.private_models:
            answer["private_models"] = self.private_models
        return answer


@dataclass(slots=True)
class Written:
    """What a transaction did: how many records went in, which models it registered, positions of those that no sum can hold."""

    inserted: int
    private_models: list[str]
    overflowed: list[int] = field(default_factory=list)


class Ingestor:
    """Writes batches to one database. One per process: it remembers the names that it has seen committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = Names()
        self._months: set[tuple[int, int]] = set()

    async def ingest(self, batch: ParsedBatch) -> Receipt:
        """Write a batch and return its receipt, after the commit. UnavailableError: nothing is known to be written; send it again.

        A record whose (tenant, request id) is already there, or stands earlier in the batch, is a duplicate and changes nothing.
        """
        firsts, indexes = _first_of_each(batch)
        written = await self._write_with_retry(firsts) if firsts else Written(0, [])
        errors = batch.rejects + [Reject(indexes[position], None, _OVERFLOW_MESSAGE) for position in written.overflowed]
        rejected = batch.received - len(batch.records) + len(written.overflowed)
        return Receipt(
            received=batch.received,
            inserted=written.inserted,
            duplicates=batch.received - rejected - written.inserted,
            rejected=rejected,
            errors=sorted(errors, key=lambda error: error.index),
            unknown_fields=batch.unknown_fields,
            private_models=written.private_models,
        )

    async def _write_with_retry(self, records: list[UsageRecord]) -> Written:
        """Write once; again if the connection was lost or a lock cycle broken, which being idempotent makes safe."""
        for last_try in (False, True):
            try:
                return await self._write_all(records)
            except DatabaseBusyError:
                raise
            except UnavailableError as error:
                self._forget()
                if last_try or not isinstance(error, ConnectionLostError):
                    raise
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UndefinedTable):
                self._forget()
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def _forget(self) -> None:
        # The server may have come back as another one (a restored backup): what was remembered may not be there.
        self._names.clear()
        self._months.clear()

    async def _write_all(self, records: list[UsageRecord]) -> Written:
        months = {month_of(record.occurred_at) for record in records} - self._months
        if months:
            await ensure_partitions(self._database, months)
            self._months |= months
        try:
            return await self._write_once(records)
        except psycopg.errors.NumericValueOutOfRange:
            return await self._write_carefully(records)

    async def _write_once(self, records: list[UsageRecord]) -> Written:
        async with self._database.transaction() as connection:
            names, private_models = await self._resolve(connection, records)
            inserted = await _write_rows(connection, await _encode(records, names))
        self._remember(names)
        return Written(inserted, private_models)

    async def _write_carefully(self, records: list[UsageRecord]) -> Written:
        """Write all but the records that no sum can hold, in one transaction."""
        overflowed: list[int] = []
        async with self._database.transaction() as connection:
            names, private_models = await self._resolve(connection, records)
            rows = await _encode(records, names)

            async def write(first: int, last: int) -> int:
                try:
                    async with connection.transaction():
                        return await _write_rows(connection, rows[first:last], reuse_stage=True)
                except psycopg.errors.NumericValueOutOfRange:
                    if last - first == 1:
                        overflowed.append(first)
                        return 0
                middle = (first + last) // 2
                return await write(first, middle) + await write(middle, last)

            inserted = await write(0, len(rows))
        self._remember(names)
        return Written(inserted, private_models, overflowed)

    async def _resolve(self, connection: Connection, records: list[UsageRecord]) -> tuple[Names, list[str]]:
        names, missing = resolve(records, self._names)
        return names, await register(connection, missing, names) if missing else []

    def _remember(self, names: Names) -> None:
        self._names.add(names)
        self._names.trim()


def _first_of_each(batch: ParsedBatch) -> tuple[list[UsageRecord], list[int]]:
    seen: set[tuple[str, str]] = set()
    firsts: list[UsageRecord] = []
    indexes: list[int] = []
    for index, record in zip(batch.indexes, batch.records, strict=True):
        key = (record.tenant_id, record.request_id)
        if key not in seen:
            seen.add(key)
            firsts.append(record)
            indexes.append(index)
    return firsts, indexes


async def _encode(records: Sequence[UsageRecord], names: Names) -> list[Row]:
    if len(records) <= ARRAYS_UP_TO:
        return _encode_rows(records, names)
    return await asyncio.to_thread(_encode_rows, records, names)


def _encode_rows(records: Iterable[UsageRecord], names: Names) -> list[Row]:
    tenants, projects, users, keys, models, providers = (
        names.tenants,
        names.projects,
        names.users,
        names.caller_keys,
        names.models,
        names.providers,
    )
    rows = []
    for record in records:
        tenant = tenants[record.tenant_id]
        rows.append(
            (
                record.occurred_at,
                tenant,
                record.request_id,
                blake2b(record.request_id.encode(), digest_size=16).hexdigest(),
                0 if record.project_id is None else projects[(tenant, record.project_id)],
                0 if record.user_id is None else users[record.user_id],
                record.username,
                0 if record.api_key_id is None else keys[(tenant, record.api_key_id)],
                models[(record.model_id, record.model_permaslug)],
                None if record.provider is None else providers[record.provider],
                record.status_code,
                _MODE_KEYS[record.traffic_mode],
                record.prompt_tokens,
                record.completion_tokens,
                record.cached_tokens,
                record.reasoning_tokens,
                record.shared_model_spend,
                record.byok_platform_fee,
                record.managed_tool_fee,
                record.agent_runtime_fee,
                record.search_requests,
                record.cost_usd,
                record.latency_ms,
                record.ttft_ms,
            )
        )
    return rows


_REQUEST_ID, _USERNAME = 2, 6
_TEXTS = (_REQUEST_ID, _USERNAME)


async def _write_rows(connection: Connection, rows: list[Row], *, reuse_stage: bool = False) -> int:
    """Run the statement over `rows`; `reuse_stage`: the transaction may have staged others before."""
    with_names = any(row[_USERNAME] is not None for row in rows)
    if len(rows) <= ARRAYS_UP_TO:
        cursor = await connection.execute(_STATEMENTS[FROM_ARRAYS, with_names], _array_literals(rows))
    else:
        await connection.execute(CREATE_STAGE)
        if reuse_stage:
            await connection.execute(EMPTY_STAGE)
        async with connection.cursor().copy(COPY_STAGE) as copy:
            await copy.write(await asyncio.to_thread(_copy_text, rows))
        cursor = await connection.execute(_STATEMENTS[FROM_STAGE, with_names])
    counted = await cursor.fetchone()
    if counted is None:
        raise AssertionError("the ingest statement always gives a row")
    return int(counted[0])


def _array_literals(rows: list[Row]) -> list[str]:
    literals = []
    for position, column in enumerate(zip(*rows, strict=True)):
        quote = _quote_text if position in _TEXTS else str
        literals.append("{" + ",".join(["NULL" if cell is None else quote(cell) for cell in column]) + "}")
    return literals


def _quote_text(cell: str) -> str:
    return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _copy_text(rows: list[Row]) -> bytes:
    lines = []
    for row in rows:
        cells = ["\\N" if cell is None else str(cell) for cell in row]
        for position in _TEXTS:
            if row[position] is not None:
                cells[position] = cells[position].replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
        lines.append("\t".join(cells))
    lines.append("")
    return "\n".join(lines).encode()
