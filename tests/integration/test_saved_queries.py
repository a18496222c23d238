"""Each saved query answers the caller that it names, unchanged, and refuses those who show no key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.demo.generate import DEMO_TENANT
from app.domain.principal import Role
from app.resolvers.schema import build_schema
from tests.browser.sites import Site, open_site
from tests.saved_queries import CALLERS, NAMES_NOTHING, SavedQuery, saved_queries

QUERIES = saved_queries()
each_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.file.removesuffix(".graphql"))


@pytest.fixture(scope="module")
async def stocked(server_url: str) -> AsyncIterator[Site]:
    """A gateway with demo records and a snapshot."""
    async with open_site(server_url, address_rate_limit="off") as site:
        await site.fill(400)
        await site.snapshot()
        yield site


async def ask(site: Site, query: SavedQuery, key: str | None, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=60) as client:
        answer: dict[str, Any] = (await client.post("/graphql", json={"query": query.text, "variables": variables})).json()
    return answer


async def key_of(site: Site, query: SavedQuery) -> str | None:
    role = CALLERS[query.caller]
    return None if role is None else await site.key(role, DEMO_TENANT if role is Role.TENANT else None)


@each_query
async def test_it_answers_its_caller_as_it_is(stocked: Site, query: SavedQuery) -> None:
    answer = await ask(stocked, query, await key_of(stocked, query))
    if query.name in NAMES_NOTHING:
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["NOT_FOUND"]
        return
    assert "errors" not in answer
    empty = {root for root, value in answer["data"].items() if value is None}
    assert empty <= {"user"}, "nobody's id is the default"
    if not query.writes and query.name != "TenantUsage":  # whose default day is long ago: GraphiQL fills in yesterday
        assert any(answer["data"].values())


@each_query
async def test_who_shows_no_key_gets_what_is_public(stocked: Site, query: SavedQuery) -> None:
    answer = await ask(stocked, query, None)
    codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
    assert codes == (set() if query.caller == "anybody" else {"UNAUTHENTICATED"})


@pytest.mark.parametrize("name", sorted(NAMES_NOTHING))
async def test_what_names_nothing_works_with_an_id(stocked: Site, name: str) -> None:
    (query,) = (query for query in QUERIES if query.name == name)
    admin = await stocked.key(Role.ADMIN)
    users, keys = (next(other for other in QUERIES if other.name == needed) for needed in ("Users", "ApiKeys"))
    doomed = await stocked.key(Role.GATEWAY)
    if name == "EraseUser":
        user = (await ask(stocked, users, admin))["data"]["users"]["nodes"][0]["userId"]
        assert (await ask(stocked, query, admin, {"user": user}))["data"]["eraseUser"]["tenants"] >= 1
    else:
        nodes = (await ask(stocked, keys, admin, {"first": 100}))["data"]["apiKeys"]["nodes"]
        (found,) = (key["keyId"] for key in nodes if doomed.startswith(key["prefix"]))
        assert (await ask(stocked, query, admin, {"keyId": found}))["data"]["revokeApiKey"]["status"] == "REVOKED"


def test_every_root_of_the_schema_has_one() -> None:
    types = build_schema()._schema.type_map
    roots = {name for root in ("Query", "Mutation") for name in types[root].fields}  # type: ignore[attr-defined]
    assert set().union(*(query.roots for query in QUERIES)) == roots


@each_query
def test_it_says_what_it_is_for(query: SavedQuery) -> None:
    assert query.text.startswith("# ")
    assert query.about.endswith(".")
    assert query.caller in CALLERS
    assert all(variable.default_value is not None for variable in query.operation.variable_definitions or ())


def test_names_are_told_apart() -> None:
    assert len({query.name for query in QUERIES}) == len(QUERIES)
