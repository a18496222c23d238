"""The schema: printed as committed, described everywhere, kept by the stored documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    build_schema,
    is_non_null_type,
    is_scalar_type,
    is_specified_scalar_type,
    parse,
    validate,
)

import app
from app.resolvers.schema import print_schema
from app.rest.execute import document_names, load_document

ROOT = Path(app.__file__).parents[1]
SDL = print_schema()


def test_the_printed_schema_is_the_code() -> None:
    committed = (ROOT / "schema.graphql").read_text(encoding="utf-8")
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


def test_every_root_is_nullable_so_that_one_refusal_leaves_its_neighbours() -> None:
    schema = build_schema(SDL)
    assert schema.query_type
    assert schema.mutation_type
    roots = {**schema.query_type.fields, **schema.mutation_type.fields}
    assert [name for name, field in roots.items() if is_non_null_type(field.type)] == []


def test_every_scalar_names_its_specification_and_stands_in_the_guide() -> None:
    own = {name: kind for name, kind in build_schema(SDL).type_map.items() if is_scalar_type(kind) and not is_specified_scalar_type(kind)}
    assert [name for name, kind in own.items() if not (kind.specified_by_url or "").startswith("https://")] == []
    guide = (ROOT / "docs" / "scalars.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \| <(\S+)> \|$", guide, re.MULTILINE)
    assert {name: url for name, _, url in rows} == {name: kind.specified_by_url for name, kind in own.items()}
    for config in (guide, (ROOT / "frontend" / "codegen.mjs").read_text(encoding="utf-8")):
        (scalars,) = re.findall(r"scalars: \{ (.*) \}", config)
        assert dict(re.findall(r'(\w+): "(\w+)"', scalars)) == {name: kind for name, kind, _ in rows}


def test_what_is_deprecated_says_what_to_use_and_until_when_it_stays() -> None:
    reason = re.compile(r"Use .+\. Removed on \d{4}-\d{2}-\d{2} at the earliest\.")
    policy = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"of this form: `(.*?)`", policy)
    assert reason.fullmatch(example)
    wrong = []
    for name, kind in build_schema(SDL).type_map.items():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            items: dict[str, Any] = dict(kind.fields)
            items |= {f"{field}({arg})": value for field, one in kind.fields.items() for arg, value in getattr(one, "args", {}).items()}
        else:
            items = dict(kind.values) if isinstance(kind, GraphQLEnumType) else {}
        given = {item: value.deprecation_reason for item, value in items.items() if value.deprecation_reason and not name.startswith("__")}
        wrong += [f"{name}.{item}" for item, text in given.items() if not reason.fullmatch(text)]
    assert wrong == []
