"""The `rankingsDaily` root: each day's first 50 public models by tokens, and the rest in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.analytics.fetch import fetch_rankings
from app.domain.time_range import format_seconds
from app.execution.rows import RowList, as_list
from app.resolvers.context import ResolverInfo
from app.resolvers.scalars import CalendarDate, Instant
from app.resolvers.surface_types import object_type, rows_of
from app.surfaces.rankings import DAILY, META, RANKINGS_DAILY, ROW

if TYPE_CHECKING:
    RankingsDaily = Any
    RankingsDailyMeta = Any
else:
    RankingsDaily, RankingsDailyMeta = object_type(DAILY), object_type(META)

_ROWS = rows_of(ROW)

StartDate = Annotated[
    CalendarDate | None,
    strawberry.argument(description="First date, inclusive; default: 30 days before `endDate`. Dates before 2025-01-01 become 2025-01-01."),
]
EndDate = Annotated[
    CalendarDate | None,
    strawberry.argument(description="Last date, inclusive; default: the last completed UTC day. Future dates become today."),
]


async def resolve_rankings_daily(info: ResolverInfo, start_date: StartDate = None, end_date: EndDate = None) -> RankingsDaily:
    """Count the read against the caller's limits, then return the rankings of the window."""
    context = info.context
    await context.services.rankings_quota.consume(await context.principal(), context.now)
    window = RANKINGS_DAILY.resolve_window(context.now, start_date, end_date)
    rows = await fetch_rankings(context.services.database, window)
    return RankingsDaily(
        data=as_list(RowList(_ROWS, rows)),
        meta=RankingsDailyMeta(
            as_of=Instant(format_seconds(context.now)),
            version="v1",
            start_date=CalendarDate(window.start_date.isoformat()),
            end_date=CalendarDate(window.end_date.isoformat()),
        ),
    )
