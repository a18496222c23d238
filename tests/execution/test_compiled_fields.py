"""Which fields of the product's schema compiled code reads: none that takes more than reading an attribute, and all others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from graphql import GraphQLField, GraphQLObjectType
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from app.execution.compiled import NotTrivialError, attribute_of, is_stored, origin_of, value_of
from app.execution.derived import derivation_of
from app.resolvers.schema import build_schema

SCHEMA = build_schema()._schema

AT_LEAST = 170
"""Compiled fields of the schema as it is, rounded down: a library that makes all of them slow is to be noticed."""


def object_types() -> Iterator[GraphQLObjectType]:
    """Give the schema's own object types."""
    for kind in SCHEMA.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            yield kind


def fields() -> Iterator[tuple[str, GraphQLObjectType, GraphQLField, StrawberryField]]:
    """Give every field of every object type, with what the type's class declares it to be."""
    for kind in object_types():
        definition = kind.extensions["strawberry-definition"]
        assert isinstance(definition, StrawberryObjectDefinition)
        declared = {one.python_name: one for one in definition.fields}
        for name, field in kind.fields.items():
            yield f"{kind.name}.{name}", kind, field, declared[field.extensions["strawberry-definition"].python_name]


def is_compiled(kind: GraphQLObjectType, field: GraphQLField) -> bool:
    """Return whether compiled code would read the field."""
    try:
        return all(is_stored(origin_of(kind), attribute) for attribute in value_of(field)[1])
    except NotTrivialError:
        return False


def test_compiled_are_just_the_fields_that_are_attributes() -> None:
    compiled = {name for name, kind, field, _ in fields() if is_compiled(kind, field)}
    more_than_attributes = {
        name
        for name, _, field, declared in fields()
        if (declared.base_resolver is not None and derivation_of(declared) is None)
        or declared.permission_classes
        or declared.extensions
        or field.args
    }
    everything = {name for name, *_ in fields()}
    assert compiled & more_than_attributes == set()
    assert compiled | more_than_attributes == everything
    assert len(compiled) >= AT_LEAST
    assert {name for name in everything if name.startswith(("Query.", "Mutation."))} <= more_than_attributes


@pytest.mark.parametrize(
    "name",
    [
        "RankingsDailyRow.totalTokens",
        "UsagePoint.costUsd",
        "TenantDay.spend",
        "Outcomes.requests",
        "NetworkPoint.totalTokens",
        "TenantRequest.createdAt",
        "TenantRequest.id",
        "Model.id",
        "Model.modelId",
        "Project.id",
        "ModelConnection.edges",
        "ModelEdge.node",
        "PageInfo.endCursor",
    ],
)
def test_hot_fields_are_compiled(name: str) -> None:
    (found,) = [(kind, field) for other, kind, field, _ in fields() if other == name]
    assert is_compiled(*found)


@pytest.mark.parametrize("name", ["Query.network", "Query.usageAnalytics", "Mutation.createApiKey", "TenantRequest.model", "Tenant.users"])
def test_fields_that_not_everybody_may_read_or_that_take_work_are_not(name: str) -> None:
    (found,) = [(kind, field) for other, kind, field, _ in fields() if other == name]
    assert not is_compiled(*found)
    with pytest.raises(NotTrivialError):
        attribute_of(found[1])


def test_every_object_type_has_plain_objects() -> None:
    for kind in object_types():
        assert isinstance(origin_of(kind), type)
