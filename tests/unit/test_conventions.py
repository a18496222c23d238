"""Token conventions: what is brought to the record's, what contradicts itself, and that the docs say what the table says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fields import MAX_COUNT
from app.ingest.sources.conventions import CONVENTIONS, EXCLUSIVE, INCLUSIVE, TokenCounts, read_tokens

DOCS = Path(__file__).parents[2] / "docs" / "usage-record.md"


def test_the_docs_say_what_the_table_says() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (inside|beside) \| (inside|beside) \| (inside|beside) \|$", DOCS.read_text(), re.MULTILINE)
    declared = {name: (rule.cached.value, rule.cache_writes.value, rule.reasoning.value) for name, rule in CONVENTIONS.items()}
    assert {name: tuple(parts) for name, *parts in rows} == declared


def test_inside_stays_and_beside_is_added() -> None:
    counts = TokenCounts(prompt=100, completion=20, cached=30, cache_writes=5, reasoning=7, total=120)
    inside, beside = read_tokens(counts, INCLUSIVE), read_tokens(counts, EXCLUSIVE)
    assert inside.values == {"prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 30, "reasoning_tokens": 7}
    assert beside.values == {"prompt_tokens": 135, "completion_tokens": 27, "cached_tokens": 30, "reasoning_tokens": 7}
    assert inside.contradictions == beside.contradictions == ()


@pytest.mark.parametrize(
    ("counts", "fields"),
    [
        (TokenCounts(prompt=10, completion=5, total=15), []),
        (TokenCounts(prompt=10, completion=5, total="15"), []),
        (TokenCounts(prompt=10, completion=5, total=16), ["total_tokens"]),
        (TokenCounts(prompt=10, completion=5, total=-1), ["total_tokens"]),
        (TokenCounts(prompt=10, cached=6, cache_writes=5), ["prompt_tokens"]),
        (TokenCounts(total=0), []),
        (TokenCounts(), []),
    ],
)
def test_contradictions(counts: TokenCounts, fields: list[str]) -> None:
    assert [reason.field for reason in read_tokens(counts, INCLUSIVE).contradictions] == fields


def test_a_total_may_be_the_sum_as_given_or_the_inclusive_one() -> None:
    for total in (120, 157):
        assert read_tokens(TokenCounts(100, 20, 30, None, 7, total), EXCLUSIVE).contradictions == ()
    assert read_tokens(TokenCounts(100, 20, 30, None, 7, 121), EXCLUSIVE).contradictions != ()


_anything = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.builds(TokenCounts, *[_anything] * 6), st.sampled_from([INCLUSIVE, EXCLUSIVE]))
def test_nothing_is_lost_and_nothing_raised(counts: TokenCounts, convention: Any) -> None:
    values = read_tokens(counts, convention).values
    given_value: Any
    for name, given_value in (("cached_tokens", counts.cached), ("reasoning_tokens", counts.reasoning)):
        if type(given_value) is int and 0 <= given_value <= MAX_COUNT:
            assert values[name] == given_value
        elif given_value is not None and name in values and values[name] != 0:
            assert values[name] is given_value or values[name] == int(given_value)
