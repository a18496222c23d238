"""Builds the application from settings. Wiring only: what each part does is in its own module."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp

from app import __version__
from app.auth.authenticate import Authenticator
from app.auth.quota import RankingsQuota
from app.domain.time_range import Clock, system_clock
from app.http.compression import CompressionMiddleware
from app.http.proxies import TrustedProxies
from app.jobs.loop import run_jobs
from app.jobs.schedule import build_jobs
from app.request.context import Services
from app.resolvers.engine import build_engine
from app.resolvers.schema import build_schema
from app.rest.execute import StoredDocuments
from app.rest.routes import build_rest_routers
from app.settings import Settings, load
from app.web.answer_cache import AnswerCache, AnswerCacheMiddleware, CachedEngine, WatchedDatabase
from app.web.bodies import BodyBudget, BodyReader, Pace
from app.web.cors import CrossOrigin
from app.web.direct_routes import DirectRoutesMiddleware, direct_routes_of
from app.web.documents import build_document_policy
from app.web.gate import Gate
from app.web.graphql import add_graphql, build_graphql_routes
from app.web.graphql_bodies import GraphQLBodies
from app.web.health import build_health_router
from app.web.ingest import build_ingest_router, build_usage_route
from app.web.ingest_endpoint import IngestEndpoint
from app.web.litellm import build_litellm_router
from app.web.metrics import Metrics
from app.web.network_front import GatewayApp, NetworkFront
from app.web.openapi import install_openapi
from app.web.otlp import build_otlp_router
from app.web.pages.assets import BUILT, Assets, build_assets_router
from app.web.pages.graphiql import ProgramPages, build_docs_router
from app.web.pages.rendering import Templates
from app.web.pages.routes import PageParts, build_pages_router
from app.web.rate_limit import build_caller_limits, build_counts, build_limiter
from app.web.refusals import install_refusals, refuse
from app.write.batch import Ingestor
from app.write.queue import IngestQueue


@dataclass(frozen=True, slots=True)
class Wiring:
    """Parts that tests replace."""

    clock: Clock = system_clock
    jobs: bool = True
    seconds: Callable[[], float] = time.monotonic
    answer_age: float = 0.0
    """Overrides the setting: tests write directly and read at once."""
    owns_process: bool = False
    """Whether the process only serves this application, so that garbage collection is tuned for it."""
    pace: Pace = field(default_factory=Pace)
    """Time limits of bodies."""
    assets: Path = BUILT
    """The folder of the built pages."""


_COLLECT_EVERY: Final = (50_000, 20, 100)
"""Thresholds of the garbage collector: an answer of thousands of rows is not scanned while it is made; cycles,
which requests do not create, are collected later."""


def spare_garbage_collection() -> None:
    """Exclude the objects of the start-up from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_EVERY)


def create_app(settings: Settings, wiring: Wiring | None = None) -> FastAPI:
    """Return the application. `settings.database_url` must be set: the command has started the embedded server, if needed."""
    wiring = wiring or Wiring(answer_age=settings.answer_age, owns_process=True)
    if settings.database_url is None:
        raise ValueError("create_app needs a database URL")
    database = WatchedDatabase(settings.database_url, max_size=settings.database_connections)
    metrics = Metrics()
    counts = build_counts(settings.redis_url, metrics.observe_limit_store, wiring.seconds)
    services = Services(
        database=database,
        clock=wiring.clock,
        authenticator=Authenticator(database, settings.gateway_api_key),
        rankings_quota=RankingsQuota(counts),
        limits=build_caller_limits(settings, counts),
        ingestor=IngestQueue(Ingestor(database)),
        observe_receipt=metrics.observe_receipt,
    )
    schema = build_schema()
    engine = build_engine(schema, compiled=settings.compiled_execution)
    stored = StoredDocuments(schema, engine)
    answers = AnswerCache(database, memory=settings.cache_memory, age=wiring.answer_age, clock=wiring.seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, counts:
            jobs = build_jobs(database, wiring.clock, settings.snapshot_every, settings.record_retention) if wiring.jobs else ()
            if wiring.owns_process:
                spare_garbage_collection()
            running = asyncio.create_task(run_jobs(tuple(answers.watch(job) if job.name == "snapshot" else job for job in jobs)))
            try:
                yield
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
                await services.ingestor.drain()
                await answers.close()

    app = GatewayApp(
        title="Tokengraph",
        version=__version__,
        description="GraphQL analytics gateway for LLM routers. The REST URLs are stored GraphQL documents.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load files from a CDN
        redoc_url=None,
    )
    reader = BodyReader(wiring.pace)
    ingest_budget = BodyBudget(max(settings.ingest_memory, settings.ingest_body_limit))
    ingest = IngestEndpoint(services, metrics, settings.ingest_body_limit, ingest_budget, reader)
    usage_route = build_usage_route(ingest)
    cached_engine = CachedEngine(engine, answers)
    assets = Assets(wiring.assets)
    templates = Templates(assets, graphiql=settings.graphiql)
    programs = ProgramPages(assets, templates)
    graphiql = programs.graphiql if settings.graphiql else None
    graphql_routes = build_graphql_routes(
        cached_engine, services, GraphQLBodies(reader, ingest_budget), build_document_policy(settings), graphiql
    )
    app.state.limiter = build_limiter(settings.redis_url)
    app.state.services = services
    rest_routers = build_rest_routers(services, stored)
    rest_routes = direct_routes_of(route for router in rest_routers for route in router.routes)
    inner: ASGIApp = DirectRoutesMiddleware(app.routed, (usage_route, *graphql_routes, *rest_routes), refuse)
    inner = AnswerCacheMiddleware(inner, answers, services, stored)
    cross_origin = CrossOrigin(settings.cors_origin_list)
    app.gate = Gate(CompressionMiddleware(inner), services, metrics, cross_origin)
    if settings.trusted_proxies:
        app.proxies = TrustedProxies(settings.trusted_proxies)
    install_refusals(app)
    limit = services.limits.per_address
    if limit is None or settings.redis_url is None:  # counting in Redis needs a wait
        app.front = NetworkFront(answers, None if limit is None else counts.local.admitter(limit), metrics, cross_origin)

    add_graphql(app, graphql_routes)
    for router in rest_routers:
        app.include_router(router)
    app.include_router(build_ingest_router(usage_route))
    app.include_router(build_litellm_router(ingest))
    app.include_router(build_otlp_router(ingest))
    app.include_router(build_health_router(database, metrics, settings.metrics_token))
    app.include_router(build_assets_router(assets))
    app.include_router(build_docs_router(programs))
    app.include_router(build_pages_router(PageParts(services, stored, answers, templates, settings.snapshot_every), schema.as_str()))

    install_openapi(app)
    return app


def create_app_from_environment() -> FastAPI:
    """Return the application of a worker process."""
    return create_app(load())
