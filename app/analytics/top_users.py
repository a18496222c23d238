"""The users who spent most in a range, without summing every user: Fagin's threshold algorithm over few buckets that cover the range.

Each stored month has its users in the order of what they spent, and so have each day and all time. Whoever is not among the first M of any
bucket that covers a part of the range spent no more in the range than the sum of what stands in the M-th places. So if the last user to be
answered, summed exactly, spent more than that, nobody else belongs there. The buckets may hold more than the range: their cuts are bounds,
and the few users found in them are summed from the range's own pieces. Buckets are ordered by the pair (cost, requests): pairs compare and
add up as numbers do, and neither is negative. Pure; SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from app.analytics.parts import closing_sql
from app.analytics.pieces import Pieces, month_after, month_of, split_days
from app.analytics.plan import Plan
from app.analytics.select import CompiledSelect
from app.cube.dimensions import Grain
from app.cube.rollups import MODEL_SPENDERS, SPENDERS, Condensed, Rollup

_NARROW, _WIDE = 3, 16
"""M at least and at most, as multiples of the number of users that are asked for, before every user is summed."""

_FEW_DAYS = 3
"""So many days are covered by themselves, more by their months. Of one model, whose users are in order by month only, they are summed."""

_FEW_MONTHS = 4
"""So many months are looked at one by one; a longer range is covered by all time, which holds little more or has been less skewed."""

_PAIR = "cost_usd, request_count"
_GREATEST = "ORDER BY cost_usd DESC, request_count DESC"
_SUMS = "sum(cost_usd) AS cost_usd, sum(request_count) AS request_count"
# One by one and not as a range, of which the server would expect far more days than there are.
_OPEN = "day = ANY((SELECT days FROM open_days)::date[])"
_REOPENED = "day = ANY((SELECT reopened FROM closing)::date[])"
# The range is said once more so that the server can leave out the months that are not in it.
_REST = (
    "occurred_at >= (SELECT rest_from FROM closing) AND occurred_at < (SELECT rest_until FROM closing)"
    " AND occurred_at >= %(start)s::timestamp AT TIME ZONE 'UTC' AND occurred_at < %(end)s::timestamp AT TIME ZONE 'UTC'"
)
_OF_MODELS = "model_id = ANY((SELECT ids FROM asked)::integer[])"


@dataclass(frozen=True, slots=True)
class _Form:
    """All that decides the SQL.

    `cover`: the grain of the buckets; `signs`: of the days among the pieces; `is_ever`: all time is the range.
    """

    condensed: Condensed
    cover: Grain
    has_months: bool
    signs: tuple[int, ...]
    is_ever: bool = False

    @property
    def stored(self) -> dict[Grain, Rollup]:
        """The stored sums."""
        return {rollup.grain: rollup for rollup in self.condensed.rollups}

    @property
    def conditions(self) -> list[str]:
        """What every row read must be, beside its time."""
        return [_OF_MODELS] if self.condensed is MODEL_SPENDERS else []

    def rows(self, rollup: Rollup, *conditions: str, sign: int = 1) -> str:
        """Return the SELECT of a user's rows."""
        pair = _PAIR if sign > 0 else "-cost_usd AS cost_usd, -request_count AS request_count"
        where = " AND ".join((*self.conditions, *conditions))
        return f"SELECT user_id, {pair} FROM {rollup.name}{' WHERE ' if where else ''}{where}"

    def pieces(self, *conditions: str) -> list[str]:
        """Return the SELECTs whose rows add up to what the stored days of the range hold, for users under some conditions."""
        stored = self.stored
        if self.is_ever:
            return [self.rows(stored[Grain.EVER], *conditions)]
        months = [self.rows(stored[Grain.MONTH], *conditions, "month >= %(first_month)s AND month < %(last_month)s")]
        days = [
            self.rows(stored[Grain.DAY], *conditions, f"day >= %(start_{number})s AND day < %(end_{number})s", sign=sign)
            for number, sign in enumerate(self.signs)
        ]
        return (months if self.has_months else []) + days


def _beginning(form: _Form) -> list[str]:
    """What is closed, which models are asked for, and `changes`: what days that are not closed add. Reopened ones are stored stale."""
    closing = closing_sql(with_rest=True)
    for name in ("start", "end"):
        closing = closing.replace(f"CAST(:{name} AS date)", f"%({name})s::date")
    source, by_day = form.condensed.source, form.stored[Grain.DAY]
    parts = [
        form.rows(source, "user_id <> 0", _OPEN),
        form.rows(source, "user_id <> 0", _REOPENED),
        form.rows(by_day, _REOPENED, sign=-1),
        f"SELECT user_id, cost_usd, 1 FROM usage_records WHERE {' AND '.join((*form.conditions, 'user_id <> 0', _REST))}",
    ]
    asked = ["asked AS MATERIALIZED (SELECT ARRAY(SELECT id FROM models WHERE public_id = %(filter_0)s) AS ids)"] if form.conditions else []
    series = "generate_series(open_from::timestamp, %(end)s::timestamp - interval '1 day', interval '1 day')"
    return [
        f"closing AS MATERIALIZED ({closing})",
        f"open_days AS MATERIALIZED (SELECT ARRAY(SELECT day::date FROM closing, {series} day) AS days)",
        *asked,
        f"changes AS MATERIALIZED (SELECT user_id, {_SUMS} FROM ({' UNION ALL '.join(parts)}) parts GROUP BY user_id)",
    ]


def _placed(form: _Form) -> str:
    """`placed`: the first M of each bucket, with their places."""
    rollup = form.stored[form.cover]
    bucket = form.cover.value
    place = f"row_number() OVER ({_GREATEST}) AS place"
    buckets, conditions = [], []
    if form.conditions:
        buckets.append("(SELECT unnest(ids) AS id FROM asked) m")
        conditions.append("model_id = m.id")
    if form.cover is not Grain.EVER:
        series = f"generate_series(%(cover_start)s::timestamp, %(cover_end)s::timestamp - interval '1 day', interval '1 {bucket}')"
        buckets.append(f"(SELECT bucket::date AS bucket FROM {series} bucket) b")
        conditions.append(f"{bucket} = b.bucket")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    first = f"SELECT user_id, {_PAIR}, {place} FROM {rollup.name}{where} {_GREATEST} LIMIT %(width)s"
    stored = f"SELECT t.* FROM {', '.join(buckets)}, LATERAL ({first}) t" if buckets else f"SELECT * FROM ({first}) t"
    changed = f"SELECT * FROM (SELECT user_id, {_PAIR}, {place} FROM changes {_GREATEST} LIMIT %(width)s) c"
    return f"placed AS MATERIALIZED ({stored} UNION ALL {changed})"


# A user who is in no bucket adds nothing by it, so a cut is never below zero; what was taken off may make one of `changes` so.
_CUT = f"""
cut AS MATERIALIZED (
  SELECT coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(request_count), 0) AS request_count, count(*) AS number
  FROM placed WHERE place = %(width)s AND ({_PAIR}) > (0, 0)
)"""

# The name is looked up for those who are answered only, each by the key, whatever number of them the server expects.
_NAME = "(SELECT u.external_id FROM users u WHERE u.id = user_id) AS external_id"
_FIRST = f"{_GREATEST} FETCH FIRST %(limit)s ROWS WITH TIES"
_IN_ORDER = f"{_GREATEST}, external_id LIMIT %(limit)s"


@lru_cache(maxsize=64)
def _select_by_threshold(form: _Form) -> CompiledSelect:
    """Return the SELECT over the first of the buckets: (is_proven, user id, cost, requests), the greatest first.

    Values: those of `_values`, and `width`, how many of each bucket are looked at. The answer is right if `is_proven`. A row without a
    user: there is none. `is_ever` is not proven where closed days lie after the range.
    """
    stored = " UNION ALL ".join(form.pieces("user_id = c.user_id"))
    applies = "(SELECT is_whole FROM closing) AND " if form.is_ever else ""
    steps = [
        *_beginning(form),
        _placed(form),
        _CUT,
        "candidates AS MATERIALIZED (SELECT DISTINCT user_id FROM placed)",
        f"""first AS MATERIALIZED (
  SELECT user_id, coalesce(o.cost_usd, 0) + coalesce(s.cost_usd, 0) AS cost_usd,
    coalesce(o.request_count, 0) + coalesce(s.request_count, 0) AS request_count
  FROM candidates c LEFT JOIN changes o USING (user_id) CROSS JOIN LATERAL (SELECT {_SUMS} FROM ({stored}) pieces) s
  WHERE coalesce(o.request_count, 0) + coalesce(s.request_count, 0) > 0
  {_FIRST}
)""",
    ]
    proof = f"""proof AS MATERIALIZED (
  SELECT {applies}(cut.number = 0 OR (
    (SELECT count(*) FROM first) >= %(limit)s AND (l.cost_usd, l.request_count) > (cut.cost_usd, cut.request_count)
  )) AS is_proven
  FROM cut LEFT JOIN (SELECT {_PAIR} FROM first ORDER BY {_PAIR} LIMIT 1) l ON true
)"""
    return CompiledSelect(
        f"/* app:top_users */ WITH {', '.join([*steps, proof])} SELECT is_proven, {_NAME}, {_PAIR} FROM proof LEFT JOIN first ON true"
        f" {_IN_ORDER}",
        {},
    )


@lru_cache(maxsize=32)
def _select_all(form: _Form) -> CompiledSelect:
    """Return the SELECT that sums every user of a range, always proven: as `_select_by_threshold`."""
    parts = " UNION ALL ".join([*form.pieces(), "SELECT * FROM changes"])
    first = f"SELECT user_id, {_SUMS} FROM ({parts}) parts GROUP BY user_id HAVING sum(request_count) > 0 {_FIRST}"
    return CompiledSelect(
        f"/* app:top_users_all */ WITH {', '.join(_beginning(form))}, first AS ({first})"
        f" SELECT true, {_NAME}, {_PAIR} FROM first {_IN_ORDER}",
        {},
    )


def _cover(start: date, end: date, *, by_days: bool) -> tuple[Grain, date, date]:
    """Return the grain of the buckets that hold the range, and their bounds. `by_days`: whether days are ordered."""
    if by_days and (end - start).days <= _FEW_DAYS:
        return Grain.DAY, start, end
    first, last = month_of(start), end if end.day == 1 else month_after(end)
    months = (last.year - first.year) * 12 + last.month - first.month
    return (Grain.MONTH if months <= _FEW_MONTHS else Grain.EVER), first, last


def _widths(cover: Grain, days: int, covered: int) -> list[int]:
    """Return the multiples to try: the more the buckets hold that is not asked for, the looser their bounds are."""
    # How much all time holds is not known here.
    first = 4 if cover is Grain.EVER else min(max(_NARROW, -(-2 * covered // max(days, 1))), _WIDE)
    return [first, _WIDE] if first < _WIDE else [_WIDE]


def _values(plan: Plan, pieces: Pieces) -> dict[str, Any]:
    values: dict[str, Any] = {**plan.parameters(), "first_month": pieces.first_month, "last_month": pieces.last_month}
    for number, days in enumerate(pieces.days):
        values |= {f"start_{number}": days.start, f"end_{number}": days.end}
    return values


def try_top_users(plan: Plan) -> Iterator[tuple[CompiledSelect, dict[str, Any]]]:
    """Yield statements with their values, to be asked in turn until one is proven; the last is."""
    shape = plan.shape
    if shape.limit is None or shape.condensed is None:
        raise ValueError("the number of users is not bounded")
    pieces = split_days(plan.range)
    cover, cover_start, cover_end = _cover(plan.range.start.date(), plan.range.end.date(), by_days=shape.condensed is SPENDERS)
    form = _Form(shape.condensed, cover, pieces.has_months, tuple(days.sign for days in pieces.days))
    values = {**_values(plan, pieces), "limit": shape.limit, "cover_start": cover_start, "cover_end": cover_end}
    if shape.with_ever:
        yield _select_by_threshold(_Form(shape.condensed, Grain.EVER, False, (), is_ever=True)), {**values, "width": 2 * shape.limit}
    days = (plan.range.end - plan.range.start).days
    if cover is Grain.DAY or days > _FEW_DAYS:
        for width in _widths(cover, days, (cover_end - cover_start).days):
            yield _select_by_threshold(form), {**values, "width": width * shape.limit}
    yield _select_all(form), values
