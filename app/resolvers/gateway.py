"""The `gatewayStats` root: how many requests the gateway handled, and how many of them failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import strawberry

from app.analytics.usage import fetch_gateway
from app.domain.money import SHARE_PLACES, ratio
from app.domain.principal import traffic_scope
from app.domain.time_range import resolve_days_back
from app.execution.rows import RowList, RowShape, as_list
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import summed_rows
from app.resolvers.scalars import BigInt, CalendarDate
from app.resolvers.usage import names_below

RETRIES = "Those of the requests that are a further attempt: a retry or a fallback of the router."
CACHE_HITS = "Those of the requests that the router answered from its own cache."
INTERRUPTED = "Those of the requests whose stream ended before its end."


@strawberry.type(description="Outcomes of the requests under one name.")
class Outcomes:
    name: str = strawberry.field(description="Provider, model or project; `unknown` where the record named none.")
    requests: BigInt = strawberry.field(description="Requests.")
    successful: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed: BigInt = strawberry.field(description="All others.")
    retries: BigInt = strawberry.field(description=RETRIES)
    cache_hits: BigInt = strawberry.field(description=CACHE_HITS)
    interrupted: BigInt = strawberry.field(description=INTERRUPTED)


@strawberry.type(description="Outcomes of the requests of one day.")
class DailyOutcomes:
    date: CalendarDate = strawberry.field(description="UTC date.")
    requests: BigInt = strawberry.field(description="Requests.")
    successful: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed: BigInt = strawberry.field(description="All others.")
    retries: BigInt = strawberry.field(description=RETRIES)
    cache_hits: BigInt = strawberry.field(description=CACHE_HITS)
    interrupted: BigInt = strawberry.field(description=INTERRUPTED)


@strawberry.type(description="Request counts of the gateway. Each breakdown sums to the totals.")
class GatewayStats:
    total_requests: BigInt = strawberry.field(description="Requests.")
    successful_requests: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed_requests: BigInt = strawberry.field(description="All others.")
    retries: BigInt = strawberry.field(description=RETRIES)
    cache_hits: BigInt = strawberry.field(description=CACHE_HITS)
    interrupted: BigInt = strawberry.field(description=INTERRUPTED)
    success_rate: float = strawberry.field(description="Successful to total, 0 to 1, 4 decimal places; 0 if there was no request.")
    providers: list[Outcomes] = strawberry.field(description="By provider, most requests first, then by name.")
    models: list[Outcomes] = strawberry.field(description="By public model id, most requests first, then by name.")
    projects: list[Outcomes] = strawberry.field(description="By project, most requests first, then by name.")
    daily: list[DailyOutcomes] = strawberry.field(description="By day, ascending; days without requests are left out.")


class GatewayCounts(NamedTuple):
    """The counts of a row of `fetch_gateway`."""

    requests: BigInt
    successful: BigInt
    failed: BigInt
    retries: BigInt
    cache_hits: BigInt
    interrupted: BigInt


_OUTCOMES = RowShape(Outcomes, "name", *GatewayCounts._fields)
_DAILY = RowShape(DailyOutcomes, "date", *GatewayCounts._fields)

ProjectIdArgument = Annotated[str | None, strawberry.argument(description="Only this project; one that is not known has no requests.")]
DaysArgument = Annotated[
    int | None, strawberry.argument(description="Only the last so many UTC dates, today included: 1 to 365. All time if not given.")
]

_TOTALS = {"totalRequests", "successfulRequests", "failedRequests", "successRate", "retries", "cacheHits", "interrupted"}
_LISTS = ("providers", "models", "projects", "daily")


def gateway_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that gateway statistics may read."""
    return summed_rows(resolve_days_back(arguments.get("days"), now))


async def resolve_gateway_stats(info: ResolverInfo, project_id: ProjectIdArgument = None, days: DaysArgument = None) -> GatewayStats:
    """Ask for the sections that are selected, and no others, of one instant of the database."""
    window = resolve_days_back(days, info.context.now)
    selected = names_below(info)
    wanted = [name for name in _LISTS if name in selected] + (["totals"] if selected & _TOTALS else [])
    scope = traffic_scope(await info.context.principal())
    rows = await fetch_gateway(info.context.services.database, window, project_id, wanted, scope)
    totals = GatewayCounts(*rows.get("totals", [(BigInt(0),) * 6])[0])

    def outcomes(section: str) -> list[Outcomes]:
        return as_list(RowList(_OUTCOMES, rows.get(section, [])))

    return GatewayStats(
        total_requests=totals.requests,
        successful_requests=totals.successful,
        failed_requests=totals.failed,
        success_rate=ratio(totals.successful, totals.requests, SHARE_PLACES),
        retries=totals.retries,
        cache_hits=totals.cache_hits,
        interrupted=totals.interrupted,
        providers=outcomes("providers"),
        models=outcomes("models"),
        projects=outcomes("projects"),
        daily=as_list(RowList(_DAILY, rows.get("daily", []))),
    )
