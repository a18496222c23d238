"""`UsageRow`: a group of requests, with the objects that its dimensions name."""

from __future__ import annotations

from typing import Any, Final

import strawberry

from app.cube.usage_dimensions import (
    BY_API_KEY,
    BY_ATTEMPT,
    BY_CACHE_HIT,
    BY_INTERRUPTED,
    BY_MODEL,
    BY_OUTCOME,
    BY_PERMASLUG,
    BY_PROJECT,
    BY_PROMPT_SIZE,
    BY_PROVIDER,
    BY_STATUS_CODE,
    BY_TENANT,
    BY_TRAFFIC_MODE,
    BY_USER,
    Kind,
    UsageDimension,
)
from app.domain.usage import OTHER, UNKNOWN
from app.query.run import Label, Row
from app.resolvers.catalog import Model, Provider, load_model, load_provider
from app.resolvers.context import ResolverInfo
from app.resolvers.identity import CallerKey, Project, Tenant, User, load_caller_key, load_project, load_tenant, load_user
from app.resolvers.scalars import Instant
from app.resolvers.usage_enums import Outcome, PromptSize, TrafficMode
from app.resolvers.usage_numbers import UsageMetrics

_SEPARATOR: Final = " · "
_NONE: Final = Label(None)


@strawberry.type(description="A complete bucket of time: the first and the last may extend beyond the report's range.")
class TimeBucket:
    start: Instant = strawberry.field(description="Inclusive start.")
    end: Instant = strawberry.field(description="Exclusive end.")
    label: str = strawberry.field(description="Label: `2026-03-12`, `2026-W11`, `2026-03`, `2026-Q1`, `2026`, `2026-03-12T14:00+01:00`.")
    is_complete: bool = strawberry.field(description="Whether it is within the range and has ended.")


async def resolve_model(root: UsageRow, info: ResolverInfo) -> Model | None:
    """Load the row's model, with those of its neighbours."""
    name = root.name_of(BY_MODEL)
    return None if name is None else await load_model(info, name)


async def resolve_provider(root: UsageRow, info: ResolverInfo) -> Provider | None:
    """Load the row's provider, with those of its neighbours."""
    name = root.name_of(BY_PROVIDER)
    return None if name is None else await load_provider(info, name)


async def resolve_tenant(root: UsageRow, info: ResolverInfo) -> Tenant | None:
    """Load the row's tenant, with those of its neighbours."""
    name = root.name_of(BY_TENANT)
    return None if name is None else await load_tenant(info, name)


async def resolve_user(root: UsageRow, info: ResolverInfo) -> User | None:
    """Load the row's user, with those of its neighbours."""
    name = root.name_of(BY_USER)
    return None if name is None else await load_user(info, name)


async def resolve_project(root: UsageRow, info: ResolverInfo) -> Project | None:
    """Load the row's project, with those of its neighbours."""
    label = root.labels.get(BY_PROJECT, _NONE)
    return None if label.value is None or label.tenant_key is None else await load_project(info, label.tenant_key, str(label.value))


async def resolve_api_key(root: UsageRow, info: ResolverInfo) -> CallerKey | None:
    """Load the row's key at the router, with those of its neighbours."""
    label = root.labels.get(BY_API_KEY, _NONE)
    return None if label.value is None or label.tenant_key is None else await load_caller_key(info, label.tenant_key, str(label.value))


@strawberry.type(
    description="A group of requests. Dimensions that are not in `by` are null, and so are all dimensions of the group of all others."
)
class UsageRow:
    labels: strawberry.Private[dict[UsageDimension, Label]]
    bucket: TimeBucket | None = strawberry.field(description="The time bucket, with `interval`.")
    is_other: bool = strawberry.field(description="Whether it is the group of all others, with `top`.")
    label: str = strawberry.field(description="The values of its dimensions, joined; `unknown` for a missing one.")
    metrics: UsageMetrics = strawberry.field(description="The metrics.")
    previous: UsageMetrics | None = strawberry.field(
        description="Metrics of the same group in the compared range, in the bucket of the same position; null without `compareTo`."
    )
    permaslug: str | None = strawberry.field(default=None, description=BY_PERMASLUG.description)
    traffic_mode: TrafficMode | None = strawberry.field(default=None, description=BY_TRAFFIC_MODE.description)
    outcome: Outcome | None = strawberry.field(default=None, description=BY_OUTCOME.description)
    prompt_size: PromptSize | None = strawberry.field(default=None, description=BY_PROMPT_SIZE.description)
    status_code: int | None = strawberry.field(default=None, description=BY_STATUS_CODE.description)
    attempt: int | None = strawberry.field(default=None, description=BY_ATTEMPT.description)
    cache_hit: bool | None = strawberry.field(default=None, description=BY_CACHE_HIT.description)
    interrupted: bool | None = strawberry.field(default=None, description=BY_INTERRUPTED.description)
    model: Model | None = strawberry.field(resolver=resolve_model, description="The model in the catalog, if the key may see it.")
    provider: Provider | None = strawberry.field(resolver=resolve_provider, description="The provider in the catalog.")
    tenant: Tenant | None = strawberry.field(resolver=resolve_tenant, description=BY_TENANT.description)
    project: Project | None = strawberry.field(resolver=resolve_project, description=BY_PROJECT.description)
    user: User | None = strawberry.field(resolver=resolve_user, description=BY_USER.description)
    api_key: CallerKey | None = strawberry.field(resolver=resolve_api_key, description=BY_API_KEY.description)

    def name_of(self, dimension: UsageDimension) -> str | None:
        """Return the name in a dimension; None: it is not grouped by, or absent."""
        value = self.labels.get(dimension, _NONE).value
        return None if value is None else str(value)


_SHOWN: Final[dict[UsageDimension, tuple[str, Any]]] = {
    BY_PERMASLUG: ("permaslug", str),
    BY_TRAFFIC_MODE: ("traffic_mode", TrafficMode),
    BY_OUTCOME: ("outcome", Outcome),
    BY_PROMPT_SIZE: ("prompt_size", PromptSize),
    BY_STATUS_CODE: ("status_code", int),
    BY_ATTEMPT: ("attempt", int),
    BY_CACHE_HIT: ("cache_hit", bool),
    BY_INTERRUPTED: ("interrupted", bool),
}
"""Dimensions that are values, not objects: their fields, and what is made of a label."""


def shape_row(row: Row, by: tuple[UsageDimension, ...], bucket: TimeBucket | None, metrics: Any, previous: Any) -> UsageRow:
    """Return the object of a row, whose two `UsageMetrics` are given."""
    labels = dict(zip(by, row.labels, strict=True))
    shown = [(*_SHOWN[dimension], label.value) for dimension, label in labels.items() if dimension in _SHOWN]
    return UsageRow(
        labels=labels,
        bucket=bucket,
        is_other=row.is_other,
        label=OTHER if row.is_other else _SEPARATOR.join(text_of(dimension, label) for dimension, label in labels.items()),
        metrics=metrics,
        previous=previous,
        **{field: make(value) for field, make, value in shown if value is not None},
    )


def text_of(dimension: UsageDimension, label: Label) -> str:
    """Return a label as text."""
    if label.value is None:
        return UNKNOWN
    if dimension.kind is Kind.CHOICE:
        return dimension.choices[int(label.value)]
    return str(bool(label.value)).lower() if dimension.kind is Kind.FLAG else str(label.value)
