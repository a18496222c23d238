"""Which answers are kept, under which key and for how long, and what HTTP says of them. How they are kept is `execution.cache`'s.

Every caller is still authenticated and counted by whoever stands before: nothing here opens anything.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from math import ceil
from typing import Any, Final

import orjson
from graphql import DocumentNode
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db.engine import Connection, Database
from app.db.pipeline import Select, ask
from app.db.shares import SERVICE, current_workload
from app.domain.errors import RateLimitedError, TokengraphError, UnauthenticatedError
from app.execution.cache import AnswerMemory, Made, Versions
from app.execution.engine import MAX_CACHED_LENGTH, MAX_DOCUMENTS, Answer, Demand, DocumentEngine, Prepared
from app.http.answer import json_response
from app.http.compression import CodedBody, choose_coding, read_accept_encoding
from app.http.envelopes import envelope_of, error_headers
from app.http.json import data_etag_of, etag_of
from app.jobs.loop import Job
from app.request.context import RequestContext, Services
from app.resolvers.caching import PUBLIC_ROOTS, cacheable_roots
from app.rest.execute import StoredDocuments
from app.surfaces.declare import Caching, Surface
from app.surfaces.documented import SURFACES
from app.web.cached_answer import CachedAnswer, read_if_none_match
from app.web.direct_routes import read_query

log = logging.getLogger(__name__)

_GRAPHQL: Final = "/graphql"

_LONGEST_QUESTION: Final = 64 * 2**10
_CONDITIONS: Final = frozenset({b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"range"})

# Two equal snapshots see the same commits: unlike a position in the log, which a commit passes some time before it can be seen.
# The start of the server tells it from a restored copy. A standby's snapshots do not say which commits they miss.
_DATA_VERSION = (
    "/* app:data_version */ SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_snapshot()::text END, pg_postmaster_start_time()::text"
)
_NETWORK_VERSION = (
    "/* app:network_version */ SELECT coalesce((SELECT generated_at::text || ' ' || xmin::text FROM network_snapshots"
    " ORDER BY generated_at DESC LIMIT 1), ''), pg_postmaster_start_time()::text"
)

ScopeKey = tuple[str | int | None, ...]


class WatchedDatabase(Database):
    """A database that tells when something may have been committed through it, before whoever committed goes on."""

    def __init__(self, url: str, *, max_size: int = 10) -> None:
        super().__init__(url, max_size=max_size, is_shared=True)
        self.on_commit: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def transaction(self, *, generic_plans: bool = False) -> AsyncIterator[Connection]:
        """As `Database.transaction`."""
        try:
            async with super().transaction(generic_plans=generic_plans) as connection:
                yield connection
        finally:
            self.on_commit()  # also where it failed: a connection that is lost at a commit does not say whether there was one


class AnswerCache:
    """The cached answers of one process, and the states of the data that they are valid for.

    `data` changes with every commit; `network` with the stored snapshot only, so that what everybody asks for is not made anew for
    every batch of records. `age`: seconds that an answer may be behind what other processes commit. `memory`: bytes; 0: nothing is kept.
    """

    def __init__(self, database: WatchedDatabase, *, memory: int, age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.memory = AnswerMemory(memory)
        self.age = age
        self.clock = clock
        self.data = Versions(_reader(database, _DATA_VERSION), age, clock)
        self.network = Versions(_reader(database, _NETWORK_VERSION), age, clock)
        database.on_commit = self.data.invalidate

    def watch(self, job: Job) -> Job:
        """Return a job after whose runs no older snapshot of the network is served."""

        async def run() -> Any:
            try:
                return await job.run()
            finally:
                self.network.invalidate()

        return replace(job, run=run)

    async def close(self) -> None:
        """Give up what is being made or read, when nobody is served any more."""
        await self.memory.close()
        await self.data.close()
        await self.network.close()


def _reader(database: Database, statement: str) -> Callable[[], Awaitable[Hashable | None]]:
    async def read() -> Hashable | None:
        current_workload.set(SERVICE)  # a task of its own, for all who wait
        async with database.read_connection() as connection:
            (rows,) = await ask(connection, [Select(statement, {})])
        return None if not rows or rows[0][0] is None else rows[0]

    return read


async def scope_of_caller(context: RequestContext) -> ScopeKey | None:
    """Return what tells apart callers who see different answers: role and tenant, never a key. Empty: nobody; None: it cannot be told."""
    try:
        principal = await context.principal()
    except UnauthenticatedError:
        return ()
    except Exception:
        return None  # whoever answers the request meets it again
    return (principal.role.value, principal.tenant_id, principal.tenant_key)


class CachedEngine:
    """Answers documents from the cache where their answers may be cached, and else asks the engine that it wraps."""

    def __init__(self, engine: DocumentEngine, answers: AnswerCache) -> None:
        self.schema = engine.schema
        self.prepare = engine.prepare
        self.obtain = engine.obtain
        self._run = engine.answer
        self._answers = answers
        self._roots: OrderedDict[str, frozenset[str] | None] = OrderedDict()

    async def answer(self, prepared: Prepared, demand: Demand, context: RequestContext) -> Answer:
        """Run a prepared document, or say why it cannot run, unless its answer is cached. Never raises, unless it is cancelled."""
        run = self._run
        key = await self._key(prepared, demand, context)
        if key is None:
            return await run(prepared, demand, context)
        try:
            version = await self._answers.data.confirm()
        except Exception:
            return await run(prepared, demand, context)  # which says what is wrong in its own way

        is_own = False

        async def make() -> Made[Answer]:
            nonlocal is_own
            is_own = True
            answer = await run(prepared, demand, context)
            return Made(answer, None if answer.errors else _size_of(answer) + len(key[1]) + len(key[3]))

        answer = await self._answers.memory.obtain(key, version, make)
        if not is_own and any((error.extensions or {}).get("code") == RateLimitedError.code for error in answer.errors):
            return await run(prepared, demand, context)  # another key of the same scope has nothing left, this one may have
        return answer

    async def _key(self, prepared: Prepared, demand: Demand, context: RequestContext) -> tuple[Any, ...] | None:
        if not self._answers.memory.limit or prepared.document is None or prepared.errors:
            return None
        roots = self._cacheable_roots(demand.query, prepared.document)
        if roots is None:
            return None
        try:
            variables = json.dumps(demand.variables, sort_keys=True, allow_nan=False)
        except (ValueError, RecursionError):
            return None
        if len(demand.query) + len(variables) > _LONGEST_QUESTION:
            return None
        scope = await scope_of_caller(context)
        if scope is None or (not scope and not roots <= PUBLIC_ROOTS):
            return None
        return "graphql", demand.query, demand.operation_name, variables, scope, context.now.astimezone(UTC).date()

    def _cacheable_roots(self, query: str, document: DocumentNode) -> frozenset[str] | None:
        if query not in self._roots:
            found = cacheable_roots(self.schema, document)
            if len(query) > MAX_CACHED_LENGTH:
                return found
            self._roots[query] = found
            if len(self._roots) > MAX_DOCUMENTS:
                self._roots.popitem(last=False)
        return self._roots[query]


def _size_of(answer: Answer) -> int:
    """Return about how many bytes the objects of an answer take, rather more than less: counted in its JSON, which is quick."""
    try:
        text = orjson.dumps(answer.data)
    except TypeError:
        text = json.dumps(answer.data).encode()
    return len(text) + 350 * text.count(b"{") + 100 * text.count(b",") + 120 * text.count(b"[")


VALIDATED: Final = {surface.path: surface for surface in SURFACES if surface.has_validator}
"""By path, the surfaces that answer with validators. Those that may not be cached are answered anew each time: they count as reads."""


class AnswerCacheMiddleware:
    """Answers the URLs of VALIDATED from memory, before they are routed. Behind the counting of requests, which knows the caller."""

    def __init__(self, app: ASGIApp, answers: AnswerCache, services: Services, documents: StoredDocuments) -> None:
        self._app = app
        self._answers = answers
        self._services = services
        self._documents = documents
        self._private = f"private, no-cache, max-age={ceil(answers.age)}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        if scope["path"] == _GRAPHQL:
            await self._validate(scope, receive, send)
            return
        surface = VALIDATED.get(scope["path"])
        if surface is not None and not (self._answers.memory.limit and surface.is_cacheable):
            scope["route"] = surface
            answer = await self._run(surface, scope, "")
            await answer.send(send, read_if_none_match(scope["headers"]))
            return
        key = None if surface is None else await self._key(surface, scope)
        if surface is None or key is None:
            await self._app(scope, receive, send)
            return
        request_id = scope.get("state", {}).get("request_id", "")
        try:
            answer = await self._obtain(surface, key, scope, request_id)
            if answer.status == RateLimitedError.status and answer.asked_by != request_id:
                answer = await self._run(surface, scope, request_id)  # another key of the same scope has nothing left
        except TokengraphError as error:  # of the database that was asked whether it changed
            await json_response(envelope_of(surface.path)(error), error.status, error_headers(error))(scope, receive, send)
            return
        finally:
            scope["route"] = surface  # by whose path the request is counted
        if answer.status >= 500 and answer.asked_by != request_id:
            log.warning("request %s shares the failure of request %s", request_id, answer.asked_by)
        await answer.send(send, read_if_none_match(scope["headers"]), choose_coding(read_accept_encoding(scope["headers"])))

    async def _key(self, surface: Surface, scope: Scope) -> tuple[Any, ...] | None:
        try:
            context = RequestContext.of(Request(scope), self._services)
            if surface.caching is Caching.PUBLIC:
                return (surface.path,)
            await self._documents.authorize(surface.root, context)
        except Exception:
            return None  # the route meets it again, and says it in its own form
        query: bytes = scope["query_string"]
        caller = await scope_of_caller(context)
        if caller is None or len(query) > _LONGEST_QUESTION:
            return None
        given = tuple(sorted(read_query(query).items()))
        return surface.path, given, caller, context.now.astimezone(UTC).date()

    async def _obtain(self, surface: Surface, key: tuple[Any, ...], scope: Scope, request_id: str) -> CachedAnswer:
        async def make() -> Made[CachedAnswer]:
            answer = await self._run(surface, scope, request_id)
            return Made(answer, answer.size + len(scope["query_string"]) if answer.etag else None)

        memory = self._answers.memory
        versions = self._answers.network if surface.caching is Caching.PUBLIC else self._answers.data
        try:
            version = await versions.confirm() if memory.limit else None
        except TokengraphError:
            raise
        except Exception:
            version = None  # what is wrong with the database, the route meets as well
        return await memory.obtain(key, version, make)

    async def _run(self, surface: Surface, scope: Scope, request_id: str) -> CachedAnswer:
        """Let the application answer. It sees no condition: the whole answer is what is kept."""
        asked = [header for header in scope["headers"] if header[0] not in _CONDITIONS]
        status, headers, body = await self._collect({**scope, "headers": asked}, _receive_nothing)
        names = dict(headers)
        if status != 200 or b"no-store" in names.get(b"cache-control", b""):
            return CachedAnswer(status, headers, CodedBody(body), "", request_id)
        private = [] if surface.caching is Caching.PUBLIC else [(b"cache-control", self._private)]
        etag = etag_of(body) if surface.is_cacheable else data_etag_of(body)
        return CachedAnswer(status, [*headers, (b"etag", etag.encode()), *private], CodedBody(body), etag, request_id)

    async def _validate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let GraphQL answer a GET, and give its answer a validator if it is data and has none."""
        status, headers, body = await self._collect(scope, receive)
        names = dict(headers)
        media_type = names.get(b"content-type", b"")
        etag = ""
        if status == 200 and b"json" in media_type and names.keys().isdisjoint((b"etag", b"cache-control")) and b'"errors":[' not in body:
            # Both media types have the same bytes, and a validator must tell them apart.
            etag = etag_of(media_type + b"\n" + body)
            headers += [(b"cache-control", self._private), (b"etag", etag.encode()), (b"vary", b"Accept")]
        await CachedAnswer(status, headers, CodedBody(body), etag, "").send(send, read_if_none_match(scope["headers"]))

    async def _collect(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        status = 0
        headers: list[tuple[bytes, bytes]] = []
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message["headers"])
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        return status, headers, b"".join(parts)


async def _receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
