"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from app.auth.keys import same_secret
from app.db.engine import Database
from app.db.migrate import HEAD_REVISION
from app.db.shares import SERVICE, current_workload
from app.domain.errors import DatabaseBusyError, UnauthenticatedError, UnavailableError
from app.graph.quarantine import count_waiting_by_source
from app.http.answer import json_response
from app.http.envelopes import envelope_of, error_headers
from app.ingest.sources.conventions import CONVENTIONS
from app.rest.models import TypedError
from app.web.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger(__name__)

_PATIENCE = 0.5
_TRUSTED = 60.0


class QuarantineCounts:
    """Counts of waiting quarantined records by source: one query at a time, and without waiting for a database that hangs."""

    def __init__(self, database: Database, *, fresh_for: float = 5.0) -> None:
        """`fresh_for`: seconds until the next query."""
        self._database = database
        self._fresh_for = fresh_for
        self._counts: dict[str, int] = {}
        self._counted_at: float | None = None
        self._question: asyncio.Task[None] | None = None

    async def read(self) -> Mapping[str, int] | None:
        """Return the counts, 0 for a declared source without waiting records; None if they are unknown, within half a second."""
        if self._question is None and not self._is_younger_than(self._fresh_for):
            self._question = asyncio.create_task(self._ask())
        if self._question is not None:
            # Not cancelled if it takes longer: psycopg waits for the server to cancel a query.
            await asyncio.wait({self._question}, timeout=_PATIENCE)
        return dict.fromkeys(CONVENTIONS, 0) | self._counts if self._is_younger_than(_TRUSTED) else None

    def _is_younger_than(self, seconds: float) -> bool:
        return self._counted_at is not None and asyncio.get_running_loop().time() - self._counted_at < seconds

    async def _ask(self) -> None:
        try:
            self._counts = await count_waiting_by_source(self._database)
            self._counted_at = asyncio.get_running_loop().time()
        except Exception as error:
            self._counted_at = None
            log.warning("the quarantine cannot be counted: %s", error)
        finally:
            self._question = None


class Readiness:
    """Whether the database is reachable and migrated: one query at a time, shared by concurrent requests."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._question: asyncio.Task[str | None] | None = None

    async def reason_against(self) -> str | None:
        """Return the reason why the gateway cannot serve; None: it can."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask())
        # Shielded: the cancellation of one waiter must not affect the others.
        return await asyncio.shield(self._question)

    async def _ask(self) -> str | None:
        current_workload.set(SERVICE)
        try:
            async with self._database.read_connection() as connection:
                cursor = await connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
                if await cursor.fetchone() == (True,):
                    cursor = await connection.execute("SELECT version_num FROM alembic_version")
                    if await cursor.fetchone() == (HEAD_REVISION,):
                        return None
        except DatabaseBusyError:
            return "the database is too busy"
        except UnavailableError:
            return "the database cannot be reached"
        return f"the database is not at schema revision {HEAD_REVISION}: run `tokengraph db upgrade`"


def _shows(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and same_secret(given.strip(), token)


def build_health_router(database: Database, metrics: Metrics, metrics_token: str | None = None) -> APIRouter:
    """Return the routes for monitoring. `metrics_token`: bearer token of `/metrics`; None: none."""
    router = APIRouter(tags=["Operation"])
    quarantined = QuarantineCounts(database)
    readiness = Readiness(database)

    @router.get("/healthz", summary="The process is alive")
    async def get_health() -> Response:
        return json_response({"status": "ok"})

    @router.get(
        "/readyz",
        summary="The database is reached and migrated",
        responses={503: {"description": "Not yet, or not for now", "content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def get_readiness() -> Response:
        reason = await readiness.reason_against()
        if reason is None:
            return json_response({"status": "ready"})
        return json_response({"status": "unavailable", "reason": reason}, 503, {"Retry-After": "2", "Cache-Control": "no-store"})

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {"description": "Exposition text", "content": {"text/plain": {"schema": {"type": "string"}}}},
            401: {"model": TypedError, "description": "TOKENGRAPH_METRICS_TOKEN is set, and is not what was sent as the bearer token"},
        },
    )
    async def get_metrics(request: Request) -> Response:
        if metrics_token is not None and not _shows(request.headers.get("authorization", ""), metrics_token):
            refused = UnauthenticatedError("a bearer token is needed: TOKENGRAPH_METRICS_TOKEN")
            return json_response(envelope_of(request.url.path)(refused), refused.status, error_headers(refused))
        return Response(metrics.render(await quarantined.read()), media_type=CONTENT_TYPE)

    return router
