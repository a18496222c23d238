"""The rollups: which dimensions and measures are kept at which grain. Each earns its place by a question that it answers."""

from __future__ import annotations

from dataclasses import dataclass

from app.cube.dimensions import CALLER_KEY, MODEL, PROJECT, PROVIDER, TENANT, TRAFFIC_MODE, USER, Dimension, Grain
from app.cube.metrics import (
    CACHE_HIT_COUNT,
    COST_USD,
    INTERRUPTED_COUNT,
    MEASURES,
    REQUEST_COUNT,
    RETRY_COUNT,
    SUCCESSFUL_COUNT,
    TRAFFIC_MEASURES,
    Measure,
)


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """One stored aggregate. `key` gives the primary key's columns in order, the bucket's among them.

    `is_condensed`: it is not written with the facts, but derived from another rollup, and valid for closed days; `has_parts`: also for the
    part that is closed of the first other day. `only`: it leaves out records that have none of this dimension.
    """

    name: str
    grain: Grain
    dimensions: tuple[Dimension, ...]
    measures: tuple[Measure, ...]
    key: tuple[str, ...]
    is_condensed: bool = False
    has_parts: bool = False
    only: Dimension | None = None

    @property
    def group_expressions(self) -> dict[str, str]:
        """Key column to SQL over `usage_records`, in primary key order."""
        return {column: self.grain.record_expression if column == self.grain.value else column for column in self.key}


BY_DAY_ALL = Rollup(
    "usage_by_day_all",
    Grain.DAY,
    (TENANT, PROJECT, USER, CALLER_KEY, MODEL, PROVIDER, TRAFFIC_MODE),
    MEASURES,
    ("tenant_id", "day", "project_id", "user_id", "caller_key_id", "model_id", "provider_id", "traffic_mode"),
)
BY_HOUR_MODEL = Rollup("usage_by_hour_model", Grain.HOUR, (MODEL, PROVIDER), TRAFFIC_MEASURES, ("hour", "model_id", "provider_id"))
BY_DAY_MODEL = Rollup("usage_by_day_model", Grain.DAY, (MODEL, PROVIDER), TRAFFIC_MEASURES, ("day", "model_id", "provider_id"))

ROLLUPS = (BY_DAY_ALL, BY_HOUR_MODEL, BY_DAY_MODEL)
"""In the order in which every write locks them: the hottest, which most writers share, last. The planner takes the last that fits."""


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """What is kept of closed days beside a rollup that ingest writes, so that long windows are sums of few rows.

    `source`: what it is derived from. `by_day`: its days by fewer dimensions (None: the source is narrow enough by day). `by_month`: whole
    months. `ever`: all closed days in one row. Months and `ever` are sums of `by_day` as it is stored; without it, months come from the
    source.
    """

    source: Rollup
    by_day: Rollup | None = None
    by_month: Rollup | None = None
    ever: Rollup | None = None

    @property
    def only(self) -> Dimension | None:
        """The dimension without which records are left out."""
        return next(rollup.only for rollup in self.rollups)

    @property
    def rollups(self) -> tuple[Rollup, ...]:
        """The stored ones."""
        return tuple(rollup for rollup in (self.by_day, self.by_month, self.ever) if rollup is not None)


OUTCOME_MEASURES = (REQUEST_COUNT, SUCCESSFUL_COUNT, RETRY_COUNT, CACHE_HIT_COUNT, INTERRUPTED_COUNT)
_SPENDING = (COST_USD, REQUEST_COUNT)


def _condensed(name: str, grain: Grain, dimensions: tuple[Dimension, ...], measures: tuple[Measure, ...]) -> Rollup:
    keys = tuple(dimension.key for dimension in dimensions)
    bucket = () if grain is Grain.EVER else (grain.value,)
    # By model one asks for a period, by caller for the periods of one.
    by_caller = {TENANT, USER} & set(dimensions)
    key = (*bucket, *keys) if MODEL in dimensions and not by_caller else (*keys, *bucket)
    # What is kept of the cube is derived in parts too; by model alone the whole day is few rows.
    has_parts = grain is Grain.DAY and bool({TENANT, USER} & set(dimensions))
    # Nobody asks for the sums of all who are no user, and only users are ranked.
    only = USER if USER in dimensions else None
    return Rollup(name, grain, dimensions, measures, key, is_condensed=True, has_parts=has_parts, only=only)


BY_DAY = _condensed("usage_by_day", Grain.DAY, (), TRAFFIC_MEASURES)
BY_MONTH_MODEL = _condensed("usage_by_month_model", Grain.MONTH, (MODEL, PROVIDER), TRAFFIC_MEASURES)
BY_DAY_TENANT = _condensed("usage_by_day_tenant", Grain.DAY, (TENANT,), MEASURES)
BY_DAY_PROJECT = _condensed("usage_by_day_project", Grain.DAY, (TENANT, PROJECT), OUTCOME_MEASURES)
BY_MONTH_PROJECT = _condensed("usage_by_month_project", Grain.MONTH, (TENANT, PROJECT), OUTCOME_MEASURES)
BY_PROJECT = _condensed("usage_by_project", Grain.EVER, (TENANT, PROJECT), OUTCOME_MEASURES)
BY_DAY_USER = _condensed("usage_by_day_user", Grain.DAY, (USER,), _SPENDING)
BY_MONTH_USER = _condensed("usage_by_month_user", Grain.MONTH, (USER,), _SPENDING)
BY_USER = _condensed("usage_by_user", Grain.EVER, (USER,), _SPENDING)
BY_DAY_MODEL_USER = _condensed("usage_by_day_model_user", Grain.DAY, (MODEL, USER), _SPENDING)
BY_MONTH_MODEL_USER = _condensed("usage_by_month_model_user", Grain.MONTH, (MODEL, USER), _SPENDING)
BY_MODEL_USER = _condensed("usage_by_model_user", Grain.EVER, (MODEL, USER), _SPENDING)

DAYS = Condensed(BY_DAY_MODEL, BY_DAY)
MODELS = Condensed(BY_DAY_MODEL, by_month=BY_MONTH_MODEL)
TENANTS = Condensed(BY_DAY_ALL, BY_DAY_TENANT)
PROJECTS = Condensed(BY_DAY_ALL, BY_DAY_PROJECT, BY_MONTH_PROJECT, BY_PROJECT)
SPENDERS = Condensed(BY_DAY_ALL, BY_DAY_USER, BY_MONTH_USER, BY_USER)
MODEL_SPENDERS = Condensed(BY_DAY_ALL, BY_DAY_MODEL_USER, BY_MONTH_MODEL_USER, BY_MODEL_USER)

CONDENSED = (DAYS, MODELS, TENANTS, PROJECTS, SPENDERS, MODEL_SPENDERS)
"""The narrowest first: the planner takes the first that fits."""
SOURCES = (*(rollup for condensed in CONDENSED for rollup in reversed(condensed.rollups)), *reversed(ROLLUPS))
"""All that is stored beside the records: those with fewer rows first, where nobody has counted them."""
