"""Any question about usage, answered by plain Python over the records: what the engine is compared with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cmp_to_key
from math import ceil
from operator import attrgetter
from typing import Any

from app.cube.usage_dimensions import PROMPT_SIZES, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME
from app.domain.calendar import Bucket
from app.domain.usage import UsageRecord
from app.query.filters import All, Bounded, Condition, Match, Named, Not, Some
from app.query.question import Grouping, Question
from tests.factories import naive_cost, naive_provider

Numbers = dict[str, Any]
Group = tuple[int | None, bool, tuple[Any, ...]]
"""Bucket, whether it is the group of all others, and for each dimension a label; a name that is a tenant's comes with the tenant."""


def is_success(record: UsageRecord) -> bool:
    return 200 <= record.status_code <= 299


VALUES: dict[str, Callable[[UsageRecord], Any]] = {
    "model": lambda record: record.model_id,
    "permaslug": lambda record: record.model_permaslug,
    "provider": naive_provider,
    "tenant": lambda record: record.tenant_id,
    "project": lambda record: (record.project_id, record.tenant_id),
    "user": lambda record: record.user_id,
    "api_key": lambda record: (record.api_key_id, record.tenant_id),
    "traffic_mode": lambda record: ("shared", "byok").index(record.traffic_mode),
    "outcome": lambda record: int(is_success(record)),
    "status_code": lambda record: record.status_code,
    "attempt": lambda record: record.attempt,
    "cache_hit": lambda record: int(record.cache_hit),
    "interrupted": lambda record: int(record.interrupted),
    "prompt_size": lambda record: bisect_right(PROMPT_SIZES, record.prompt_tokens),
}


def _cost(record: UsageRecord) -> Decimal:
    return naive_cost(record, None)[0]


def _ttft(record: UsageRecord) -> Decimal | None:
    return None if record.ttft_ms == record.latency_ms else record.ttft_ms


def _speed(record: UsageRecord) -> Decimal | None:
    if not record.completion_tokens or record.latency_ms is None or record.ttft_ms is None or record.latency_ms <= record.ttft_ms:
        return None
    exact = Fraction(1000 * record.completion_tokens) / (Fraction(record.latency_ms) - Fraction(record.ttft_ms))
    return Decimal(str(half_up(exact, 3)))


SUMS: dict[str, Callable[[UsageRecord], Any]] = {
    **{name: attrgetter(name) for name in METRICS_BY_NAME.keys() & {*UsageRecord._fields}},
    "requests": lambda record: 1,
    "successful": is_success,
    "failed": lambda record: not is_success(record),
    "retries": lambda record: record.attempt > 1,
    "cache_hits": lambda record: record.cache_hit,
    "interrupted": lambda record: record.interrupted,
    "total_tokens": lambda record: record.prompt_tokens + record.completion_tokens,
    "fresh_prompt_tokens": lambda record: record.prompt_tokens - record.cached_tokens,
    "visible_completion_tokens": lambda record: record.completion_tokens - record.reasoning_tokens,
    "cost": _cost,
    "priced_requests": lambda record: naive_cost(record, None)[1],
    "unpriced_requests": lambda record: not naive_cost(record, None)[1],
    "byok_platform_fees": lambda record: record.byok_platform_fee,
    "managed_tool_fees": lambda record: record.managed_tool_fee,
    "agent_runtime_fees": lambda record: record.agent_runtime_fee,
    "spend": lambda record: record.shared_model_spend + record.byok_platform_fee + record.managed_tool_fee + record.agent_runtime_fee,
}
_RATES = {"success_rate": "successful", "error_rate": "failed", "cache_hit_rate": "cache_hits"}
_DISTRIBUTIONS: dict[str, Callable[[UsageRecord], Any]] = {
    "latency": lambda record: record.latency_ms,
    "ttft": _ttft,
    "tokens_per_second": _speed,
}
_DISTINCT: dict[str, Callable[[UsageRecord], Any]] = {
    "users": lambda record: record.user_id,
    "api_keys": lambda record: None if record.api_key_id is None else (record.tenant_id, record.api_key_id),
    "models": lambda record: (record.model_id, record.model_permaslug),
    "tenants": lambda record: record.tenant_id,
}


def half_up(value: Fraction, places: int) -> float:
    scaled = value * 10**places
    return float(Decimal(int(scaled + Fraction(1, 2))) / 10**places)


def number(name: str, records: Sequence[UsageRecord]) -> Any:
    """One metric of a group, as the engine gives it."""
    if name in SUMS:
        total = sum((SUMS[name](record) for record in records), Decimal(0))
        return total if name == "cost" else int(total)
    if name in _RATES:
        return half_up(Fraction(int(sum(SUMS[_RATES[name]](record) for record in records)), len(records)), 4) if records else None
    if name in _DISTINCT:
        return len({_DISTINCT[name](record) for record in records} - {None})
    if name == "first_seen":
        return min((record.occurred_at for record in records), default=None)
    if name == "last_seen":
        return max((record.occurred_at for record in records), default=None)
    group, _, field = name.rpartition("_")
    values = sorted(value for record in records if (value := _DISTRIBUTIONS[group](record)) is not None)
    if field == "count":
        return len(values)
    if not values:
        return None
    match field:
        case "avg":
            return half_up(Fraction(sum(values)) / len(values), 3)
        case "min":
            return float(values[0])
        case "max":
            return float(values[-1])
        case _:
            return float(values[ceil(Fraction(int(field[1:]), 100) * len(values)) - 1])


def numbers(question: Question, records: Sequence[UsageRecord]) -> Numbers:
    return {metric.name: number(metric.name, records) for metric in question.metrics}


def passes(condition: Condition, record: UsageRecord) -> bool:
    match condition:
        case All(conditions):
            return all(passes(part, record) for part in conditions)
        case Some(conditions):
            return any(passes(part, record) for part in conditions)
        case Not(inner):
            return not passes(inner, record)
        case Bounded(name, bound, value):
            found = {"latency_ms": record.latency_ms, "ttft_ms": record.ttft_ms, "cost": _cost(record)}.get(name)
            if name.endswith("tokens"):
                found = SUMS[name](record)
            if found is None:
                return False
            return bool({">": found > value, ">=": found >= value, "<": found < value, "<=": found <= value}[bound.value])
        case Named(dimension, match, values):
            label = VALUES[dimension.name](record)
            label = label[0] if isinstance(label, tuple) else label
            if match is Match.ABSENT:
                return label is None
            if label is None:
                return False
            if match is Match.IN:
                return label in values
            return label.startswith(values[0]) if match is Match.STARTS_WITH else values[0] in label


def asked_of(question: Question, records: Iterable[UsageRecord], tenant: str | None) -> list[UsageRecord]:
    """The records that a question is about, for a reader that sees all tenants or one."""
    return [
        record
        for record in records
        if question.range.start <= record.occurred_at < question.range.end
        and (tenant is None or record.tenant_id == tenant)
        and passes(question.where, record)
    ]


def _label(value: Any) -> tuple[Any, ...]:
    """A label as it is ordered: absent ones last, then the tenant."""
    parts = value if isinstance(value, tuple) else (value,)
    return tuple((part is None, "" if part is None else part) for part in parts)


def _compare_numbers(left: Any, right: Any, *, descending: bool) -> int:
    if left is None or right is None:
        return int(left is None) - int(right is None)
    return (int(left > right) - int(left < right)) * (-1 if descending else 1)


def _compare_labels(left: Any, right: Any, *, descending: bool, ranks: Mapping[str, int] | None) -> int:
    if ranks is not None and isinstance(left, tuple):
        left, right = ((name, ranks[tenant]) for name, tenant in (left, right))
    for one, other in zip(_label(left), _label(right), strict=True):
        if one != other:
            if one[0] != other[0]:
                return 1 if one[0] else -1  # absent ones last, in either direction
            return (int(one[1] > other[1]) - int(one[1] < other[1])) * (-1 if descending else 1)
    return 0


class Rows:
    """All rows of a grouping, in order, with the records of each. `ranks`: orders tenants for a caller who may not see their names."""

    def __init__(
        self, question: Question, grouping: Grouping, records: Sequence[UsageRecord], ranks: Mapping[str, int] | None = None
    ) -> None:
        self.question, self.grouping, self.records, self._ranks = question, grouping, records, ranks
        self._starts = [bucket.start for bucket in grouping.buckets or ()]
        self._top = self._find_top()
        groups: dict[Group, list[UsageRecord]] = {}
        for record in records:
            group = self.group_of(record)
            if group is not None:
                groups.setdefault(group, []).append(record)
        if grouping.fill and grouping.buckets is not None:
            found = {group[1:] for group in groups} if grouping.by else {(False, ())}
            groups = {(bucket, *rest): groups.get((bucket, *rest), []) for rest in found for bucket in range(len(grouping.buckets))}
        kept = {group: members for group, members in groups.items() if all(self._has(having, members) for having in grouping.having)}
        self.ordered = sorted(kept.items(), key=cmp_to_key(self._compare))

    def page(self, skip: int = 0) -> list[tuple[Group, list[UsageRecord]]]:
        return self.ordered[skip : skip + self.grouping.first]

    def rest(self, skip: int = 0) -> list[UsageRecord]:
        shown = {group for group, _ in self.page(skip)}
        return [record for record in self.records if self.group_of(record) not in shown]

    def earlier(
        self, records: Sequence[UsageRecord], buckets: Sequence[Bucket] | None, skip: int = 0
    ) -> dict[Group | None, list[UsageRecord]]:
        """The records of a compared range by the groups of the page, in its own buckets; None: those that belong to none of them."""
        found: dict[Group | None, list[UsageRecord]] = {None: [], **{group: [] for group, _ in self.page(skip)}}
        starts = [bucket.start for bucket in buckets or ()]
        for record in records:
            group = self.group_of(record, starts)
            found[group if group in found else None].append(record)
        return found

    def _keys(self, record: UsageRecord) -> tuple[Any, ...]:
        return tuple(VALUES[dimension.name](record) for dimension in self.grouping.by)

    def _bucket(self, record: UsageRecord, starts: Sequence[datetime] | None = None) -> int | None:
        return None if self.grouping.buckets is None else bisect_right(self._starts if starts is None else starts, record.occurred_at) - 1

    def group_of(self, record: UsageRecord, starts: Sequence[datetime] | None = None) -> Group | None:
        """The row that a record counts in; None: that of no one. `starts`: of other buckets, matched by position."""
        bucket, keys, top = self._bucket(record, starts), self._keys(record), self.grouping.top
        if top is None or (bucket if top.per_bucket else None, keys) in self._top:
            return bucket, False, keys
        return (bucket, True, tuple(None for _ in keys)) if top.with_other else None

    def _find_top(self) -> set[tuple[int | None, tuple[Any, ...]]]:
        top = self.grouping.top
        if top is None:
            return set()
        by_bucket: dict[int | None, dict[tuple[Any, ...], list[UsageRecord]]] = {}
        for record in self.records:
            bucket = self._bucket(record) if top.per_bucket else None
            by_bucket.setdefault(bucket, {}).setdefault(self._keys(record), []).append(record)

        def compare(left: tuple[tuple[Any, ...], Any], right: tuple[tuple[Any, ...], Any]) -> int:
            found = _compare_numbers(left[1], right[1], descending=True)
            pairs = zip(left[0], right[0], strict=True)
            return found or next(
                (order for one, other in pairs if (order := _compare_labels(one, other, descending=False, ranks=self._ranks))), 0
            )

        kept: set[tuple[int | None, tuple[Any, ...]]] = set()
        for bucket, groups in by_bucket.items():
            measured = [(keys, number(top.metric.name, members)) for keys, members in groups.items()]
            kept |= {(bucket, keys) for keys, _ in sorted(measured, key=cmp_to_key(compare))[: top.count]}
        return kept

    def _has(self, having: Any, members: Sequence[UsageRecord]) -> bool:
        found = number(having.metric.name, members)
        if found is None:
            return False
        found = Decimal(str(found))
        return bool(
            {
                ">": found > having.value,
                ">=": found >= having.value,
                "<": found < having.value,
                "<=": found <= having.value,
                "=": found == having.value,
            }[having.operator]
        )

    def _compare(self, left: tuple[Group, list[UsageRecord]], right: tuple[Group, list[UsageRecord]]) -> int:
        (bucket, is_other, labels), members = left
        (bucket_2, is_other_2, labels_2), members_2 = right
        steps: list[int] = []
        for order in self.grouping.order:
            if order.metric is not None:
                pair = number(order.metric.name, members), number(order.metric.name, members_2)
                steps.append(_compare_numbers(*pair, descending=order.descending))
            elif order.dimension is None:
                steps.append(((bucket or 0) - (bucket_2 or 0)) * (-1 if order.descending else 1))
            else:
                place = self.grouping.by.index(order.dimension)
                steps.append(is_other - is_other_2)
                steps.append(
                    0 if is_other else _compare_labels(labels[place], labels_2[place], descending=order.descending, ranks=self._ranks)
                )
        steps += [(bucket or 0) - (bucket_2 or 0), is_other - is_other_2]
        if not is_other and not is_other_2:
            steps += [_compare_labels(one, other, descending=False, ranks=self._ranks) for one, other in zip(labels, labels_2, strict=True)]
        return next((step for step in steps if step), 0)


def dimension_values(dimension: UsageDimension, records: Iterable[UsageRecord]) -> list[Any]:
    """Return the labels that records have in a dimension, absent ones left out."""
    found = {VALUES[dimension.name](record) for record in records}
    return sorted({value[0] if isinstance(value, tuple) else value for value in found} - {None})
