"""What is asked too often for FastAPI's machinery: routes that are found by one look-up.

The routes are declared in a router as well, which describes them in OpenAPI and answers other methods; both lead to the same function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Respond = Callable[[Request], Awaitable[Response]]
"""Answers a request, its errors included: what it raises is answered as an internal error."""


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A fixed path of one method."""

    method: str
    path: str
    respond: Respond


class DirectRoutesMiddleware:
    """Calls the function of a direct route; passes everything else on."""

    def __init__(self, app: ASGIApp, routes: tuple[DirectRoute, ...]) -> None:
        self._app = app
        self._routes: Mapping[tuple[str, str], DirectRoute] = {(route.method, route.path): route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # by whose path the request is counted
        response = await route.respond(Request(scope, receive))
        await response(scope, receive, send)
