"""`/graphql`: GraphQL over HTTP on the engine, and the page for browsers. Says how a request is read and answered, not what it means."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from graphql import GraphQLError
from strawberry.http.ides import get_graphql_ide_html

from app.domain.errors import BadInputError, RateLimitedError, UnsupportedEncodingError
from app.execution.engine import Answer, Demand, Engine
from app.resolvers.context import RequestContext, Services
from app.resolvers.errors import public_error
from app.rest.json import encode_json
from app.web.direct_routes import DirectRoute

PATH: Final = "/graphql"

_JSON: Final = "application/json"
_RESPONSE_JSON: Final = "application/graphql-response+json"
_NO_STORE: Final = {"Cache-Control": "no-store"}


def _object(value: Any, name: str) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise BadInputError(f"{name} must be an object")
    return value


def _text(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadInputError(f"{name} must be a string")
    return value


def _loads(text: str | bytes, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)  # lone surrogates, which the argument that holds one refuses by its name
        raise BadInputError(f"{name} is malformed JSON at line {error.lineno} column {error.colno}") from None


def read_demand(body: Any, *, only_queries: bool) -> Demand:
    """Return what a decoded body asks for. BadInputError: it is no GraphQL request."""
    if not isinstance(body, dict):
        raise BadInputError("the body must be one GraphQL request: an object")
    query = _text(body.get("query"), "query")
    if not query:
        raise BadInputError("No GraphQL query found in the request")
    _object(body.get("extensions"), "extensions")
    return Demand(query, _object(body.get("variables"), "variables"), _text(body.get("operationName"), "operationName"), only_queries)


async def _read_post(request: Request) -> Demand:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise UnsupportedEncodingError("Content-Type must be application/json")
    return read_demand(_loads(await request.body(), "the body"), only_queries=False)


async def _read_get(request: Request) -> Demand:
    given = dict(request.query_params)
    body: dict[str, Any] = {name: given.get(name) for name in ("query", "operationName")}
    for name in ("variables", "extensions"):
        if given.get(name):
            body[name] = _loads(given[name], name)
    return read_demand(body, only_queries=True)


def _respond(request: Request, answer: Answer) -> Response:
    """Return the answer in the media type that the caller accepts; the older one says nothing by its status."""
    encoded = encode_json(answer.as_json())
    if _RESPONSE_JSON in request.headers.get("accept", ""):
        return Response(encoded, 200 if answer.has_run else 400, media_type=_RESPONSE_JSON)
    return Response(encoded, 400 if answer.is_forbidden else 200, media_type=_JSON)


def build_graphql_routes(engine: Engine, services: Services) -> tuple[DirectRoute, ...]:
    """Return the routes of the endpoint."""
    page = get_graphql_ide_html(graphql_ide="graphiql")

    async def respond(request: Request, read: Callable[[Request], Awaitable[Demand]]) -> Response:
        try:
            context = RequestContext.of(request, services)
            demand = await read(request)
        except RateLimitedError as error:
            request_id = request.scope.get("state", {}).get("request_id", "")
            shown = public_error(GraphQLError(error.message, original_error=error), request_id)
            return Response(encode_json({"errors": [shown.formatted]}), media_type=_JSON, headers=_NO_STORE)
        except BadInputError as error:
            body = {"data": None, "errors": [{"message": error.message, "extensions": {"code": error.code}}]}
            return Response(encode_json(body), error.status, media_type=_JSON, headers=_NO_STORE)
        return _respond(request, await engine.run(demand, context))

    async def post(request: Request) -> Response:
        return await respond(request, _read_post)

    async def get(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", "") and "query" not in request.query_params:
            with contextlib.suppress(RateLimitedError):
                RequestContext.of(request, services)
                return Response(page, media_type="text/html; charset=utf-8")
        return await respond(request, _read_get)

    return DirectRoute("POST", PATH, post), DirectRoute("GET", PATH, get)


def add_graphql(app: FastAPI, routes: tuple[DirectRoute, ...]) -> None:
    """Declare the endpoint among the application's routes, so that other methods are told which there are."""
    for route in routes:
        app.add_route(route.path, route.respond, methods=[route.method], include_in_schema=False)
