"""The questions of the two documents as a user of strawberry would write them: types, resolvers that build objects, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info

Date = strawberry.scalar(name="Date", serialize=str, parse_value=str)
BigInt = strawberry.scalar(name="BigInt", serialize=int, parse_value=int)


class DateText(str):
    """A date as text."""


class BigNumber(int):
    """A number past 32 bits."""


@strawberry.type
class RankingsDailyRow:
    date: DateText
    model_permaslug: str
    total_tokens: str


@strawberry.type
class RankingsDaily:
    data: list[RankingsDailyRow]


@strawberry.type
class UsagePoint:
    period: str
    prompt_tokens: BigNumber
    completion_tokens: BigNumber
    cost_usd: float
    requests: BigNumber


@strawberry.type
class ModelUsage:
    model_id: str
    provider_id: str
    prompt_tokens: BigNumber
    completion_tokens: BigNumber
    cost_usd: float
    requests: BigNumber


@strawberry.type
class UsageAnalytics:
    time_series: list[UsagePoint]
    by_model: list[ModelUsage]


Rankings = Callable[[str, str], Awaitable[list[RankingsDailyRow]]]
Usage = Callable[[str, str], Awaitable[tuple[list[UsagePoint], list[ModelUsage]]]]


def build_stock_schema(fetch_rankings: Rankings, fetch_usage: Usage) -> strawberry.Schema:
    """Return a plain schema whose roots ask these functions (first date, last date)."""

    async def resolve_rankings(info: Info, start_date: DateText, end_date: DateText) -> RankingsDaily:
        return RankingsDaily(data=await fetch_rankings(start_date, end_date))

    async def resolve_usage(info: Info, date_from: DateText, date_to: DateText) -> UsageAnalytics:
        points, models = await fetch_usage(date_from, date_to)
        return UsageAnalytics(time_series=points, by_model=models)

    @strawberry.type
    class Query:
        rankings_daily: RankingsDaily = strawberry.field(resolver=resolve_rankings)
        usage_analytics: UsageAnalytics = strawberry.field(resolver=resolve_usage)

    return strawberry.Schema(query=Query, config=StrawberryConfig(scalar_map={DateText: Date, BigNumber: BigInt}))
