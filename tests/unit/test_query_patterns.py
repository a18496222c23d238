"""What OpenAPI says of a query parameter is true: what its pattern matches is accepted, and the code refuses what it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.domain.errors import BadInputError
from app.domain.time_range import (
    MAX_DAYS_BACK,
    parse_date,
    parse_month,
    resolve_log_window,
    resolve_tenant_window,
    resolve_usage_window,
)
from app.rest import query
from app.rest.parameters import parse_choice, parse_integer
from app.surfaces.tenant import MAX_OFFSET
from app.surfaces.usage import MAX_TOP_USERS

NOW = datetime(2026, 6, 26, 12, tzinfo=UTC)

Accept = Callable[[str], Any]

DATES: dict[str, Accept] = {
    "RankingsStart": lambda text: parse_date(text, "start_date"),
    "RankingsEnd": lambda text: parse_date(text, "end_date"),
    "DateFrom": lambda text: resolve_usage_window(text, None, NOW),
    "DateTo": lambda text: resolve_usage_window(None, text, NOW),
}
DAYS: dict[str, Accept] = {
    "StartDate": lambda text: resolve_tenant_window(text, text, NOW),
    "EndDate": lambda text: resolve_tenant_window(text, text, NOW),
    "LogStart": lambda text: resolve_log_window(text, None, NOW),
    "LogEnd": lambda text: resolve_log_window(None, text, NOW),
}
CHOICES: dict[str, Accept] = {
    "Aggregation": lambda text: parse_choice(text, "", query.AGGREGATIONS),
    "WeekNumbering": lambda text: parse_choice(text, "", query.WEEK_NUMBERINGS),
    "Status": lambda text: parse_choice(text, "", query.STATUSES),
}
INTEGERS: dict[str, Accept] = {
    "Days": lambda text: parse_integer(text, "", 1, MAX_DAYS_BACK),
    "TopUsersLimit": lambda text: parse_integer(text, "", 1, MAX_TOP_USERS),
    "Limit": lambda text: parse_integer(text, "", 1, query.MAX_LOGS),
    "Offset": lambda text: parse_integer(text, "", 0, MAX_OFFSET),
}
ACCEPT = DATES | DAYS | CHOICES | INTEGERS | {"Month": lambda text: parse_month(text, "month")}
FREE = {"ModelId", "ProjectId", "ApiKeyId", "Cursor"}

WRONG = (
    "",
    "2026",
    "2026-6-1",
    "2026-06-26 ",
    " 2026-06-26",
    "2026-06-26\n",
    "26-06-2026",
    "٢٠٢٦-٠٦-٢٦",
    "2026-13-01",
    "x",
    "-1",
    "1.0",
    "null",
)
WRONG_INSTANTS = ("2026-06-26T", "2026-06-26T24:00", "2026-06-26T12:60Z", "2026-06-26T12:00:00+2", "T12:00", "2026-06-26 12:00")


def schema_of(name: str) -> dict[str, Any]:
    return TypeAdapter(getattr(query, name)).json_schema()


def accepts(name: str, text: str) -> bool:
    try:
        ACCEPT[name](text)
    except BadInputError:
        return False
    return True


def test_every_parameter_is_here() -> None:
    declared = {name for name, value in vars(query).items() if get_args(value) and get_args(value)[0] == str | None}
    assert declared == set(ACCEPT) | FREE


@pytest.mark.parametrize("name", [*DATES, *DAYS, "Month"])
@given(data=st.data())
def test_what_a_pattern_matches_is_accepted(name: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(re.compile(schema_of(name)["pattern"], re.ASCII), fullmatch=True))
    if name != "Month":
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            assume(False)  # no real date, which no pattern can say
    assert accepts(name, text), text


@pytest.mark.parametrize("name", [*DATES, *DAYS, "Month"])
def test_what_is_wrong_is_neither_matched_nor_accepted(name: str) -> None:
    schema = schema_of(name)
    pattern = re.compile(schema["pattern"].replace("$", r"\Z"), re.ASCII)
    assert pattern.fullmatch(schema["example"])
    assert accepts(name, schema["example"])
    for text in WRONG if name not in DAYS else (*WRONG, *WRONG_INSTANTS):
        assert not pattern.fullmatch(text), text
        assert not accepts(name, text), text


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_have_their_bounds(name: str) -> None:
    schema = schema_of(name)
    low, high = schema["minimum"], schema["maximum"]
    assert [accepts(name, str(number)) for number in (low - 1, low, high, high + 1)] == [False, True, True, False]


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_all_there_are(name: str) -> None:
    choices = schema_of(name)["enum"]
    assert all(accepts(name, choice) for choice in choices)
    assert not any(accepts(name, choice.upper()) for choice in choices)


@pytest.mark.parametrize("name", sorted(FREE - {"Cursor"}))
def test_texts_are_all_but_nul(name: str) -> None:
    pattern = re.compile(schema_of(name)["pattern"].replace(r"\u0000", "\0"))
    assert pattern.fullmatch("openai/gpt-4o 😀'\n")
    assert not pattern.fullmatch("a\0b")
