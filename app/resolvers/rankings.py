"""The `rankingsDaily` root: each day's first 50 public models by tokens, and the rest in one row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import strawberry

from app.analytics.fetch import fetch_rankings
from app.cube.ranking import RANKED_MODELS
from app.domain.time_range import format_seconds, resolve_rankings_window
from app.execution.rows import RowList, RowShape, as_list
from app.resolvers.context import ResolverInfo
from app.resolvers.scalars import CalendarDate, Instant


@strawberry.type(description="The tokens of one model on one day.")
class RankingsDailyRow:
    date: CalendarDate = strawberry.field(description="UTC date.")
    model_permaslug: str = strawberry.field(
        description="Dated model, with `:variant` where it is one; `other` is the sum of all models outside the day's 50, last of its day."
    )
    total_tokens: str = strawberry.field(description="Prompt plus completion tokens, as a decimal string.")


@strawberry.type(description="What the rows are of.")
class RankingsDailyMeta:
    as_of: Instant = strawberry.field(description="When this answer was made, to the second.")
    version: str = strawberry.field(description="Version of the dataset: `v1`.")
    start_date: CalendarDate = strawberry.field(description="First date, as resolved; inclusive.")
    end_date: CalendarDate = strawberry.field(description="Last date, as resolved; inclusive.")


@strawberry.type(description="Daily token totals by model: by date ascending, then by tokens descending, then by permaslug.")
class RankingsDaily:
    data: list[RankingsDailyRow] = strawberry.field(description="At most 51 rows a day; none for a day without traffic.")
    meta: RankingsDailyMeta = strawberry.field(description="The window, and when it was asked for.")


_ROW = RowShape(RankingsDailyRow, "date", "model_permaslug", "total_tokens")

StartDate = Annotated[
    CalendarDate | None,
    strawberry.argument(description="First date, inclusive. 30 days before `endDate` if not given; dates before 2025-01-01 become that."),
]
EndDate = Annotated[
    CalendarDate | None,
    strawberry.argument(description="Last date, inclusive. The last completed UTC day if not given; future dates become today."),
]


def rankings_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that the rankings may read: those that they answer."""
    window = resolve_rankings_window(arguments.get("startDate"), arguments.get("endDate"), now)
    return ((window.end_date - window.start_date).days + 1) * (RANKED_MODELS + 1)


async def resolve_rankings_daily(info: ResolverInfo, start_date: StartDate = None, end_date: EndDate = None) -> RankingsDaily:
    """Count the read against the caller's limits, then return the rankings of the window."""
    context = info.context
    await context.services.rankings_quota.consume(await context.principal(), context.now)
    window = resolve_rankings_window(start_date, end_date, context.now)
    rows = await fetch_rankings(context.services.database, window)
    return RankingsDaily(
        data=as_list(RowList(_ROW, rows)),
        meta=RankingsDailyMeta(
            as_of=Instant(format_seconds(context.now)),
            version="v1",
            start_date=CalendarDate(window.start_date.isoformat()),
            end_date=CalendarDate(window.end_date.isoformat()),
        ),
    )
