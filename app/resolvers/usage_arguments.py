"""Arguments of `usage`, on the root and on everything that has a usage of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.resolvers.context import ResolverInfo
from app.resolvers.usage_filter import UsageFilter
from app.resolvers.usage_range import Comparison, TimeRangeInput

if TYPE_CHECKING:
    from app.resolvers.usage_report import UsageReport

Range = Annotated[TimeRangeInput, strawberry.argument(name="range", description="Range of time.")]
TimeZone = Annotated[str, strawberry.argument(description="IANA time zone of dates, periods and intervals, such as `Europe/Berlin`.")]
Where = Annotated[UsageFilter | None, strawberry.argument(description="Filter of requests; default: all.")]
CompareTo = Annotated[
    Comparison | None,
    strawberry.argument(description="Another range to compare with; its metrics are `previous`."),
]

OWN_USAGE = "Usage of this object: the root `usage`, filtered by this object. Requires a key that may use that root."
OwnUsage = Annotated["UsageReport", strawberry.lazy("app.resolvers.usage_report")]
"""The type of a field that asks `usage` about the object that has it."""


async def resolve_own_usage(
    root: Any, info: ResolverInfo, range_: Range, time_zone: TimeZone = "UTC", where: Where = None, compare_to: CompareTo = None
) -> OwnUsage | None:
    """Answer as the root `usage` does, of the requests of this object alone: those that its `requests_of_it` tells."""
    from app.resolvers.usage_report import report_on  # the report's rows have such objects

    return await report_on(info, root.requests_of_it(), range_, time_zone, where, compare_to)
