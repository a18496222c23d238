"""The `tenantAnalytics` and `tenantUsage` roots: what one tenant used and was charged, by day and by group."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import strawberry

from app.analytics.usage import GroupPlace, GroupsQuestion, caller_key_exists, fetch_tenant_days, fetch_tenant_groups, find_tenant
from app.domain.errors import BadInputError, NotFoundError
from app.domain.principal import Scope
from app.domain.time_range import format_instant, midnight, parse_date
from app.domain.usage import TRAFFIC_MODES
from app.execution.rows import RowList, as_list
from app.request.context import NO_SUCH_TENANT
from app.resolvers.arguments import given_text
from app.resolvers.catalog import Model, Provider, load_model, load_provider
from app.resolvers.context import ResolverInfo
from app.resolvers.scalars import CalendarDate, Instant
from app.resolvers.surface_types import object_type, rows_of
from app.surfaces.declare import nothing_of
from app.surfaces.limits import DEFAULT_ROWS, MAX_ROWS, check_limits
from app.surfaces.tenant import ANALYTICS, DAY, DAY_METRICS, GROUP, PERIOD, SUMMARY, TENANT_ANALYTICS, TENANT_USAGE

NO_SUCH_KEY = "No such API key"


async def resolve_group_model(root: Any, info: ResolverInfo) -> Model | None:
    """Load the model of a row, with those of its neighbours."""
    return await load_model(info, root.model_id)


async def resolve_group_provider(root: Any, info: ResolverInfo) -> Provider | None:
    """Load the provider of a row, with those of its neighbours."""
    return await load_provider(info, root.provider_id)


if TYPE_CHECKING:
    TenantAnalytics = Any
    TenantPeriod = Any
    TenantSummary = Any
    TenantUsageRow = Any
else:
    TenantAnalytics, TenantPeriod, TenantSummary = map(object_type, (ANALYTICS, PERIOD, SUMMARY))
    TenantUsageRow = object_type(
        GROUP,
        {
            "model": (Model | None, strawberry.field(resolver=resolve_group_model, description="The model in the catalog.")),
            "provider": (Provider | None, strawberry.field(resolver=resolve_group_provider, description="The provider in the catalog.")),
        },
    )

_DAYS = rows_of(DAY)
_GROUPS = rows_of(GROUP)

TenantIdArgument = Annotated[
    str | None,
    strawberry.argument(description="The tenant. Required unless the key is bound to one, which is then the default."),
]
WindowStart = Annotated[
    CalendarDate | None,
    strawberry.argument(
        description="First day: a UTC date, or an instant, which is floored to its UTC date. Default: 7 days before `endDate`."
    ),
]
WindowEnd = Annotated[CalendarDate | None, strawberry.argument(description="Last day, inclusive, in the same form. Default: today.")]
ApiKeyIdArgument = Annotated[
    str | None, strawberry.argument(description="Only this API key at the router, which must belong to the tenant.")
]


async def tenant_scope(info: ResolverInfo, tenant_id: str | None) -> tuple[str, Scope]:
    """Return one tenant's id, and its scope. NotFoundError: no such tenant, or not the caller's; BadInputError: an admin who names none."""
    named = await info.context.tenant_named(given_text(tenant_id))
    if named is None:
        raise BadInputError("tenant_id is required: this key belongs to no tenant", "tenant_id")
    key = (await info.context.principal()).tenant_key or await find_tenant(info.context.services.database, named)
    if key is None:
        raise NotFoundError(NO_SUCH_TENANT, "tenant_id")
    return named, Scope(tenant_key=key, identities=True)


async def read_caller_key(info: ResolverInfo, scope: Scope, api_key_id: str | None) -> str | None:
    """Return the caller key to filter by, one of the scope's tenant. NotFoundError: another's and one that does not exist, alike."""
    key = given_text(api_key_id)
    if key is None or scope.tenant_key is None:
        return None
    if not await caller_key_exists(info.context.services.database, scope.tenant_key, key):
        raise NotFoundError(NO_SUCH_KEY, "api_key_id")
    return key


async def resolve_tenant_analytics(
    info: ResolverInfo,
    start_date: WindowStart = None,
    end_date: WindowEnd = None,
    api_key_id: ApiKeyIdArgument = None,
    tenant_id: TenantIdArgument = None,
) -> TenantAnalytics:
    """Sum the days of the window; the summary is the sum of the days, so that both agree."""
    _, scope = await tenant_scope(info, tenant_id)
    window = TENANT_ANALYTICS.resolve_window(info.context.now, start_date, end_date)
    caller_key = await read_caller_key(info, scope, api_key_id)
    found = {row[0]: row for row in await fetch_tenant_days(info.context.services.database, window, caller_key, scope, DAY_METRICS)}
    nothing = nothing_of(DAY_METRICS)
    days = [found.get(day) or (day, *nothing) for day in window.dates()]
    sums = tuple(sum(column) for column in list(zip(*days, strict=True))[1:])
    return TenantAnalytics(
        period=TenantPeriod(
            start_date=Instant(format_instant(midnight(window.start_date))), end_date=Instant(format_instant(midnight(window.end_date)))
        ),
        summary=TenantSummary(**SUMMARY.row(sums, DAY_METRICS)),
        time_series=as_list(RowList(_DAYS, DAY.cells(days, DAY_METRICS))),
    )


UsageDate = Annotated[CalendarDate, strawberry.argument(description="First UTC date.")]
UsageEndDate = Annotated[CalendarDate | None, strawberry.argument(description="Last UTC date, inclusive. Default: `date`.")]


GroupsLimit = Annotated[
    int, strawberry.argument(description=f"Maximum number of rows, 1 to {MAX_ROWS:,}; request further rows with `after`.")
]
GroupsAfter = Annotated[str | None, strawberry.argument(description="Only rows after this `cursor`.")]


def encode_place(place: Sequence[str | int | datetime.date]) -> str:
    """Return a group's place as URL-safe text."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode_place(cursor: str) -> GroupPlace:
    """Return the place that a cursor names. BadInputError: it is none of this list."""
    try:
        day, *names, mode = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        model, provider, api_key_id = names
        place: GroupPlace = (parse_date(day, "after"), model, provider, api_key_id, mode)
        if (
            not all(type(name) is str and "\0" not in name for name in names)
            or type(mode) is not int
            or mode not in range(len(TRAFFIC_MODES))
        ):
            raise ValueError
    except (ValueError, TypeError, BadInputError):
        raise BadInputError("after must be a cursor that this list gave", "after") from None
    return place


async def resolve_tenant_usage(
    info: ResolverInfo,
    date: UsageDate,
    api_key_id: ApiKeyIdArgument = None,
    tenant_id: TenantIdArgument = None,
    limit: GroupsLimit = DEFAULT_ROWS,
    after: GroupsAfter = None,
    end_date: UsageEndDate = None,
) -> list[TenantUsageRow]:
    """Return the groups of the window's days, by date, model, provider, key and mode."""
    check_limits(limit=limit)
    cursor = given_text(after)
    place = None if cursor is None else decode_place(cursor)
    _, scope = await tenant_scope(info, tenant_id)
    window = TENANT_USAGE.resolve_window(info.context.now, date, end_date)
    caller_key = await read_caller_key(info, scope, api_key_id)
    asked = GroupsQuestion(window, limit, caller_key, place, GROUP.metrics)
    rows = await fetch_tenant_groups(info.context.services.database, asked, scope)
    cursors = [encode_place(row[:5]) for row in rows]
    return as_list(RowList(_GROUPS, GROUP.cells(rows, cursor=cursors)))
