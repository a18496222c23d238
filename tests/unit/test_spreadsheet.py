"""Cells of CSV: none begins a formula, and each leads back to the text it was made of."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.spreadsheet import guard_cell, plain_cell
from app.rest.csv import encode_rows

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u00a0=1",
    "\u3000+1",
    "\u200b=1",
    "\ufeff@x",
    "\uff1dcmd|' /C calc'!A0",
    "\uff0b1",
    "\uff0d1",
    "\uff20SUM(A1)",
    "\ufe66x",
    " \u00a0\uff1dx",
    "'=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_guarded(text: str) -> None:
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "gpt-4o", "a=b", "1-2", "'quoted'", "it's", " plain", "\u00e4=1", "…", 5, -5, -1.5, None])
def test_all_else_stays(value: Any) -> None:
    assert guard_cell(value) is value


@given(st.text(alphabet=st.one_of(st.sampled_from("=+-@'\t\r\n \u00a0\u200b\uff1da1"), st.characters()), max_size=8))
def test_the_original_is_found_again(text: str) -> None:
    guarded = guard_cell(text)
    assert plain_cell(guarded) == text
    assert guard_cell(plain_cell(text)) in (text, guarded)


def test_rows_are_written_guarded() -> None:
    written = encode_rows([(text, -1) for text in FORMULAS]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [[f"'{text}", "-1"] for text in FORMULAS]
