"""What a resolver is given: the services of the process, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from strawberry.fastapi import BaseContext
from strawberry.types import Info

from app.auth.authenticate import Authenticator, presented_key
from app.auth.quota import RankingsQuota
from app.db.engine import Database
from app.domain.errors import MissingCredentialsError
from app.domain.principal import Principal
from app.domain.time_range import Clock


@dataclass(frozen=True, slots=True)
class Services:
    """What lives as long as the process."""

    database: Database
    clock: Clock
    authenticator: Authenticator
    rankings_quota: RankingsQuota


class RequestContext(BaseContext):
    """One request's context. `now` is one instant for the whole request; the caller is looked up when a field first needs it."""

    def __init__(self, services: Services, *, authorization: str | None, api_key: str | None, request_id: str = "") -> None:
        super().__init__()
        self.services = services
        self.request_id = request_id
        self.now: datetime = services.clock()
        self._authorization = authorization
        self._api_key = api_key
        self._principal: Principal | None = None

    @classmethod
    def of(cls, request: Request, services: Services) -> RequestContext:
        """Return the context of an HTTP request."""
        headers = request.headers
        return cls(
            services,
            authorization=headers.get("authorization"),
            api_key=headers.get("x-api-key"),
            request_id=getattr(request.state, "request_id", ""),
        )

    async def principal(self) -> Principal:
        """Return who asks. MissingCredentialsError: no key was sent; UnauthenticatedError: it opens nothing."""
        if self._principal is None:
            key = presented_key(self._authorization, self._api_key)
            if key is None:
                raise MissingCredentialsError
            self._principal = await self.services.authenticator.authenticate(key, self.now)
        return self._principal


ResolverInfo = Info[RequestContext, None]
