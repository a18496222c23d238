"""What compiled code takes as an answer without asking the scalar must be what the scalar would say."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from graphql import GraphQLBoolean, GraphQLError, GraphQLFloat, GraphQLID, GraphQLInt, GraphQLScalarType, GraphQLString
from hypothesis import given
from hypothesis import strategies as st

from app.execution.compiled import BUILT_IN, REMEMBERED, _memory
from app.resolvers.engine import DIALECT
from app.resolvers.schema import build_schema
from tests.execution.differential import typed
from tests.execution.hostile import LEAVES

SCHEMA = build_schema()._schema

_OF_TYPE: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(),
    str: st.text(st.characters()) | st.text(),
    float: st.floats(),
    bool: st.booleans(),
}
_BUILT_IN = [GraphQLString, GraphQLID, GraphQLBoolean, GraphQLInt, GraphQLFloat]


def scalar(name: str) -> GraphQLScalarType:
    """Return a scalar of the product's schema."""
    found = SCHEMA.type_map[name]
    assert isinstance(found, GraphQLScalarType)
    return found


@pytest.mark.parametrize("name", sorted(DIALECT.unchanged))
@given(data=st.data())
def test_the_dialects_scalars_return_such_values_as_they_are(name: str, data: st.DataObject) -> None:
    value = data.draw(_OF_TYPE[DIALECT.unchanged[name]])
    assert typed(scalar(name).coerce_output_value(value)) == typed(value)


@pytest.mark.parametrize("name", sorted(DIALECT.remembered))
@given(data=st.data())
def test_what_is_remembered_depends_on_the_value_alone(name: str, data: st.DataObject) -> None:
    assert DIALECT.remembered[name] is date
    value = data.draw(st.dates())
    other = date(value.year, value.month, value.day)
    assert typed(scalar(name).coerce_output_value(value)) == typed(scalar(name).coerce_output_value(other))


def is_taken(name: str, value: Any) -> bool:
    """Return whether compiled code takes a value for a built-in scalar's answer."""
    kind, condition = BUILT_IN[name]
    return type(value).__name__ == kind and bool(eval("True" + condition.format(v="value"), {"value": value}))


@pytest.mark.parametrize("built_in", _BUILT_IN, ids=lambda one: one.name)
@given(value=st.one_of(*_OF_TYPE.values()) | st.sampled_from(LEAVES).map(lambda make: make()))
def test_the_built_in_scalars_return_what_is_taken_as_it_is(built_in: GraphQLScalarType, value: Any) -> None:
    if is_taken(built_in.name, value):
        assert typed(built_in.coerce_output_value(value)) == typed(value)
        return
    try:
        said = built_in.coerce_output_value(value)
    except (GraphQLError, ArithmeticError):
        return
    # Taken is all that need not be asked: ordinary values of the scalar's own Python type.
    assert type(value).__name__ != BUILT_IN[built_in.name][0] or typed(said) != typed(value)


@pytest.mark.parametrize("built_in", _BUILT_IN, ids=lambda one: one.name)
def test_the_edges_of_the_built_in_scalars(built_in: GraphQLScalarType) -> None:
    inside: dict[str, list[Any]] = {
        "Int": [2**31 - 1, -(2**31), 0],
        "Float": [1e308, -0.0, 5e-324],
        "Boolean": [True, False],
        "ID": [""],
        "String": ["", "\ud800"],
    }
    outside = [2**31, -(2**31) - 1, float("nan"), float("inf"), -float("inf"), None, date.min, b"", 1j]
    assert all(is_taken(built_in.name, value) for value in inside[built_in.name])
    assert not any(is_taken(built_in.name, value) for value in outside)


def test_the_dialect_names_scalars_of_the_schema() -> None:
    assert {*DIALECT.unchanged, *DIALECT.remembered} <= set(SCHEMA.type_map)
    assert not {*DIALECT.unchanged, *DIALECT.remembered} & set(BUILT_IN)


def test_what_is_remembered_is_bounded_and_shared_by_selections() -> None:
    memory = _memory(scalar("Date"))
    assert _memory(scalar("Date")) is memory
    for ordinal in range(1, 3 * REMEMBERED):
        assert memory[date.fromordinal(ordinal)] == date.fromordinal(ordinal).isoformat()
        assert len(memory) <= REMEMBERED
