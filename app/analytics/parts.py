"""From which stored sums an answer is taken: all time, closed months, closed days, open days; each day counts in one of them. Pure.

The day that is not over is closed in parts where days of the cube are kept. What came since is taken from the records, or the whole day
from the cube, as if it were reopened: whichever is fewer rows. What is closed changes while questions are asked, so it is looked up by the
very SELECT that uses it, in its snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Table,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    not_,
    select,
    text,
)

from app.analytics.plan import Shape
from app.cube.dimensions import Grain
from app.cube.rollups import BY_DAY_ALL
from app.db.models import metadata
from app.db.rollup_tables import ROLLUP_TABLES

RANKINGS_ARE_STALE = "EXISTS (SELECT FROM models WHERE is_ranking_stale)"

_BOUNDS = "(SELECT CAST(:start AS date) AS first_day, CAST(:end AS date) AS end_day)"
_MONTH_BOUNDS = (
    "(SELECT CAST(:start AS date) AS first_day, CAST(:end AS date) AS end_day,"
    " CAST(:first_month AS date) AS first_month, CAST(:last_month AS date) AS last_month)"
)
_CLOSING = """
SELECT greatest(first_day, least(end_day, used_until)) AS open_from, used_until <= end_day AS is_whole,
  ARRAY(SELECT day FROM {stale} WHERE day >= first_day AND day < least(end_day, used_until)) AS reopened{columns}
FROM {bounds} AS bounds, {usable} AS usable
"""
_USABLE = "(SELECT {until} AS used_until FROM closing_state)"
_REST_UNTIL = "(closed_until + 1)::timestamp AT TIME ZONE 'UTC'"
# How many records came since is known exactly: those of the hours since, one or two, less what the first of them has before.
_RECORDS_SINCE = f"""(
        SELECT coalesce(sum(request_count), 0) FROM usage_by_hour_model
        WHERE hour >= date_trunc('hour', partly_until, 'UTC') AND hour < {_REST_UNTIL}
      ) - partly_hour_records"""
# By OFFSET 0, each of the columns is computed once, however often it is used.
_USABLE_IN_PART = f"""LATERAL (
  SELECT closed_until, partly_until, used_until,
    is_asked AND partly_cube_rows <= {_RECORDS_SINCE} AS is_from_cube, is_asked
  FROM (
    SELECT *, closed_until + is_partly::integer AS used_until, is_partly AND closed_until >= first_day AND closed_until < end_day
      AND NOT EXISTS (SELECT FROM reopened_days WHERE day = closed_until) AS is_asked
    FROM (SELECT *, partly_until > closed_until::timestamp AT TIME ZONE 'UTC' AS is_partly FROM closing_state) AS state OFFSET 0
  ) AS state OFFSET 0
)"""
_STALE_IN_PART = "(SELECT day FROM reopened_days UNION SELECT closed_until WHERE is_from_cube) AS stale"
_REST = f""",
  CASE WHEN is_asked AND NOT is_from_cube THEN partly_until ELSE 'infinity' END AS rest_from,
  {_REST_UNTIL} AS rest_until"""
_MONTHS_UNTIL = "greatest(first_month, least(last_month, date_trunc('month', used_until::timestamp)::date))"
_MONTHS = f""",
  {_MONTHS_UNTIL} AS months_until,
  ARRAY(SELECT DISTINCT date_trunc('month', day::timestamp)::date FROM {{stale}}
    WHERE day >= first_month AND day < {_MONTHS_UNTIL}) AS reopened_months,
  ARRAY(SELECT day::date FROM (
      SELECT DISTINCT date_trunc('month', day::timestamp) AS month FROM {{stale}} WHERE day >= first_month AND day < {_MONTHS_UNTIL}
    ) months, generate_series(month, month + interval '1 month' - interval '1 day', interval '1 day') AS day) AS days_of_reopened"""


def closing_sql(*, with_months: bool = False, with_rest: bool = False, unusable: str | None = None) -> str:
    """Return the SELECT of the one row that says what is closed of the range `:start` to `:end`.

    Days before `open_from` are closed but for `reopened`; `is_whole`: no closed day lies after the range. `with_months`: months from
    `:first_month` to before `months_until` are closed but for `reopened_months`, whose days are `days_of_reopened`. `with_rest`: a day
    that is closed in part counts as closed, and its records from `rest_from` to before `rest_until` are to be added; where the cube has
    fewer rows of it, it counts as reopened, and no records are. `unusable`: an SQL condition under which no day counts as closed.
    """
    stale = _STALE_IN_PART if with_rest else "reopened_days"
    until = "closed_until" if unusable is None else f"CASE WHEN {unusable} THEN DATE '2000-01-01' ELSE closed_until END"
    return _CLOSING.format(
        stale=stale,
        columns=(_MONTHS.format(stale=stale) if with_months else "") + (_REST if with_rest else ""),
        bounds=_MONTH_BOUNDS if with_months else _BOUNDS,
        usable=_USABLE_IN_PART if with_rest else _USABLE.format(until=until),
    )


_TYPES: dict[str, Any] = {
    "open_from": Date(),
    "is_whole": Boolean(),
    "reopened": ARRAY(Date()),
}
_MONTH_TYPES: dict[str, Any] = {
    "months_until": Date(),
    "reopened_months": ARRAY(Date()),
    "days_of_reopened": ARRAY(Date()),
}
_REST_TYPES: dict[str, Any] = {"rest_from": DateTime(timezone=True), "rest_until": DateTime(timezone=True)}


@dataclass(frozen=True, slots=True)
class Closing:
    """The row of `closing_sql` within a SELECT. Each of its values is looked up once."""

    cte: CTE

    @classmethod
    def of(cls, *, with_months: bool = False, with_rest: bool = False, unusable: str | None = None) -> Closing:
        """Return the row for a SELECT that is to be compiled."""
        columns = _TYPES | (_MONTH_TYPES if with_months else {}) | (_REST_TYPES if with_rest else {})
        statement = closing_sql(with_months=with_months, with_rest=with_rest, unusable=unusable)
        return cls(text(statement).columns(**columns).cte("closing"))

    def value(self, name: str) -> Any:
        """Return one of its values, as an expression; arrays are fit for ANY and ALL."""
        return cast(select(self.cte.c[name]).scalar_subquery(), self.cte.c[name].type)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a stored rollup to be summed. `where`: those of the range; `sign` -1: they are taken off, because they are stale.

    `of_records`: they are records, to be aggregated.
    """

    table: Table
    where: ColumnElement[bool]
    sign: int = 1
    of_records: bool = False


def _days(name: str) -> Any:
    return bindparam(name, type_=Date())


def split_range(shape: Shape) -> list[Part]:
    """Return the parts of a shape's range. The values that they need are the plan's parameters."""
    source = ROLLUP_TABLES[shape.rollup.name]
    if shape.condensed is None:
        bucket = source.c[shape.rollup.grain.value]
        start, end = bindparam("start", type_=bucket.type), bindparam("end", type_=bucket.type)
        return [Part(source, and_(bucket >= start, bucket < end))]
    with_rest = shape.rollup is BY_DAY_ALL
    closing = Closing.of(with_months=shape.with_months, with_rest=with_rest)
    parts = _open_parts(shape, source, closing)
    if with_rest:
        parts.append(_rest(closing))
    of_days: list[Part] = []
    if shape.condensed.by_day is not None:
        of_days += _closed_days(ROLLUP_TABLES[shape.condensed.by_day.name], closing, with_months=shape.with_months)
    if shape.with_months and shape.condensed.by_month is not None:
        table = ROLLUP_TABLES[shape.condensed.by_month.name]
        month = table.c[Grain.MONTH.value]
        of_days.append(
            Part(
                table,
                and_(month >= _days("first_month"), month < closing.value("months_until"), _not_in(month, closing, "reopened_months")),
            )
        )
    if not shape.with_ever or shape.condensed.ever is None or shape.condensed.by_day is None:
        return parts + of_days
    whole: ColumnElement[bool] = closing.value("is_whole")
    by_day = ROLLUP_TABLES[shape.condensed.by_day.name]
    return [
        *parts,
        *(Part(part.table, and_(not_(whole), part.where)) for part in of_days),
        Part(ROLLUP_TABLES[shape.condensed.ever.name], whole),
        # All time holds the days as they were when they were closed.
        Part(by_day, and_(whole, _in(by_day.c.day, closing, "reopened")), sign=-1),
    ]


def _in(column: Any, closing: Closing, name: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column == func.any(closing.value(name))
    return found


def _not_in(column: Any, closing: Closing, name: str) -> ColumnElement[bool]:
    missing: ColumnElement[bool] = column != func.all(closing.value(name))
    return missing


def _open_parts(shape: Shape, source: Table, closing: Closing) -> list[Part]:
    day = source.c[Grain.DAY.value]
    if shape.condensed is not None and shape.condensed.by_day is None:
        # By day the source is narrow enough: all that is in no closed month.
        return [
            Part(source, and_(day >= _days("start"), day < func.least(_days("first_month"), _days("end"), type_=Date()))),
            Part(source, and_(day >= closing.value("months_until"), day < _days("end"))),
            Part(source, _in(day, closing, "days_of_reopened")),
        ]
    return [
        Part(source, and_(day >= closing.value("open_from"), day < _days("end"))),
        Part(source, _in(day, closing, "reopened")),
    ]


def _rest(closing: Closing) -> Part:
    """The records of the last minutes, of the day that is closed in part."""
    records = metadata.tables["usage_records"]
    at = records.c.occurred_at
    # They are in the range; that it is said once more lets the server leave out the months that are not.
    start, end = (func.timezone("UTC", cast(_days(name), DateTime())) for name in ("start", "end"))
    return Part(
        records,
        and_(at >= closing.value("rest_from"), at < closing.value("rest_until"), at >= start, at < end),
        of_records=True,
    )


def _closed_days(table: Table, closing: Closing, *, with_months: bool) -> list[Part]:
    day, open_from = table.c[Grain.DAY.value], closing.value("open_from")
    clean = _not_in(day, closing, "reopened")
    if not with_months:
        return [Part(table, and_(day >= _days("start"), day < open_from, clean))]
    first = func.least(_days("first_month"), open_from, type_=Date())
    return [
        Part(table, and_(day >= _days("start"), day < first, clean)),
        Part(table, and_(day >= closing.value("months_until"), day < open_from, clean)),
        Part(table, and_(_in(day, closing, "days_of_reopened"), clean)),
    ]


def bucket_of(part: Part, shape: Shape) -> ColumnElement[Any]:
    """Return the start of the bucket that the shape asks for, of a part's rows."""
    if shape.bucket is None:
        raise ValueError("no bucket is asked for")
    if part.of_records:
        return literal_column(shape.bucket.expression.format(column=shape.rollup.grain.record_expression), Date())
    stored = part.table.c[Grain.MONTH.value] if Grain.MONTH.value in part.table.c else part.table.c[shape.rollup.grain.value]
    return literal_column(shape.bucket.expression.format(column=f"{part.table.name}.{stored.name}"), stored.type)
