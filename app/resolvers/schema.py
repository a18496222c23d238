"""The schema: every root and its permissions."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter

from app.resolvers.catalog import CatalogQuery
from app.resolvers.cost import reads
from app.resolvers.erasure import ErasureMutation
from app.resolvers.gateway import GatewayStats, resolve_gateway_stats
from app.resolvers.identity import IdentityQuery
from app.resolvers.mutations import AdminMutation
from app.resolvers.network import NetworkStats, resolve_network
from app.resolvers.nodes import NodeQuery
from app.resolvers.permissions import QuestionReader
from app.resolvers.quarantine import QuarantineMutation, QuarantineQuery
from app.resolvers.rankings import RankingsDaily, resolve_rankings_daily
from app.resolvers.scalars import SCALARS
from app.resolvers.surface_types import root
from app.resolvers.tenant import TenantAnalytics, TenantUsageRow, resolve_tenant_analytics, resolve_tenant_usage
from app.resolvers.tenant_requests import TenantRequestConnection, resolve_tenant_requests
from app.resolvers.usage import UsageAnalytics, resolve_usage_analytics
from app.resolvers.usage_catalog import UsageCatalog, resolve_usage_catalog
from app.resolvers.usage_records import UsageMutation
from app.resolvers.usage_report import UsageReport, resolve_usage
from app.resolvers.viewer import ViewerQuery
from app.surfaces.gateway import GATEWAY_STATS
from app.surfaces.network import NETWORK
from app.surfaces.rankings import RANKINGS_DAILY
from app.surfaces.tenant import TENANT_ANALYTICS, TENANT_REQUESTS, TENANT_USAGE
from app.surfaces.usage import USAGE_ANALYTICS


@strawberry.type(description="Queries. A root that is refused is null with an error; the other roots are answered.")
class Query(NodeQuery, ViewerQuery, CatalogQuery, IdentityQuery, QuarantineQuery):
    usage: UsageReport | None = strawberry.field(
        resolver=resolve_usage,
        metadata=reads(1),  # its fields say what they read
        permission_classes=[QuestionReader],
        description=(
            "Usage by any dimensions. Role admin: all tenants; role tenant: its own; role gateway or the gateway secret: without "
            "tenants, users, keys and costs."
        ),
    )
    usage_catalog: UsageCatalog | None = strawberry.field(
        resolver=resolve_usage_catalog,
        metadata=reads(1),
        permission_classes=[QuestionReader],
        description="Metrics, dimensions and limits of `usage` for this key. Requires role admin, gateway or tenant.",
    )
    network: NetworkStats | None = root(NETWORK, resolve_network)
    rankings_daily: RankingsDaily | None = root(RANKINGS_DAILY, resolve_rankings_daily)
    usage_analytics: UsageAnalytics | None = root(USAGE_ANALYTICS, resolve_usage_analytics)
    gateway_stats: GatewayStats | None = root(GATEWAY_STATS, resolve_gateway_stats)
    tenant_analytics: TenantAnalytics | None = root(TENANT_ANALYTICS, resolve_tenant_analytics)
    tenant_usage: list[TenantUsageRow] | None = root(TENANT_USAGE, resolve_tenant_usage)
    tenant_requests: TenantRequestConnection | None = root(TENANT_REQUESTS, resolve_tenant_requests)


@strawberry.type(
    description="Mutations. Those of one document run in order, each in its own transaction; a failed one is null. Not available by GET."
)
class Mutation(AdminMutation, ErasureMutation, QuarantineMutation, UsageMutation):
    pass


class _Names(NameConverter):
    """Strawberry's own names. It asks for them with every argument of every request."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, str] = {}

    def apply_naming_config(self, name: str) -> str:
        """Return the GraphQL name of a Python name, of which a schema has a bounded number."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = super().apply_naming_config(name)
        return known


def build_schema() -> strawberry.Schema:
    """Return the executable schema."""
    return strawberry.Schema(query=Query, mutation=Mutation, config=StrawberryConfig(name_converter=_Names(), scalar_map=SCALARS))


def print_schema() -> str:
    """Return the SDL, as `schema.graphql` holds it."""
    return build_schema().as_str() + "\n"
