"""The `tenantAnalytics` and `tenantUsage` roots: what one tenant used and was charged, by day and by group."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
import strawberry

from app.analytics.usage import GroupPlace, GroupsQuestion, caller_key_exists, fetch_tenant_days, fetch_tenant_groups, find_tenant
from app.domain.errors import BadInputError, NotFoundError
from app.domain.principal import Scope
from app.domain.time_range import format_instant, midnight, parse_date, resolve_tenant_window
from app.domain.usage import TRAFFIC_MODES
from app.execution.rows import RowList, RowShape, as_list
from app.money.rounding import percentage, round_half_up
from app.request.context import NO_SUCH_TENANT
from app.resolvers.arguments import given_text
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import daily_rows
from app.resolvers.limits import DEFAULT_ROWS, MAX_ROWS, check_limits
from app.resolvers.scalars import BigInt, CalendarDate, Instant

NO_SUCH_KEY = "No such API key"


@strawberry.type(description="A window of whole UTC days, both inclusive.")
class TenantPeriod:
    start_date: Instant = strawberry.field(description="First instant of the first day.")
    end_date: Instant = strawberry.field(description="First instant of the last day.")


@strawberry.type
class _Usage:
    """What every tenant's row has: tokens and charges, by themselves no type of the schema."""

    prompt_tokens: BigInt = strawberry.field(description="Input tokens, cached ones included.")
    completion_tokens: BigInt = strawberry.field(description="Output tokens, reasoning included.")
    shared_model_spend: BigInt = strawberry.field(description="Credits for shared-capacity model usage.")
    byok_platform_fees: BigInt = strawberry.field(description="Credits of platform fees on bring-your-own-key requests.")
    managed_tool_fees: BigInt = strawberry.field(description="Credits for managed tools.")
    agent_runtime_fees: BigInt = strawberry.field(description="Credits for agent runtime.")
    search_requests: BigInt = strawberry.field(description="Successful managed web tool invocations.")


@strawberry.type(description="Sums over the window. Charges are integer credits.")
class TenantSummary(_Usage):
    total_requests: BigInt = strawberry.field(description="Requests.")
    successful_requests: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed_requests: BigInt = strawberry.field(description="All others.")
    error_rate: float = strawberry.field(description="Failed to total in percent, 2 decimal places; 0 if there was no request.")
    total_tokens: BigInt = strawberry.field(description="Prompt plus completion tokens.")
    total_spend: BigInt = strawberry.field(description="Credits: the four charges together.")
    avg_latency_ms: float | None = strawberry.field(
        description="Mean latency of the requests that have one, milliseconds, 1 decimal place; null if none has."
    )


@strawberry.type(description="One day of a tenant. Charges are integer credits.")
class TenantDay(_Usage):
    date: CalendarDate = strawberry.field(description="UTC date.")
    requests: BigInt = strawberry.field(description="Requests, failed ones included.")
    tokens: BigInt = strawberry.field(description="Prompt plus completion tokens.")
    spend: BigInt = strawberry.field(description="Credits: the four charges together.")


@strawberry.type(description="Analytics of one tenant. The columns of the time series sum to the summary.")
class TenantAnalytics:
    period: TenantPeriod = strawberry.field(description="The window, as resolved.")
    summary: TenantSummary = strawberry.field(description="Sums over the window.")
    timeseries: list[TenantDay] = strawberry.field(description="Every UTC date of the window, ascending, zeros included.")


@strawberry.type(description="A tenant's usage of one day by model, provider, caller key and traffic mode. Charges are integer credits.")
class TenantUsageRow(_Usage):
    date: CalendarDate = strawberry.field(description="UTC date.")
    model: str = strawberry.field(description="Public model id.")
    provider: str = strawberry.field(description="Provider that served it.")
    api_key_id: str = strawberry.field(description="The caller's key at the router; empty if the records named none.")
    traffic_mode: str = strawberry.field(description="`shared` or `byok`.")
    requests: BigInt = strawberry.field(description="Requests.")
    successful_requests: BigInt = strawberry.field(description="Requests with a 2xx status.")
    failed_requests: BigInt = strawberry.field(description="All others.")
    tokens: BigInt = strawberry.field(description="Prompt plus completion tokens.")
    spend: BigInt = strawberry.field(description="Credits: the four charges together.")
    cursor: str = strawberry.field(description="Place of the row: `after` it begin the rows that follow.")


_TOKENS = ("prompt_tokens", "completion_tokens", "tokens")
_CHARGES = ("shared_model_spend", "byok_platform_fees", "managed_tool_fees", "agent_runtime_fees", "search_requests")
_OUTCOMES = ("requests", "successful_requests", "failed_requests")
_DAY = RowShape(TenantDay, "date", "requests", *_TOKENS, *_CHARGES, "spend")
_GROUP = RowShape(
    TenantUsageRow, "date", "model", "provider", "api_key_id", "traffic_mode", *_OUTCOMES, *_TOKENS, *_CHARGES, "spend", "cursor"
)

TenantIdArgument = Annotated[
    str | None,
    strawberry.argument(description="The tenant. Required unless the key is bound to one, which it sees whether it names it or not."),
]
WindowStart = Annotated[
    CalendarDate | None,
    strawberry.argument(
        description="First day: a UTC date, or an instant that is floored to its UTC date. 7 days before `endDate` if not given."
    ),
]
WindowEnd = Annotated[CalendarDate | None, strawberry.argument(description="Last day, inclusive, likewise. Today if not given.")]
ApiKeyIdArgument = Annotated[str | None, strawberry.argument(description="Only this caller key at the router, one of the tenant's own.")]


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


def _charges(row: tuple[Any, ...]) -> dict[str, int]:
    shared, byok, tools, runtime, searches = row
    return {
        "shared_model_spend": shared,
        "byok_platform_fees": byok,
        "managed_tool_fees": tools,
        "agent_runtime_fees": runtime,
        "search_requests": searches,
    }


def _spend(row: tuple[Any, ...]) -> int:
    """Total charge: the four components, the searches aside."""
    return int(sum(row[:4]))


def tenant_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that tenant analytics may read: those of each day."""
    return daily_rows(resolve_tenant_window(arguments.get("startDate"), arguments.get("endDate"), now))


async def resolve_tenant_analytics(
    info: ResolverInfo,
    start_date: WindowStart = None,
    end_date: WindowEnd = None,
    api_key_id: ApiKeyIdArgument = None,
    tenant_id: TenantIdArgument = None,
) -> TenantAnalytics:
    """Sum the days of the window; the summary is the sum of the days, so that both agree."""
    _, scope = await tenant_scope(info, tenant_id)
    window = resolve_tenant_window(start_date, end_date, info.context.now)
    caller_key = await read_caller_key(info, scope, api_key_id)
    rows = {row[0]: row[1:] for row in await fetch_tenant_days(info.context.services.database, window, caller_key, scope)}
    empty = (0,) * 12 + (Decimal(0),)
    days = [(day, rows.get(day, empty)) for day in window.dates()]
    sums = tuple(sum(column) for column in zip(*(row for _, row in days), strict=True))
    return TenantAnalytics(
        period=TenantPeriod(
            start_date=Instant(format_instant(midnight(window.start_date))), end_date=Instant(format_instant(midnight(window.end_date)))
        ),
        summary=_summary(sums),
        timeseries=as_list(RowList(_DAY, [(day, row[0], *row[3:11], _spend(row[6:11])) for day, row in days])),
    )


def _summary(sums: tuple[Any, ...]) -> TenantSummary:
    requests, successful, failed, prompt, completion, tokens = sums[:6]
    measured, latency = sums[11:]
    return TenantSummary(
        total_requests=requests,
        successful_requests=successful,
        failed_requests=failed,
        error_rate=percentage(failed, requests),
        total_tokens=tokens,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_spend=_spend(sums[6:11]),  # type: ignore[arg-type]
        avg_latency_ms=float(round_half_up(Decimal(latency) / measured, 1)) if measured else None,
        **_charges(sums[6:11]),  # type: ignore[arg-type]
    )


UsageDate = Annotated[CalendarDate, strawberry.argument(description="The UTC date.")]


GroupsLimit = Annotated[
    int, strawberry.argument(description=f"Rows at most, 1 to {MAX_ROWS:,}; if there are so many, ask for those `after` the last one.")
]
GroupsAfter = Annotated[str | None, strawberry.argument(description="Only rows behind this `cursor`.")]


def encode_place(place: Sequence[str | int]) -> str:
    """Return a group's place as URL-safe text."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode_place(cursor: str) -> GroupPlace:
    """Return the place that a cursor names. BadInputError: it is none of this list."""
    try:
        model, provider, api_key_id, mode = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        place: GroupPlace = (model, provider, api_key_id, mode)
        if not all(type(name) is str and "\0" not in name for name in place[:3]) or place[3] not in range(len(TRAFFIC_MODES)):
            raise ValueError
    except (ValueError, TypeError):
        raise BadInputError("after must be a cursor that this list gave", "after") from None
    return place


async def resolve_tenant_usage(
    info: ResolverInfo,
    date: UsageDate,
    api_key_id: ApiKeyIdArgument = None,
    tenant_id: TenantIdArgument = None,
    limit: GroupsLimit = DEFAULT_ROWS,
    after: GroupsAfter = None,
) -> list[TenantUsageRow]:
    """Return one day's groups, by model, provider, key and mode."""
    check_limits(limit=limit)
    cursor = given_text(after)
    place = None if cursor is None else decode_place(cursor)
    _, scope = await tenant_scope(info, tenant_id)
    day = parse_date(date, "date")
    caller_key = await read_caller_key(info, scope, api_key_id)
    rows = await fetch_tenant_groups(info.context.services.database, GroupsQuestion(day, limit, caller_key, place), scope)
    groups = [(day, *row[:3], TRAFFIC_MODES[row[3]], *row[4:15], _spend(row[10:15]), encode_place(row[:4])) for row in rows]
    return as_list(RowList(_GROUP, groups))
