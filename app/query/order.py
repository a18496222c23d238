"""The total order of rows, and which rows follow a given one in it: what pages are cut by. Pure.

A page begins behind values, not behind a number of rows: rows that come, go or change meanwhile move no other row over its edge.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.cube.usage_metrics import UsageMetric
from app.domain.fields import Unit
from app.query.bind import Bound
from app.query.labels import KeyKind, Labelled
from app.query.question import Grouping, Order


@dataclass(frozen=True, slots=True)
class SortKey:
    """One of the values that rows are ordered by; null comes last. `column`: its name among the placed rows."""

    column: str
    descending: bool
    kind: KeyKind

    @property
    def sorting(self) -> str:
        """SQL that orders by it."""
        return f"{self.column} {'DESC' if self.descending else 'ASC'} NULLS LAST"


def label(bound: Bound, grouping: Grouping) -> list[Labelled]:
    """Return the dimensions of the rows, as their reader may see them."""
    return [Labelled(dimension, place, bound.shows_tenants) for place, dimension in enumerate(grouping.by)]


def sort_keys(grouping: Grouping, labelled: Sequence[Labelled], metrics: Sequence[UsageMetric]) -> list[SortKey]:
    """Return what rows are ordered by: what was asked for, then time, whether it holds all others, labels. `metrics`: those of the rows."""
    buckets = [] if grouping.buckets is None else [SortKey("bucket", False, KeyKind.BUCKET)]
    other = [] if grouping.top is None else [SortKey("is_other", False, KeyKind.FLAG)]
    keys: dict[str, SortKey] = {}
    for order in grouping.order:
        for key in _asked(order, labelled, metrics, buckets, other):
            keys.setdefault(key.column, key)
    for key in (*buckets, *other, *(key for one in labelled for key in _of_label(one, descending=False))):
        keys.setdefault(key.column, key)
    return list(keys.values())


def _asked(
    order: Order, labelled: Sequence[Labelled], metrics: Sequence[UsageMetric], buckets: list[SortKey], other: list[SortKey]
) -> list[SortKey]:
    if order.metric is not None:
        kind = KeyKind.INSTANT if order.metric.unit is Unit.INSTANT else KeyKind.NUMBER
        return [SortKey(f"n{metrics.index(order.metric)}", order.descending, kind)]
    if order.dimension is None:
        return [replace(key, descending=order.descending) for key in buckets]
    return [*other, *_of_label(next(one for one in labelled if one.dimension is order.dimension), descending=order.descending)]


def _of_label(one: Labelled, *, descending: bool) -> list[SortKey]:
    return [SortKey(f"s{one.place}_{number}", descending, kind) for number, (_, kind) in enumerate(one.sort_keys)]


def position_of(grouping: Grouping, keys: Sequence[SortKey], cells: Sequence[Any]) -> tuple[Any, ...]:
    """Return the position of a row from what the placed row has: a bucket by its first instant."""
    buckets = grouping.buckets
    if buckets is None:
        return tuple(cells)
    return tuple(buckets[cell - 1].start if key.kind is KeyKind.BUCKET else cell for key, cell in zip(keys, cells, strict=True))


def located(grouping: Grouping, keys: Sequence[SortKey]) -> list[Any]:
    """Return the values that a page begins behind, as the placed rows have them: a bucket by its number, which may lie between two."""
    starts = [bucket.start for bucket in grouping.buckets or ()]

    def number(start: Any) -> float:
        found = bisect_right(starts, start)
        return found if found and starts[found - 1] == start else found + 0.5

    return [number(value) if key.kind is KeyKind.BUCKET else value for key, value in zip(keys, grouping.after or (), strict=True)]


def follows(keys: Sequence[SortKey], position: Sequence[Any], add: Callable[[Any, str], str]) -> str:
    """Return the condition that a row comes behind a position. `add`: gives a value its placeholder, of a type."""
    condition = "false"
    for key, value in reversed(list(zip(keys, position, strict=True))):
        if value is None:
            condition = f"({key.column} IS NULL AND {condition})"
            continue
        placeholder = add(value, key.kind.type)
        later = f"{key.column} {'<' if key.descending else '>'} {placeholder} OR {key.column} IS NULL"
        condition = f"({later} OR ({key.column} = {placeholder} AND {condition}))"
    return condition
