"""GraphQL without HTTP and database: an ad-hoc document over ready rows, by the product's engine and by stock strawberry.

Ours is the product's schema with its resolvers, permissions, limits and errors, the rows given where it would fetch them; the peer a plain
`strawberry.Schema` of the same types, whose resolvers build the same objects, with `json.dumps`. Both return equal answers. Parsed,
validated, executed and encoded each time, as each does by itself; what a side keeps of a document that it has seen, it may use.
"""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import cycle
from typing import Any, cast
from unittest.mock import patch

import orjson
import uvloop

from app.db.pipeline import Rows
from app.execution.engine import Demand
from app.http.json import encode_json
from app.request.context import RequestContext, Services
from app.resolvers import rankings as rankings_module
from app.resolvers import usage as usage_module
from app.resolvers.engine import build_engine
from app.resolvers.schema import build_schema
from app.settings import Settings
from app.web.app import Wiring, create_app
from benchmarks.databases import BenchmarkServer
from benchmarks.gateway import NO_LIMIT
from benchmarks.peers.schema import BigNumber, DateText, ModelUsage, RankingsDailyRow, UsagePoint, build_stock_schema
from benchmarks.reads import BIG, BIG_DOCUMENT, SMALL, SMALL_DOCUMENT, Reads, ask_big, ask_small, open_reads, variables_of, with_key
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.timing import BenchmarkError, percentile

_SECTION = "GraphQL in process, ad-hoc document over ready rows"
_ROUNDS = 3
_AT_MOST = 2_000
_DOCUMENTS = {"big": (BIG_DOCUMENT, BIG[0]), "small": (SMALL_DOCUMENT, SMALL[0])}

Run = Callable[[], Awaitable[tuple[float, bytes]]]
"""Runs a document once; returns the milliseconds and the body."""


def measure_in_process(server: BenchmarkServer, seconds: float, repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of the engine, and of the engine with the stock executor, with stock strawberry."""
    with open_reads(server) as reads:
        found = uvloop.run(_measure(reads, seconds, repetitions, say))
    lines = []
    for size, words, goal in (("big", "1,530 rows × 3 fields", Goal(40)), ("small", "30 × 4 + 10 × 6 fields", None)):
        ours, stock = (Quantity.of(found[f"{side} {size}"], "ms") for side in ("ours", "stock"))
        uncompiled = Quantity.of(found[f"uncompiled {size}"], "ms")
        lines.append(Comparison(_SECTION, words, ours, "stock strawberry", stock, goal, inverted=True))
        lines.append(Comparison(_SECTION, words, ours, "our engine, stock executor", uncompiled, inverted=True))
    return lines


async def _measure(reads: Reads, seconds: float, repetitions: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    # The collector is stopped while a document runs, and runs between: so neither side pays for what the other left.
    found: dict[str, list[float]] = defaultdict(list)
    app = create_app(
        Settings(
            database_url=reads.url,
            key_rate_limit=NO_LIMIT,
            address_rate_limit=NO_LIMIT,
            key_cost_limit=NO_LIMIT,
            gateway_api_key=None,
        ),
        Wiring(jobs=False),
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        services: Services = app.state.services
        rankings, usage = await ask_big(services.database, BIG[0]), await ask_small(services.database, SMALL[0])
        with _given_rows(rankings, usage):
            runs = _build_runs(services, reads, rankings, usage)
            for size in _DOCUMENTS:
                await _check(size, runs)
            for _ in range(repetitions):
                for name, run in runs.items():
                    found[name].append(percentile(await _sample(run, seconds / _ROUNDS), 0.5))
                    say(f"in process, {name}: p50 {found[name][-1]:.3f} ms")
    return found


@contextmanager
def _given_rows(rankings: Rows, usage: dict[str, Rows]) -> Iterator[None]:
    async def fetch_rankings(*_: object) -> Rows:
        return rankings

    async def fetch_usage(*_: object) -> dict[str, Rows]:
        return usage

    with patch.object(rankings_module, "fetch_rankings", fetch_rankings), patch.object(usage_module, "fetch_usage", fetch_usage):
        yield


def _build_runs(services: Services, reads: Reads, rankings: Rows, usage: dict[str, Rows]) -> dict[str, Run]:
    keys = cycle(reads.keys)
    schema = build_schema()
    stock = build_stock_schema(*_stock_fetches(rankings, usage))

    def ours(size: str, *, compiled: bool) -> Run:
        engine = build_engine(schema, compiled=compiled)
        document, window = _DOCUMENTS[size]
        variables = variables_of(window)

        async def run() -> tuple[float, bytes]:
            authorization = with_key(next(keys) if size == "big" else reads.admin_key)["Authorization"]
            context = RequestContext(services, authorization=authorization, api_key=None)
            await context.admit()  # the caller is known before a document runs
            before = time.perf_counter()
            body = encode_json((await engine.run(Demand(document, variables), context)).as_json())
            return (time.perf_counter() - before) * 1000, body

        return run

    def theirs(size: str) -> Run:
        document, window = _DOCUMENTS[size]
        variables = variables_of(window)

        async def run() -> tuple[float, bytes]:
            before = time.perf_counter()
            result = await stock.execute(document, variable_values=variables)
            body = json.dumps({"data": result.data} if not result.errors else {"errors": [error.formatted for error in result.errors]})
            return (time.perf_counter() - before) * 1000, body.encode()

        return run

    runs: dict[str, Run] = {}
    for size in _DOCUMENTS:
        runs[f"ours {size}"] = ours(size, compiled=True)
        runs[f"uncompiled {size}"] = ours(size, compiled=False)
        runs[f"stock {size}"] = theirs(size)
    return runs


def _stock_fetches(rankings: Rows, usage: dict[str, Rows]) -> tuple[Any, Any]:
    """Objects are built anew for each request, as from a database."""

    async def fetch_rankings(*_: str) -> list[RankingsDailyRow]:
        return [RankingsDailyRow(date=DateText(day), model_permaslug=slug, total_tokens=str(tokens)) for day, slug, tokens, *_ in rankings]

    async def fetch_usage(*_: str) -> tuple[list[UsagePoint], list[ModelUsage]]:
        points = [
            UsagePoint(
                period=start.isoformat(),
                prompt_tokens=cast(BigNumber, tokens_in),
                completion_tokens=cast(BigNumber, tokens_out),
                cost_usd=float(cost),
                requests=cast(BigNumber, requests),
            )
            for start, tokens_in, tokens_out, cost, requests, *_ in usage["time_series"]
        ]
        models = [
            ModelUsage(
                model_id=model,
                provider_id=provider,
                prompt_tokens=cast(BigNumber, tokens_in),
                completion_tokens=cast(BigNumber, tokens_out),
                cost_usd=float(cost),
                requests=cast(BigNumber, requests),
            )
            for model, provider, tokens_in, tokens_out, cost, requests, *_ in usage["by_model"]
        ]
        return points, models

    return fetch_rankings, fetch_usage


async def _check(size: str, runs: dict[str, Run]) -> None:
    answers = {side: orjson.loads((await runs[f"{side} {size}"]())[1]) for side in ("ours", "uncompiled", "stock")}
    if "errors" in answers["ours"] or not (answers["ours"] == answers["uncompiled"] == answers["stock"]):
        raise BenchmarkError(f"the sides differ on the {size} document: {str(answers)[:600]}")


async def _sample(run: Run, seconds: float) -> list[float]:
    for _ in range(3):
        await run()
    gc.collect()
    gc.disable()
    try:
        samples: list[float] = []
        started = time.perf_counter()
        while len(samples) < 5 or (len(samples) < _AT_MOST and time.perf_counter() - started < seconds):
            samples.append((await run())[0])
            if len(samples) % 100 == 0:
                gc.collect()
    finally:
        gc.enable()
    return samples
