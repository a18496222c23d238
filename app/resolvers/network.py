"""The `network` root: the public snapshot, as it was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from app.analytics.snapshot import empty_body, fetch_snapshot
from app.resolvers.context import ResolverInfo
from app.resolvers.surface_types import object_type
from app.surfaces.network import MODEL, POINT, STATS, TOTALS, TREND

if TYPE_CHECKING:
    NetworkStats = Any
    NetworkTotals = Any
    NetworkModel = Any
    NetworkPoint = Any
    NetworkTrend = Any
else:
    NetworkStats, NetworkTotals, NetworkModel, NetworkPoint, NetworkTrend = map(object_type, (STATS, TOTALS, MODEL, POINT, TREND))


_TOKENS: Final = {"tokens": "total_tokens"}
_OF_MODEL: Final = _TOKENS | {"provider": "provider_name"}
_DISJOINT: Final = _TOKENS | {"prompt_tokens": "fresh_prompt_tokens", "completion_tokens": "visible_completion_tokens"}
"""Stored bodies have the names of the documented URL. By those: the fields that say more precisely what they are."""


def _named(made: Callable[..., Any], stored: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    return made(**{names.get(name, name): value for name, value in stored.items()})


def shape_network(body: dict[str, Any]) -> NetworkStats:
    """Return the GraphQL object of a stored snapshot's body."""

    def points(name: str) -> list[NetworkPoint]:
        return [_named(NetworkPoint, point, _TOKENS) for point in body["trend"][name]]

    return NetworkStats(
        generated_at=body["generated_at"],
        totals=_named(NetworkTotals, body["totals"], _DISJOINT),
        top_models=[_named(NetworkModel, model, _OF_MODEL) for model in body["top_models"]],
        trend=NetworkTrend(h24=points("24h"), d7=points("7d"), d30=points("30d")),
    )


async def resolve_network(info: ResolverInfo) -> NetworkStats:
    """Return the newest snapshot."""
    snapshot = await fetch_snapshot(info.context.services.database)
    return shape_network(empty_body() if snapshot is None else snapshot.body)
