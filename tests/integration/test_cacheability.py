"""What may be cached does not change with the clock: every cacheable field of every root, asked at two instants of one day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type
from strawberry.utils.str_converters import to_camel_case

from app.resolvers.caching import is_cacheable
from app.resolvers.schema import build_schema
from app.settings import Settings
from app.surfaces.declare import Surface
from app.surfaces.documented import SURFACES
from app.surfaces.rankings import RANKINGS_DAILY
from app.web.app import Wiring, create_app
from tests.clock import NOW, FakeClock
from tests.factories import make_record
from tests.gateway import Gateway

GRAPH = build_schema()._schema
ARGUMENTS = {
    "gateway_stats": "(days: 2)",
    "usage_analytics": "(fillGaps: true)",
    "tenant_usage": f'(date: "2026-06-20", endDate: "{NOW.date()}")',
    "tenant_analytics": '(startDate: "2026-06-20")',
}
CACHEABLE = [surface for surface in SURFACES if surface.is_cacheable]


@pytest.fixture
async def uncached(database_url: str, clock: FakeClock) -> AsyncIterator[Gateway]:
    app = create_app(Settings(database_url=database_url, cache_memory=0), Wiring(clock=clock, jobs=False))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client,
    ):
        yield Gateway(app, client, app.state.services.database, clock)


def select(definition: GraphQLField, *, all_fields: bool) -> tuple[str, int]:
    """Return a selection of the fields under a field that may be cached, or of all that ask for nothing, and how many leaves it has."""
    named = get_named_type(definition.type)
    if is_leaf_type(named):
        return "", 1
    assert isinstance(named, GraphQLObjectType)
    chosen = {name: below for name, below in named.fields.items() if is_cacheable(below) or (all_fields and not below.args)}
    found = {name: select(below, all_fields=all_fields) for name, below in chosen.items()}
    return f"{{ {' '.join(name + text for name, (text, _) in found.items())} }}", sum(leaves for _, leaves in found.values())


async def ask_twice(gateway: Gateway, surface: Surface, *, all_fields: bool = False) -> list[Any]:
    """Return the two answers; the caller's role is the one that the surface is for."""
    await gateway.catalog({"model_id": "openai/gpt-4o", "public": True})
    record = make_record(user_id="u", username="somebody", project_id="p", api_key_id="k", occurred_at=NOW - timedelta(hours=2))
    await gateway.store([record])
    await gateway.snapshot()
    tenant = await gateway.key("tenant", "acme") if surface.root.startswith("tenant") else await gateway.key("admin")
    root = to_camel_case(surface.root)
    assert GRAPH.query_type is not None
    selection, leaves = select(GRAPH.query_type.fields[root], all_fields=all_fields)
    assert leaves >= 3
    answers = []
    for pause in (timedelta(0), timedelta(hours=11, minutes=59)):
        gateway.clock.advance(pause)
        answers.append(await gateway.graphql(f"{{ {root}{ARGUMENTS.get(surface.root, '')} {selection} }}", tenant))
    assert all("errors" not in answer and answer["data"][root] for answer in answers), answers
    return answers


@pytest.mark.parametrize("surface", CACHEABLE, ids=lambda surface: surface.root)
async def test_what_may_be_cached_is_the_same_all_day(uncached: Gateway, surface: Surface) -> None:
    first, second = await ask_twice(uncached, surface)
    assert first == second


async def test_what_changes_with_the_clock_is_seen_to_change(uncached: Gateway) -> None:
    first, second = await ask_twice(uncached, RANKINGS_DAILY, all_fields=True)
    assert first != second
    del first["data"]["rankingsDaily"]["meta"]["asOf"], second["data"]["rankingsDaily"]["meta"]["asOf"]
    assert first == second
