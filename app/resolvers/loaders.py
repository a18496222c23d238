"""The loaders of one request: whatever asks for related objects, each level of a query is one statement, and nothing is asked twice.

They give rows of `app.graph` in the caller's scope; an object outside it is None, as if it did not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.db.engine import NOT_STORABLE, Database
from app.domain.errors import BadInputError
from app.domain.principal import Scope
from app.execution.limits import QueryTooExpensiveError
from app.graph.catalog import (
    BY_MODEL_AND_PERMASLUG,
    BY_PUBLIC_ID,
    BY_SLUG,
    MODEL_VARIANTS,
    MODELS,
    PROVIDERS,
    ModelRow,
    PriceRow,
    ProviderRow,
    VariantRow,
    fetch_prices,
)
from app.graph.identities import (
    API_KEYS,
    BY_ID,
    BY_KEY,
    BY_NAME,
    BY_TENANT_AND_KEY,
    BY_TENANT_AND_NAME,
    BY_TENANT_NAME_AND_NAME,
    CALLER_KEYS,
    PROJECTS,
    TENANTS,
    USERS,
    ApiKeyRow,
    CallerKeyRow,
    ProjectRow,
    TenantRow,
    UserRow,
)
from app.graph.listing import Column, Listing, PageRequest, fetch_by_keys, fetch_page, fetch_pages
from app.graph.quarantine import QuarantinedRow, QuarantineFilter, fetch_quarantined_records
from app.graph.request_log import LoggedRequest, RequestName, fetch_named_requests
from app.query.plan import Asked, Planned
from app.query.run import Answer, plan_questions, run_questions
from app.resolvers.points import MAX_POINTS, points_for_question

MAX_OBJECTS = 10_000
"""Objects that the lists of one operation may hold together: nested lists multiply."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])

TenantScoped = tuple[int, str]


class SharedLoader(DataLoader[K, T]):
    """A loader whose values several fields wait for: one of them being cancelled takes it from none of the others."""

    def load(self, key: K) -> Awaitable[T]:
        """Return the value of a key, as `DataLoader.load`."""
        return asyncio.shield(super().load(key))


class Loaders:
    """Loaders by public name or by surrogate, and of children by parent. Their caches live as long as this object: one request."""

    def __init__(self, database: Database, scope: Callable[[], Awaitable[Scope]], pay: Callable[[int, int], Awaitable[None]]) -> None:
        """`pay`: counts points for the caller, of which an operation may cost so many at most."""
        self._database = database
        self._pay = pay
        self._scope = scope
        self._objects_left = MAX_OBJECTS
        self.models: SharedLoader[str, ModelRow | None] = self._by_keys(MODELS, BY_PUBLIC_ID)
        self.variants: SharedLoader[tuple[str, str], VariantRow | None] = self._by_keys(MODEL_VARIANTS, BY_MODEL_AND_PERMASLUG)
        self.providers: SharedLoader[str, ProviderRow | None] = self._by_keys(PROVIDERS, BY_SLUG)
        self.tenants: SharedLoader[str, TenantRow | None] = self._by_keys(TENANTS, BY_NAME)
        self.tenants_by_key: SharedLoader[int, TenantRow | None] = self._by_keys(TENANTS, BY_KEY)
        self.users: SharedLoader[str, UserRow | None] = self._by_keys(USERS, BY_NAME)
        self.projects: SharedLoader[TenantScoped, ProjectRow | None] = self._by_keys(PROJECTS, BY_TENANT_AND_NAME)
        self.named_projects: SharedLoader[tuple[str, str], ProjectRow | None] = self._by_keys(PROJECTS, BY_TENANT_NAME_AND_NAME)
        self.projects_by_key: SharedLoader[tuple[int, int], ProjectRow | None] = self._by_keys(PROJECTS, BY_TENANT_AND_KEY)
        self.caller_keys: SharedLoader[TenantScoped, CallerKeyRow | None] = self._by_keys(CALLER_KEYS, BY_TENANT_AND_NAME)
        self.named_caller_keys: SharedLoader[tuple[str, str], CallerKeyRow | None] = self._by_keys(CALLER_KEYS, BY_TENANT_NAME_AND_NAME)
        self.caller_keys_by_key: SharedLoader[tuple[int, int], CallerKeyRow | None] = self._by_keys(CALLER_KEYS, BY_TENANT_AND_KEY)
        self.api_keys: SharedLoader[str, ApiKeyRow | None] = self._by_keys(API_KEYS, BY_ID)
        self.prices: SharedLoader[int, list[PriceRow]] = SharedLoader(load_fn=self._load_prices)
        self.plans: SharedLoader[Asked, Planned] = SharedLoader(load_fn=self._plan_questions)
        self.questions: SharedLoader[Asked, Answer] = SharedLoader(load_fn=self._run_questions)
        self.requests: SharedLoader[RequestName, LoggedRequest | None] = SharedLoader(load_fn=self._load_requests)
        self.quarantined: SharedLoader[tuple[str | None, UUID], QuarantinedRow | None] = SharedLoader(load_fn=self._load_quarantined)
        self._children: dict[str, SharedLoader[PageRequest, list[Any]]] = {}

    def children(self, listing: Listing[R]) -> SharedLoader[PageRequest, list[R]]:
        """Return the loader of pages of a listing by parent."""
        loader = self._children.get(listing.name)
        if loader is None:
            loader = self._children[listing.name] = self._pages(listing)
        return loader

    async def page(self, listing: Listing[R], request: PageRequest) -> list[R]:
        """Return the first `size` rows of a kind behind `after`; a root list, so asked for once."""
        return await fetch_page(self._database, listing, request, await self._scope())

    def count(self, objects: int) -> None:
        """Count objects that a list gives, as often as it gives them. QueryTooExpensiveError: more than MAX_OBJECTS."""
        self._objects_left -= objects
        if self._objects_left < 0:
            raise QueryTooExpensiveError(f"the lists of this operation hold more than {MAX_OBJECTS} objects: ask for fewer with first")

    def _by_keys(self, listing: Listing[R], columns: tuple[Column, ...]) -> SharedLoader[Any, R | None]:
        async def load(keys: list[Any]) -> list[R | BaseException | None]:
            # One name that no database holds would fail the statement for all.
            storable = [key for key in keys if _is_storable(key)]
            found = await fetch_by_keys(self._database, listing, columns, storable, await self._scope()) if storable else {}
            return [
                found.get(key) if _is_storable(key) else BadInputError("text may not hold NUL characters or lone surrogates")
                for key in keys
            ]

        return SharedLoader(load_fn=load)

    def _pages(self, listing: Listing[R]) -> SharedLoader[PageRequest, list[R]]:
        async def load(requests: list[PageRequest]) -> list[list[R]]:
            # Pages hold a row more than they give. Whatever is cut off is more than may be given, so that nothing is lost unsaid.
            at_most = max(self._objects_left, 0) + len(requests) + 1
            return await fetch_pages(self._database, listing, requests, at_most, await self._scope())

        return SharedLoader(load_fn=load)

    async def _run_questions(self, asked: list[Asked]) -> list[Answer | BadInputError]:
        planned = await self._plan_questions(asked)
        await self._pay(sum(points_for_question(one.rows) for one in planned), MAX_POINTS)
        return await run_questions(self._database, planned)

    async def _plan_questions(self, asked: list[Asked]) -> list[Planned]:
        return await plan_questions(self._database, asked)

    async def _load_requests(self, names: list[RequestName]) -> list[LoggedRequest | None]:
        scope = await self._scope()
        found = await fetch_named_requests(self._database, names, scope) if scope.identities else {}
        return [found.get(name) for name in names]

    async def _load_quarantined(self, keys: list[tuple[str | None, UUID]]) -> list[QuarantinedRow | None]:
        bound = keys[0][0]  # of the caller, so of all of them
        wanted = QuarantineFilter(tenant_id=bound, include_resolved=True)
        rows = await fetch_quarantined_records(self._database, [record_id for _, record_id in keys], wanted)
        found = {row.id: row for row in rows}
        return [found.get(record_id) for _, record_id in keys]

    async def _load_prices(self, keys: list[int]) -> list[list[PriceRow]]:
        found = await fetch_prices(self._database, keys, await self._scope())
        return [found.get(key, []) for key in keys]


def _is_storable(key: Any) -> bool:
    """Return whether PostgreSQL can be asked for a key: a text, a number or a tuple of them."""
    parts = key if isinstance(key, tuple) else (key,)
    return not any(isinstance(part, str) and NOT_STORABLE.search(part) for part in parts)
