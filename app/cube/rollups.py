"""The rollups: which dimensions and measures are kept at which grain. Each earns its place by a question that it answers."""

from __future__ import annotations

from dataclasses import dataclass

from app.cube.dimensions import CALLER_KEY, MODEL, PROJECT, PROVIDER, TENANT, TRAFFIC_MODE, USER, Dimension, Grain
from app.cube.metrics import MEASURES, TRAFFIC_MEASURES, Measure


@dataclass(frozen=True, slots=True)
class Rollup:
    """One stored aggregate. `key` gives the primary key's columns in order, the bucket's among them."""

    name: str
    grain: Grain
    dimensions: tuple[Dimension, ...]
    measures: tuple[Measure, ...]
    key: tuple[str, ...]

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
