"""The schema: every root, its permissions, and the limits on what one document may ask."""

from __future__ import annotations

import strawberry
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.schema.config import StrawberryConfig

from app.resolvers.errors import PublicErrors
from app.resolvers.network import NetworkStats, resolve_network
from app.resolvers.permissions import AnyKey
from app.resolvers.rankings import RankingsDaily, resolve_rankings_daily
from app.resolvers.scalars import SCALARS

MAX_DEPTH = 16
MAX_ALIASES = 100
MAX_TOKENS = 4_000


@strawberry.type(description="Every question that the gateway answers.")
class Query:
    network: NetworkStats = strawberry.field(
        resolver=resolve_network, description="Public aggregate statistics of the network. For everybody, without a key."
    )
    rankings_daily: RankingsDaily = strawberry.field(
        resolver=resolve_rankings_daily,
        permission_classes=[AnyKey],
        description=(
            "Daily token totals of the top 50 public models. Any valid API key; 30 reads a minute per key, 500 a UTC day per account."
        ),
    )


def build_schema() -> strawberry.Schema:
    """Return the executable schema."""
    return strawberry.Schema(
        query=Query,
        extensions=[
            PublicErrors,
            lambda: QueryDepthLimiter(max_depth=MAX_DEPTH),
            lambda: MaxAliasesLimiter(max_alias_count=MAX_ALIASES),
            lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS),
        ],
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def print_schema() -> str:
    """Return the SDL, as `schema.graphql` holds it."""
    return build_schema().as_str() + "\n"
