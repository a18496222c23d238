"""The users who spent most in a range, without summing every user: Fagin's threshold algorithm over days, months and all time.

Each closed day and month has its users in the order of what they spent. Whoever is not among the first M of any bucket of the range spent
no more than the sum of what stands in the M-th places. So if the last user to be answered, summed exactly, spent more than that, nobody
else belongs there. Buckets are ordered by the pair (cost, requests): pairs compare and add up as numbers do. Pure; SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from app.analytics.parts import closing_sql
from app.analytics.plan import Plan, Shape
from app.analytics.select import CompiledSelect
from app.cube.dimensions import USER
from app.cube.metrics import COST_USD, REQUEST_COUNT
from app.cube.rollups import SPENDERS

_WIDTH = 2
"""M, as a multiple of the number of users that are asked for: of a month's users, or of a day's where the range has no whole month."""

_MANY = 12
"""With so many times more users among the first of days, as a multiple likewise, they differ too much: it is better to sum all."""

_MANY_OF_MONTHS = 100
"""The same where there are whole months, of which all are many more."""

_BY_DAY, _BY_MONTH, _EVER = (rollup.name for rollup in SPENDERS.rollups)
_FINE = SPENDERS.source.name

_PAIR = "cost_usd, request_count"
_GREATEST = "ORDER BY cost_usd DESC, request_count DESC"
_SUMS = "sum(cost_usd) AS cost_usd, sum(request_count) AS request_count"
_REOPENED = "day = ANY((SELECT reopened FROM closing)::date[])"

# `changes`: what days that are not closed add. Sums of all time hold the reopened days as they were, so that is taken off.
_CHANGES = f"""
changes AS MATERIALIZED (
  SELECT user_id, {_SUMS} FROM (
    SELECT user_id, {_PAIR} FROM {_FINE} WHERE user_id <> 0 AND day >= (SELECT open_from FROM closing) AND day < %(end)s
    UNION ALL
    SELECT user_id, {_PAIR} FROM {_FINE} WHERE user_id <> 0 AND {_REOPENED}
    {{stale}}
  ) open_days GROUP BY user_id
)"""
_STALE = f"UNION ALL SELECT user_id, -cost_usd, -request_count FROM {_BY_DAY} WHERE {_REOPENED}"

# `placed`: the first M of each bucket; `cuts`: what stands in the M-th place of each that has so many users.
_PLACED = f"""
placed AS MATERIALIZED (
  {{placed}}
  UNION ALL
  SELECT * FROM (SELECT 'open' AS bucket, user_id, {_PAIR} FROM changes {_GREATEST} LIMIT %(width)s) open_users
),
cuts AS MATERIALIZED (
  SELECT * FROM (
    {{cuts}}
    UNION ALL
    SELECT * FROM (SELECT 'open' AS bucket, {_PAIR} FROM changes {_GREATEST} OFFSET %(width)s - 1 LIMIT 1) open_cut
  ) cuts WHERE ({_PAIR}) > (0, 0)
),
cut AS MATERIALIZED (
  SELECT coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(request_count), 0) AS request_count, count(*) AS number FROM cuts
)"""

# Each user's cost lies between what is known of it and that and the cuts of the buckets where nothing is known.
_CANDIDATES = """
known AS MATERIALIZED (
  SELECT p.user_id, sum(p.cost_usd) AS cost_usd, sum(p.cost_usd - coalesce(c.cost_usd, 0)) AS cost_above
  FROM placed p LEFT JOIN cuts c USING (bucket)
  WHERE (SELECT count(DISTINCT user_id) FROM placed) <= %(many)s OR (SELECT number FROM cut) = 0
  GROUP BY p.user_id
),
candidates AS MATERIALIZED (
  SELECT k.user_id FROM known k CROSS JOIN cut c
  LEFT JOIN (SELECT cost_usd FROM known ORDER BY cost_usd DESC OFFSET %(limit)s - 1 LIMIT 1) surely ON true
  WHERE surely.cost_usd IS NULL OR k.cost_above + c.cost_usd >= surely.cost_usd
)"""

_RESULT = f"""
answer AS MATERIALIZED (
  SELECT u.external_id, coalesce(o.cost_usd, 0) + coalesce(b.cost_usd, 0) AS cost_usd,
    coalesce(o.request_count, 0) + coalesce(b.request_count, 0) AS request_count
  FROM candidates c
  JOIN users u ON u.id = c.user_id
  LEFT JOIN changes o ON o.user_id = c.user_id
  LEFT JOIN LATERAL (SELECT {_SUMS} FROM ({{closed}}) buckets) b ON true
  WHERE coalesce(o.request_count, 0) + coalesce(b.request_count, 0) > 0
  {_GREATEST}, external_id LIMIT %(limit)s
),
proof AS (
  SELECT {{applies}} AND (cut.number = 0 OR (
    (SELECT count(*) FROM answer) = %(limit)s AND (l.cost_usd, l.request_count) > (cut.cost_usd, cut.request_count)
  )) AS is_proven
  FROM cut LEFT JOIN (SELECT {_PAIR} FROM answer ORDER BY {_PAIR} LIMIT 1) l ON true
)
SELECT is_proven, external_id, {_PAIR} FROM proof LEFT JOIN answer ON true {_GREATEST}, external_id
"""


def _placed(table: str, bucket: str, buckets: str) -> str:
    first = f"SELECT user_id, {_PAIR} FROM {table} WHERE {bucket} = b.bucket {_GREATEST} LIMIT %(width_of_{bucket})s"
    return f"SELECT '{bucket}' || b.bucket AS bucket, t.* FROM {buckets} b, LATERAL ({first}) t"


def _cut(table: str, bucket: str, buckets: str) -> str:
    last = f"SELECT {_PAIR} FROM {table} WHERE {bucket} = b.bucket {_GREATEST} OFFSET %(width_of_{bucket})s - 1 LIMIT 1"
    return f"SELECT '{bucket}' || b.bucket AS bucket, t.* FROM {buckets} b, LATERAL ({last}) t"


def _closed(table: str, bucket: str, buckets: str) -> str:
    return f"SELECT {_PAIR} FROM {table} WHERE user_id = c.user_id AND {bucket} = ANY(ARRAY(SELECT bucket FROM {buckets}))"


def _days(*, with_months: bool) -> str:
    in_no_month = (
        " AND NOT (day >= %(first_month)s AND day < months_until AND date_trunc('month', day)::date <> ALL(reopened_months))"
        if with_months
        else ""
    )
    return (
        "days AS MATERIALIZED (SELECT day::date AS bucket"
        " FROM closing, generate_series(%(start)s::timestamp, open_from::timestamp - interval '1 day', interval '1 day') day"
        f" WHERE day::date <> ALL(reopened){in_no_month})"
    )


_MONTHS = (
    "months AS MATERIALIZED (SELECT month::date AS bucket"
    " FROM closing, generate_series(%(first_month)s::timestamp, months_until::timestamp - interval '1 day', interval '1 month') month"
    " WHERE month::date <> ALL(reopened_months))"
)


def _closing(*, with_months: bool) -> str:
    select = closing_sql(with_months=with_months)
    for name in ("start", "end", "first_month", "last_month"):
        select = select.replace(f"CAST(:{name} AS date)", f"%({name})s::date")
    return f"closing AS MATERIALIZED ({select})"


@lru_cache(maxsize=2)
def select_top_users_in_range(*, with_months: bool) -> CompiledSelect:
    """Return the SELECT over the buckets of a range: (is_proven, user id, cost, requests), the greatest first.

    Values: the plan's, `limit`, and `width`, how many of each bucket are looked at. The answer is right if `is_proven`. A row without
    a user: there is none.
    """
    sources = [(_BY_DAY, "day", "days")]
    steps = [_closing(with_months=with_months), _days(with_months=with_months)]
    if with_months:
        steps.append(_MONTHS)
        sources.append((_BY_MONTH, "month", "months"))
    placed, cuts, closed = (" UNION ALL ".join(part(*source) for source in sources) for part in (_placed, _cut, _closed))
    steps += [_CHANGES.format(stale=""), _PLACED.format(placed=placed, cuts=cuts), _CANDIDATES]
    result = _RESULT.format(closed=closed, applies="true")
    return CompiledSelect(f"/* app:top_users */ WITH {', '.join(steps)}, {result}", {})


@lru_cache(maxsize=2)
def select_all_users(*, with_months: bool) -> CompiledSelect:
    """Return the SELECT that sums every user of a range, always proven: as `select_top_users_in_range`."""
    steps = [_closing(with_months=with_months), _days(with_months=with_months), _CHANGES.format(stale="")]
    sources = [f"SELECT user_id, {_PAIR} FROM {_BY_DAY} WHERE day = ANY(ARRAY(SELECT bucket FROM days))"]
    if with_months:
        steps.append(_MONTHS)
        sources.append(f"SELECT user_id, {_PAIR} FROM {_BY_MONTH} WHERE month = ANY(ARRAY(SELECT bucket FROM months))")
    return CompiledSelect(
        f"/* app:top_users_all */ WITH {', '.join(steps)}, sums AS ("
        f"SELECT user_id, {_SUMS} FROM ({' UNION ALL '.join(sources)} UNION ALL SELECT * FROM changes) parts GROUP BY user_id"
        f" ORDER BY sum(cost_usd) DESC, sum(request_count) DESC FETCH FIRST %(limit)s ROWS WITH TIES)"
        f" SELECT true, u.external_id, {_PAIR} FROM sums JOIN users u ON u.id = user_id {_GREATEST}, external_id LIMIT %(limit)s",
        {},
    )


@lru_cache(maxsize=1)
def select_top_users_ever() -> CompiledSelect:
    """Return the SELECT over the sums of all time, for a range that begins before them: as `select_top_users_in_range`.

    It is not proven where closed days lie after the range.
    """
    ever = f"SELECT * FROM (SELECT 'ever' AS bucket, user_id, {_PAIR} FROM {_EVER} {_GREATEST} LIMIT %(width)s) ever"
    cut = f"SELECT * FROM (SELECT 'ever' AS bucket, {_PAIR} FROM {_EVER} {_GREATEST} OFFSET %(width)s - 1 LIMIT 1) ever"
    steps = [
        _closing(with_months=False),
        _CHANGES.format(stale=_STALE),
        _PLACED.format(placed=ever, cuts=cut),
        # What was taken off may be more than what came: nothing is known of a user but the sum.
        "candidates AS (SELECT DISTINCT user_id FROM placed)",
    ]
    result = _RESULT.format(closed=f"SELECT {_PAIR} FROM {_EVER} WHERE user_id = c.user_id", applies="(SELECT is_whole FROM closing)")
    return CompiledSelect(f"/* app:top_users_ever */ WITH {', '.join(steps)}, {result}", {})


def asks_for_top_users(shape: Shape) -> bool:
    """Tell whether a shape is what this module answers: the users of all tenants, the greatest by cost and requests."""
    return (
        shape.condensed is SPENDERS
        and shape.dimensions == (USER,)
        and [metric.measures for metric in shape.metrics] == [(COST_USD,), (REQUEST_COUNT,)]
        and shape.greatest == shape.metrics
        and shape.limit is not None
        and not (shape.filters or shape.in_tenant or shape.only_public or shape.bucket or shape.nonzero)
    )


def try_top_users(plan: Plan) -> Iterator[tuple[CompiledSelect, dict[str, Any]]]:
    """Yield statements with their values, to be asked in turn until one is proven; the last is."""
    shape = plan.shape
    if shape.limit is None:
        raise ValueError("the number of users is not bounded")
    width = _WIDTH * shape.limit
    values = {**plan.parameters(), "limit": shape.limit, "width": width}
    if shape.with_ever:
        yield select_top_users_ever(), values
    # Beside whole months, days matter little.
    by_bucket = {"width_of_month": width, "width_of_day": shape.limit if shape.with_months else width}
    many = (_MANY_OF_MONTHS if shape.with_months else _MANY) * shape.limit
    yield select_top_users_in_range(with_months=shape.with_months), {**values, **by_bucket, "many": many}
    yield select_all_users(with_months=shape.with_months), values
