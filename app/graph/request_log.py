"""A tenant's single requests, newest first, by keyset: pages stay in place while new records come in.

They are there from the instant on from which records are kept; a window that reaches further back is refused, not answered in part.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from app.analytics.fetch import fetch_rows
from app.analytics.select import CompiledSelect
from app.db.engine import Database
from app.domain.errors import BadInputError
from app.domain.principal import Scope
from app.domain.time_range import DateWindow, format_instant
from app.domain.usage import TRAFFIC_MODES

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RequestsQuestion:
    """Which requests of one tenant. `succeeded` None: both; `after`: position of the row before the page.

    `whole`: the caller named the window's start, so that all of it must be kept; else what is kept of it is asked for.
    """

    tenant_key: int
    window: DateWindow
    limit: int
    whole: bool = False
    offset: int = 0
    succeeded: bool | None = None
    model_id: str | None = None
    api_key_id: str | None = None
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it is stored, with public names. Charges are credits."""

    occurred_at: datetime
    request_id: str
    model_id: str
    provider: str
    status_code: int
    traffic_mode: str
    api_key_id: str
    prompt_tokens: int
    completion_tokens: int
    shared_model_spend: int
    byok_platform_fee: int
    managed_tool_fee: int
    agent_runtime_fee: int
    latency_ms: Decimal | None
    attempt: int
    cache_hit: bool
    interrupted: bool
    cost_usd: Decimal
    is_priced: bool

    @property
    def cursor(self) -> str:
        """Its place among the tenant's requests, opaque."""
        return encode_cursor(self.occurred_at, self.request_id)


def encode_cursor(occurred_at: datetime, request_id: str) -> str:
    """Return a place among a tenant's requests as URL-safe text."""
    return _encode(_place(occurred_at, request_id))


def encode_id(tenant_id: str, occurred_at: datetime, request_id: str) -> str:
    """Return an id that no other request has, of whatever tenant, as URL-safe text.

    A tenant's id holds no space, so that what stands before the first one is it. The statement's reader knows ids by the `@`.
    """
    return _encode(f"@{tenant_id} {_place(occurred_at, request_id)}")


class RequestName(NamedTuple):
    """What tells a request among those of all tenants."""

    tenant_id: str
    occurred_at: datetime
    request_id: str


def decode_id(text: str) -> RequestName | None:
    """Return the request that an id names; None: `encode_id` gave no such id."""
    try:
        owner, separator, place = _decode(text).partition(" ")
        name = RequestName(owner[1:], *_read_place(place))
    except (ValueError, OverflowError, binascii.Error):
        return None
    is_ours = separator and owner.startswith("@") and "\0" not in owner and encode_id(*name) == text
    return name if is_ours else None


def _place(occurred_at: datetime, request_id: str) -> str:
    return f"{(occurred_at - _EPOCH) // timedelta(microseconds=1)}:{request_id}"


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the place that a cursor names. BadInputError: it is none of ours."""
    try:
        return _read_place(_decode(cursor))
    except (ValueError, OverflowError, binascii.Error):
        raise BadInputError("the cursor is not one that this gateway gave", "after") from None


def _decode(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()


def _read_place(place: str) -> tuple[datetime, str]:
    microseconds, separator, request_id = place.partition(":")
    if not separator or len(microseconds) > 20 or "\0" in place:
        raise ValueError
    return _EPOCH + timedelta(microseconds=int(microseconds)), request_id


_LABELS = {"model_id": "m.public_id", "provider": "v.slug", "api_key_id": "coalesce(k.external_id, '')"}
_FIELDS = tuple(field.name for field in fields(LoggedRequest))
_CELLS = ", ".join(_LABELS.get(name, f"p.{name}") for name in _FIELDS)
_MODE = _FIELDS.index("traffic_mode")
"""The fields of a `LoggedRequest` in their order."""

_NAMES = (
    " JOIN models m ON m.id = p.model_id JOIN providers v ON v.id = p.provider_id"
    " LEFT JOIN caller_keys k ON k.tenant_id = p.tenant_id AND k.id = p.caller_key_id"
)


@lru_cache(maxsize=64)
def select_requests(*, by_status: bool, by_model: bool, by_key: bool, after: bool) -> CompiledSelect:
    """Return the SELECT of a page for the filters that are set; the primary key gives its rows in order.

    Each row begins with the instant from which records are kept; an empty page is one row with nothing else in it. One statement asks
    for both, because it sees that instant moved before it misses a partition.
    """
    conditions = ["r.tenant_id = %(tenant)s", "r.occurred_at >= %(start)s", "r.occurred_at < %(end)s"]
    if by_status:
        conditions.append("(r.status_code BETWEEN 200 AND 299) = %(succeeded)s")
    if by_model:
        conditions.append("r.model_id IN (SELECT id FROM models WHERE public_id = %(model)s)")
    if by_key:
        conditions.append("r.caller_key_id IN (SELECT id FROM caller_keys WHERE tenant_id = %(tenant)s AND external_id = %(key)s)")
    if after:
        # The first condition bounds the index range, the second takes out what shares the instant.
        conditions.append("r.occurred_at <= %(after_at)s AND (r.occurred_at, r.request_id) < (%(after_at)s, %(after_id)s)")
    sql = (
        "/* app:tenant_requests */ SELECT w.records_since, o.* FROM write_state w LEFT JOIN ("
        f"SELECT {_CELLS} FROM (SELECT * FROM usage_records r WHERE {' AND '.join(conditions)}"
        " ORDER BY r.occurred_at DESC, r.request_id DESC LIMIT %(limit)s OFFSET %(offset)s) p"
        f"{_NAMES}) o ON true"
        " ORDER BY o.occurred_at DESC, o.request_id DESC"
    )
    return CompiledSelect(sql, {})


async def fetch_requests(database: Database, asked: RequestsQuestion) -> list[LoggedRequest]:
    """Return a page, newest first, then by request id descending. BadInputError: the window reaches to where none are kept."""
    statement = select_requests(
        by_status=asked.succeeded is not None,
        by_model=asked.model_id is not None,
        by_key=asked.api_key_id is not None,
        after=asked.after is not None,
    )
    window = asked.window.range
    values: dict[str, Any] = {
        "tenant": asked.tenant_key,
        "start": window.start,
        "end": window.end,
        "limit": asked.limit,
        "offset": asked.offset,
        "succeeded": asked.succeeded,
        "model": asked.model_id,
        "key": asked.api_key_id,
    }
    if asked.after is not None:
        values |= {"after_at": asked.after[0], "after_id": asked.after[1]}
    rows = await fetch_rows(database, statement, values)
    since: datetime | None = rows[0][0]
    if since is not None and (window.end <= since or (asked.whole and window.start < since)):
        name = "start_date" if asked.whole else "end_date"
        raise BadInputError(f"single requests are retained from {format_instant(since)} on, and {name} is before that", name)
    # What is older is about to be dropped.
    return [_read_row(row[1:]) for row in rows if row[1] is not None and (since is None or row[1] >= since)]


@lru_cache(maxsize=2)
def select_named_requests(*, of_one_tenant: bool) -> CompiledSelect:
    """Return the SELECT of the requests that the arrays `tenants`, `instants`, `ids` name: the tenant's id, then the request."""
    own = " AND t.id = %(tenant)s::integer" if of_one_tenant else ""
    return CompiledSelect(
        f"/* app:requests_by_name */ SELECT t.external_id, {_CELLS}"
        " FROM unnest(%(tenants)s::text[], %(instants)s::timestamptz[], %(ids)s::text[]) AS w (tenant, instant, id)"
        f" JOIN tenants t ON t.external_id = w.tenant{own} CROSS JOIN LATERAL (SELECT * FROM usage_records r"
        f" WHERE r.tenant_id = t.id AND r.occurred_at = w.instant AND r.request_id = w.id) p{_NAMES}"
        " WHERE p.occurred_at >= coalesce((SELECT records_since FROM write_state), '-infinity')",
        {},
    )


async def fetch_named_requests(database: Database, names: Sequence[RequestName], scope: Scope) -> dict[RequestName, LoggedRequest]:
    """Return the requests that are there and kept, of the scope's tenant if it has one."""
    tenants, instants, ids = zip(*names, strict=True)
    values = {"tenant": scope.tenant_key, "tenants": list(tenants), "instants": list(instants), "ids": list(ids)}
    rows = await fetch_rows(database, select_named_requests(of_one_tenant=scope.tenant_key is not None), values)
    found = [(row[0], _read_row(row[1:])) for row in rows]
    return {RequestName(tenant_id, request.occurred_at, request.request_id): request for tenant_id, request in found}


def _read_row(row: tuple[Any, ...]) -> LoggedRequest:
    cells: tuple[Any, ...] = (*row[:_MODE], TRAFFIC_MODES[row[_MODE]], *row[_MODE + 1 :])
    return LoggedRequest(*cells)
