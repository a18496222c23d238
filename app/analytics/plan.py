"""From a question to a plan: which rollup answers it, over which range, within whose scope. Pure; it never sees SQL."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Any

from app.cube.dimensions import MODEL, TENANT, USER, Bucket, Dimension, Grain, Privacy
from app.cube.metrics import COST_USD, REQUEST_COUNT, Metric
from app.cube.rollups import BY_DAY_ALL, CONDENSED, MODEL_SPENDERS, ROLLUPS, SPENDERS, Condensed, Rollup
from app.domain.principal import Scope
from app.domain.time_range import RECORDS_FLOOR, TimeRange, midnight


class PlanError(Exception):
    """A question that no rollup can answer, or that its scope forbids: a defect of the surface that asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: sums of `metrics` over `range`, by `bucket` of time if given and by `dimensions`.

    `filters`: dimension and the public name that it must have. `greatest`: metrics to order by, greatest first, before bucket and names.
    `limit`: at most so many rows. `nonzero`: leave out rows whose first metric is 0. `after`: only rows whose bucket and names come behind
    these, in their order: the bucket's start, if there are buckets, and one for each dimension.
    """

    name: str
    metrics: tuple[Metric, ...]
    range: TimeRange
    dimensions: tuple[Dimension, ...] = ()
    bucket: Bucket | None = None
    filters: tuple[tuple[Dimension, str], ...] = ()
    greatest: tuple[Metric, ...] = ()
    limit: int | None = None
    nonzero: bool = False
    after: tuple[str | int | date, ...] = ()


class Strategy(Enum):
    """How a plan finds its rows."""

    SUM = "sum"
    """Every group is summed."""
    THRESHOLD = "threshold"
    """The first users are proven from the first of each bucket, without summing every user."""


class Access(Enum):
    """By what the rows are found, which decides when PostgreSQL is to plan."""

    KEYS = "keys"
    """Few rows by their keys, whatever they are."""
    RANGE = "range"
    """A part of the cube that may be short or long."""
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a plan that decides its SQL; plans of one shape share one compiled SELECT.

    `rollup` answers what is not closed, and `condensed` the closed days, with its months or its sums of all time where they fit the range;
    None: there is nothing narrower for closed days. `filters`: dimension, and whether the value is its name for records that have none.
    `is_continued`: whether rows begin behind some names.
    """

    name: str
    rollup: Rollup
    condensed: Condensed | None
    with_months: bool
    with_ever: bool
    metrics: tuple[Metric, ...]
    dimensions: tuple[Dimension, ...]
    bucket: Bucket | None
    filters: tuple[tuple[Dimension, bool], ...]
    only_public: bool
    in_tenant: bool
    greatest: tuple[Metric, ...]
    limit: int | None
    nonzero: bool
    is_continued: bool

    @property
    def strategy(self) -> Strategy:
        """Of users of all tenants, highest by cost and requests, of all models or of one, the first are proven; all else is summed."""
        of_model = ((MODEL, False),) if self.condensed is MODEL_SPENDERS else ()
        is_ranked = (
            self.condensed in (SPENDERS, MODEL_SPENDERS)
            and self.dimensions == (USER,)
            and [metric.measures for metric in self.metrics] == [(COST_USD,), (REQUEST_COUNT,)]
            and self.greatest == self.metrics
            and self.limit is not None
            and self.filters == of_model
            and not (self.in_tenant or self.only_public or self.bucket or self.nonzero)
        )
        return Strategy.THRESHOLD if is_ranked else Strategy.SUM

    @property
    def access(self) -> Access:
        """How much of the cube a range holds decides how to read it, and a plan for all values takes every range for a short one."""
        if self.strategy is Strategy.THRESHOLD:
            return Access.KEYS
        if self.condensed is not None:
            return Access.KEYS if self.in_tenant or any(dimension.in_tenant for dimension, _ in self.filters) else Access.ANY
        return Access.RANGE if self.rollup is BY_DAY_ALL and not self.in_tenant else Access.ANY


@dataclass(frozen=True, slots=True)
class Plan:
    """A shape and the values that go into it."""

    shape: Shape
    range: TimeRange
    filter_values: tuple[str, ...]
    after: tuple[str | int | date, ...]
    tenant_key: int | None

    def parameters(self) -> dict[str, Any]:
        """Return the values by the names that the compiled SELECT has for them."""
        instants = self.shape.rollup.grain is Grain.HOUR
        values: dict[str, Any] = {
            "start": self.range.start if instants else self.range.start.date(),
            "end": self.range.end if instants else self.range.end.date(),
        }
        if self.shape.with_months:
            values["first_month"], values["last_month"] = whole_months(self.range)
        if self.shape.in_tenant:
            values["tenant"] = self.tenant_key
        for position, (value, (dimension, _)) in enumerate(zip(self.filter_values, self.shape.filters, strict=True)):
            values[f"filter_{position}"] = value if not dimension.choices else dimension.key_of(value)
            if dimension.in_tenant and not self.shape.in_tenant:
                slashes = [place for place, character in enumerate(value) if character == "/"]
                values[f"filter_{position}_tenants"] = [value[:place] for place in slashes]
                values[f"filter_{position}_names"] = [value[place + 1 :] for place in slashes]
        values.update({f"after_{position}": value for position, value in enumerate(self.after)})
        return values


def plan_question(question: Question, scope: Scope) -> Plan:
    """Choose the smallest rollup that can answer and bind the question to the scope. PlanError: there is none, or it may not be asked."""
    rollup, condensed = _choose_tables(_Kind.of(question, scope))
    plan = Plan(
        Shape(
            name=question.name,
            rollup=rollup,
            condensed=condensed,
            with_months=condensed is not None and condensed.by_month is not None and _uses_months(question),
            with_ever=condensed is not None and condensed.ever is not None and _uses_ever(question),
            metrics=question.metrics,
            dimensions=question.dimensions,
            bucket=question.bucket,
            filters=tuple((dimension, value == dimension.absent) for dimension, value in question.filters),
            only_public=False,
            in_tenant=False,
            greatest=question.greatest,
            limit=question.limit,
            nonzero=question.nonzero,
            is_continued=bool(question.after),
        ),
        question.range,
        tuple(value for _, value in question.filters),
        question.after,
        None,
    )
    return bind_scope(plan, scope)


def bind_scope(plan: Plan, scope: Scope) -> Plan:
    """Restrict a plan to what its reader may see. Every plan passes here; no surface can go around it."""
    shape = plan.shape
    used = {*shape.dimensions, *(dimension for dimension, _ in shape.filters)}
    if not scope.identities:
        private = sorted(dimension.name for dimension in used if dimension.privacy is not Privacy.PUBLIC)
        if private:
            raise PlanError(f"{shape.name}: a public answer may not tell {', '.join(private)}")
        # By provider too: its sums would tell what private models are used for.
        return replace(plan, shape=replace(shape, only_public=bool(used)))
    if scope.tenant_key is not None:
        return replace(plan, shape=replace(shape, in_tenant=True), tenant_key=scope.tenant_key)
    return plan


@dataclass(frozen=True, slots=True)
class _Kind:
    """What of a question decides the tables that answer it; there are few, so that each is judged once."""

    name: str
    metrics: tuple[Metric, ...]
    dimensions: tuple[Dimension, ...]
    filters: tuple[Dimension, ...]
    needs_hours: bool
    has_months: bool
    in_tenant: bool
    only_public: bool

    @classmethod
    def of(cls, question: Question, scope: Scope) -> _Kind:
        return cls(
            question.name,
            (*question.metrics, *question.greatest),
            question.dimensions,
            tuple([dimension for dimension, _ in question.filters]),
            question.bucket is Bucket.HOUR or not _whole_days(question.range),
            _uses_months(question),
            scope.tenant_key is not None,
            not scope.identities and bool(question.dimensions or question.filters),
        )

    def fits(self, rollup: Rollup) -> bool:
        scope = [*([TENANT] if self.in_tenant else ()), *([MODEL] if self.only_public else ())]
        keys = {dimension.key for dimension in (*self.dimensions, *self.filters, *scope)}
        measures = {measure for metric in self.metrics for measure in metric.measures}
        return keys <= {dimension.key for dimension in rollup.dimensions} and measures <= set(rollup.measures)


@lru_cache(maxsize=1024)
def _choose_tables(kind: _Kind) -> tuple[Rollup, Condensed | None]:
    """Return the smallest rollup, and what is narrower of it for closed days."""
    for rollup in reversed(ROLLUPS):
        if kind.fits(rollup) and (rollup.grain is Grain.HOUR) == kind.needs_hours:
            return rollup, _narrowest_condensed(kind, rollup)
    keys = sorted(dimension.key for dimension in (*kind.dimensions, *kind.filters))
    raise PlanError(f"{kind.name}: no rollup has {keys} by {'hour' if kind.needs_hours else 'day'}")


def _narrowest_condensed(kind: _Kind, rollup: Rollup) -> Condensed | None:
    for condensed in CONDENSED:
        narrow = condensed.by_day or condensed.by_month
        if (
            condensed.source is rollup
            and narrow is not None
            and kind.fits(narrow)
            and (condensed.only is None or condensed.only in kind.dimensions)
            and (narrow is condensed.by_day or kind.has_months)
        ):
            return condensed
    return None


def _uses_months(question: Question) -> bool:
    first, last = whole_months(question.range)
    return first < last and question.bucket in (None, Bucket.MONTH)


def _uses_ever(question: Question) -> bool:
    return question.bucket is None and question.range.start <= midnight(RECORDS_FLOOR)


def whole_months(window: TimeRange) -> tuple[date, date]:
    """Return the first dates of the first whole month of a range and of the month after its last one; not ascending: it has none."""
    start, last = window.start.date(), window.end.date().replace(day=1)
    until = start.toordinal() + (monthrange(start.year, start.month)[1] + 1 - start.day if start.day > 1 else 0)
    first = date.fromordinal(until) if until <= last.toordinal() else last
    return first, last


def _whole_days(window: TimeRange) -> bool:
    return all(
        (instant.hour, instant.minute, instant.second, instant.microsecond) == (0, 0, 0, 0) for instant in (window.start, window.end)
    )
