"""Refusals of requests without a route, in the error form of their URL."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from graphql import GraphQLError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from app.domain.errors import MethodNotAllowedError, NotFoundError, TokengraphError
from app.http.answer import json_response
from app.http.envelopes import envelope_of, error_headers
from app.http.json import encode_json
from app.resolvers.errors import public_error
from app.web import graphql, otlp

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def refuse(scope: Scope, error: TokengraphError) -> Response:
    """Return the response to an error, in the form of the path. Unexpected errors show no details."""
    path: str = scope["path"]
    headers = Headers(scope=scope)
    if _is_under(path, (graphql.PATH,)):
        shown = public_error(GraphQLError(error.message, original_error=error), scope.get("state", {}).get("request_id", ""))
        media_type = graphql.media_type_of(headers.get("accept", ""))
        return Response(encode_json({"errors": [shown.formatted]}), error.status, error_headers(error), media_type)
    if _is_under(path, otlp.PATHS):
        return otlp.refuse(headers.get("content-type", ""), error)
    return json_response(envelope_of(path)(error), error.status, error_headers(error))


def _is_under(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def allowed_methods(app: FastAPI, scope: Scope, path: str) -> list[str]:
    """Return the methods of a path; empty: no such path."""

    def has(method: str) -> bool:
        asked = {**scope, "path": path, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in app.router.routes)

    found = [method for method in _METHODS if has(method)]
    return [*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"] if found else []


def install_refusals(app: FastAPI) -> None:
    """Make the application answer requests without a route and unexpected errors."""

    async def answer_unrouted(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        scope = request.scope
        path: str = scope["path"]
        if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return await http_exception_handler(request, error)
        methods = allowed_methods(app, scope, path)
        if methods and scope["method"] == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": ", ".join(methods)})
        if methods:
            refusal = refuse(scope, MethodNotAllowedError())
            refusal.headers["Allow"] = ", ".join(methods)
            return refusal
        plain = path.removesuffix("/")
        if plain != path and allowed_methods(app, scope, plain):
            # Relative: behind a proxy, scheme and prefix of the client's URL are unknown.
            query = scope["query_string"].decode("latin-1")
            target = f"../{plain.rpartition('/')[2]}" + (f"?{query}" if query else "")
            return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": target})
        return refuse(scope, NotFoundError())

    async def answer_error(request: Request, error: Exception) -> Response:
        return refuse(request.scope, error if isinstance(error, TokengraphError) else TokengraphError())

    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, answer_unrouted)
    app.add_exception_handler(TokengraphError, answer_error)
    app.add_exception_handler(Exception, answer_error)
