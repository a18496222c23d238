"""Records that wait for a person: kept in the transaction of their batch, each once however often it is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from app.db.engine import Connection
from app.domain.usage import Quarantined

QUARANTINE_LIMIT: Final = 100_000
"""Records that may wait at once. Beyond them a record is rejected, and its sender told so."""

QUARANTINE_IS_FULL: Final = f"cannot be quarantined: {QUARANTINE_LIMIT} records wait there to be released or dropped"

_MAX_TEXT = 1_000
_MAX_DEPTH = 4
_MAX_ITEMS = 50
# NUL, which jsonb cannot hold, and lone surrogates, which are no text.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: object, depth: int = 0) -> Any:
    """Return a value as jsonb can hold it, recognisable and bounded: texts to 1,000 characters, 4 levels, 50 items a level."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _NOT_STORABLE.sub("\ufffd", value[:_MAX_TEXT])
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)[:_MAX_TEXT] if abs(value) < 10**_MAX_TEXT else "a very long number"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)[:_MAX_TEXT]
    if depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {storable(str(name)): storable(item, depth + 1) for name, item in list(value.items())[:_MAX_ITEMS]}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [storable(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return storable(repr(value))


def content_id(source: str, sender_tenant_id: str | None, record: Mapping[str, Any]) -> str:
    """Return the id of a quarantined record: 128 bits of its content, in hex."""
    content = json.dumps([source, sender_tenant_id, record], sort_keys=True, separators=(",", ":"))
    return blake2b(content.encode(), digest_size=16).hexdigest()


def _text(value: object) -> str | None:
    return None if value is None else str(storable(value))


async def keep_quarantined(connection: Connection, items: Sequence[Quarantined]) -> set[int]:
    """Keep records in the caller's transaction; return the positions in `items` of those for which there is no room.

    One that is there already is kept once; one that was released or dropped before stays as that was decided.
    """
    if not items:
        return set()
    rows: dict[str, tuple[Any, ...]] = {}
    positions: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        record = storable(item.values)
        key = content_id(item.source, item.tenant_id, record)
        positions.setdefault(key, []).append(position)
        rows[key] = (
            key,
            item.source,
            item.tenant_id,
            item.tenant_id or _text(item.values.get("tenant_id")),
            _text(item.values.get("request_id")),
            item.received_at,
            json.dumps([{"field": reason.field, "message": reason.message} for reason in item.reasons]),
            json.dumps(record),
        )
    cursor = await connection.execute("SELECT id::text FROM quarantined_records WHERE id = ANY(%s::uuid[])", [list(rows)])
    known = {key.replace("-", "") for (key,) in await cursor.fetchall()}
    cursor = await connection.execute(
        "SELECT count(*) FROM (SELECT FROM quarantined_records WHERE resolution IS NULL LIMIT %s) waiting", [QUARANTINE_LIMIT]
    )
    counted = await cursor.fetchone()
    room = QUARANTINE_LIMIT - (int(counted[0]) if counted else 0)
    new = [key for key in rows if key not in known]
    taken, refused = sorted(new[:room]), new[room:]
    if taken:
        await connection.execute(
            "/* app:quarantine */ INSERT INTO quarantined_records"
            " (id, source, sender_tenant_id, tenant_id, request_id, received_at, reasons, record)"
            " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::jsonb[], %s::jsonb[])"
            " ON CONFLICT (id) DO NOTHING",
            [list(column) for column in zip(*(rows[key] for key in taken), strict=True)],
        )
    return {position for key in refused for position in positions[key]}
