"""The one write: batches of records become facts and rollups in one transaction, exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import psycopg

from app.db.engine import Connection, Database
from app.db.partitions import Month, ensure_partitions, month_of
from app.domain.errors import ConnectionLostError, DatabaseBusyError, UnavailableError
from app.domain.time_range import format_instant
from app.domain.usage import ParsedBatch, Quarantined, Reject, UsageRecord
from app.write.claim import are_known
from app.write.columns import Identities, Phrases, encode_tenant
from app.write.few import Few, write_few
from app.write.identities import Missing, Names, look_up, register, register_tenants, resolve
from app.write.large import Expectation, Load, NotNewError, write_load
from app.write.quarantine import keep_quarantined
from app.write.receipt import Receipt
from app.write.stage import REQUEST_ID, TENANT_ID
from app.write.state import StaleWriterError, WriteState, fetch_write_state

ARRAYS_UP_TO = 500
"""Batches up to this many records travel as array parameters of the one statement; larger ones as `large` says."""

_TRIES = 3
_key_of = itemgetter(UsageRecord._fields.index(TENANT_ID), UsageRecord._fields.index(REQUEST_ID))


Also = Callable[[Connection, "Written"], Awaitable[None]]
"""What is to happen in the transaction of a write, after it; what it raises undoes the write."""


@dataclass(slots=True)
class Delivery:
    """Batches that share a transaction. `records[i]` is the first of its (tenant, request id) and came with batch `parts[i]`."""

    batches: Sequence[ParsedBatch]
    also: Also | None = None
    records: list[UsageRecord] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    quarantined_parts: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, batches: Sequence[ParsedBatch], also: Also | None = None) -> Delivery:
        """Return what there is to write of the batches."""
        delivery = cls(batches, also)
        for part, batch in enumerate(batches):
            delivery.records += batch.records
            delivery.parts += [part] * len(batch.records)
            delivery.indexes += batch.indexes
            delivery.quarantined += batch.quarantined
            delivery.quarantined_parts += [part] * len(batch.quarantined)
        keys = list(map(_key_of, delivery.records))
        if len(set(keys)) == len(keys):
            return delivery
        seen: set[object] = set()
        repeated = set()
        for position, key in enumerate(keys):
            if key in seen:
                repeated.add(position)
            seen.add(key)
        return delivery.without(repeated)

    def without(self, positions: set[int]) -> Delivery:
        """Return the same without some records."""
        kept = [position for position in range(len(self.records)) if position not in positions]
        return Delivery(
            self.batches,
            self.also,
            [self.records[position] for position in kept],
            [self.parts[position] for position in kept],
            [self.indexes[position] for position in kept],
            self.quarantined,
            self.quarantined_parts,
        )


@dataclass(slots=True)
class Written:
    """What a transaction did. `inserted`: records of each part; `refused`: by part, those that the database could not take."""

    inserted: list[int]
    private_models: list[str] = field(default_factory=list)
    refused: list[tuple[int, Reject]] = field(default_factory=list)
    not_quarantined: dict[int, str] = field(default_factory=dict)
    """Positions among the delivery's quarantined records for which there was no room, and why."""


class Ingestor:
    """Writes batches to one database. One per process: it remembers the names that it has seen committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names = Names()
        self._phrases = Phrases()
        self._expectation = Expectation()
        self._months: set[Month] = set()
        self._state: WriteState | None = None

    async def ingest(self, batch: ParsedBatch, also: Also | None = None) -> Receipt:
        """Write a batch and return its receipt, after the commit. UnavailableError: nothing is known to be written; send it again.

        A record whose (tenant, request id) is already there, or stands earlier in the batch, is a duplicate and changes nothing.
        `also` runs in the same transaction, once for every try.
        """
        return (await self.ingest_all([batch], also))[0]

    async def ingest_all(self, batches: Sequence[ParsedBatch], also: Also | None = None) -> list[Receipt]:
        """Write several deliveries in one transaction and return the receipt of each, after the commit. Otherwise as `ingest`."""
        delivery = Delivery.of(batches, also)
        if delivery.records or delivery.quarantined or also is not None:
            written = await self._write_with_retry(delivery)
        else:
            written = Written([0] * len(batches))
        return [_make_receipt(delivery, written, part) for part in range(len(batches))]

    async def _write_with_retry(self, delivery: Delivery) -> Written:
        """Write; again if the connection was lost, a lock cycle broken or memory overtaken, which being idempotent makes safe."""
        for number in range(1, _TRIES + 1):
            try:
                return await self._write_all(delivery)
            except DatabaseBusyError:
                raise
            except UnavailableError as error:
                self._forget()
                if number > 1 or not isinstance(error, ConnectionLostError):
                    raise
            except (
                psycopg.errors.DeadlockDetected,
                psycopg.errors.SerializationFailure,
                psycopg.errors.UndefinedTable,
                psycopg.errors.CheckViolation,  # a partition that was dropped since
                StaleWriterError,
            ) as error:
                self._forget()
                if number < _TRIES:
                    continue
                if isinstance(error, StaleWriterError):
                    raise DatabaseBusyError from error
                raise
        raise AssertionError("unreachable")

    def _forget(self) -> None:
        # The server may have come back as another one (a restored backup): what was remembered may not be there.
        self._names.clear()
        self._phrases.clear()
        self._months.clear()
        self._state = None

    async def _write_all(self, whole: Delivery) -> Written:
        if self._state is None:
            self._state = await fetch_write_state(self._database)
        state = self._state
        refused = _too_old(whole, state)
        delivery = whole.without(set(refused)) if refused else whole
        months = _months_of(delivery.records) - self._months
        if months:
            await ensure_partitions(self._database, months)
            self._months |= months

        def nothing_written() -> Written:
            return Written([0] * len(delivery.batches), refused=list(refused.values()))

        if len(delivery.records) > ARRAYS_UP_TO and self._expectation.all_new:
            try:
                return await self._write_once(delivery, state, nothing_written(), all_new=True)
            except NotNewError:
                self._expectation.be_disappointed()
        return await self._write_once(delivery, state, nothing_written())

    async def _write_once(self, delivery: Delivery, state: WriteState, written: Written, *, all_new: bool = False) -> Written:
        records = delivery.records
        is_large = len(records) > ARRAYS_UP_TO
        names, phrases = Names(), Phrases()
        # Of a few records, the statement takes longer to plan for its values than to run.
        async with self._database.transaction(generic_plans=not is_large) as connection:
            if is_large and self._expectation.repeats and await are_known(connection, records, self._phrases, state):
                pass
            elif is_large:
                load, names = await self._prepare(connection, delivery, phrases, written)
                written.inserted = await write_load(connection, load, state, all_new=all_new, ahead=not self._expectation.repeats)
            elif records:
                names, missing = await self._find(connection, records)
                few = Few(records, delivery.parts, len(delivery.batches), names)
                written.inserted, written.private_models = await write_few(connection, few, missing, state)
            await _write_rest(connection, delivery, written)
        if is_large:
            self._expectation.learn(len(records), sum(written.inserted))
        self._remember(names, phrases, state)
        return written

    async def _prepare(self, connection: Connection, delivery: Delivery, phrases: Phrases, written: Written) -> tuple[Load, Names]:
        """Return what there is to load, records of unregistered names last, and the names. What is learned is put into `phrases`."""
        records, parts = delivery.records, delivery.parts
        identities = Identities.of(records, self._phrases)
        unknown = identities.unknown()
        names, missing = await self._find(connection, [records[position] for position in unknown])
        unresolved = [position for position in unknown if missing.concerns(records[position])] if missing else []
        if unresolved:
            last = set(unresolved)
            order = [*(position for position in range(len(records)) if position not in last), *unresolved]
            records, parts = [records[position] for position in order], [parts[position] for position in order]
            identities = Identities.of(records, self._phrases)
            unknown = identities.unknown()
        settled = len(records) - len(unresolved)

        def learn(positions: Sequence[int]) -> None:
            phrases.learn([records[position] for position in positions], names)
            identities.fill(positions, records, phrases)

        async def introduce(positions: Sequence[int]) -> None:
            _, lacking = resolve([records[position] for position in positions], names)
            written.private_models = await register(connection, lacking, names) if lacking else []
            learn(positions)

        learn([position for position in unknown if position < settled])
        for position in range(settled, len(records)):
            identities.tenants[position] = encode_tenant(names.tenants[records[position].tenant_id])
        return Load(records, parts, len(delivery.batches), identities, settled, introduce), names

    async def _find(self, connection: Connection, records: Sequence[UsageRecord]) -> tuple[Names, Missing]:
        """Return the names of records, and those that nobody has registered; tenants are registered here: a new one has no records."""
        names, missing = resolve(records, self._names)
        if not missing:
            return names, missing
        await look_up(connection, missing, names)
        await register_tenants(connection, missing.tenants - names.tenants.keys(), names)
        return names, resolve(records, names)[1]

    def _remember(self, names: Names, phrases: Phrases, state: WriteState) -> None:
        # Another write may have noticed meanwhile that the state is another one: then these are as stale as what was forgotten.
        if self._state is not None and self._state.epoch == state.epoch:
            self._names.add(names)
            self._names.trim()
            self._phrases.add(phrases)


def _months_of(records: Sequence[UsageRecord]) -> set[Month]:
    if not records:
        return set()
    instants = [record.occurred_at for record in records]
    ends = {month_of(min(instants)), month_of(max(instants))}
    return ends if len(ends) == 1 else {month_of(instant) for instant in instants}


def _too_old(delivery: Delivery, state: WriteState) -> dict[int, tuple[int, Reject]]:
    """The records that fall before what is kept, by position: with them, what was dropped would come back in part."""
    since = state.records_since
    if since is None:
        return {}
    message = f"must not be before {format_instant(since)}: older records are not retained"
    return {
        position: (delivery.parts[position], Reject(delivery.indexes[position], "occurred_at", message))
        for position, record in enumerate(delivery.records)
        if record.occurred_at < since
    }


def _make_receipt(delivery: Delivery, written: Written, part: int) -> Receipt:
    batch = delivery.batches[part]
    errors = batch.rejects + [reject for number, reject in written.refused if number == part]
    rejected = batch.received - len(batch.records) - len(batch.quarantined)
    rejected += sum(number == part for number, _ in written.refused)
    quarantined = len(batch.quarantined)
    for position, reason in sorted(written.not_quarantined.items()):
        if delivery.quarantined_parts[position] == part:
            item = delivery.quarantined[position]
            errors.append(Reject(item.index, item.reasons[0].field, f"{item.reasons[0].message}; {reason}"))
            quarantined -= 1
            rejected += 1
    if len(delivery.batches) == 1 or not written.private_models:
        private_models = written.private_models
    else:
        mentioned = {record.model_permaslug for record in batch.records}
        private_models = [permaslug for permaslug in written.private_models if permaslug in mentioned]
    return Receipt(
        received=batch.received,
        inserted=written.inserted[part],
        duplicates=batch.received - rejected - quarantined - written.inserted[part],
        rejected=rejected,
        quarantined=quarantined,
        errors=sorted(errors, key=lambda error: error.index),
        unknown_fields=batch.unknown_fields,
        private_models=private_models,
    )


async def _write_rest(connection: Connection, delivery: Delivery, written: Written) -> None:
    written.not_quarantined = await keep_quarantined(connection, delivery.quarantined)
    if delivery.also is not None:
        await delivery.also(connection, written)
