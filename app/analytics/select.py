"""From a plan to its SELECT: SQLAlchemy Core over the rollup's table, compiled once a shape. Pure; the only writer of read SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.expression import FromClause, SelectBase, TextClause

from app.analytics.parts import RANKINGS_ARE_STALE, Part, bucket_of, closing_sql, split_range
from app.analytics.plan import Shape
from app.cube.dimensions import TENANT, Dimension
from app.cube.metrics import MEASURES, REQUEST_COUNT, Metric
from app.cube.ranking import ranked_source, select_ranked
from app.db.models import metadata
from app.domain.usage import OTHER

_AGGREGATES = {measure.name: measure.aggregate for measure in MEASURES}
_DIALECT: Any = PGDialect_psycopg(paramstyle="pyformat")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class CompiledSelect:
    """SQL with psycopg's named placeholders, and the values of those that every execution shares."""

    sql: str
    constants: Mapping[str, Any]


def _compile(name: str, statement: Select[Any] | TextClause) -> CompiledSelect:
    compiled = statement.compile(dialect=_DIALECT)
    return CompiledSelect(f"/* app:{name} */ {compiled}", {key: value for key, value in compiled.params.items() if value is not None})


@lru_cache(maxsize=256)
def select_shape(shape: Shape) -> CompiledSelect:
    """Return the SELECT of a shape; its other values are `Plan.parameters()`.

    Columns: the bucket's start if there is one, then a name for each dimension, then a number for each metric.

    Sums are taken by key first and named after, so that the many rows meet integers only.
    """
    keys = list(dict.fromkeys(dimension.key for dimension in shape.dimensions))
    if any(dimension.in_tenant for dimension in shape.dimensions) and TENANT.key not in keys:
        keys.append(TENANT.key)
    measures = list(dict.fromkeys(measure.name for metric in (*shape.metrics, *shape.greatest) for measure in metric.measures))
    if shape.with_ever and REQUEST_COUNT.name not in measures:
        measures.append(REQUEST_COUNT.name)
    parts = [_sums(shape, part, keys, measures) for part in split_range(shape)]
    source = parts[0].subquery("sums") if len(parts) == 1 else union_all(*parts).subquery("sums")
    return _compile(shape.name, _named(shape, source))


def _sums(shape: Shape, part: Part, keys: list[str], measures: list[str]) -> Select[Any]:
    """The sums of one part, by key; none where it has no rows, but for a question without groups."""
    table = part.table
    bucket = [] if shape.bucket is None else [bucket_of(part, shape).label("bucket")]
    totals = [literal_column(_AGGREGATES[name]) if part.of_records else func.sum(table.c[name]) for name in measures]
    columns = [(total if part.sign > 0 else -total).label(name) for total, name in zip(totals, measures, strict=True)]
    groups = [*(column.element for column in bucket), *(table.c[key] for key in keys)]
    statement = select(*bucket, *(table.c[key] for key in keys), *columns).where(part.where, *_conditions(shape, table))
    return statement.group_by(*groups) if groups else statement


def _conditions(shape: Shape, table: Table) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.in_tenant:
        conditions.append(table.c.tenant_id == bindparam("tenant", type_=Integer()))
    if shape.only_public:
        models = metadata.tables["models"]
        conditions.append(table.c.model_id.in_(select(models.c.id).where(models.c.is_public)))
    for position, (dimension, may_be_absent) in enumerate(shape.filters):
        key = table.c[dimension.key]
        value: ColumnElement[Any] = bindparam(f"filter_{position}", type_=Text() if dimension.table else key.type)
        if dimension.table is None or dimension.label is None:
            conditions.append(key == value)
            continue
        identity = metadata.tables[dimension.table]
        named: ColumnElement[bool]
        if dimension.in_tenant:
            # With the tenant, so that the keys that begin with it lead to the rows.
            named = tuple_(table.c.tenant_id, key).in_(_owned(shape, identity, dimension.label, position, value))
        else:
            named = key.in_(select(identity.c.id).where(identity.c[dimension.label] == value))
        conditions.append(or_(named, key == 0) if may_be_absent else named)
    return conditions


def _owned(shape: Shape, identity: Table, label: str, position: int, value: ColumnElement[Any]) -> SelectBase:
    """The (tenant, id) of what a filter names: by its own name, and where all tenants are asked, by its tenant's id before a slash.

    The latter where several tenants have the name, or nothing is called what is asked for: it must not join what answers tell apart.
    """
    keys = (identity.c.tenant_id, identity.c.id)
    plain = select(*keys).where(identity.c[label] == value)
    if shape.in_tenant:
        return plain
    tenants = metadata.tables["tenants"]
    given = (bindparam(f"filter_{position}_{part}", type_=ARRAY(Text)) for part in ("tenants", "names"))
    split = func.unnest(*given).table_valued("tenant", "name", name="split").render_derived()
    owned = and_(tenants.c.id == identity.c.tenant_id, tenants.c.external_id == split.c.tenant, identity.c[label] == split.c.name)
    unclaimed = ~exists().where(identity.alias("claimed").c[label] == value)
    return union_all(plain, select(*keys).where(owned, or_(_is_shared(identity, label), unclaimed)))


def _is_shared(identity: FromClause, label: str) -> ColumnElement[bool]:
    """Whether another tenant has something of the same name."""
    others = identity.alias(f"other_{identity.description}")
    return exists().where(others.c[label] == identity.c[label], others.c.tenant_id != identity.c.tenant_id)


def _name_of(shape: Shape, dimension: Dimension, identity: FromClause, label: str) -> ColumnElement[Any]:
    """The name of a row: of what several tenants have under one name, where all are asked, with its tenant's id before a slash."""
    name: ColumnElement[Any] = identity.c[label]
    if dimension.in_tenant and not shape.in_tenant:
        tenants = metadata.tables["tenants"]
        owner = select(tenants.c.external_id).where(tenants.c.id == identity.c.tenant_id).scalar_subquery()
        name = case((_is_shared(identity, label), owner.concat(literal_column("'/'")).concat(name)), else_=name)
    return name


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
        label = _name_of(shape, dimension, identity, dimension.label)
        labels.append(label if dimension.absent is None else func.coalesce(label, dimension.absent).collate("C"))
    groups = [*([sums.c.bucket] if shape.bucket else []), *labels]
    metrics = [_sum(sums, metric) for metric in shape.metrics]
    statement = select(*groups, *(total.label(metric.name) for total, metric in zip(metrics, shape.metrics, strict=True))).select_from(
        source
    )
    if shape.is_continued:
        place = tuple_(*(bindparam(f"after_{position}", type_=group.type) for position, group in enumerate(groups)))
        statement = statement.where(tuple_(*groups) > place)
    if groups:
        statement = statement.group_by(*groups)
    if shape.nonzero:
        statement = statement.having(metrics[0] > 0)
    if shape.with_ever and groups:
        # What was taken off may have been all.
        statement = statement.having(func.sum(sums.c[REQUEST_COUNT.name]) > 0)
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

    Permaslug `other`: the sum of all that is not among the day's first 50 public models, private models included.

    Closed days are stored as they are to be answered; of the others, and of all while what is public changed since, the places are
    computed here.
    """
    open_from, reopened = "(SELECT open_from FROM closing)", "((SELECT reopened FROM closing)::date[])"
    open_days = ranked_source(f"d.day >= {open_from} AND d.day < CAST(:end AS date)", f"d.day = ANY {reopened}")
    statement = f"""WITH closing AS ({closing_sql(unusable=RANKINGS_ARE_STALE)})
SELECT day, coalesce(permaslug, '{OTHER}'), tokens::text FROM (
  SELECT day, place, permaslug, tokens FROM rankings_by_day
  WHERE day >= CAST(:start AS date) AND day < {open_from} AND day <> ALL {reopened}
  UNION ALL {select_ranked(open_days, "is_public")}
) ranked ORDER BY day, place"""
    return _compile("rankings_daily", text(statement))


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
