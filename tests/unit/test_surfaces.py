"""Surfaces as data: what derives from the declarations, and what they must not leave open."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import strawberry
from graphql import parse
from strawberry.schema.config import StrawberryConfig

from app.cube.metrics import CACHED, REQUESTS, TOKENS
from app.domain.fields import Unit
from app.execution.rows import RowList, as_list
from app.resolvers.caching import PUBLIC_ROOTS, cacheable_roots
from app.resolvers.scalars import SCALARS
from app.resolvers.surface_types import object_type, root, rows_of
from app.rest.bodies import Table, model_of, read_root
from app.surfaces.declare import Caching, Column, Part, Section, Surface, computed, labelled, measured, settled
from app.surfaces.documented import SURFACES
from app.surfaces.gateway import GATEWAY_STATS
from app.surfaces.tenant import GROUP, TENANT_USAGE

ROW = Section(
    "Row",
    "A row.",
    (
        labelled("name", 0, "Its name."),
        measured("requests", REQUESTS),
        settled("note", "A note."),
        computed("mean", "Tokens of a request.", Unit.RATE, (TOKENS, REQUESTS), lambda tokens, requests: tokens / requests),
        Column("as_of", "When this was asked."),
    ),
)
ANSWER = Section("Answer", "An answer.", (Part("rows", ROW, "Rows.", is_settled=True), Part("now", ROW, "Rows of the last minute.")))


def test_cells_are_those_of_the_columns() -> None:
    assert ROW.metrics == (REQUESTS, TOKENS)
    rows = [("a", 2, 10), ("b", 4, 10)]
    assert ROW.cells(rows, note=["x", "y"], as_of=["1", "2"]) == [("a", 2, "x", 5.0, "1"), ("b", 4, "y", 2.5, "2")]
    assert ROW.cells([("a", 10, 2)], (TOKENS, REQUESTS), note=["x"], as_of=["1"]) == [("a", 2, "x", 5.0, "1")]
    assert ROW.cells([]) == []
    with pytest.raises(ValueError, match="zip"):
        ROW.cells(rows, note=["x"], as_of=["1", "2"])


def test_a_field_that_does_not_say_that_it_may_be_cached_makes_its_document_uncached() -> None:
    async def resolve() -> Any:
        return None

    async def resolve_age() -> int:
        return 0

    @strawberry.type
    class Undeclared:
        age: int = strawberry.field(resolver=resolve_age)

    row = object_type(ROW, {"undeclared": (Undeclared, strawberry.field())})
    answer = object_type(ANSWER)
    surface = replace(GATEWAY_STATS, answers=ANSWER)
    resolve.__annotations__["return"] = answer | None
    fields = {
        name: root(replace(surface, caching=caching), resolve) for name, caching in (("kept", Caching.PER_SCOPE), ("fresh", Caching.NEVER))
    }
    query = strawberry.type(type("Query", (), {"__annotations__": dict.fromkeys(fields, answer | None), **fields}))
    graph = strawberry.Schema(query, config=StrawberryConfig(scalar_map=SCALARS))._schema
    assert row.__strawberry_definition__.name == "Row"

    def roots(document: str) -> frozenset[str] | None:
        return cacheable_roots(graph, parse(document))

    assert roots("{ kept { rows { name requests note mean __typename } } }") == frozenset({"kept"})
    assert roots("{ kept { rows { name asOf } } }") is None, "a column that is neither sum nor label, and says nothing"
    assert roots("{ kept { now { name } } }") is None, "rows that say nothing"
    assert roots("{ kept { rows { undeclared { age } } } }") is None, "a relation that says nothing"
    assert roots("{ fresh { rows { name } } }") is None, "a root that may not"
    assert roots("{ kept { rows { ...F } } } fragment F on Row { asOf }") is None


def test_only_the_public_surface_is_public() -> None:
    assert {"network", "__typename"} == PUBLIC_ROOTS
    assert [surface.root for surface in SURFACES if surface.readers is None] == ["network"]
    assert all(surface.readers is None for surface in SURFACES if surface.caching is Caching.PUBLIC)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.root)
def test_a_surface_is_declared_to_the_end(surface: Surface) -> None:
    assert surface.description.endswith(".")
    for section in surface.answers.walk() if surface.answers else ():
        assert section.description.endswith(".")
        assert len({declared.name for declared in section.fields}) == len(section.fields)
        for declared in section.fields:
            assert declared.description.endswith("."), declared.name
            if isinstance(declared, Column):
                assert declared.value is not None or len(declared.metrics) < 2, declared.name


async def test_a_metric_more_is_a_column_more() -> None:
    section = Section("Group", GROUP.description, (*GROUP.fields, measured("cached_tokens", CACHED)))
    made = object_type(section)
    found = [("m", "p", "k", 1, *range(len(section.metrics)))]

    async def resolve() -> Any:
        return as_list(RowList(rows_of(section), section.cells(found, date=[date(2026, 6, 26)], cursor=["c"])))

    resolve.__annotations__["return"] = list[made]  # type: ignore[valid-type]
    body = {"__annotations__": {"groups": list[made] | None}, "groups": root(replace(TENANT_USAGE, readers=None, answers=section), resolve)}  # type: ignore[valid-type]
    schema = strawberry.Schema(strawberry.type(type("Query", (), body)), config=StrawberryConfig(scalar_map=SCALARS))
    document = "{ groups { date cached_tokens: cachedTokens } }"
    answer = await schema.execute(document)
    assert answer.data == {"groups": [{"date": "2026-06-26", "cached_tokens": len(section.metrics) - 1}]}
    selected = read_root(schema._schema, parse(document))
    assert Table(selected).names == ("date", "cached_tokens")
    described = model_of(selected).model_json_schema()["properties"]["cached_tokens"]
    assert (described["type"], described["description"]) == ("integer", CACHED.description)
    assert cacheable_roots(schema._schema, parse(document)) == frozenset({"groups"})
