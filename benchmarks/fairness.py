"""Fairness: how long a sender waits for the receipt of one record, alone and beside two tenants that ask all they can.

A gateway with one worker that keeps no answers, on a fresh database with a year of traffic. Each tenant sends GraphQL documents over 8
connections, 20 aliases of tenant analytics over 90 days each. Neither requests nor points are limited: what is measured are the shares.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import islice

import uvloop

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.domain.usage import UsageRecord
from app.write.batch import Ingestor
from benchmarks.databases import LARGE, BenchmarkServer
from benchmarks.gateway import NO_LIMIT, free_port, gateway_command, gateway_environment, serving
from benchmarks.load import Load, Pressure, Target, drive_in_turn, encode_graphql, post_all
from benchmarks.report import Comparison, Goal, Quantity
from benchmarks.timing import percentile
from benchmarks.traffic import START, encode_ndjson, generate_traffic, make_batch, split

_DAYS = 365
_RECORDS = 60_000
_ALIASES = 20
_WINDOW = 90
_CONNECTIONS = 8
_SINGLES_PER_SECOND_AT_MOST = 4_000
_SECTION = "Fairness: one sender beside two tenants that ask all they can"
_WORST = Goal(3.0, at_most=True)


def document(first: int) -> str:
    """Return a document of many questions for one tenant, no two for the same window."""
    roots = []
    for alias in range(_ALIASES):
        start = START.date() + timedelta(days=(first + alias) % (_DAYS - _WINDOW))
        window = f'startDate: "{start}", endDate: "{start + timedelta(days=_WINDOW - 1)}"'
        roots.append(f"q{alias}: tenantAnalytics({window}) {{ summary {{ requests }} timeSeries {{ date totalTokens spend }} }}")
    return f"{{ {' '.join(roots)} }}"


def spread(records: Sequence[UsageRecord]) -> Iterator[UsageRecord]:
    """Return records of one day as records of a year."""
    for number, record in enumerate(records):
        yield record._replace(occurred_at=record.occurred_at + timedelta(days=number % _DAYS))


async def _prepare(url: str, records: list[UsageRecord]) -> tuple[str, list[str]]:
    """Store the records; return a sender's key, and those of the two tenants with most of them."""
    async with Database(url, min_size=1, max_size=2) as database:
        ingestor = Ingestor(database)
        for part in split(records, LARGE):
            await ingestor.ingest(make_batch(part))
        busiest = [tenant for tenant, _ in Counter(record.tenant_id for record in records).most_common(2)]
        requests = [KeyRequest(Role.INGEST), *(KeyRequest(Role.TENANT, tenant_id=tenant) for tenant in busiest)]
        sender, *tenants = [(await create_key(database, request, system_clock())).secret for request in requests]
        return sender, tenants


async def _send(target: Target, bodies: Iterator[bytes], seconds: float) -> Load:
    await post_all(target, islice(bodies, 50), 1, 60.0)  # the gateway learns names
    return await post_all(target, bodies, 1, seconds)


async def _send_beside(target: Target, bodies: Iterator[bytes], tenants: list[str], seconds: float) -> tuple[Load, int]:
    """Send while the tenants ask; return also how many questions they were answered."""
    asked = [
        [encode_graphql("/graphql", {"Authorization": f"Bearer {key}"}, document(first)) for first in range(0, _DAYS, 7)] for key in tenants
    ]
    # The tenants begin a little before the sender and end a little after it.
    pressure = Pressure(_CONNECTIONS, seconds + 1.0)
    asking = [asyncio.create_task(drive_in_turn(target.port, requests, pressure)) for requests in asked]
    await asyncio.sleep(0.5)
    load = await post_all(target, bodies, 1, seconds)
    loads = await asyncio.gather(*asking)
    return load, sum(one.rate.count for one in loads) * _ALIASES


def measure_fairness(server: BenchmarkServer, seconds: float, repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return the comparisons of a sender's waits with and without the two tenants."""
    records = list(spread(generate_traffic("fairness", _RECORDS)))
    sent = generate_traffic("fairness sender", int(2 * seconds * _SINGLES_PER_SECOND_AT_MOST))
    found: dict[str, list[float]] = defaultdict(list)

    def keep(name: str, value: float, unit: str = "ms") -> None:
        found[name].append(value)
        say(f"{name}: {Quantity(value, unit)}")

    for _ in range(repetitions):
        with server.fresh_database() as url:
            sender, tenants = uvloop.run(_prepare(url, records))
            port = free_port()
            environment = gateway_environment(
                TOKENGRAPH_DATABASE_URL=url,
                TOKENGRAPH_CACHE_MEMORY="0",
                TOKENGRAPH_KEY_RATE_LIMIT=NO_LIMIT,
                TOKENGRAPH_KEY_COST_LIMIT=NO_LIMIT,
            )
            target = Target(port, "/v1/ingest/usage", {"Authorization": f"Bearer {sender}", "Content-Type": "application/x-ndjson"})
            bodies = (encode_ndjson([record]) for record in sent)
            with serving(gateway_command(port), environment, port):
                alone = uvloop.run(_send(target, bodies, seconds))
                beside, answered = uvloop.run(_send_beside(target, bodies, tenants, seconds))
        for name, load in (("alone", alone), ("beside", beside)):
            keep(f"p50 {name}", percentile(load.milliseconds, 0.5))
            keep(f"p99 {name}", percentile(load.milliseconds, 0.99))
        keep("questions", answered / seconds, "questions/s")

    def of(name: str, unit: str = "ms") -> Quantity:
        return Quantity.of(found[name], unit)

    return [
        Comparison(_SECTION, "p99 of a single record", of("p99 beside"), "alone", of("p99 alone"), _WORST),
        Comparison(_SECTION, "median of a single record", of("p50 beside"), "alone", of("p50 alone")),
        Comparison(_SECTION, "questions of the two tenants meanwhile", of("questions", "questions/s")),
    ]
