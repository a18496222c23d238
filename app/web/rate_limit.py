"""The limits' place in HTTP: the limiter (slowapi's) and its storage, the counting of requests, the headers of answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from graphql import GraphQLError
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry
from slowapi import Limiter
from slowapi.util import get_remote_address
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.quota import CallerLimits, answer_headers, parse_limit
from app.auth.shared_windows import SOCKET_SECONDS, RedisWindows, WindowCounts
from app.auth.windows import LocalWindows
from app.domain.errors import RateLimitedError
from app.resolvers.context import RequestContext, Services
from app.resolvers.errors import public_error
from app.rest.answer import json_response
from app.rest.envelopes import error_headers, typed
from app.settings import Settings
from app.web.pages.routes import PAGES

_GRAPHQL = "/graphql"
_COUNTED = ("/api/", "/v1/")
_COUNTED_PATHS = PAGES | {_GRAPHQL}


def build_limiter(redis_url: str | None) -> Limiter:
    """Return the limiter: over Redis if a URL is given, else in this process's memory."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # a request waits once; `WindowCounts` says when Redis is tried again
        "client_name": f"tokengraph-{os.getpid()}",
        "protocol": 2,  # one round trip less on a new connection
    }
    return Limiter(
        key_func=get_remote_address,
        storage_uri=redis_url or "memory://",
        storage_options=options if redis_url else {},
        strategy="moving-window",
    )


def build_counts(limiter: Limiter, on_change: Callable[[bool], None], clock: Callable[[], float] = time.monotonic) -> WindowCounts:
    """Return what every limit of the product is counted by: the limiter's Redis if it has one, and this process's memory.

    The library's storage in memory is not used: its thread scans every key, it keeps every key for ever, and it follows the wall clock.
    """
    storage = limiter.limiter.storage
    shared = RedisWindows(storage.storage) if isinstance(storage, RedisStorage) else None
    return WindowCounts(LocalWindows(clock), shared, on_change)


def build_caller_limits(settings: Settings, counts: WindowCounts) -> CallerLimits:
    """Return the general limits as they are set."""
    return CallerLimits(
        counts,
        per_key=parse_limit("key", settings.key_rate_limit),
        per_address=parse_limit("address", settings.address_rate_limit),
        failed=parse_limit("failed-auth", settings.failed_auth_rate_limit),
    )


class RateLimitMiddleware:
    """Counts each request that asks for work, and adds to its answer the headers that limits have for it.

    It refuses nothing itself: the refusal is raised where the route asks for its context, so that each surface says it in its own form.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counted."""
        if scope["type"] != "http" or not (scope["path"] in _COUNTED_PATHS or scope["path"].startswith(_COUNTED)):
            await self._app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        token = answer_headers.set(headers)

        async def send_with_headers(message: Message) -> None:
            if headers and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            await RequestContext.of(Request(scope), self._services).admit()
            await self._app(scope, receive, send_with_headers)
        finally:
            answer_headers.reset(token)


async def answer_refusal(request: Request, error: Exception) -> Response:
    """Answer for a route that has no form of its own for a refusal: GraphQL, which has an error in a 200, and any that is not known."""
    if not isinstance(error, RateLimitedError):
        raise error
    if request.url.path == _GRAPHQL:
        shown = public_error(GraphQLError(error.message, original_error=error), getattr(request.state, "request_id", ""))
        return json_response({"errors": [shown.formatted]}, headers={"Cache-Control": "no-store"})
    return json_response(typed(error), error.status, error_headers(error))
