"""The `tenantRequests` root: a tenant's single requests as a Relay connection, stable while new ones come in."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.domain.errors import BadInputError
from app.domain.time_range import format_instant
from app.graph.request_log import LoggedRequest, RequestName, RequestsQuestion, decode_cursor, encode_id, fetch_requests
from app.money.rounding import usd
from app.resolvers.arguments import given_text
from app.resolvers.catalog import Model, Provider, load_model, load_provider
from app.resolvers.connections import PageInfo
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.global_ids import GLOBAL_ID, Node
from app.resolvers.scalars import BigInt, CalendarDate, Instant
from app.resolvers.surface_types import field_of, object_type
from app.resolvers.tenant import ApiKeyIdArgument, TenantIdArgument, read_caller_key, tenant_scope
from app.resolvers.usage_enums import Outcome, TrafficMode
from app.surfaces.tenant import MAX_OFFSET, MAX_PAGE, REQUEST_CHARGES, REQUEST_COST, REQUEST_TOKENS, REQUEST_TRAFFIC_MODE, TENANT_REQUESTS


@strawberry.enum(description="Source of a cost. More values may be added.")
class CostSource(Enum):
    PRICED = strawberry.enum_value("priced", description="Sent with the record, or computed from catalog prices.")
    UNPRICED = strawberry.enum_value("unpriced", description="No price is known; it contributes 0.")


if TYPE_CHECKING:
    RequestTokens = Any
    RequestCharges = Any
else:
    RequestTokens, RequestCharges = map(object_type, (REQUEST_TOKENS, REQUEST_CHARGES))


async def resolve_request_model(root: TenantRequest, info: ResolverInfo) -> Model | None:
    """Load the model of a request, with those of its neighbours."""
    return await load_model(info, root.model_id)


async def resolve_request_provider(root: TenantRequest, info: ResolverInfo) -> Provider | None:
    """Load the provider of a request, with those of its neighbours."""
    return await load_provider(info, root.provider_id)


@strawberry.type(description="One request of a tenant.")
class TenantRequest(Node):
    id: strawberry.ID = strawberry.field(description=GLOBAL_ID)
    request_id: str = strawberry.field(description="The router's id of the request.")
    created_at: Instant = strawberry.field(description="Time of the request.")
    model_id: str = strawberry.field(description="Public model id.")
    provider_id: str = strawberry.field(description="Provider that served the request.")
    api_key_id: str = strawberry.field(description="The API key at the router; empty if the record has none.")
    outcome: Outcome = strawberry.field(description="Whether it had a 2xx status.")
    status_code: int = strawberry.field(description="HTTP status; 0 if there was no answer.")
    traffic_mode: TrafficMode = field_of(REQUEST_TRAFFIC_MODE)
    tokens: RequestTokens = strawberry.field(description="Tokens.")
    cost_breakdown: RequestCharges = strawberry.field(description="Charges in credits.")
    latency_ms: float | None = strawberry.field(description="Latency in milliseconds; null if unknown.")
    cost_usd: float = field_of(REQUEST_COST)
    cost_source: CostSource = strawberry.field(description="Source of the cost.")
    attempt: int = strawberry.field(description="Number of the attempt; over 1: a retry or a fallback.")
    cache_hit: bool = strawberry.field(description="Whether the router answered from its own cache.")
    interrupted: bool = strawberry.field(description="Whether the stream was interrupted.")
    model: Model | None = strawberry.field(resolver=resolve_request_model, description="The model in the catalog.")
    provider: Provider | None = strawberry.field(resolver=resolve_request_provider, description="The provider in the catalog.")


@strawberry.type(description="A request and its cursor.")
class TenantRequestEdge:
    cursor: str = strawberry.field(description="Cursor, for `after`.")
    node: TenantRequest = strawberry.field(description="The request.")


@strawberry.type(description="A page of a tenant's requests, newest first.")
class TenantRequestConnection:
    edges: list[TenantRequestEdge] = strawberry.field(description="The requests with their cursors.")
    nodes: list[TenantRequest] = strawberry.field(description="The requests.")
    page_info: PageInfo = strawberry.field(description="Position of the page.")


First = Annotated[int, strawberry.argument(description=f"Maximum number of requests, 1 to {MAX_PAGE}.")]
After = Annotated[str | None, strawberry.argument(description="Cursor of the last request of the previous page.")]
Offset = Annotated[
    int, strawberry.argument(description=f"Requests to skip, 0 to {MAX_OFFSET}. Prefer `after`, because new requests shift offsets.")
]
OutcomeArgument = Annotated[Outcome | None, strawberry.argument(description="Only requests with this outcome.")]
ModelArgument = Annotated[str | None, strawberry.argument(description="Only this public model id.")]
LogStart = Annotated[
    CalendarDate | None,
    strawberry.argument(
        description="First UTC day, a date or an instant, not before the first retained record; default: the first retained record."
    ),
]
LogEnd = Annotated[
    CalendarDate | None, strawberry.argument(description="Last UTC day, inclusive, in the same form; default: the last record.")
]


def shape_request(request: LoggedRequest, tenant_id: str) -> TenantRequest:
    charges = request.shared_model_spend + request.byok_platform_fee + request.managed_tool_fee + request.agent_runtime_fee
    return TenantRequest(
        id=strawberry.ID(encode_id(tenant_id, request.occurred_at, request.request_id)),
        request_id=request.request_id,
        created_at=Instant(format_instant(request.occurred_at)),
        model_id=request.model_id,
        provider_id=request.provider,
        api_key_id=request.api_key_id,
        outcome=Outcome(int(200 <= request.status_code <= 299)),
        status_code=request.status_code,
        traffic_mode=TrafficMode[request.traffic_mode.upper()],
        tokens=RequestTokens(
            prompt=BigInt(request.prompt_tokens),
            completion=BigInt(request.completion_tokens),
            total=BigInt(request.prompt_tokens + request.completion_tokens),
        ),
        cost_breakdown=RequestCharges(
            model_charge=BigInt(request.shared_model_spend),
            byok_platform_fee=BigInt(request.byok_platform_fee),
            managed_tool_fee=BigInt(request.managed_tool_fee),
            agent_runtime_fee=BigInt(request.agent_runtime_fee),
            total_charge=BigInt(charges),
        ),
        latency_ms=None if request.latency_ms is None else float(request.latency_ms),
        cost_usd=usd(request.cost_usd),
        cost_source=CostSource.PRICED if request.is_priced else CostSource.UNPRICED,
        attempt=request.attempt,
        cache_hit=request.cache_hit,
        interrupted=request.interrupted,
    )


async def load_request(info: ResolverInfo, name: RequestName) -> TenantRequest | None:
    """Return a request by its name; None if the caller sees none such, or it is kept no more."""
    request = await loaders_of(info.context).requests.load(name)
    return None if request is None else shape_request(request, name.tenant_id)


async def resolve_tenant_requests(
    info: ResolverInfo,
    first: First = 50,
    after: After = None,
    offset: Offset = 0,
    outcome: OutcomeArgument = None,
    model_id: ModelArgument = None,
    start_date: LogStart = None,
    end_date: LogEnd = None,
    api_key_id: ApiKeyIdArgument = None,
    tenant_id: TenantIdArgument = None,
) -> TenantRequestConnection:
    """Return one page; one row more is read to know whether more follow."""
    if not 1 <= first <= MAX_PAGE:
        raise BadInputError(f"first must be from 1 to {MAX_PAGE}", "first")
    if not 0 <= offset <= MAX_OFFSET:
        raise BadInputError(f"offset must be from 0 to {MAX_OFFSET}; page with after instead", "offset", "after")
    owner, scope = await tenant_scope(info, tenant_id)
    window = TENANT_REQUESTS.resolve_window(info.context.now, start_date, end_date)
    after = given_text(after)
    asked = RequestsQuestion(
        tenant_key=scope.tenant_key or 0,
        window=window,
        limit=first + 1,
        whole=start_date is not None,
        offset=offset,
        succeeded=None if outcome is None else bool(outcome.value),
        model_id=given_text(model_id),
        api_key_id=await read_caller_key(info, scope, api_key_id),
        after=None if after is None else decode_cursor(after),
    )
    found = await fetch_requests(info.context.services.database, asked)
    edges = [TenantRequestEdge(cursor=request.cursor, node=shape_request(request, owner)) for request in found[:first]]
    return TenantRequestConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=len(found) > first,
            has_previous_page=after is not None or offset > 0,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )
