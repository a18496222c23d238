"""Instants as sources write them: counts since 1970 in a declared unit, and times without an offset in a declared time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Context, Decimal
from typing import Final

from app.ingest.fields import BrokenRuleError, decimal_reader

EXACT: Final = Context(prec=400)
"""Decimal arithmetic that rounds nothing: what the rules of the record take has at most 128 characters."""

UNITS: Final[dict[str, str]] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_TO_MICROSECONDS: Final = {"s": Decimal(10**6), "ms": Decimal(10**3), "us": Decimal(1), "ns": Decimal("0.001")}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_COUNT: Final = 10**20
_DATE_LENGTH: Final = len("2026-03-12")
_READERS: Final = {
    unit: decimal_reader(_MAX_COUNT, f"must be a number of {name} since 1970-01-01T00:00:00Z", inclusive=True)
    for unit, name in UNITS.items()
}


def instant_of_count(value: object, unit: str) -> datetime:
    """Read a count since 1970, a number or its digits, cut to the microsecond. Raises BrokenRuleError."""
    count = _READERS[unit](value)
    try:
        return _EPOCH + timedelta(microseconds=int(EXACT.multiply(count, _TO_MICROSECONDS[unit])))
    except OverflowError:
        raise BrokenRuleError(f"is out of range: is it a count of {UNITS[unit]}?") from None


def in_zone(value: object, zone: tzinfo) -> object:
    """Return a time without an offset as an instant of the zone; anything else as it is, for the rules of the field to judge.

    Raises BrokenRuleError for a time that the zone has twice or never, because its clocks were changed: it is not one instant.
    """
    if isinstance(value, str) and len(value) > _DATE_LENGTH:
        try:
            written = datetime.fromisoformat(value)
        except ValueError:
            return value
    elif isinstance(value, datetime):
        written = value
    else:
        return value
    if written.tzinfo is not None:
        return value
    local = written.replace(tzinfo=zone)
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        raise BrokenRuleError(f"is not one instant in {zone}: the clocks were changed then")
    return local
