"""The schema: printed as committed, described everywhere, kept by the stored documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    build_schema,
    parse,
    validate,
)

import app
from app.resolvers.schema import print_schema
from app.rest.execute import document_names, load_document

SDL = print_schema()


def test_the_printed_schema_is_the_code() -> None:
    committed = (Path(app.__file__).parents[1] / "schema.graphql").read_text(encoding="utf-8")
    assert committed == SDL, "run `make schema`"


def test_everything_is_described() -> None:
    missing = []
    for name, kind in build_schema(SDL).type_map.items():
        if name.startswith("__") or name in ("String", "Int", "Float", "Boolean", "ID"):
            continue
        if not kind.description and name != "Query":
            missing.append(name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            for field_name, field in kind.fields.items():
                missing += [] if field.description else [f"{name}.{field_name}"]
                missing += [f"{name}.{field_name}({argument})" for argument, value in field.args.items() if not value.description]
        elif isinstance(kind, GraphQLInputObjectType):
            missing += [f"{name}.{field_name}" for field_name, value in kind.fields.items() if not value.description]
        elif isinstance(kind, GraphQLEnumType):
            missing += [f"{name}.{value_name}" for value_name, value in kind.values.items() if not value.description]
    assert missing == []


@pytest.mark.parametrize("name", document_names())
def test_stored_documents_are_valid(name: str) -> None:
    assert validate(build_schema(SDL), parse(load_document(name))) == []
