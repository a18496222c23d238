"""The `gatewayStats` root: how many requests the gateway handled, and how many of them failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.analytics.usage import GatewayQuestion, fetch_gateway, rest_of
from app.domain.principal import traffic_scope
from app.execution.rows import RowList, as_list
from app.resolvers.arguments import given_text
from app.resolvers.context import ResolverInfo
from app.resolvers.surface_types import names_below, object_type, questions_of, rows_of
from app.surfaces.declare import nothing_of
from app.surfaces.gateway import DAILY_OUTCOMES, GATEWAY_STATS, LISTS, OUTCOMES, OUTCOMES_REST, STATS
from app.surfaces.limits import DEFAULT_ROWS, check_limits, limit_description

if TYPE_CHECKING:
    GatewayStats = Any
    OutcomesRest = Any
else:
    GatewayStats, OutcomesRest = object_type(STATS), object_type(OUTCOMES_REST)

_OUTCOMES = rows_of(OUTCOMES)
_DAILY = rows_of(DAILY_OUTCOMES)

ProjectIdArgument = Annotated[
    str | None,
    strawberry.argument(
        description="Only this project; an unknown project has no requests. An id that several tenants use selects all of them, and "
        "`tenantId/projectId` one."
    ),
]
DaysArgument = Annotated[
    int | None, strawberry.argument(description="Only this number of last UTC dates, with today: 1 to 365. Default: all time.")
]

ProvidersLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `providers`"))]
ModelsLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `models`"))]
ProjectsLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `projects`"))]


_NO_REQUESTS = nothing_of(STATS.metrics)
_NO_OUTCOMES = OutcomesRest(**OUTCOMES_REST.row(_NO_REQUESTS, STATS.metrics))
"""What stands for a rest that is not selected."""


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
    window = GATEWAY_STATS.resolve_window(info.context.now, days)
    limits = dict(zip(LISTS, (providers_limit, models_limit, projects_limit), strict=True))
    selected = names_below(info)
    asked = GatewayQuestion(window, questions_of(STATS, selected), given_text(project_id), limits, STATS.metrics)
    scope = traffic_scope(await info.context.principal())
    rows = await fetch_gateway(info.context.services.database, asked, scope)
    totals = rows.get("totals", [_NO_REQUESTS])
    parts: dict[str, Any] = {"daily": as_list(RowList(_DAILY, DAILY_OUTCOMES.cells(rows.get("daily", []), STATS.metrics)))}
    for name in LISTS:
        listed = rows.get(name, [])
        parts[name] = as_list(RowList(_OUTCOMES, OUTCOMES.cells(listed, STATS.metrics)))
        rest = OutcomesRest(**OUTCOMES_REST.row(rest_of(totals, listed, 1), STATS.metrics)) if f"{name}Rest" in selected else _NO_OUTCOMES
        parts[f"{name}_rest"] = rest
    return GatewayStats(**STATS.row(totals[0]), **parts)
