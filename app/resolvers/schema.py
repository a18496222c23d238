"""The schema: every root and its permissions."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter

from app.resolvers.catalog import CatalogQuery
from app.resolvers.cost import GROUPS_A_DAY, reads
from app.resolvers.erasure import ErasureMutation
from app.resolvers.gateway import GatewayStats, gateway_rows, resolve_gateway_stats
from app.resolvers.identity import IdentityQuery
from app.resolvers.mutations import AdminMutation
from app.resolvers.network import NetworkStats, resolve_network
from app.resolvers.permissions import AdminOnly, AnyKey, GatewayReader, QuestionReader, TenantReader
from app.resolvers.quarantine import QuarantineMutation, QuarantineQuery
from app.resolvers.rankings import RankingsDaily, rankings_rows, resolve_rankings_daily
from app.resolvers.scalars import SCALARS
from app.resolvers.tenant import TenantAnalytics, TenantUsageRow, resolve_tenant_analytics, resolve_tenant_usage, tenant_rows
from app.resolvers.tenant_requests import TenantRequestConnection, request_rows, resolve_tenant_requests
from app.resolvers.usage import UsageAnalytics, resolve_usage_analytics, usage_rows
from app.resolvers.usage_catalog import UsageCatalog, resolve_usage_catalog
from app.resolvers.usage_records import UsageMutation
from app.resolvers.usage_report import UsageReport, resolve_usage
from app.resolvers.viewer import ViewerQuery


@strawberry.type(
    description="Every question that the gateway answers. A root that is refused is null beside its error; the others are answered."
)
class Query(ViewerQuery, CatalogQuery, IdentityQuery, QuarantineQuery):
    usage: UsageReport | None = strawberry.field(
        resolver=resolve_usage,
        metadata=reads(1),  # its fields say what they read
        permission_classes=[QuestionReader],
        description=(
            "Any question about usage. A key of role admin: of all tenants; of role tenant: of its own; of role gateway, or the gateway's "
            "secret: without tenants, users, keys and costs."
        ),
    )
    usage_catalog: UsageCatalog | None = strawberry.field(
        resolver=resolve_usage_catalog,
        metadata=reads(1),
        permission_classes=[QuestionReader],
        description="What `usage` can be asked for by this key: numbers, dimensions, limits. A key of role admin, gateway or tenant.",
    )
    network: NetworkStats | None = strawberry.field(
        resolver=resolve_network, metadata=reads(0), description="Public aggregate statistics of the network. For everybody, without a key."
    )
    rankings_daily: RankingsDaily | None = strawberry.field(
        resolver=resolve_rankings_daily,
        metadata=reads(rankings_rows),
        permission_classes=[AnyKey],
        description=(
            "Daily token totals of the top 50 public models. Any valid API key; 30 reads a minute per key, 500 a UTC day per account."
        ),
    )
    usage_analytics: UsageAnalytics | None = strawberry.field(
        resolver=resolve_usage_analytics,
        metadata=reads(usage_rows),
        permission_classes=[AdminOnly],
        description="Usage over time, by model, and the users who cost most. A key of role admin.",
    )
    gateway_stats: GatewayStats | None = strawberry.field(
        resolver=resolve_gateway_stats,
        metadata=reads(gateway_rows),
        permission_classes=[GatewayReader],
        description="Request counts and outcomes. The gateway's secret, or a key of role gateway or admin.",
    )
    tenant_analytics: TenantAnalytics | None = strawberry.field(
        resolver=resolve_tenant_analytics,
        metadata=reads(tenant_rows),
        permission_classes=[TenantReader],
        description="What one tenant used and was charged. A tenant's key, for its own tenant; or an admin's, who names one.",
    )
    tenant_usage: list[TenantUsageRow] | None = strawberry.field(
        resolver=resolve_tenant_usage,
        metadata=reads(GROUPS_A_DAY),
        permission_classes=[TenantReader],
        description="One day of a tenant by model, provider, caller key and traffic mode, in this order, page by page. A tenant's key, or"
        " an admin's, who names one.",
    )
    tenant_requests: TenantRequestConnection | None = strawberry.field(
        resolver=resolve_tenant_requests,
        metadata=reads(request_rows),
        permission_classes=[TenantReader],
        description="The single requests of a tenant, newest first. A tenant's key, for its own tenant; or an admin's, who names one.",
    )


@strawberry.type(
    description="Every change. Those of one document run one after the other, each by itself: null where it failed. None runs by GET."
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
