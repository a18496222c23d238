"""Rounding, once, at output: half-up over Decimal, so that every surface shows the same digits."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

_WIDE = Context(prec=200, rounding=ROUND_HALF_UP)
_QUANTA = tuple(Decimal(1).scaleb(-places) for places in range(19))

USD_PLACES = 6
SHARE_PLACES = 4
_MICRO_USD = _QUANTA[USD_PLACES]
_MICROS = int(10**USD_PLACES)


def round_half_up(value: Decimal, places: int) -> Decimal:
    """Return `value` with `places` digits behind the point, 18 at most, halves away from zero."""
    return value.quantize(_QUANTA[places], None, _WIDE)  # by position: by name takes Python eight times as long


def usd(value: Decimal) -> float:
    """Return US dollars as answers show them."""
    # Divided as integers, which is rounded as `float` rounds the text that it makes of a Decimal, and quicker: lists have many of them.
    return int(value.quantize(_MICRO_USD, None, _WIDE).scaleb(USD_PLACES, _WIDE)) / _MICROS


def quotient(part: Decimal, whole: Decimal, places: int) -> Decimal:
    """Return part / whole half-up to `places`; `whole` is not 0."""
    return round_half_up(_WIDE.divide(part, whole), places)


def ratio(part: int, whole: int, places: int) -> float:
    """Return part / whole half-up to `places`, 0.0 when `whole` is 0."""
    if whole == 0:
        return 0.0
    return float(quotient(Decimal(part), Decimal(whole), places))


def percentage(part: int, whole: int) -> float:
    """Return part of whole in percent, half-up to 2 places, 0.0 when `whole` is 0."""
    return ratio(100 * part, whole, 2)
