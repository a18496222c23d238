"""Whether the process is alive, whether it can serve, and what it has counted."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.db.engine import Database
from app.db.migrate import HEAD_REVISION
from app.domain.errors import UnavailableError
from app.rest.answer import json_response
from app.web.metrics import CONTENT_TYPE, Metrics


def build_health_router(database: Database, metrics: Metrics) -> APIRouter:
    """Return the routes that operators' machines call."""
    router = APIRouter(tags=["Operation"])

    @router.get("/healthz", summary="The process is alive")
    async def get_health() -> Response:
        return json_response({"status": "ok"})

    @router.get(
        "/readyz",
        summary="The database is reached and migrated",
        responses={503: {"description": "Not yet, or not for now", "content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def get_readiness() -> Response:
        reason = "the database cannot be reached"
        try:
            async with database.read_connection() as connection:
                cursor = await connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
                if await cursor.fetchone() == (True,):
                    cursor = await connection.execute("SELECT version_num FROM alembic_version")
                    if await cursor.fetchone() == (HEAD_REVISION,):
                        return json_response({"status": "ready"})
                reason = f"the database is not at schema revision {HEAD_REVISION}: run `tokengraph db upgrade`"
        except UnavailableError:
            pass
        return json_response({"status": "unavailable", "reason": reason}, 503, {"Retry-After": "2", "Cache-Control": "no-store"})

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"description": "Exposition text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router
