"""Quarantined records, as people and machines look at them: pages, oldest first, and how many wait. Changes nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from app.analytics.fetch import fetch_rows
from app.analytics.select import CompiledSelect
from app.db.engine import Database
from app.domain.errors import BadInputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CURSOR = 200


class QuarantinedRow(NamedTuple):
    """A quarantined record. `reasons`: objects of field (None: the whole record) and message; `resolution` None: it waits."""

    id: UUID
    source: str
    sender_tenant_id: str | None
    tenant_id: str | None
    request_id: str | None
    received_at: datetime
    reasons: list[dict[str, Any]]
    record: dict[str, Any]
    resolution: str | None
    resolved_at: datetime | None

    @property
    def position(self) -> Position:
        """Where it stands in the order."""
        return self.received_at, self.id


Position = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which records: of one source, of one tenant (the sender's, or else the one that the record names), also those decided on."""

    source: str | None = None
    tenant_id: str | None = None
    include_resolved: bool = False

    def conditions(self) -> list[str]:
        """Return the SQL conditions on `quarantined_records q`."""
        return [
            *([] if self.include_resolved else ["q.resolution IS NULL"]),
            *([] if self.source is None else ["q.source = %(source)s::text"]),
            *([] if self.tenant_id is None else ["q.tenant_id = %(tenant_id)s::text"]),
        ]

    def parameters(self) -> dict[str, Any]:
        """Return the values of the conditions."""
        return {"source": self.source, "tenant_id": self.tenant_id}


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of the order: between two positions, `inclusive`: with them; its last records if `backward`, else its first."""

    after: Position | None = None
    before: Position | None = None
    backward: bool = False
    inclusive: bool = False

    def conditions(self) -> list[str]:
        """Return the SQL conditions on `quarantined_records q`."""
        with_it = "=" if self.inclusive else ""
        sides = (("after", self.after, ">"), ("before", self.before, "<"))
        return [
            f"(q.received_at, q.id) {comparison}{with_it} (%({side}_at)s::timestamptz, %({side}_id)s::uuid)"
            for side, position, comparison in sides
            if position is not None
        ]

    def parameters(self) -> dict[str, Any]:
        """Return the values of the conditions."""
        sides = (("after", self.after), ("before", self.before))
        given = [(side, position) for side, position in sides if position is not None]
        return {f"{side}_{name}": value for side, position in given for name, value in zip(("at", "id"), position, strict=True)}


@lru_cache(maxsize=64)
def _select_page(conditions: tuple[str, ...], *, backward: bool = False) -> CompiledSelect:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    columns = ", ".join(f"q.{name}" for name in QuarantinedRow._fields)
    direction = " DESC" if backward else ""
    return CompiledSelect(
        f"/* app:quarantined_records */ SELECT {columns} FROM quarantined_records q{where}"
        f" ORDER BY q.received_at{direction}, q.id{direction} LIMIT %(size)s::integer",
        {},
    )


async def fetch_quarantined(database: Database, wanted: QuarantineFilter, size: int, span: Span | None = None) -> list[QuarantinedRow]:
    """Return at most `size` records of a span, or of all, oldest first: new ones come behind those that were there."""
    span = span or Span()
    statement = _select_page((*wanted.conditions(), *span.conditions()), backward=span.backward)
    rows = await fetch_rows(database, statement, {**wanted.parameters(), **span.parameters(), "size": size})
    found = [QuarantinedRow._make(row) for row in rows]
    return found[::-1] if span.backward else found


async def fetch_quarantined_record(database: Database, record_id: UUID) -> QuarantinedRow | None:
    """Return one record, decided on or not; None: there is none."""
    rows = await fetch_rows(database, _select_page(("q.id = %(id)s::uuid",)), {"id": record_id, "size": 1})
    return QuarantinedRow._make(rows[0]) if rows else None


async def fetch_quarantined_records(database: Database, record_ids: Sequence[UUID], wanted: QuarantineFilter) -> list[QuarantinedRow]:
    """Return those of the records of these ids that the filter lets through."""
    statement = _select_page((*wanted.conditions(), "q.id = ANY(%(ids)s::uuid[])"))
    rows = await fetch_rows(database, statement, {**wanted.parameters(), "ids": list(record_ids), "size": len(record_ids)})
    return [QuarantinedRow._make(row) for row in rows]


async def count_waiting(database: Database, wanted: QuarantineFilter) -> int:
    """Return how many of the records wait."""
    where = " AND ".join(dict.fromkeys(("q.resolution IS NULL", *wanted.conditions())))
    statement = CompiledSelect(f"/* app:quarantine_count */ SELECT count(*) FROM quarantined_records q WHERE {where}", {})
    ((waiting,),) = await fetch_rows(database, statement, wanted.parameters())
    return int(waiting)


async def count_waiting_by_source(database: Database) -> dict[str, int]:
    """Return how many records wait, by the source that they came from; a source that none wait of is left out."""
    statement = CompiledSelect(
        "/* app:quarantine_counts */ SELECT q.source, count(*) FROM quarantined_records q WHERE q.resolution IS NULL GROUP BY q.source", {}
    )
    return dict(await fetch_rows(database, statement, {}))


def encode_position(position: Position) -> str:
    """Return a position as URL-safe text."""
    at, key = position
    return base64.urlsafe_b64encode(f"{(at - _EPOCH) // timedelta(microseconds=1)}:{key.hex}".encode()).decode().rstrip("=")


def decode_position(cursor: str, argument: str) -> Position:
    """Return the position that a cursor names. BadInputError names the argument: it is none of ours."""
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        microseconds, _, key = text.partition(":")
        return _EPOCH + timedelta(microseconds=int(microseconds)), UUID(key)
    except (ValueError, OverflowError, binascii.Error):
        raise BadInputError("the cursor is not one that this list gave", argument) from None
