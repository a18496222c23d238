"""The tables of the rollups, derived from the cube. Migrations create them; a test compares both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    desc,
)

from app.cube.dimensions import DIMENSIONS, USER, Grain
from app.cube.rollups import (
    BY_DAY_ALL,
    BY_DAY_MODEL,
    BY_DAY_MODEL_USER,
    BY_DAY_PROJECT,
    BY_DAY_TENANT,
    CONDENSED,
    MODEL_SPENDERS,
    ROLLUPS,
    SPENDERS,
    Rollup,
)
from app.db.record_table import USAGE_RECORDS

metadata = USAGE_RECORDS.metadata
"""All tables."""

_KEY_TYPES: dict[str, Any] = {dimension.key: SmallInteger if dimension.key_type == "smallint" else Integer for dimension in DIMENSIONS}


_MORE_INDEXES = {
    # Open days, all tenants.
    BY_DAY_ALL.name: ("day",),
    # Days of one model.
    BY_DAY_MODEL.name: ("model_id", "day"),
    # All tenants or projects of some days.
    BY_DAY_TENANT.name: ("day",),
    BY_DAY_PROJECT.name: ("day",),
    # Days that are closed again, and a few days of one model.
    BY_DAY_MODEL_USER.name: ("day", "model_id"),
}


def _build_rollup_table(rollup: Rollup) -> Table:
    bucket = DateTime(timezone=True) if rollup.grain is Grain.HOUR else Date()
    measures = [measure.name for measure in rollup.measures]
    indexes = []
    if rollup.name in _MORE_INDEXES:
        columns = _MORE_INDEXES[rollup.name]
        indexes.append(Index(f"{rollup.name}_{columns[0].removesuffix('_id')}", *columns))
    is_spending = rollup in (*SPENDERS.rollups, *MODEL_SPENDERS.rollups)
    if is_spending and rollup is not BY_DAY_MODEL_USER:
        # The top users of each bucket by index-only scans; the columns are the measures in their order.
        ranks: list[str | ColumnElement[Any]] = [desc(measure) for measure in measures]
        before = [column for column in rollup.key if column != USER.key]
        indexes.append(Index(f"{rollup.name}_greatest", *before, *ranks, postgresql_include=["user_id"]))
    return Table(
        rollup.name,
        metadata,
        *(
            Column(column, bucket if column == rollup.grain.value else _KEY_TYPES[column](), nullable=False, autoincrement=False)
            for column in rollup.key
        ),
        *(
            Column(measure.name, Numeric() if measure.column_type == "numeric" else BigInteger(), nullable=False)
            for measure in rollup.measures
        ),
        PrimaryKeyConstraint(*rollup.key, postgresql_include=measures if is_spending else None),
        *indexes,
        postgresql_with={"fillfactor": 100 if rollup is BY_DAY_MODEL_USER else 80},
    )


ROLLUP_TABLES: dict[str, Table] = {
    rollup.name: _build_rollup_table(rollup) for rollup in (*ROLLUPS, *(rollup for condensed in CONDENSED for rollup in condensed.rollups))
}
