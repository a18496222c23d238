"""Routes found by one look-up, for frequent requests: without FastAPI's routing and parameter handling.

The routes are declared in a router as well, which describes them in OpenAPI and answers other methods; both lead to the same function.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import TokengraphError

log = logging.getLogger(__name__)

Respond = Callable[[Request], Awaitable[Response]]
"""Answers a request and its errors; an exception becomes an internal error."""


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A fixed path of one method."""

    method: str
    path: str
    respond: Respond


def read_query(query: bytes) -> dict[str, str]:
    """Return a URL's parameters as Starlette does: the last of repeated ones."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}


def direct_routes_of(routes: Iterable[object]) -> tuple[DirectRoute, ...]:
    """Return the direct routes of declared GET routes; their functions take the request and text parameters of the query.

    TypeError: a function has other parameters. The functions answer their errors themselves.
    """
    return tuple(_direct_route_of(route) for route in routes if isinstance(route, APIRoute))


def _direct_route_of(route: APIRoute) -> DirectRoute:
    names = []
    for name, parameter in signature(route.endpoint).parameters.items():
        if name == "request":
            continue
        field = next((one for one in route.dependant.query_params if one.name == name), None)
        if field is None or field.alias != name or parameter.default is not None or field.field_info.annotation != str | None:
            raise TypeError(f"{route.path}: {name} is no text of the query")
        names.append(name)
    if route.methods != {"GET"} or "{" in route.path:
        raise TypeError(f"{route.path} is no fixed path of GET")

    async def respond(request: Request) -> Response:
        given = read_query(request.scope["query_string"]) if names else {}
        response: Response = await route.endpoint(request=request, **{name: given.get(name) for name in names})
        return response

    return DirectRoute("GET", route.path, respond)


class DirectRoutesMiddleware:
    """Calls the function of a direct route; passes everything else on."""

    def __init__(self, app: ASGIApp, routes: tuple[DirectRoute, ...], refuse: Callable[[Scope, TokengraphError], Response]) -> None:
        """`refuse`: returns the response to an error."""
        self._app = app
        self._refuse = refuse
        self._routes: Mapping[tuple[str, str], DirectRoute] = {(route.method, route.path): route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # the metrics count by its path
        try:
            response = await route.respond(Request(scope, receive))
        except ClientDisconnect:
            raise  # the client is gone
        except Exception:
            log.exception("request %s failed", scope.get("state", {}).get("request_id", ""))
            response = self._refuse(scope, TokengraphError())
        await response(scope, receive, send)
