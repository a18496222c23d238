"""Enums of the `usage` root, made from the declarations of metrics and dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import strawberry

from app.cube.usage_dimensions import BY_OUTCOME, BY_PROMPT_SIZE, BY_TRAFFIC_MODE, USAGE_DIMENSIONS, UsageDimension
from app.cube.usage_metrics import USAGE_METRICS
from app.domain.calendar import Interval


def _enum(name: str, description: str, values: Mapping[str, tuple[Any, str]]) -> Any:
    members = {member: strawberry.enum_value(value, description=text) for member, (value, text) in values.items()}
    return strawberry.enum(Enum(name, members), description=description)  # type: ignore[call-overload]


def _choices(name: str, dimension: UsageDimension, descriptions: tuple[str, ...]) -> Any:
    pairs = zip(dimension.choices, descriptions, strict=True)
    return _enum(name, dimension.description, {choice.upper(): (key, text) for key, (choice, text) in enumerate(pairs)})


def _size_descriptions() -> tuple[str, ...]:
    starts = [choice.removeprefix("from_").replace("_", ",") for choice in BY_PROMPT_SIZE.choices[1:]]
    ends = [f" to fewer than {end}" for end in starts[1:]]
    return ("No prompt tokens.", *(f"{start}{end} prompt tokens." for start, end in zip(starts, [*ends, " and more"], strict=True)))


if TYPE_CHECKING:

    class MetricName(Enum):
        COST = "cost"

    class DimensionName(Enum):
        MODEL = "model"

    class TrafficMode(Enum):
        SHARED = 0

    class Outcome(Enum):
        ERROR = 0

    class PromptSize(Enum):
        NONE = 0

    class IntervalName(Enum):
        DAY = Interval.DAY

else:
    MetricName = _enum(
        "UsageMetric", "A metric of `UsageMetrics`.", {metric.name.upper(): (metric.name, metric.description) for metric in USAGE_METRICS}
    )
    DimensionName = _enum(
        "UsageDimension",
        "A dimension of `usage`. Keys of role gateway cannot use TENANT, USER and API_KEY.",
        {dimension.name.upper(): (dimension.name, dimension.description) for dimension in USAGE_DIMENSIONS},
    )
    TrafficMode = _choices("TrafficMode", BY_TRAFFIC_MODE, ("Shared capacity.", "Bring your own key."))
    Outcome = _choices("Outcome", BY_OUTCOME, ("Not a 2xx status.", "A 2xx status."))
    PromptSize = _choices("PromptSize", BY_PROMPT_SIZE, _size_descriptions())
    IntervalName = _enum(
        "Interval",
        "Bucket width, by the calendar of the report's time zone.",
        {
            Interval.QUARTER_HOUR.name: (Interval.QUARTER_HOUR, "15 minutes of the local clock."),
            Interval.HOUR.name: (Interval.HOUR, "Hours of the local clock; a repeated hour is two buckets."),
            Interval.DAY.name: (Interval.DAY, "Local dates, of 23 to 25 hours where clocks change."),
            Interval.WEEK.name: (Interval.WEEK, "Weeks that begin on `weekStart`."),
            Interval.MONTH.name: (Interval.MONTH, "Months."),
            Interval.QUARTER.name: (Interval.QUARTER, "Quarters of a year."),
            Interval.YEAR.name: (Interval.YEAR, "Years."),
        },
    )


@strawberry.enum(description="Days of the week.")
class Weekday(Enum):
    MONDAY = strawberry.enum_value(0, description="Monday.")
    TUESDAY = strawberry.enum_value(1, description="Tuesday.")
    WEDNESDAY = strawberry.enum_value(2, description="Wednesday.")
    THURSDAY = strawberry.enum_value(3, description="Thursday.")
    FRIDAY = strawberry.enum_value(4, description="Friday.")
    SATURDAY = strawberry.enum_value(5, description="Saturday.")
    SUNDAY = strawberry.enum_value(6, description="Sunday.")


@strawberry.enum(description="Direction of an order.")
class Direction(Enum):
    ASC = strawberry.enum_value("asc", description="Ascending.")
    DESC = strawberry.enum_value("desc", description="Descending.")


@strawberry.enum(description="Scope of the choice of top groups.")
class TopScope(Enum):
    RANGE = strawberry.enum_value("range", description="The top groups of the range, the same in every bucket, as in stacked charts.")
    BUCKET = strawberry.enum_value("bucket", description="The top groups of each bucket, as in rankings.")
