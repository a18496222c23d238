"""A field that fails leaves its neighbours what they share with it: the standard cancels whatever waits beside a failed field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from app.domain.principal import Scope
from app.domain.time_range import TimeRange, midnight
from app.graph.catalog import MODEL_VARIANTS, PROVIDER_MODELS
from app.graph.identities import TENANT_API_KEYS, TENANT_CALLER_KEYS, TENANT_PROJECTS, TENANT_USERS, USER_TENANTS
from app.graph.listing import Listing, PageRequest
from app.graph.request_log import RequestName
from app.query.bind import Reader, bind
from app.query.plan import Asked, Planned
from app.query.question import Question
from app.query.run import Answer
from app.resolvers.loaders import Loaders
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

CHILDREN: tuple[Listing[Any], ...] = (
    *(PROVIDER_MODELS, MODEL_VARIANTS, TENANT_PROJECTS, TENANT_CALLER_KEYS, TENANT_USERS, TENANT_API_KEYS, USER_TENANTS),
)


DAY = TimeRange(midnight(date(2026, 6, 25)), midnight(date(2026, 6, 26)))
ASKED = Asked(bind(Question(DAY, ()), None, Reader(None, sees_private=True)))


def _page_of(listing: Listing[Any]) -> Callable[[Loaders], Any]:
    request = PageRequest("x" if listing is MODEL_VARIANTS else 7, 2)
    return lambda loaders: loaders.children(listing).load(request)


LOADS: dict[str, Callable[[Loaders], Any]] = {
    "models": lambda loaders: loaders.models.load("x/y"),
    "providers": lambda loaders: loaders.providers.load("x"),
    "tenants": lambda loaders: loaders.tenants.load("x"),
    "tenants_by_key": lambda loaders: loaders.tenants_by_key.load(7),
    "users": lambda loaders: loaders.users.load("x"),
    "projects": lambda loaders: loaders.projects.load((7, "x")),
    "projects_by_key": lambda loaders: loaders.projects_by_key.load((7, 7)),
    "caller_keys": lambda loaders: loaders.caller_keys.load((7, "x")),
    "caller_keys_by_key": lambda loaders: loaders.caller_keys_by_key.load((7, 7)),
    "variants": lambda loaders: loaders.variants.load(("x/y", "x/y")),
    "named_projects": lambda loaders: loaders.named_projects.load(("x", "x")),
    "named_caller_keys": lambda loaders: loaders.named_caller_keys.load(("x", "x")),
    "requests": lambda loaders: loaders.requests.load(RequestName("x", NOW, "x")),
    "quarantined": lambda loaders: loaders.quarantined.load((None, UUID(int=7))),
    "api_keys": lambda loaders: loaders.api_keys.load("x"),
    "plans": lambda loaders: loaders.plans.load(ASKED),
    "questions": lambda loaders: loaders.questions.load(ASKED),
    "prices": lambda loaders: loaders.prices.load(7),
    **{listing.name: _page_of(listing) for listing in CHILDREN},
}


def test_every_loader_is_tried() -> None:
    kinds = {name for name, value in vars(Loaders(None, None, None)).items() if hasattr(value, "load")}  # type: ignore[arg-type]
    assert kinds <= LOADS.keys()


async def test_whoever_waits_is_not_cancelled_with_another(gateway: Gateway) -> None:
    async def scope() -> Scope:
        return Scope(tenant_key=None, identities=True)

    async def pay(points: int, at_most: int) -> None:
        assert 0 < points <= at_most

    async def wait(load: Callable[[Loaders], Any], loaders: Loaders) -> Any:
        return await load(loaders)

    for name, load in LOADS.items():
        loaders = Loaders(gateway.database, scope, pay)
        before, failing, after = (asyncio.create_task(wait(load, loaders)) for _ in range(3))
        await asyncio.sleep(0)
        failing.cancel()
        found = await asyncio.gather(before, failing, after, return_exceptions=True)
        assert found[0] in (None, []) or isinstance(found[0], Answer | Planned), name
        assert isinstance(found[1], asyncio.CancelledError), name
        assert found[2] == found[0], name
        assert await load(loaders) == found[0], name


async def test_a_bad_argument_fails_its_own_branch(gateway: Gateway) -> None:
    await gateway.store([make_record(tenant_id=tenant, project_id="app", user_id="u", api_key_id="k") for tenant in ("acme", "umbrella")])
    headers = await gateway.key("admin")
    parts = (
        "projects { nodes { projectId } }",
        "users { nodes { userId } }",
        "apiKeys { nodes { id } }",
        "callerKeys { nodes { apiKeyId } }",
    )
    good = "tenants { nodes { tenantId " + " ".join(parts) + " } }"
    for part in parts:
        for wrong in ("first: 0", "first: 101", 'after: "none of these"'):
            bad = good.replace(part, part + " bad: " + part.replace(" {", f"({wrong}) {{", 1))
            answer = await gateway.graphql(f"{{ good: {good} bad: {bad} later: {good} }}", headers)
            assert {error["extensions"]["code"] for error in answer["errors"]} == {"BAD_USER_INPUT"}, answer["errors"]
            assert {error["path"][0] for error in answer["errors"]} == {"bad"}, answer["errors"]


@pytest.mark.parametrize("wrong", ["a\\u0000b", "x" * 3_000, ""])
async def test_a_name_that_no_database_holds_leaves_the_others(gateway: Gateway, wrong: str) -> None:
    await gateway.store([make_record(model_id="openai/gpt-4o", user_id="u")])
    headers = await gateway.key("admin")
    for root, given, shown in (
        ("model", "openai/gpt-4o", "modelId"),
        ("provider", "openai", "providerId"),
        ("user", "u", "userId"),
        ("tenant", "acme", "tenantId"),
    ):
        document = f'{{ bad: {root}({root}Id: "{wrong}") {{ {shown} }} good: {root}({root}Id: "{given}") {{ {shown} }} }}'
        answer = await gateway.graphql(document, headers)
        assert answer["data"] == {"bad": None, "good": {shown: given}}, answer
        assert {error["extensions"]["code"] for error in answer.get("errors", [])} <= {"BAD_USER_INPUT"}, answer
