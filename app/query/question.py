"""What may be asked about usage: one frozen value for totals and for rows, with its limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from app.cube.usage_dimensions import UsageDimension
from app.cube.usage_metrics import UsageMetric
from app.domain.calendar import Bucket
from app.domain.time_range import TimeRange
from app.query.filters import EVERYTHING, Condition

MAX_ROWS: Final = 10_000
"""Rows of one page."""
MAX_TOP: Final = 1_000
"""Groups that a top may keep."""
MAX_GROUPED: Final = 8
"""Dimensions that rows may be grouped by at once."""
MAX_CONDITIONS: Final = 8
"""Bounds of rows' numbers, and keys of an order."""
MAX_FILLED: Final = 200_000
"""Rows that filling the gaps may come to: groups times buckets."""


@dataclass(frozen=True, slots=True)
class Top:
    """The first groups by a metric, highest first, ties by label. `per_bucket`: each bucket has its own; else those of the whole range."""

    count: int
    metric: UsageMetric
    per_bucket: bool = False
    with_other: bool = True


@dataclass(frozen=True, slots=True)
class Having:
    """A comparison that a row's metric must pass; a metric that is null passes none. `operator`: of SQL."""

    metric: UsageMetric
    operator: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """One key to order rows by: a metric, a dimension, or, where both are None, the bucket."""

    descending: bool
    metric: UsageMetric | None = None
    dimension: UsageDimension | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Numbers of the requests in a range that pass a filter, of all of them together.

    `shares`: metrics of these that are shown as a part of the totals; `changes`: those that are compared with an earlier range.
    """

    range: TimeRange
    metrics: tuple[UsageMetric, ...]
    where: Condition = EVERYTHING
    shares: tuple[UsageMetric, ...] = ()
    changes: tuple[UsageMetric, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a question's requests make rows, and which rows are asked for. `buckets` None: not by time.

    Rows are ordered by `order`, then by bucket, then by labels in code point order, so that every order is total. `after`: only rows
    behind this position, a value for each of what rows are ordered by (of a bucket, its first instant).
    """

    by: tuple[UsageDimension, ...] = ()
    buckets: tuple[Bucket, ...] | None = field(default=None, hash=False)  # thousands, which equality looks at soon enough
    fill: bool = False
    top: Top | None = None
    having: tuple[Having, ...] = ()
    order: tuple[Order, ...] = ()
    first: int = 100
    after: tuple[Any, ...] | None = None

    def read_metrics(self) -> tuple[UsageMetric, ...]:
        """Return the metrics that are computed beside those that are asked for: `metrics`, and that of the top."""
        return self.metrics() if self.top is None else (*self.metrics(), self.top.metric)

    def metrics(self) -> tuple[UsageMetric, ...]:
        """Return the metrics of rows that decide which of them are shown, and in which order."""
        ordered = tuple(order.metric for order in self.order if order.metric is not None)
        return (*ordered, *(condition.metric for condition in self.having))
