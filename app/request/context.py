"""Who asks: one context for each HTTP request, authenticated and counted once, and the services of the process. No GraphQL in it."""

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
from app.write.queue import IngestQueue
from app.write.receipt import Receipt

NO_SUCH_TENANT = "No such tenant"


@dataclass(frozen=True, slots=True)
class Services:
    """What lives as long as the process."""

    database: Database
    clock: Clock
    authenticator: Authenticator
    rankings_quota: RankingsQuota
    limits: CallerLimits
    ingestor: IngestQueue
    observe_receipt: Callable[[Receipt], None]
    """Counts what became of a batch that did not come in by the ingest route."""


class Charged(NamedTuple):
    """The cost of a request's questions in points: what they cost, what the caller may use in a window, what is left of it."""

    requested: int
    budget: int
    remaining: int


class RequestContext:
    """One request's context. `now` is one instant for the whole request; the caller is looked up when a field first needs it."""

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
        """What was last counted of the cost of its questions; None: nothing."""
        self.waits_for_points = False
        """Whether what costs more than is left waits for more instead of being refused."""
        self.loaded: dict[type, Any] = {}
        """What layers above have read for this request, by its type. Empty it when something was changed."""
        self._principal: asyncio.Task[Principal] | None = None

    @classmethod
    def of(cls, request: fastapi.Request, services: Services) -> RequestContext:
        """Return the one context of an HTTP request. RateLimitedError: the request was counted, and was one too many."""
        state = request.scope.setdefault("state", {})
        context: RequestContext | None = state.get("context")
        if context is None:
            headers = request.headers
            context = state["context"] = cls(
                services,
                authorization=headers.get("authorization"),
                api_key=headers.get("x-api-key"),
                request_id=state.get("request_id", ""),
                address=request.client.host if request.client else "",
            )
        if isinstance(context._admitted, RateLimitedError):
            raise context._admitted
        return context

    async def admit(self) -> None:
        """Count the request, for its key or else for its address, before anything is done for it. `of` raises if it is one too many.

        From here on the task that awaits this asks the database on behalf of that caller.
        """
        self._caller = "address", address_subject(self._address)
        try:
            self._admitted = principal = await self._authenticate()
            self._caller = "key", principal.key_id
        except TokengraphError as error:
            self._admitted = error.with_traceback(None)  # which would hold this context, and so cost a collection
        except Exception as error:  # raised again to whoever needs to know the caller; what is public does not
            self._admitted = error
        current_workload.set(Workload(Purpose.QUERY, self._caller, Request()))

    async def principal(self) -> Principal:
        """Return who asks. MissingCredentialsError: no key was sent; UnauthenticatedError: it opens nothing; RateLimitedError."""
        if isinstance(self._admitted, Principal):
            return self._admitted
        if self._admitted is not None:
            raise self._admitted
        if self._principal is None:
            # A task, so that roots that are resolved at once look the key up once; shielded, so that none of them takes it from the others.
            self._principal = asyncio.create_task(self._authenticate())
        return await asyncio.shield(self._principal)

    async def _authenticate(self) -> Principal:
        limits = self.services.limits
        try:
            key = presented_key(self._authorization, self._api_key)
            if key is None:
                raise MissingCredentialsError
        except UnauthenticatedError:  # no key of ours was tried
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
        """Return the tenant that a request is about: the one named, or else the one that the key is bound to; None: neither.

        NotFoundError: another tenant than the key's, which is to it as one that does not exist.
        """
        bound = (await self.principal()).tenant_id
        if bound is None or tenant_id in (None, bound):
            return bound or tenant_id
        raise NotFoundError(NO_SUCH_TENANT, "tenant_id")

    @property
    def subject(self) -> str:
        """Whom what this request holds and costs counts for: its key, or its address."""
        return ":".join(self._caller or ("request", self.request_id))

    async def pay(self, points: int, at_most: int) -> None:
        """Count what questions cost, for the caller, before they are asked.

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
        """Return what the caller may see of the graph: what is public, if its role sees no more. Errors as `principal`."""
        return scope_of(await self.principal()) or PUBLIC_SCOPE
