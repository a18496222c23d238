"""Formatting of numbers and instants for display. Pure; without HTML."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("K", "M", "B", "T", "P", "E")
_NARROW_SPACE = "\u202f"


def short_number(value: int) -> str:
    """Return a count of 0 or more in three digits and a unit, rounded half up: `1.23 B`; below a thousand as it is."""
    if value < 1000:
        return str(value)
    for power, unit in enumerate(_UNITS, 1):
        for places in (2, 1, 0):
            scaled = _divide(value * 10**places, 1000**power)
            if scaled < 1000:
                return f"{_decimal(scaled, places)}{_NARROW_SPACE}{unit}"
    return exact_number(value)


def _divide(value: int, by: int) -> int:
    return (2 * value + by) // (2 * by)


def exact_number(value: int) -> str:
    """Return every digit, in groups: `1,234,567,890`."""
    return f"{value:,}"


def percent(part: int, whole: int, places: int = 1) -> str:
    """Return a share of a whole: `40.5 %`; 0 if there is no whole."""
    return f"{_decimal(_divide(part * 100 * 10**places, whole) if whole else 0, places)}{_NARROW_SPACE}%"


def _decimal(scaled: int, places: int) -> str:
    return f"{scaled // 10**places}.{scaled % 10**places:0{places}d}" if places else str(scaled)


def read_instant(text: str) -> datetime:
    """Return the instant of an ISO 8601 text that ends in `Z`."""
    return datetime.fromisoformat(text).astimezone(UTC)


def clock_time(moment: datetime) -> str:
    """Return an instant to the second, its zone said: `26 June 2026, 12:00:00 UTC`."""
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC"


def short_date(text: str) -> str:
    """Return `26 Jun` of `2026-06-26`."""
    moment = datetime.fromisoformat(text)
    return f"{moment.day} {moment:%b}"


def peak_name(bucket: str) -> str:
    """Return a trend's bucket in few words: `Fri 26 Jun, 11:00`, or `Fri 26 Jun` for a whole day."""
    moment = datetime.fromisoformat(bucket)
    return f"{moment:%a} {moment.day} {moment:%b}" + (f", {moment:%H}:00" if len(bucket) > 10 else "")


def bucket_name(bucket: str) -> str:
    """Return a trend's bucket in words: `Fri 26 June, 11:00 to 12:00 UTC`, or `Friday 26 June 2026` for a whole day."""
    moment = datetime.fromisoformat(bucket)
    if len(bucket) > 10:
        return f"{moment:%a} {moment.day} {moment:%B, %H}:00 to {(moment.hour + 1) % 24:02d}:00 UTC"
    return f"{moment:%A} {moment.day} {moment:%B %Y}"
