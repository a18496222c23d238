"""What is kept of closed days, as SQL: statements that derive it anew for some days. Pure; from the cube.

Each statement sees one instant of the rollup that it reads, and writes only rows that differ. Its parameters: `days`, dates.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.cube.dimensions import Grain
from app.cube.metrics import REQUEST_COUNT
from app.cube.ranking import ranked_source, select_ranked
from app.cube.rollups import BY_DAY_ALL, Condensed, Rollup
from app.write.rollup import select_rollup_rows


def _measures(rollup: Rollup) -> list[str]:
    return [measure.name for measure in rollup.measures]


def _listed(template: str, names: Iterable[str], separator: str = ", ") -> str:
    return separator.join(template.format(name=name) for name in names)


def select_condensed(condensed: Condensed, rollup: Rollup, source: str) -> str:
    """Return the SELECT of the rows that `rollup` should have for `source`: a relation with the source rollup's columns."""
    keys = [rollup.grain.day_expression if column == rollup.grain.value else column for column in rollup.key]
    where = "" if condensed.only is None else f" WHERE {condensed.only.key} <> 0"
    groups = ", ".join(str(position) for position in range(1, len(keys) + 1))
    sums = _listed("sum({name}) AS {name}", _measures(rollup))
    return f"SELECT {', '.join(keys)}, {sums} FROM {source}{where} GROUP BY {groups} HAVING sum({REQUEST_COUNT.name}) <> 0"


def _columns(rollup: Rollup) -> str:
    return ", ".join((*rollup.key, *_measures(rollup)))


_PART = "(SELECT * FROM usage_records WHERE occurred_at >= %(from)s AND occurred_at < %(until)s) records"
_PART_OF_DAY = f"(SELECT * FROM ({select_rollup_rows(BY_DAY_ALL, _PART)}) AS part ({_columns(BY_DAY_ALL)}))"
"""The cube of the records of a part of a day, from the records: the stored one holds the whole day."""

_SINCE = "(SELECT * FROM usage_records WHERE occurred_at >= %(until)s AND occurred_at < %(from)s + interval '1 day') records"
_DAY_LESS_SINCE = (
    f"(SELECT {_columns(BY_DAY_ALL)} FROM {BY_DAY_ALL.name} WHERE day = ANY(%(days)s) UNION ALL"
    f" SELECT {', '.join(BY_DAY_ALL.key)}, {_listed('-{name}', _measures(BY_DAY_ALL))}"
    f" FROM ({select_rollup_rows(BY_DAY_ALL, _SINCE)}) AS since ({_columns(BY_DAY_ALL)}))"
)
"""The same from the stored cube and the few records that came since, so that a part costs no more the later it is in the day."""


def _fresh_and_stored(condensed: Condensed, rollup: Rollup, source: str) -> list[str]:
    """Common tables `fresh`, `stored` and `difference`: key, each measure as it should be and as much as it grows, whether it is to go."""
    columns = ", ".join((*rollup.key, *_measures(rollup)))
    bucket = rollup.grain.value
    key = ", ".join(rollup.key)
    names = _measures(rollup)
    buckets = f"SELECT {rollup.grain.day_expression} FROM unnest(%(days)s::date[]) day"
    return [
        f"fresh ({columns}) AS MATERIALIZED"
        f" ({select_condensed(condensed, rollup, f'(SELECT * FROM {source} cube WHERE day = ANY(%(days)s)) days')})",
        f"stored AS MATERIALIZED (SELECT {columns} FROM {rollup.name} WHERE {bucket} IN ({buckets}))",
        f"difference AS MATERIALIZED (SELECT {key}, {_listed('f.{name} AS fresh_{name}', names)},"
        f" {_listed('coalesce(f.{name}, 0) - coalesce(s.{name}, 0) AS {name}', names)}, f.request_count IS NULL AS is_gone"
        f" FROM fresh f FULL JOIN stored s USING ({key})"
        f" WHERE ({_listed('f.{name}', names)}) IS DISTINCT FROM ({_listed('s.{name}', names)}))",
    ]


def _accumulate(rollup: Rollup) -> str:
    names = _measures(rollup)
    keys = [rollup.grain.day_expression if column == rollup.grain.value else column for column in rollup.key]
    groups = ", ".join(str(position) for position in range(1, len(keys) + 1))
    return (
        f"INSERT INTO {rollup.name} AS t ({', '.join((*rollup.key, *names))})"
        f" SELECT {', '.join(keys)}, {_listed('sum({name})', names)} FROM difference GROUP BY {groups}"
        f" ON CONFLICT ({', '.join(rollup.key)}) DO UPDATE SET {_listed('{name} = t.{name} + excluded.{name}', names)}"
    )


def condense_days(condensed: Condensed, *, in_part: bool = False) -> str:
    """Return the statement that derives `by_day` anew for the days, and adds what differs to the months and to all time.

    `in_part`: only of the records from before the parameter `until`, of the one day that begins at `from`.
    It gives one row: how many rows of `by_day` went away, whose months and totals may be empty then.
    """
    rollup = condensed.by_day
    if rollup is None:
        raise ValueError("there are no days to derive")
    sums = [f"sums_{number} AS ({_accumulate(coarser)})" for number, coarser in enumerate(condensed.rollups[1:])]
    return f"/* app:condense_days */ {_replace(condensed, rollup, sums, _DAY_LESS_SINCE if in_part else condensed.source.name)}"


def condense_months(condensed: Condensed) -> str:
    """Return the statement that derives months of the source anew; `days` are all days of those months. It gives one row, as the other."""
    rollup = condensed.by_month
    if rollup is None or condensed.by_day is not None:
        raise ValueError("the months are sums of stored days")
    return f"/* app:condense_months */ {_replace(condensed, rollup, [], condensed.source.name)}"


def _replace(condensed: Condensed, rollup: Rollup, more: list[str], source: str) -> str:
    names = _measures(rollup)
    match = " AND ".join(f"t.{column} = d.{column}" for column in rollup.key)
    steps = [
        *_fresh_and_stored(condensed, rollup, source),
        f"gone AS (DELETE FROM {rollup.name} t USING difference d WHERE d.is_gone AND {match})",
        f"kept AS (INSERT INTO {rollup.name} ({', '.join((*rollup.key, *names))})"
        f" SELECT {', '.join(rollup.key)}, {_listed('fresh_{name}', names)} FROM difference WHERE NOT is_gone"
        f" ORDER BY {rollup.grain.value}, {', '.join(rollup.key)}"
        f" ON CONFLICT ({', '.join(rollup.key)}) DO UPDATE SET {_listed('{name} = excluded.{name}', names)})",
        *more,
    ]
    return f"WITH {', '.join(steps)} SELECT count(*) FILTER (WHERE is_gone) FROM difference"


def remove_empty(condensed: Condensed) -> list[str]:
    """Return the statements that remove sums of nothing: months and totals whose last day went away."""
    return [f"DELETE FROM {rollup.name} WHERE request_count = 0" for rollup in condensed.rollups if rollup is not condensed.by_day]


def sum_days_anew(condensed: Condensed, rollup: Rollup) -> list[str]:
    """Return the statements that store months (from `start` to before `end`, first dates) or totals anew, as sums of the stored days."""
    if condensed.by_day is None or rollup is condensed.by_day:
        raise ValueError("these are not sums of stored days")
    columns = ", ".join((*rollup.key, *_measures(rollup)))
    of_months = rollup.grain is Grain.MONTH
    days = f"(SELECT * FROM {condensed.by_day.name}{' WHERE day >= %(start)s AND day < %(end)s' if of_months else ''}) days"
    return [
        f"DELETE FROM {rollup.name}{' WHERE month >= %(start)s AND month < %(end)s' if of_months else ''}",
        f"INSERT INTO {rollup.name} ({columns}) {select_condensed(condensed, rollup, days)}",
    ]


RANK_DAYS = f"""/* app:rank_days */ WITH fresh AS MATERIALIZED ({select_ranked(ranked_source("d.day = ANY(%(days)s)"), "ranked_public")}),
gone AS (
  DELETE FROM rankings_by_day t WHERE t.day = ANY(%(days)s) AND NOT EXISTS (SELECT FROM fresh f WHERE f.day = t.day AND f.place = t.place)
)
INSERT INTO rankings_by_day AS t (day, place, permaslug, tokens)
SELECT day, place, permaslug, tokens FROM fresh ORDER BY day, place
ON CONFLICT (day, place) DO UPDATE SET permaslug = excluded.permaslug, tokens = excluded.tokens
WHERE (t.permaslug, t.tokens) IS DISTINCT FROM (excluded.permaslug, excluded.tokens)
"""
"""Ranks the days anew. A model is as public as its `ranked_public` says."""


_CLEAN_DAY = (
    "x.day >= %(start)s AND x.day < %(end)s AND x.day < (SELECT closed_until FROM closing_state)"
    " AND NOT EXISTS (SELECT FROM reopened_days r WHERE r.day = x.day)"
)
_CLEAN_MONTH = (
    "{month} >= %(start)s AND {month} < %(end)s AND {month} < (SELECT date_trunc('month', closed_until::timestamp) FROM closing_state)"
    " AND NOT EXISTS (SELECT FROM reopened_days r WHERE date_trunc('month', r.day::timestamp)::date = {month})"
)


def select_wrong_part(condensed: Condensed) -> str:
    """Return the SELECT of the rows kept of a day that is closed in part that differ from its records, as `select_wrong_sums`.

    Parameters: `days`, that one, and `from` and `until`.
    """
    rollup = condensed.by_day
    if rollup is None:
        raise ValueError("there are no days")
    names = _measures(rollup)
    steps = _fresh_and_stored(condensed, rollup, _PART_OF_DAY)[:2]
    return (
        f"/* app:verify {rollup.name} */ WITH {', '.join(steps)} SELECT {', '.join(rollup.key)}, {_listed('s.{name}', names)},"
        f" {_listed('f.{name}', names)} FROM stored s FULL JOIN fresh f USING ({', '.join(rollup.key)})"
        f" WHERE ({_listed('s.{name}', names)}) IS DISTINCT FROM ({_listed('f.{name}', names)}) ORDER BY {', '.join(rollup.key)}"
    )


def select_wrong_sums(condensed: Condensed, rollup: Rollup) -> str:
    """Return the SELECT of stored rows that differ from what they are derived from: key, measures as stored, measures as expected.

    `start` and `end`: first dates of months. What was reopened is left out, but for the sums of stored days. EVER ignores the dates.
    """
    names, key = _measures(rollup), ", ".join(rollup.key)
    columns = ", ".join((*rollup.key, *names))
    stored, source = f"SELECT {columns} FROM {rollup.name} x", condensed.source.name
    if rollup is condensed.by_day:
        stored += f" WHERE {_CLEAN_DAY}"
        source = f"(SELECT * FROM {source} x WHERE {_CLEAN_DAY}) x"
    elif condensed.by_day is None:
        stored += f" WHERE {_CLEAN_MONTH.format(month='x.month')}"
        month = Grain.MONTH.day_expression.replace("day", "x.day")
        source = f"(SELECT * FROM {source} x WHERE x.day >= %(start)s AND x.day < %(end)s AND {_CLEAN_MONTH.format(month=month)}) x"
    elif rollup.grain is Grain.MONTH:
        stored += " WHERE x.month >= %(start)s AND x.month < %(end)s"
        source = f"(SELECT * FROM {condensed.by_day.name} WHERE day >= %(start)s AND day < %(end)s) x"
    else:
        source = condensed.by_day.name
    return (
        f"/* app:verify {rollup.name} */ WITH e ({columns}) AS ({select_condensed(condensed, rollup, source)}), s AS ({stored})"
        f" SELECT {key}, {_listed('s.{name}', names)}, {_listed('e.{name}', names)} FROM s FULL JOIN e USING ({key})"
        f" WHERE ({_listed('s.{name}', names)}) IS DISTINCT FROM ({_listed('e.{name}', names)}) ORDER BY {key}"
    )


WRONG_RANKINGS = f"""/* app:verify rankings_by_day */
WITH fresh AS MATERIALIZED ({select_ranked(ranked_source(_CLEAN_DAY.replace("x.", "d.")), "ranked_public")}),
stored AS (SELECT x.day, x.place, x.permaslug, x.tokens FROM rankings_by_day x WHERE {_CLEAN_DAY})
SELECT day, place, s.permaslug, s.tokens, e.permaslug, e.tokens FROM stored s FULL JOIN fresh e USING (day, place)
WHERE (s.permaslug, s.tokens) IS DISTINCT FROM (e.permaslug, e.tokens) ORDER BY day, place
"""
"""The stored rankings that are not as `models.ranked_public` has them, in the form of `select_wrong_sums`."""
