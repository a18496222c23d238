"""Downloads of this gateway, request by request: the request log (JSON) and the monthly statement (CSV), read back. Pure.

The grouped export is not request-level and is refused where columns are recognised.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.errors import BadInputError
from app.domain.spreadsheet import plain_cell
from app.domain.time_range import format_instant
from app.domain.usage import Reason
from app.ingest.fields import BrokenRuleError, read_count
from app.ingest.parse import Unreadable
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.conventions import INCLUSIVE, TokenCounts, read_tokens
from app.ingest.sources.genai import FAILED

NAME: Final = "export"
_SHARED: Final = ("id", "request_id", "created_at", "model", "provider", "status", "traffic_mode")
_CHARGES: Final = {
    "model_charge": "shared_model_spend",
    "byok_platform_fee": "byok_platform_fee",
    "managed_tool_fee": "managed_tool_fee",
    "agent_runtime_fee": "agent_runtime_fee",
}
_SUMMED: Final = ("prompt_tokens", "completion_tokens", "total_tokens", *_CHARGES, "total_charge")
LOG_COLUMNS: Final = (*_SHARED, "tokens", "cost_breakdown", "latency_ms")
STATEMENT_COLUMNS: Final = (*_SHARED, *_SUMMED, "latency_ms")
LATER_COLUMNS: Final = ("api_key_id", "cost_usd", "cost_source")
"""What newer exports have beside. The cost is rounded, and so is not read: it is found again from the catalog."""
GROUPED_COLUMNS: Final = frozenset({"date", "requests"})
"""What a table has whose rows are many requests each."""

CLOSING_ID: Final = "total"
# The exports say that a request failed, not with which code.
_STATUS_CODES: Final[dict[str | None, int]] = {"success": 200, "error": FAILED}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS: Final = 40


def place_of(row_id: object) -> tuple[datetime, str] | None:
    """Return the instant, to the microsecond, and the request id that a row's id holds; None: it is no id of an export."""
    if not isinstance(row_id, str):
        return None
    try:
        text = base64.b64decode(row_id + "=" * (-len(row_id) % 4), altchars=b"-_", validate=True).decode()
        if text.startswith("@"):  # the tenant, which older ids lack
            text = text.partition(" ")[2]
        microseconds, separator, request_id = text.partition(":")
        if not separator or not request_id or not microseconds.isdecimal() or len(microseconds) > 20:
            return None
        return _EPOCH + timedelta(microseconds=int(microseconds)), request_id
    except (ValueError, OverflowError, binascii.Error):
        return None


def log_candidate(row: Mapping[str, object]) -> Candidate:
    """Return what a row of the request log says."""
    tokens, charges = row.get("tokens"), row.get("cost_breakdown")
    return _candidate(row, tokens if isinstance(tokens, Mapping) else {}, charges if isinstance(charges, Mapping) else {})


def statement_candidate(row: Mapping[str, object]) -> Candidate:
    """Return what a row of the statement says."""
    cells = {column: None if cell == "" else cell for column, cell in row.items()}
    for column in ("model", "provider", "request_id", "api_key_id"):
        cells[column] = plain_cell(cells.get(column))
    tokens = {name: cells.get(f"{name}_tokens") for name in ("prompt", "completion", "total")}
    return _candidate(cells, tokens, cells)


def _candidate(row: Mapping[str, object], tokens: Mapping[str, object], charges: Mapping[str, object]) -> Candidate:
    contradictions: list[Reason] = []
    request_id, occurred_at = row.get("request_id"), row.get("created_at")
    place = place_of(row.get("id"))
    if place is None:
        contradictions.append(Reason("id", "is not the id of an exported request"))
    else:
        # The id has the instant in microseconds, which always makes a retry a duplicate, and the original request id.
        instant, exact_id = place
        if format_instant(instant) != occurred_at:
            contradictions.append(Reason("created_at", "is not the instant that the id says"))
        if request_id not in (exact_id, plain_cell(exact_id)):
            contradictions.append(Reason("request_id", "is not the request that the id says"))
        request_id, occurred_at = exact_id, instant
    status = row.get("status")
    if not isinstance(status, str) or status not in _STATUS_CODES:
        status = None
        contradictions.append(Reason("status", 'must be "success" or "error"'))
    reading = read_tokens(
        TokenCounts(prompt=tokens.get("prompt"), completion=tokens.get("completion"), total=tokens.get("total")), INCLUSIVE
    )
    if any(charges.get(column) is None for column in _CHARGES) or tokens.get("prompt") is None or tokens.get("completion") is None:
        contradictions.append(Reason(None, "lacks tokens or charges that every exported request has"))
    elif not _adds_up(charges):
        contradictions.append(Reason("total_charge", "is not the sum of the charges"))
    values: dict[str, object] = {
        "request_id": request_id,
        "occurred_at": occurred_at,
        "api_key_id": row.get("api_key_id") or None,
        "model_id": row.get("model"),
        "provider": row.get("provider"),
        "status_code": _STATUS_CODES.get(status),
        "traffic_mode": row.get("traffic_mode"),
        **reading.values,
        **{field: charges.get(column) for column, field in _CHARGES.items()},
        "latency_ms": row.get("latency_ms"),
    }
    return Candidate(values, (*contradictions, *reading.contradictions))


def _adds_up(charges: Mapping[str, object]) -> bool:
    """Whether the total is the sum; where a charge is no count, its own rule says so."""
    try:
        return sum(read_count(charges[column]) for column in _CHARGES) == _whole(charges.get("total_charge"))
    except BrokenRuleError:
        return True


def _whole(value: object) -> int | None:
    """A sum, which may pass what one record may hold; None if it is no whole number."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class _Sums:
    def __init__(self) -> None:
        self.count = 0
        self.amounts = dict.fromkeys(_SUMMED, 0)
        self.unreadable: int | None = None

    def add(self, row: Mapping[str, object] | Unreadable) -> None:
        for column in _SUMMED:
            amount = None if isinstance(row, Unreadable) else _whole(row.get(column))
            if amount is None:
                self.unreadable = self.count if self.unreadable is None else self.unreadable
            else:
                self.amounts[column] += amount
        self.count += 1

    def check(self, closing: Mapping[str, object]) -> None:
        if self.unreadable is not None:
            raise BadInputError(f"record {self.unreadable} of the statement cannot be read, so that its total cannot be checked")
        said = closing.get("request_id")
        if said != f"{self.count} requests":
            raise BadInputError(f"the closing total does not agree: there are {self.count} requests")
        for column, amount in self.amounts.items():
            if _whole(closing.get(column)) != amount:
                raise BadInputError(f"the closing total does not agree: the {column} of the requests are {amount} together")


def without_closing_total(rows: Iterator[Mapping[str, object] | Unreadable]) -> Iterator[Mapping[str, object] | Unreadable]:
    """Yield a statement's requests. Raises BadInputError unless its last row is the total of all before.

    A row comes out when the next one is there: the last one of a download that was cut off, which may lack digits, never does.
    """
    sums = _Sums()
    held: Mapping[str, object] | Unreadable | None = None
    for row in rows:
        if held is not None:
            if not isinstance(held, Unreadable) and held.get("id") == CLOSING_ID:
                raise BadInputError("more follows the closing total of the statement: it is not one whole statement")
            sums.add(held)
            yield held
        held = row
    if held is None or isinstance(held, Unreadable) or held.get("id") != CLOSING_ID:
        raise BadInputError("the statement has no closing total: the download was cut off")
    sums.check(held)
