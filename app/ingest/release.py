"""What a person decides on quarantined records: released by the one write, in the transaction that marks them, or dropped. Exactly once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.db.engine import Connection, Database
from app.domain.errors import BadInputError, DatabaseBusyError
from app.domain.usage import ParsedBatch, Reason, UsageRecord
from app.ingest.fields import ID_RULE, FieldRules, check_record
from app.write.batch import Ingestor, Written
from app.write.quarantine import REPLACED, storable

MAX_IDS: Final = 1_000
"""Records that one call may decide on."""

ONE_REQUEST_ID: Final = "request_id can be changed of one record at a time: several would become one request"
IS_REPLACED: Final = "holds U+FFFD in place of what cannot be stored: give the value in the changes, or take it away there"
REFUSED_WITH_ANOTHER: Final = "another record of the same request was refused before it: release this one by itself"

_TRIES = 5
_ID = re.compile("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StillQuarantined:
    """A record that could not be released, and why not."""

    id: str
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class ReleaseReceipt:
    """What became of each id, once. `released`: written now; `duplicates`: decided too, but their requests were there already.

    `released_before` and `dropped_before`: had been decided on already; nothing was done to them.
    """

    released: int = 0
    duplicates: int = 0
    released_before: int = 0
    dropped_before: int = 0
    still_quarantined: list[StillQuarantined] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DropReceipt:
    """What became of each id, once; the counts as those of a ReleaseReceipt."""

    dropped: int = 0
    released_before: int = 0
    dropped_before: int = 0
    not_found: list[str] = field(default_factory=list)


class _Kept(NamedTuple):
    id: UUID
    sender_tenant_id: str | None
    record: dict[str, Any]
    resolution: str | None


class _OvertakenError(Exception):
    """Somebody decided on a record, or changed it, after it was read: undo, and read again."""


def read_ids(ids: Sequence[str]) -> tuple[list[UUID], list[str]]:
    """Return the ids, each once, and what can be none. BadInputError: not 1 to 1,000."""
    if not 1 <= len(ids) <= MAX_IDS:
        raise BadInputError(f"record_ids must be 1 to {MAX_IDS}", "record_ids")
    known = dict.fromkeys(UUID(text) for text in ids if _ID.fullmatch(text))
    return list(known), list(dict.fromkeys(storable(text) for text in ids if not _ID.fullmatch(text)))


async def release_quarantined(
    database: Database, ids: Sequence[str], changes: Mapping[str, object], now: datetime, *, tenant_id: str | None = None
) -> ReleaseReceipt:
    """Write kept records with `changes` over their values, by the rules that hold for every record at `now`, and mark them released.

    `changes`: by the record's field names; None takes a value away. What the source contradicted itself in is decided by that; no rule of
    a field is. A record stays its sender's tenant's unless the changes name a tenant. Of several of one request, the first is written.
    `tenant_id`: only this tenant's records are there, and they stay its own.

    BadInputError: not 1 to 1,000 ids, or one request id for several records. DatabaseBusyError: others decide on the same ones; try again.
    """
    known, unknown = read_ids(ids)
    if changes.get("request_id") is not None and len(known) > 1:
        raise BadInputError(ONE_REQUEST_ID, "request_id")
    ingestor = Ingestor(database)
    for _ in range(_TRIES):
        found = await _fetch(database, known, tenant_id)
        receipt = ReleaseReceipt(not_found=unknown + [str(key) for key in known if key not in found])
        release = _Release(now)
        for kept in found.values():
            if kept.resolution is not None:
                receipt.released_before += kept.resolution == "released"
                receipt.dropped_before += kept.resolution == "dropped"
                continue
            checked = _check(kept, changes, now, tenant_id)
            if isinstance(checked, UsageRecord):
                release.kept.append(kept)
                release.records.append(checked)
            else:
                receipt.still_quarantined.append(StillQuarantined(str(kept.id), checked))
        if not release.records:
            return receipt
        try:
            receipt.released = (await ingestor.ingest(release.batch(), release.mark)).inserted
        except _OvertakenError:
            continue
        receipt.duplicates = release.marked - receipt.released
        receipt.still_quarantined += release.refused
        return receipt
    raise DatabaseBusyError


async def drop_quarantined(database: Database, ids: Sequence[str], now: datetime, *, tenant_id: str | None = None) -> DropReceipt:
    """Mark kept records dropped: they are in no sum, and are not kept again if they are sent again. `tenant_id`: only this tenant's.

    BadInputError: not 1 to 1,000 ids.
    """
    known, unknown = read_ids(ids)
    async with database.transaction() as connection:
        # One statement, so that the table is locked before any row, as by who erases a user.
        cursor = await connection.execute(
            "/* app:drop_quarantined */ WITH wanted AS"
            f" (SELECT id, resolution FROM quarantined_records WHERE {_THERE} ORDER BY id FOR UPDATE),"
            " dropped AS (UPDATE quarantined_records q SET resolution = 'dropped', resolved_at = %s FROM wanted w"
            " WHERE q.id = w.id AND w.resolution IS NULL RETURNING q.id)"
            " SELECT w.id, w.resolution, d.id IS NOT NULL FROM wanted w LEFT JOIN dropped d USING (id)",
            [known, tenant_id, tenant_id, now],
        )
        found = {key: (resolution, dropped) for key, resolution, dropped in await cursor.fetchall()}
    return DropReceipt(
        dropped=sum(dropped for _, dropped in found.values()),
        released_before=sum(resolution == "released" for resolution, _ in found.values()),
        dropped_before=sum(resolution == "dropped" for resolution, _ in found.values()),
        not_found=unknown + [str(key) for key in known if key not in found],
    )


_THERE: Final = "id = ANY(%s::uuid[]) AND (%s::text IS NULL OR tenant_id = %s)"


async def _fetch(database: Database, ids: Sequence[UUID], tenant_id: str | None) -> dict[UUID, _Kept]:
    """The records that are there, in the order of `ids`."""
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            f"/* app:quarantined_to_release */ SELECT id, sender_tenant_id, record, resolution FROM quarantined_records WHERE {_THERE}",
            [list(ids), tenant_id, tenant_id],
        )
        found = {kept.id: kept for kept in map(_Kept._make, await cursor.fetchall())}
    return {key: found[key] for key in ids if key in found}


def _check(kept: _Kept, changes: Mapping[str, object], now: datetime, tenant_id: str | None) -> UsageRecord | tuple[Reason, ...]:
    """The record that a kept one becomes, or every rule that it breaks."""
    # Whoever names a tenant in the changes decides that; what the record itself names was the sender's word, which its key does not cover.
    bound = tenant_id or (None if changes.get("tenant_id") else kept.sender_tenant_id)
    checked = check_record({**kept.record, **changes}, FieldRules(now, bound))
    errors = checked if isinstance(checked, dict) else {}
    if tenant_id is None and bound is not None and errors.get("tenant_id", ID_RULE) != ID_RULE:
        errors["tenant_id"] = f"the key that sent it writes records of tenant {bound} only: to release it for another, name that one"
    for name in UsageRecord._fields:
        if name not in changes and name not in errors and _is_replaced(kept.record.get(name)):
            errors[name] = IS_REPLACED
    return tuple(Reason(name, message) for name, message in errors.items()) if errors or isinstance(checked, dict) else checked


def _is_replaced(value: object) -> bool:
    return isinstance(value, str) and REPLACED in value


class _Release:
    """The records of one write, and what it did to them; `mark` sets the outcome anew for every try."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.kept: list[_Kept] = []
        self.records: list[UsageRecord] = []
        self.marked = 0
        self.refused: list[StillQuarantined] = []

    def batch(self) -> ParsedBatch:
        """Return what is to be written."""
        return ParsedBatch(received=len(self.records), records=self.records, indexes=list(range(len(self.records))))

    async def mark(self, connection: Connection, written: Written) -> None:
        """Mark released what was written, in the transaction of the write. _OvertakenError: it is not to be written any more."""
        refused = {reject.index: Reason(reject.field, reject.message) for _, reject in written.refused}
        # The write takes the first record of a request; if that one was refused, no other took its place.
        requests = {self._request(position) for position in refused}
        for position in range(len(self.records)):
            if position not in refused and self._request(position) in requests:
                refused[position] = Reason("request_id", REFUSED_WITH_ANOTHER)
        going = {kept.id: kept.record for position, kept in enumerate(self.kept) if position not in refused}
        cursor = await connection.execute(
            "SELECT id, record FROM quarantined_records WHERE id = ANY(%s::uuid[]) AND resolution IS NULL ORDER BY id FOR UPDATE",
            [list(going)],
        )
        # The record too: of a user who was erased meanwhile, what was read before may not come back.
        if dict(await cursor.fetchall()) != going:
            raise _OvertakenError
        await connection.execute(
            "/* app:release */ UPDATE quarantined_records SET resolution = 'released', resolved_at = %s WHERE id = ANY(%s::uuid[])",
            [self._now, list(going)],
        )
        self.marked = len(going)
        self.refused = [StillQuarantined(str(self.kept[position].id), (reason,)) for position, reason in sorted(refused.items())]

    def _request(self, position: int) -> tuple[str, str]:
        record = self.records[position]
        return record.tenant_id, record.request_id
