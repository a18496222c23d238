"""From a plan to its SELECT: SQLAlchemy Core over the rollup's table, compiled once a shape. Pure; the only writer of read SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.expression import FromClause

from app.analytics.plan import Shape
from app.cube.dimensions import TENANT, Grain
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

    Columns: the bucket's start if there is one, then a name for each dimension, then a number for each metric.

    Sums are taken by key first and named after, so that the many rows meet integers only.
    """
    table = ROLLUP_TABLES[shape.rollup.name]
    stored = table.c[shape.rollup.grain.value]
    bucket_type = DateTime(timezone=True) if shape.rollup.grain is Grain.HOUR else Date()
    bucket: list[ColumnElement[Any]] = []
    if shape.bucket is not None:
        start = literal_column(shape.bucket.expression.format(column=f"{table.name}.{stored.name}"), bucket_type)
        bucket = [start.label("bucket")]
    keys = list(dict.fromkeys(dimension.key for dimension in shape.dimensions))
    if any(dimension.in_tenant for dimension in shape.dimensions) and TENANT.key not in keys:
        keys.append(TENANT.key)
    measures = list(dict.fromkeys(measure.name for metric in (*shape.metrics, *shape.greatest) for measure in metric.measures))
    inner = (
        select(*bucket, *(table.c[key] for key in keys), *(func.sum(table.c[name]).label(name) for name in measures))
        .where(stored >= bindparam("start", type_=bucket_type), stored < bindparam("end", type_=bucket_type))
        .where(*_conditions(shape, table))
    )
    groups = [*(column.element for column in bucket), *(table.c[key] for key in keys)]
    if groups:
        inner = inner.group_by(*groups)
    return _compile(shape.name, _named(shape, inner.subquery("sums")))


def _conditions(shape: Shape, table: Table) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.in_tenant:
        conditions.append(table.c.tenant_id == bindparam("tenant", type_=Integer()))
    if shape.only_public:
        models = metadata.tables["models"]
        conditions.append(table.c.model_id.in_(select(models.c.id).where(models.c.is_public)))
    for position, dimension in enumerate(shape.filters):
        key = table.c[dimension.key]
        value: ColumnElement[Any] = bindparam(f"filter_{position}", type_=Text() if dimension.table else key.type)
        if dimension.table is None or dimension.label is None:
            conditions.append(key == value)
            continue
        identity = metadata.tables[dimension.table]
        named = key.in_(select(identity.c.id).where(identity.c[dimension.label] == value))
        conditions.append(named if not dimension.absent else or_(named, and_(key == 0, value == dimension.absent)))
    return conditions


def _named(shape: Shape, sums: Subquery) -> Select[Any]:
    source: FromClause = sums
    labels: list[ColumnElement[Any]] = []
    for dimension in shape.dimensions:
        if dimension.table is None or dimension.label is None:
            labels.append(sums.c[dimension.key])
            continue
        identity = metadata.tables[dimension.table].alias(dimension.name)
        match = identity.c.id == sums.c[dimension.key]
        if dimension.in_tenant:
            match = and_(match, identity.c.tenant_id == sums.c[TENANT.key])
        source = source.join(identity, match, isouter=dimension.absent is not None)
        label: ColumnElement[Any] = identity.c[dimension.label]
        labels.append(label if dimension.absent is None else func.coalesce(label, dimension.absent).collate("C"))
    groups = [*([sums.c.bucket] if shape.bucket else []), *labels]
    metrics = [_sum(sums, metric) for metric in shape.metrics]
    statement = select(*groups, *(total.label(metric.name) for total, metric in zip(metrics, shape.metrics, strict=True))).select_from(
        source
    )
    if groups:
        statement = statement.group_by(*groups)
    if shape.nonzero:
        statement = statement.having(metrics[0] > 0)
    statement = statement.order_by(*(_sum(sums, metric).desc() for metric in shape.greatest), *groups)
    return statement if shape.limit is None else statement.limit(shape.limit)


def _sum(sums: Subquery, metric: Metric) -> ColumnElement[Any]:
    total: ColumnElement[Any] = func.sum(sums.c[metric.plus[0].name])
    for measure in metric.plus[1:]:
        total = total + func.sum(sums.c[measure.name])
    for measure in metric.minus:
        total = total - func.sum(sums.c[measure.name])
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
