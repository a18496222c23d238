"""The `gatewayStats` root: how many requests the gateway handled, and how many of them failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import strawberry

from app.analytics.usage import GatewayQuestion, fetch_gateway, rest_of
from app.domain.principal import traffic_scope
from app.domain.time_range import resolve_days_back
from app.execution.rows import RowList, RowShape, as_list
from app.money.rounding import SHARE_PLACES, ratio
from app.resolvers.arguments import given_text
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import summed_rows
from app.resolvers.limits import DEFAULT_ROWS, check_limits, limit_description
from app.resolvers.scalars import BigInt, CalendarDate
from app.resolvers.usage import names_below

RETRIES = "Those of the requests that are a further attempt: a retry or a fallback of the router."
CACHE_HITS = "Those of the requests that the router answered from its own cache."
INTERRUPTED = "Those of the requests whose stream ended before its end."


@strawberry.type(description="Outcomes of the requests under one name.")
class Outcomes:
    name: str = strawberry.field(
        description="Provider, model or project; `unknown` where the record named none. A project whose name several tenants have is"
        " `tenantId/projectId`."
    )
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


@strawberry.type(description="Outcomes of the requests that a list leaves out, all together.")
class OutcomesRest:
    requests: BigInt = strawberry.field(description="Requests.")
    successful: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed: BigInt = strawberry.field(description="All others.")
    retries: BigInt = strawberry.field(description=RETRIES)
    cache_hits: BigInt = strawberry.field(description=CACHE_HITS)
    interrupted: BigInt = strawberry.field(description=INTERRUPTED)


@strawberry.type(description="Request counts of the gateway. Each breakdown with its rest sums to the totals.")
class GatewayStats:
    total_requests: BigInt = strawberry.field(description="Requests.")
    successful_requests: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed_requests: BigInt = strawberry.field(description="All others.")
    retries: BigInt = strawberry.field(description=RETRIES)
    cache_hits: BigInt = strawberry.field(description=CACHE_HITS)
    interrupted: BigInt = strawberry.field(description=INTERRUPTED)
    success_rate: float = strawberry.field(description="Successful to total, 0 to 1, 4 decimal places; 0 if there was no request.")
    providers: list[Outcomes] = strawberry.field(description="By provider, most requests first, then by name; `providersLimit` at most.")
    providers_rest: OutcomesRest = strawberry.field(description="Those that `providers` leaves out.")
    models: list[Outcomes] = strawberry.field(description="By public model id, most requests first, then by name; `modelsLimit` at most.")
    models_rest: OutcomesRest = strawberry.field(description="Those that `models` leaves out.")
    projects: list[Outcomes] = strawberry.field(description="By project, most requests first, then by name; `projectsLimit` at most.")
    projects_rest: OutcomesRest = strawberry.field(description="Those that `projects` leaves out.")
    daily: list[DailyOutcomes] = strawberry.field(description="By day since 2020 at most, ascending; days without requests are left out.")


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

ProjectIdArgument = Annotated[
    str | None,
    strawberry.argument(
        description="Only this project; one that is not known has no requests. An id that several tenants have means all of those, and"
        " `tenantId/projectId` one of them."
    ),
]
DaysArgument = Annotated[
    int | None, strawberry.argument(description="Only the last so many UTC dates, today included: 1 to 365. All time if not given.")
]

_TOTALS = {"totalRequests", "successfulRequests", "failedRequests", "successRate", "retries", "cacheHits", "interrupted"}
_LISTS = ("providers", "models", "projects")


def gateway_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that gateway statistics may read."""
    return summed_rows(resolve_days_back(arguments.get("days"), now))


ProvidersLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `providers`"))]
ModelsLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `models`"))]
ProjectsLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `projects`"))]


_NO_OUTCOMES = OutcomesRest(**GatewayCounts(*[BigInt(0)] * len(GatewayCounts._fields))._asdict())
"""What stands for a rest that is not selected."""


def sections_of(selected: frozenset[str]) -> set[str]:
    """Return the sections that the selected fields are made of."""
    rests = {name for name in _LISTS if f"{name}Rest" in selected}
    sections = {name for name in (*_LISTS, "daily") if name in selected} | rests
    return sections | {"totals"} if rests or selected & _TOTALS else sections


async def resolve_gateway_stats(
    info: ResolverInfo,
    project_id: ProjectIdArgument = None,
    days: DaysArgument = None,
    providers_limit: ProvidersLimit = DEFAULT_ROWS,
    models_limit: ModelsLimit = DEFAULT_ROWS,
    projects_limit: ProjectsLimit = DEFAULT_ROWS,
) -> GatewayStats:
    """Ask for the sections that are selected, and no others, of one instant of the database."""
    check_limits(providers_limit=providers_limit, models_limit=models_limit, projects_limit=projects_limit)
    window = resolve_days_back(days, info.context.now)
    limits = dict(zip(_LISTS, (providers_limit, models_limit, projects_limit), strict=True))
    selected = names_below(info)
    asked = GatewayQuestion(window, sections_of(selected), given_text(project_id), limits)
    scope = traffic_scope(await info.context.principal())
    rows = await fetch_gateway(info.context.services.database, asked, scope)
    sums = rows.get("totals", [(BigInt(0),) * len(GatewayCounts._fields)])
    totals = GatewayCounts(*sums[0])

    def outcomes(section: str) -> list[Outcomes]:
        return as_list(RowList(_OUTCOMES, rows.get(section, [])))

    def rest(section: str) -> OutcomesRest:
        if f"{section}Rest" not in selected:
            return _NO_OUTCOMES
        return OutcomesRest(**GatewayCounts(*rest_of(sums, rows[section], 1))._asdict())

    return GatewayStats(
        total_requests=totals.requests,
        successful_requests=totals.successful,
        failed_requests=totals.failed,
        success_rate=ratio(totals.successful, totals.requests, SHARE_PLACES),
        retries=totals.retries,
        cache_hits=totals.cache_hits,
        interrupted=totals.interrupted,
        providers=outcomes("providers"),
        providers_rest=rest("providers"),
        models=outcomes("models"),
        models_rest=rest("models"),
        projects=outcomes("projects"),
        projects_rest=rest("projects"),
        daily=as_list(RowList(_DAILY, rows.get("daily", []))),
    )
