"""The context of an HTTP request: authenticated once, counted once, with the services of the process. Independent of GraphQL."""

from __future__ import annotations

import asyncio
from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import fastapi

from app.auth.authenticate import Authenticator, presented_key
from app.auth.quota import CallerLimits, RankingsQuota, address_subject
from app.db.engine import Database
from app.db.shares import Purpose, Request, Workload, current_workload
from app.domain.errors import (
    MissingCredentialsError,
    NotFoundError,
    RateLimitedError,
    TokengraphError,
    TooExpensiveError,
    UnauthenticatedError,
)
from app.domain.principal import PUBLIC_SCOPE, Principal, Scope, scope_of
from app.domain.time_range import Clock
from app.http.request_headers import find_header
from app.write.queue import IngestQueue
from app.write.receipt import Receipt

NO_SUCH_TENANT = "No such tenant"


@dataclass(frozen=True, slots=True)
class Services:
    """Services of the process."""

    database: Database
    clock: Clock
    authenticator: Authenticator
    rankings_quota: RankingsQuota
    limits: CallerLimits
    ingestor: IngestQueue
    observe_receipt: Callable[[Receipt], None]
    """Counts the receipt of a batch that was written by GraphQL."""


class Charged(NamedTuple):
    """The cost of a request in points, the caller's limit per window, and what is left of it."""

    requested: int
    budget: int
    remaining: int


class RequestContext:
    """One request's context. `now` is one instant for the whole request; the caller is looked up when it is first needed."""

    def __init__(
        self, services: Services, *, authorization: str | None, api_key: str | None, request_id: str = "", address: str = ""
    ) -> None:
        self.services = services
        self.request_id = request_id
        self.now: datetime = services.clock()
        self._authorization = authorization
        self._api_key = api_key
        self._address = address
        self._admitted: Principal | Exception | None = None
        self._caller: tuple[str, str] | None = None
        self.charged: Charged | None = None
        """The last cost that was counted; None: none."""
        self.waits_for_points = False
        """Whether a cost over the rest waits instead of being refused."""
        self.loaded: dict[type, Any] = {}
        """Caches of the layers above, by type. Clear it after a change."""
        self._principal: asyncio.Task[Principal] | None = None

    @classmethod
    def of(cls, request: fastapi.Request, services: Services) -> RequestContext:
        """Return the context of an HTTP request. RateLimitedError: the request exceeded a limit."""
        state = request.scope.setdefault("state", {})
        context: RequestContext | None = state.get("context")
        if context is None:
            client = request.scope.get("client")
            context = state["context"] = cls(
                services,
                authorization=find_header(request.scope, b"authorization"),
                api_key=find_header(request.scope, b"x-api-key"),
                request_id=state.get("request_id", ""),
                address=client[0] if client else "",
            )
        if isinstance(context._admitted, RateLimitedError):
            raise context._admitted
        return context

    async def admit(self) -> None:
        """Count the request for its key, else for its address, before other work. `of` raises if it exceeds a limit.

        From here on the task that awaits this asks the database on behalf of that caller.
        """
        self._caller = "address", address_subject(self._address)
        try:
            self._admitted = principal = await self._authenticate()
            self._caller = "key", principal.key_id
        except TokengraphError as error:
            self._admitted = error.with_traceback(None)  # which would reference this context, a cycle
        except Exception as error:  # raised again where the caller is needed; public fields do not need it
            self._admitted = error
        current_workload.set(Workload(Purpose.QUERY, self._caller, Request()))

    async def principal(self) -> Principal:
        """Return the principal. MissingCredentialsError: no key was sent; UnauthenticatedError: the key is invalid; RateLimitedError."""
        if isinstance(self._admitted, Principal):
            return self._admitted
        if self._admitted is not None:
            raise self._admitted
        if self._principal is None:
            # A task, so that concurrent roots look the key up once; shielded, so that the cancellation of one does not affect the others.
            self._principal = asyncio.create_task(self._authenticate())
        return await asyncio.shield(self._principal)

    async def _authenticate(self) -> Principal:
        limits = self.services.limits
        try:
            key = presented_key(self._authorization, self._api_key)
            if key is None:
                raise MissingCredentialsError
        except UnauthenticatedError:  # no key was presented
            await limits.count_anonymous(self._address, self.now)
            raise
        try:
            principal = await self.services.authenticator.authenticate(key, self.now, guessed=limits.expects_failure(self._address))
        except UnauthenticatedError:
            await limits.count_failure(self._address, self.now)
            raise
        await limits.count_key(principal, self.now)
        return principal

    async def tenant_named(self, tenant_id: str | None) -> str | None:
        """Return the tenant of a request: the one named, else the one that the key is bound to; None: neither.

        NotFoundError: another tenant than the key's, which is to it as one that does not exist.
        """
        bound = (await self.principal()).tenant_id
        if bound is None or tenant_id in (None, bound):
            return bound or tenant_id
        raise NotFoundError(NO_SUCH_TENANT, "tenant_id")

    @property
    def subject(self) -> str:
        """The caller for budgets and shares: its key, or its address."""
        return ":".join(self._caller or ("request", self.request_id))

    async def pay(self, points: int, at_most: int) -> None:
        """Count points for the caller, before queries run.

        TooExpensiveError: more than `at_most`, or than the limit ever admits; RateLimitedError: more than is left for now.
        """
        limits = self.services.limits
        budget = None if limits.cost is None else limits.cost.amount
        at_most = at_most if budget is None else min(at_most, budget)
        if points > at_most:
            raise TooExpensiveError(f"This costs {points} points; one request may cost {at_most}")
        while True:
            try:
                remaining = await limits.charge(self.subject, points, self.now)
                break
            except RateLimitedError as error:
                if not self.waits_for_points:
                    raise
                await sleep(error.retry_after)
        if budget is not None and remaining is not None:
            paid = 0 if self.charged is None else self.charged.requested
            self.charged = Charged(paid + points, budget, remaining)

    async def scope(self) -> Scope:
        """Return the caller's scope in the catalog and identities; the public scope if its role has none. Errors as `principal`."""
        return scope_of(await self.principal()) or PUBLIC_SCOPE
