"""`/graphql`: GraphQL over HTTP on the engine, and the page for browsers. Says how a request is read and answered, not what it means."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from graphql import GraphQLError

from app.domain.errors import BadInputError, OverloadedError, RateLimitedError, TokengraphError, UnsupportedEncodingError
from app.execution.documents import MAX_ID_LENGTH, root_fields
from app.execution.engine import Answer, Demand, DocumentEngine
from app.http.envelopes import error_headers
from app.http.json import encode_json, etag_matches, etag_of
from app.http.request_headers import read_header
from app.ingest.weight import refuse_heavy, weigh_json
from app.request.context import Charged, RequestContext, Services
from app.resolvers.caching import PUBLIC_ROOTS
from app.resolvers.errors import public_error
from app.rest.public import NETWORK_CACHE_CONTROL
from app.web.bodies import Held
from app.web.direct_routes import DirectRoute
from app.web.documents import DocumentPolicy, Named, TrustedDocuments
from app.web.graphql_bodies import GraphQLBodies
from app.web.pages.graphiql import prefers_html

PATH: Final = "/graphql"

_JSON: Final = "application/json"
_RESPONSE_JSON: Final = "application/graphql-response+json"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_IDS: Final = frozenset({"documentId", "extensions"})
"""Parameters of a GET that name a document which the page cannot open: not by its text."""
_KEY_HEADERS: Final = frozenset({"authorization", "x-api-key"})
_VARY: Final = "Authorization, X-API-Key, Accept"


@dataclass(frozen=True, slots=True)
class Reading:
    """A request as it was read: its document by whatever name, and the demand, whose query is not known before the document is."""

    named: Named
    demand: Demand


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
            return json.loads(
                text, parse_constant=_refuse_constant
            )  # lone surrogates, which the argument that holds one refuses by its name
        raise BadInputError(f"{name} is malformed JSON at line {error.lineno} column {error.colno}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _id(value: Any, name: str) -> str | None:
    text = _text(value, name)
    if text is not None and not 0 < len(text) <= MAX_ID_LENGTH:
        raise BadInputError(f"{name} must have 1 to {MAX_ID_LENGTH} characters")
    return text


def _read_hash(extensions: dict[str, Any] | None) -> str | None:
    """Return the hash of Apollo's persisted queries."""
    persisted = _object((extensions or {}).get("persistedQuery"), "extensions.persistedQuery")
    if persisted is None:
        return None
    version = persisted.get("version")
    if type(version) is not int or version != 1:
        raise BadInputError("Unsupported persisted query version")
    digest = _id(persisted.get("sha256Hash"), "extensions.persistedQuery.sha256Hash")
    if digest is None:
        raise BadInputError("extensions.persistedQuery has no sha256Hash")
    return digest


def read_demand(body: Any, *, only_queries: bool) -> Reading:
    """Return what a decoded body asks for. BadInputError: it is no GraphQL request."""
    if not isinstance(body, dict):
        raise BadInputError("the body must be one GraphQL request: an object")
    query = _text(body.get("query"), "query") or ""
    digest = _read_hash(_object(body.get("extensions"), "extensions"))
    document_id = _id(body.get("documentId"), "documentId")
    if document_id is not None and (query or digest is not None):
        raise BadInputError("send documentId, or query, or extensions.persistedQuery: one of them names the document")
    if not query and document_id is None and digest is None:
        raise BadInputError("No GraphQL query found in the request")
    variables = _object(body.get("variables"), "variables")
    operation_name = _text(body.get("operationName"), "operationName") or None
    return Reading(Named(query, document_id, digest), Demand(query, variables, operation_name, only_queries))


def _read_body(body: bytes) -> Reading:
    refuse_heavy(body, weigh_json)
    return read_demand(_loads(body, "the body"), only_queries=False)


async def _read_get(request: Request, _: RequestContext) -> Reading:
    given = dict(request.query_params)
    body: dict[str, Any] = {name: given.get(name) for name in ("query", "operationName", "documentId")}
    for name in ("variables", "extensions"):
        if given.get(name):
            body[name] = _loads(given[name], name)
    return read_demand(body, only_queries=True)


def media_type_of(accept: str) -> str:
    """Return the media type of GraphQL answers that the caller accepts: the newer one tells by its status, the older one does not."""
    return _RESPONSE_JSON if _RESPONSE_JSON in accept else _JSON


def _media_type(request: Request) -> str:
    return media_type_of(read_header(request.scope, b"accept"))


def _respond(request: Request, answer: Answer, charged: Charged | None = None) -> Response:
    body = answer.as_json()
    if charged is not None:
        body["extensions"] = {"cost": charged._asdict()}
    encoded = encode_json(body)
    if _media_type(request) == _RESPONSE_JSON:
        return Response(encoded, 200 if answer.has_run else 400, media_type=_RESPONSE_JSON)
    return Response(encoded, 400 if answer.is_forbidden else 200, media_type=_JSON)


def _respond_kept(request: Request, answer: Answer, roots: frozenset[str]) -> Response:
    """Return the answer to a GET that named its document, as caches may keep it. `roots`: the fields that were asked of the root type."""
    response = _respond(request, answer)
    if answer.is_forbidden:
        response.status_code = 405
        response.headers["Allow"] = "POST"
    if answer.errors:
        response.headers.update(_NO_STORE)
        return response
    # The media type is part of it: both have the same bytes, and a validator must tell them apart.
    etag = etag_of(_media_type(request).encode() + b"\n" + bytes(response.body))
    headers = {"Cache-Control": _cache_control(request, answer, roots), "ETag": etag, "Vary": _VARY}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _cache_control(request: Request, answer: Answer, roots: frozenset[str]) -> str:
    if not _KEY_HEADERS.isdisjoint(request.headers) or not roots <= PUBLIC_ROOTS:
        return "private, no-cache"
    # Before the first snapshot there are only zeros, which nobody may keep for ten minutes.
    return NETWORK_CACHE_CONTROL if _has_number(answer.data) else "public, no-cache"


def _has_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_number(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_number(item) for item in value)
    return isinstance(value, int | float) and value != 0


def _refuse(request: Request, error: TokengraphError, *, always_ok: bool) -> Response:
    """Return the one error of a request whose document may not run. `always_ok`: Apollo's clients read no body of another status."""
    media_type = _media_type(request)
    status = 200 if always_ok or media_type == _JSON else error.status
    body = {"errors": [{"message": error.message, "extensions": {"code": error.code}}]}
    return Response(encode_json(body), status, media_type=media_type, headers=_NO_STORE)


def build_graphql_routes(
    engine: DocumentEngine,
    services: Services,
    bodies: GraphQLBodies,
    documents: DocumentPolicy | None = None,
    page: Callable[[], Response] | None = None,
) -> tuple[DirectRoute, ...]:
    """Return the routes of the endpoint.

    `documents` None: nothing is trusted, nothing is registered, every text may run. `page`: answers a browser; None: there is none.
    """
    policy = documents or DocumentPolicy(TrustedDocuments(None), None, only_trusted=False)

    async def respond(request: Request, read: Callable[[Request, RequestContext], Awaitable[Reading]]) -> Response:
        try:
            context = RequestContext.of(request, services)
            reading = await read(request, context)
        except RateLimitedError as error:
            request_id = request.scope.get("state", {}).get("request_id", "")
            shown = public_error(GraphQLError(error.message, original_error=error), request_id)
            return Response(encode_json({"errors": [shown.formatted]}), media_type=_JSON, headers=_NO_STORE)
        except (BadInputError, OverloadedError) as error:
            return _malformed(error)
        try:
            chosen = await policy.choose(reading.named)
        except BadInputError as error:
            return _malformed(error)
        except TokengraphError as error:
            return _refuse(request, error, always_ok=reading.named.digest is not None)
        demand = reading.demand if chosen.text == reading.demand.query else replace(reading.demand, query=chosen.text)
        prepared = await engine.obtain(chosen.text)
        policy.note(chosen, prepared.errors[0].message if prepared.errors else None)
        answer = await engine.answer(prepared, demand, context)
        if request.method != "GET" or not chosen.by_id:
            # An answer to a GET has a validator, which what is left of the budget would change each time.
            return _respond(request, answer, context.charged if request.method == "POST" else None)
        roots = frozenset() if prepared.document is None else root_fields(prepared.document, demand.operation_name)
        return _respond_kept(request, answer, roots)

    async def post(request: Request) -> Response:
        held: Held | None = None

        async def read(request: Request, context: RequestContext) -> Reading:
            nonlocal held
            kind = read_header(request.scope, b"content-type").partition(";")[0].strip().lower()
            if kind != _JSON:
                raise UnsupportedEncodingError("Content-Type must be application/json")
            limit, held = await bodies.hold(context)
            body = await bodies.reader.read(request, limit, held)
            return await bodies.reader.decoding.run(body, weigh_json, _read_body)

        try:
            return await respond(request, read)
        finally:
            if held is not None:
                held.release()

    async def get(request: Request) -> Response:
        if page is not None and prefers_html(request.headers.get("accept", "")) and _IDS.isdisjoint(request.query_params):
            with contextlib.suppress(RateLimitedError):
                RequestContext.of(request, services)
                return page()
        return await respond(request, _read_get)

    return DirectRoute("POST", PATH, post), DirectRoute("GET", PATH, get)


def _malformed(error: TokengraphError) -> Response:
    body = {"errors": [{"message": error.message, "extensions": {"code": error.code}}]}
    return Response(encode_json(body), error.status, media_type=_JSON, headers=error_headers(error))


def add_graphql(app: FastAPI, routes: tuple[DirectRoute, ...]) -> None:
    """Declare the endpoint among the application's routes, so that other methods are told which there are."""
    for route in routes:
        app.add_route(route.path, route.respond, methods=[route.method], include_in_schema=False)
