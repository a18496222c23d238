"""Records that wait for a person: kept in the transaction of their batch, each once however often it is sent; forgotten once decided on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from app.db.engine import NOT_STORABLE, Connection, Database
from app.domain.fields import MAX_COUNT
from app.domain.usage import Quarantined

QUARANTINE_LIMIT: Final = 100_000
"""Records that may wait at once. Beyond them a record is rejected, and its sender told so."""

TENANT_SHARE: Final = 10_000
"""Of these, the records of one tenant: the one that the sender's key is bound to, else the one that the record names."""

RESOLVED_KEPT: Final = timedelta(days=30)
"""How long a released or dropped record is remembered, and so recognised if its source sends it again."""

REPLACED: Final = "\ufffd"
"""Stands for a character that cannot be stored."""

_MAX_TEXT = 1_000
_MAX_NESTED_TEXT = 100
_MAX_DEPTH = 4
_MAX_ITEMS = 50
_LONGEST_NUMBER = 10**_MAX_TEXT
_FORGOTTEN_AT_ONCE = 5_000
_TENANT = 3


def storable(value: object) -> Any:
    """Return a value as jsonb can hold it and JSON clients read it, recognisable and bounded.

    Texts to 1,000 characters; lists and objects to 4 levels and 50 items in all, with texts to 100 characters.
    """
    return _storable(value, 1, iter(range(_MAX_ITEMS)))


def storable_record(values: Mapping[str, object]) -> dict[str, Any]:
    """Return a record's values as `storable` makes each of them, 50 at most."""
    return {_text_of(name, _MAX_NESTED_TEXT): storable(value) for name, value in islice(values.items(), _MAX_ITEMS)}


def _storable(value: object, depth: int, room: Iterator[int]) -> Any:
    longest = _MAX_TEXT if depth == 1 else _MAX_NESTED_TEXT
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_COUNT:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes | bytearray):
        if depth > _MAX_DEPTH:
            return "..."
        # The one iterator of all levels runs dry, whatever way the items are nested.
        if isinstance(value, Mapping):
            return {
                _text_of(name, _MAX_NESTED_TEXT): _storable(item, depth + 1, room)
                for _, (name, item) in zip(room, value.items(), strict=False)
            }
        return [_storable(item, depth + 1, room) for _, item in zip(room, value, strict=False)]
    return _text_of(value, longest)


def _text_of(value: object, longest: int) -> str:
    if isinstance(value, str):
        text = value[:longest]
    elif isinstance(value, int):
        text = str(value) if abs(value) < _LONGEST_NUMBER else "a very long number"
    elif isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, float | Decimal):
        text = str(value)
    else:
        text = repr(value[:longest] if isinstance(value, bytes | bytearray) else value)
    return NOT_STORABLE.sub(REPLACED, text[:longest])


def content_id(source: str, sender_tenant_id: str | None, record: Mapping[str, Any]) -> str:
    """Return the id of a quarantined record: 128 bits of its content, in hex."""
    content = json.dumps([source, sender_tenant_id, record], sort_keys=True, separators=(",", ":"))
    return blake2b(content.encode(), digest_size=16).hexdigest()


def _name(value: object) -> str | None:
    return None if value is None else str(storable(value))


async def keep_quarantined(connection: Connection, items: Sequence[Quarantined]) -> dict[int, str]:
    """Keep records in the caller's transaction; return the positions in `items` of those for which there is no room, and why.

    One that is there already is kept once; one that was released or dropped before stays as that was decided.
    """
    if not items:
        return {}
    rows: dict[str, tuple[Any, ...]] = {}
    positions: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        record = storable_record(item.values)
        key = content_id(item.source, item.tenant_id, record)
        positions.setdefault(key, []).append(position)
        rows[key] = (
            key,
            item.source,
            item.tenant_id,
            item.tenant_id or _name(item.values.get("tenant_id")),
            _name(item.values.get("request_id")),
            item.received_at,
            json.dumps([{"field": reason.field, "message": reason.message} for reason in item.reasons]),
            json.dumps(record),
        )
    cursor = await connection.execute("SELECT id::text FROM quarantined_records WHERE id = ANY(%s::uuid[])", [list(rows)])
    known = {key.replace("-", "") for (key,) in await cursor.fetchall()}
    new = [key for key in rows if key not in known]
    refused = await _find_refused(connection, {key: rows[key][_TENANT] for key in new}) if new else {}
    taken = sorted(key for key in new if key not in refused)
    if taken:
        await connection.execute(
            "/* app:quarantine */ INSERT INTO quarantined_records"
            " (id, source, sender_tenant_id, tenant_id, request_id, received_at, reasons, record)"
            " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::jsonb[], %s::jsonb[])"
            " ON CONFLICT (id) DO NOTHING",
            [list(column) for column in zip(*(rows[key] for key in taken), strict=True)],
        )
    return {position: reason for key, reason in refused.items() for position in positions[key]}


async def _find_refused(connection: Connection, tenants: Mapping[str, str | None]) -> dict[str, str]:
    """Return which records there is no room for, and why, of new ones by id with the tenant that each counts for, in order of arrival."""
    cursor = await connection.execute(
        "/* app:quarantine_room */ SELECT coalesce(sender_tenant_id, tenant_id), count(*) FROM quarantined_records"
        " WHERE resolution IS NULL GROUP BY 1"
    )
    waiting: Counter[str | None] = Counter(dict(await cursor.fetchall()))
    total = waiting.total()
    refused: dict[str, str] = {}
    for key, tenant in tenants.items():
        if total >= QUARANTINE_LIMIT:
            refused[key] = f"cannot be quarantined: {QUARANTINE_LIMIT} records wait there to be released or dropped"
        elif waiting[tenant] >= TENANT_SHARE:
            whose = "without a tenant" if tenant is None else f"of tenant {tenant[:_MAX_NESTED_TEXT]}"
            refused[key] = f"cannot be quarantined: {TENANT_SHARE} records {whose} wait there to be released or dropped"
        else:
            waiting[tenant] += 1
            total += 1
    return refused


async def forget_resolved(database: Database, now: datetime) -> int:
    """Delete what was released or dropped more than RESOLVED_KEPT ago, and return how many that were.

    In steps, each a transaction of its own, so that none holds locks for long. Any number of hosts may run it, and may die at any point.
    """
    forgotten = 0
    while True:
        async with database.transaction() as connection:
            cursor = await connection.execute(
                "/* app:forget_resolved */ DELETE FROM quarantined_records WHERE id IN"
                " (SELECT id FROM quarantined_records WHERE resolved_at < %s LIMIT %s FOR UPDATE SKIP LOCKED)",
                [now - RESOLVED_KEPT, _FORGOTTEN_AT_ONCE],
            )
        forgotten += cursor.rowcount
        if cursor.rowcount < _FORGOTTEN_AT_ONCE:
            return forgotten
