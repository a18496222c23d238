"""From a plan to its SELECT: SQLAlchemy Core over the rollup's table, compiled once a shape. Pure; the only writer of read SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Date, DateTime, Integer, Select, Text, bindparam, case, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.expression import FromClause

from app.analytics.plan import Shape
from app.cube.dimensions import Dimension, Grain
from app.cube.metrics import Metric
from app.cube.rollups import BY_DAY_MODEL
from app.db.models import ROLLUP_TABLES, metadata

_DIALECT: Any = PGDialect_psycopg(paramstyle="pyformat")  # type: ignore[no-untyped-call]

RANKED_MODELS = 50
"""Models that a day's ranking names; the others are one row."""


@dataclass(frozen=True, slots=True)
class CompiledSelect:
    """SQL with psycopg's named placeholders, and the values of those that every execution shares."""

    sql: str
    constants: Mapping[str, Any]


def _compile(name: str, statement: Select[Any]) -> CompiledSelect:
    compiled = statement.compile(dialect=_DIALECT)
    return CompiledSelect(f"/* app:{name} */ {compiled}", {key: value for key, value in compiled.params.items() if value is not None})


@lru_cache(maxsize=256)
def select_shape(shape: Shape) -> CompiledSelect:
    """Return the SELECT of a shape; its other values are `Plan.parameters()`.

    Columns: the bucket if there is a grain, then a name for each dimension, then a number for each metric.
    """
    table = ROLLUP_TABLES[shape.rollup.name]
    bucket = table.c[shape.rollup.grain.value]
    bucket_type = DateTime(timezone=True) if shape.rollup.grain is Grain.HOUR else Date()
    source: FromClause = table
    labels: dict[Dimension, ColumnElement[Any]] = {}
    joined: dict[str, Any] = {}
    for dimension in dict.fromkeys((*shape.dimensions, *shape.filters)):
        if dimension.table is None or dimension.label is None:
            labels[dimension] = table.c[dimension.key]
            continue
        if dimension.table not in joined:
            identity = metadata.tables[dimension.table]
            joined[dimension.table] = identity
            source = source.join(identity, identity.c.id == table.c[dimension.key])
        labels[dimension] = joined[dimension.table].c[dimension.label]
    metrics = [_sum(table, metric).label(metric.name) for metric in shape.metrics]
    groups: list[ColumnElement[Any]] = [bucket] if shape.grain else []
    groups += [labels[dimension] for dimension in shape.dimensions]
    statement = (
        select(*groups, *metrics)
        .select_from(source)
        .where(bucket >= bindparam("start", type_=bucket_type), bucket < bindparam("end", type_=bucket_type))
    )
    for position, dimension in enumerate(shape.filters):
        statement = statement.where(labels[dimension] == bindparam(f"filter_{position}", type_=labels[dimension].type))
    if shape.in_tenant:
        statement = statement.where(table.c.tenant_id == bindparam("tenant", type_=Integer()))
    if shape.only_public:
        statement = statement.where(metadata.tables["models"].c.is_public)
    if groups:
        statement = statement.group_by(*groups)
    if shape.nonzero:
        statement = statement.having(_sum(table, shape.metrics[0]) > 0)
    order: list[ColumnElement[Any]] = [_sum(table, shape.metrics[0]).desc()] if shape.descending else []
    statement = statement.order_by(*order, *groups)
    if shape.limit is not None:
        statement = statement.limit(shape.limit)
    return _compile(shape.name, statement)


def _sum(table: Any, metric: Metric) -> ColumnElement[Any]:
    total: ColumnElement[Any] = func.sum(table.c[metric.plus[0].name])
    for measure in metric.plus[1:]:
        total = total + func.sum(table.c[measure.name])
    for measure in metric.minus:
        total = total - func.sum(table.c[measure.name])
    return func.coalesce(total, 0)


@lru_cache(maxsize=1)
def select_rankings() -> CompiledSelect:
    """Return the SQL of the daily rankings between `start` and `end` (dates, half-open): (day, permaslug, tokens), in answer order.

    Permaslug null: the sum of all that is not among the day's first 50 public models, private models included.
    """
    rollup = ROLLUP_TABLES[BY_DAY_MODEL.name]
    models = metadata.tables["models"]
    tokens = (func.sum(rollup.c.prompt_tokens) + func.sum(rollup.c.completion_tokens)).label("tokens")
    public_name = case((models.c.is_public, models.c.permaslug), else_=None).label("permaslug")
    totals = (
        select(rollup.c.day, public_name, tokens)
        .join(models, models.c.id == rollup.c.model_id)
        .where(rollup.c.day >= bindparam("start", type_=Date()), rollup.c.day < bindparam("end", type_=Date()))
        .group_by(rollup.c.day, public_name)
        .having(func.sum(rollup.c.prompt_tokens) + func.sum(rollup.c.completion_tokens) > 0)
        .subquery("totals")
    )
    place = (
        func.row_number()
        .over(partition_by=totals.c.day, order_by=[totals.c.permaslug.is_(None), totals.c.tokens.desc(), totals.c.permaslug])
        .label("place")
    )
    ranked = select(totals, place).subquery("ranked")
    shown = case((ranked.c.place <= RANKED_MODELS, ranked.c.permaslug), else_=None).label("shown")
    rows = select(ranked.c.day, shown, func.sum(ranked.c.tokens).label("tokens")).group_by(ranked.c.day, shown).subquery("rows")
    statement = select(rows.c.day, rows.c.shown, cast(rows.c.tokens, Text)).order_by(
        rows.c.day, rows.c.shown.is_(None), rows.c.tokens.desc(), rows.c.shown
    )
    return _compile("rankings_daily", statement)


@lru_cache(maxsize=1)
def select_model_cards() -> CompiledSelect:
    """Return the SQL of (public id, display name, provider's display name) of public models, `ids` being an array of public ids."""
    models, providers = metadata.tables["models"], metadata.tables["providers"]
    statement = (
        select(models.c.public_id, models.c.name, providers.c.name)
        .join(providers, providers.c.id == models.c.provider_id)
        .where(models.c.public_id == func.any(bindparam("ids", type_=ARRAY(Text))), models.c.is_public)
        .ext(distinct_on(models.c.public_id))
        .order_by(
            models.c.public_id,
            (models.c.permaslug == models.c.public_id).desc(),
            (func.strpos(models.c.permaslug, ":") == 0).desc(),
            models.c.permaslug.desc(),
        )
    )
    return _compile("model_cards", statement)
