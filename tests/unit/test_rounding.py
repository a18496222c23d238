"""Dollars as answers show them: the digits of the exact number, halves away from zero, whatever its size."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from app.money.rounding import round_half_up, usd

_WIDE = Context(prec=200, rounding=ROUND_HALF_UP)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
@example(Decimal("0.0000005"))
@example(Decimal("-0.0000005"))
@example(Decimal("2.4999995"))
@example(Decimal(2**53 + 1))
@example(Decimal("9007199254740993.0000005"))
@example(Decimal(10) ** 120 + Decimal("0.1"))
def test_dollars_are_the_nearest_number_of_the_rounded_text(value: Decimal) -> None:
    exact = value.quantize(Decimal("0.000001"), context=_WIDE)
    assert usd(value) == float(str(exact))
    assert round_half_up(value, 6) == exact
