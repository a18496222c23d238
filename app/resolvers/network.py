"""The `network` root: the public snapshot, as it was stored."""

from __future__ import annotations

from typing import Any

import strawberry

from app.analytics.snapshot import empty_body, fetch_snapshot
from app.resolvers.context import ResolverInfo
from app.resolvers.scalars import BigInt, Instant


@strawberry.type(description="Sums over the 30 UTC dates of the 30-day trend. The four parts are disjoint and add up to `tokens`.")
class NetworkTotals:
    tokens: BigInt = strawberry.field(description="Tokens processed: prompt plus completion, everything included.")
    requests: BigInt = strawberry.field(description="Requests, failed ones included.")
    prompt_tokens: BigInt = strawberry.field(description="Input tokens less the cached ones.")
    completion_tokens: BigInt = strawberry.field(description="Output tokens less reasoning.")
    cached_tokens: BigInt = strawberry.field(description="Input tokens that a provider's prompt cache answered.")
    reasoning_tokens: BigInt = strawberry.field(description="Output tokens spent on reasoning.")


@strawberry.type(description="A public model among the 15 with the most tokens of the 30 days.")
class NetworkModel:
    model_id: str = strawberry.field(description="Public catalog id; variants and dated permaslugs of one model are summed under it.")
    model_name: str = strawberry.field(description="Name for people.")
    provider: str = strawberry.field(description="The provider's name for people, by the catalog.")
    rank: int = strawberry.field(description="1 for the most tokens, then by model id, to 15 at most.")
    tokens: BigInt = strawberry.field(description="Prompt plus completion tokens.")
    requests: BigInt = strawberry.field(description="Requests, failed ones included.")
    share: float = strawberry.field(description="Fraction of all tokens, 0 to 1, 4 decimal places.")


@strawberry.type(description="One bucket of a trend.")
class NetworkPoint:
    bucket: str = strawberry.field(description="`YYYY-MM-DD HH:00` for an hour, `YYYY-MM-DD` for a day, both UTC.")
    tokens: BigInt = strawberry.field(description="Prompt plus completion tokens; 0 where nothing was asked.")
    requests: BigInt = strawberry.field(description="Requests, failed ones included.")


@strawberry.type(description="Activity, oldest bucket first, no bucket left out. The last one holds the instant before `generatedAt`.")
class NetworkTrend:
    h24: list[NetworkPoint] = strawberry.field(description="24 hours.")
    d7: list[NetworkPoint] = strawberry.field(description="7 days.")
    d30: list[NetworkPoint] = strawberry.field(description="30 days.")


@strawberry.type(
    description="Public aggregate statistics of the whole network, computed every 10 minutes. Nothing of users, tenants or keys."
)
class NetworkStats:
    generated_at: Instant | None = strawberry.field(description="When this was computed, to the millisecond; null before the first time.")
    totals: NetworkTotals = strawberry.field(description="Sums of 30 days.")
    top_models: list[NetworkModel] = strawberry.field(description="At most 15 public models, most tokens first.")
    trend: NetworkTrend = strawberry.field(description="Tokens and requests over time.")


def shape_network(body: dict[str, Any]) -> NetworkStats:
    """Return the GraphQL object of a stored snapshot's body."""

    def points(name: str) -> list[NetworkPoint]:
        return [NetworkPoint(**point) for point in body["trend"][name]]

    return NetworkStats(
        generated_at=body["generated_at"],
        totals=NetworkTotals(**body["totals"]),
        top_models=[NetworkModel(**model) for model in body["top_models"]],
        trend=NetworkTrend(h24=points("24h"), d7=points("7d"), d30=points("30d")),
    )


async def resolve_network(info: ResolverInfo) -> NetworkStats:
    """Return the newest snapshot."""
    snapshot = await fetch_snapshot(info.context.services.database)
    return shape_network(empty_body() if snapshot is None else snapshot.body)
