"""The write, as SQL: keeps the records that are new and adds just those to every rollup. Pure; from the cube.

A few records are one statement. Many are two in one transaction, so that their bulk is encoded while the server looks at their keys,
and that of a replay not at all: one claims the keys, the other stores what was claimed. So are a few that mention names that nobody has
registered: those are registered in between, and so never by a duplicate.

Every process locks rows in the same order: new tenants, request ids, other new names, records, rollups in the cube's order, each sorted
by its key, then the closed days that it reopens. So writers wait for each other but never in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.cube.rollups import BY_DAY_MODEL, BY_HOUR_MODEL, ROLLUPS, Rollup
from app.write.stage import COUNTS, DERIVED, DISPLAY_NAMES, STAGE, STAGE_TABLE, STAGED, STORED, copied_columns

_NAMES = ", ".join(column.name for column in STAGE)
_FROM_ARRAYS = "SELECT * FROM unnest(" + ", ".join(f"%s::text::{column.type}[]" for column in STAGE) + f") AS arrays ({_NAMES})"

CREATE_STAGE = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGE_TABLE} ("
    + ", ".join(f"{column.name} {column.type}" for column in STAGED)
    + ") ON COMMIT DELETE ROWS"
)
EMPTY_STAGE = f"DELETE FROM {STAGE_TABLE}"


def copy_stage(*, with_names: bool, with_parts: bool) -> str:
    """Return the COPY into the staging table, of `columns.encode_copy`'s lines."""
    return f"COPY {STAGE_TABLE} ({', '.join(copied_columns(with_names=with_names, with_parts=with_parts))}) FROM STDIN"


_INSERT_KEYS = """INSERT INTO recent_requests (tenant_id, digest)
  SELECT b.tenant_id, b.digest FROM {keys} b
  WHERE NOT EXISTS (SELECT FROM previous_requests p WHERE p.tenant_id = b.tenant_id AND p.digest = b.digest)
  ORDER BY b.tenant_id, b.digest"""

_ONLY_NEW = """
  ON CONFLICT DO NOTHING
  RETURNING"""

_FRESH = f"""
fresh AS (
  {_INSERT_KEYS.format(keys="batch")}{_ONLY_NEW} tenant_id, digest
)"""

_KEYS = "unnest(%b::integer[], %b::uuid[])"

CLAIM_ALL = f"/* app:claim */ {_INSERT_KEYS.format(keys=f'(SELECT * FROM {_KEYS} AS keys (tenant_id, digest))')}"
"""Claims keys, given as two arrays, that are taken for new. A unique violation if one is not, unless it is of the generation before: then
fewer rows are inserted."""

CLAIM_SOME = f"""/* app:claim */ WITH batch AS MATERIALIZED (
  SELECT * FROM {_KEYS} WITH ORDINALITY AS keys (tenant_id, digest, number)
),{_FRESH},
counted AS MATERIALIZED (SELECT (SELECT count(*) FROM fresh) AS fresh, (SELECT count(*) FROM batch) AS given)
SELECT fresh, (SELECT epoch FROM write_state),
  CASE WHEN fresh > 0 AND fresh < given
    THEN (SELECT array_agg(number - 1 ORDER BY number) FROM batch JOIN fresh USING (tenant_id, digest)) END
FROM counted"""
"""Claims those keys of two arrays that are new: how many, the epoch of `write_state`, and which, by position, if not all or none."""

# The tables in the order in which a rotation locks them, the keys in that of the index, which so is read page by page.
ALL_KNOWN = f"""/* app:known */ SELECT NOT EXISTS (
  SELECT FROM (SELECT * FROM {_KEYS} AS given (tenant_id, digest) ORDER BY tenant_id, digest) AS keys
  WHERE NOT EXISTS (SELECT FROM recent_requests r WHERE r.tenant_id = keys.tenant_id AND r.digest = keys.digest)
    AND NOT EXISTS (SELECT FROM previous_requests p WHERE p.tenant_id = keys.tenant_id AND p.digest = keys.digest)
), (SELECT epoch FROM write_state)"""
"""Whether each key of two arrays is known, and the epoch of `write_state`. It takes no lock of a row and ends at the first that is not."""

# Each by the key: given many, the server would rather read whole months.
STORED_BEFORE = """/* app:stored */ SELECT w.position
FROM unnest(%s::integer[], %s::integer[], %s::timestamptz[], %s::text[]) AS w (position, tenant_id, occurred_at, request_id)
CROSS JOIN LATERAL (SELECT FROM usage_records r
  WHERE r.tenant_id = w.tenant_id AND r.occurred_at = w.occurred_at AND r.request_id = w.request_id LIMIT 1) stored"""
"""The positions of those of four arrays (positions, tenants, instants, request ids) whose records are stored."""

_PRICED_COLUMNS = """coalesce(b.provider_id, m.provider_id) AS provider_id,
    coalesce(b.cost_usd,
      b.prompt_tokens * coalesce(p.cost_per_input_token, 0) + b.completion_tokens * coalesce(p.cost_per_output_token, 0)) AS cost_usd,
    b.cost_usd IS NOT NULL OR (p.cost_per_input_token IS NOT NULL AND p.cost_per_output_token IS NOT NULL) AS is_priced"""
_PRICES = """JOIN models m ON m.id = b.model_id
  LEFT JOIN model_prices p ON p.model_id = m.entry_id AND b.occurred_at >= p.valid_from AND b.occurred_at < p.valid_to"""


def _inserted(source: str) -> str:
    return f"""
inserted AS (
  INSERT INTO usage_records ({", ".join((*STORED, *DERIVED))})
  SELECT {", ".join(f"b.{name}" for name in STORED)},
    {_PRICED_COLUMNS}
  FROM {source}
  {_PRICES}
  ORDER BY b.tenant_id, b.occurred_at, b.request_id{_ONLY_NEW} *
)"""


# A sum of integers is a bigint, one of bigints a numeric, which takes longer to make and to store.
def _priced(*, with_names: bool, is_narrow: bool) -> str:
    columns = [f"b.{name}::integer" if is_narrow and name in COUNTS else f"b.{name}" for name in STORED]
    return f"""
priced AS MATERIALIZED (
  SELECT {", ".join(columns)}, {"".join(f"b.{name}, " for name in DISPLAY_NAMES) if with_names else ""}{_PRICED_COLUMNS}
  FROM {STAGE_TABLE} b
  {_PRICES}
)"""


_STORED = f"""
stored AS (
  INSERT INTO usage_records ({", ".join((*STORED, *DERIVED))})
  SELECT {", ".join((*STORED, *DERIVED))} FROM priced
  ORDER BY tenant_id, occurred_at, request_id
)"""

_GIVEN = "inserted i JOIN batch b USING (occurred_at, tenant_id, request_id)"


def _named(name: str, given: str, source: str) -> str:
    """The step that keeps the newest of a display name: that of the relation `given`, as `source.name`, or the one that is shown."""
    kind = DISPLAY_NAMES[name]
    column, at = kind.column, kind.at
    ours, theirs = [record for record, _ in kind.keys], [table for _, table in kind.keys]
    newest = ", ".join(f"i.{key}" for key in ours)
    return f"""
named_{name} AS (
  UPDATE {kind.table} u SET {column} = l.shown, {at} = l.occurred_at
  FROM (
    SELECT {", ".join(f"o.{key}" for key in theirs)}, n.shown, n.occurred_at
    FROM {kind.table} o JOIN (
      SELECT DISTINCT ON ({newest}) {newest}, {source}.{name} AS shown, occurred_at
      FROM {given}
      WHERE {source}.{name} IS NOT NULL AND {" AND ".join(f"i.{key} <> 0" for key in ours)}
      ORDER BY {newest}, occurred_at DESC, {source}.{name} COLLATE "C" DESC
    ) n ON {" AND ".join(f"o.{table} = n.{record}" for record, table in kind.keys)}
    WHERE o.{at} IS NULL OR (n.occurred_at, n.shown COLLATE "C") > (o.{at}, o.{column} COLLATE "C")
    ORDER BY {", ".join(f"o.{key}" for key in theirs)} FOR NO KEY UPDATE OF o
  ) l
  WHERE {" AND ".join(f"u.{key} = l.{key}" for key in theirs)}
    AND (u.{at} IS NULL OR (l.occurred_at, l.shown COLLATE "C") > (u.{at}, u.{column} COLLATE "C"))
)"""


def _column_list(rollup: Rollup) -> str:
    return ", ".join((*rollup.key, *(measure.name for measure in rollup.measures)))


def select_rollup_rows(rollup: Rollup, source: str) -> str:
    """Return the SELECT of a rollup's rows, by key, aggregated from `source`: a relation with the columns of `usage_records`."""
    positions = ", ".join(str(position) for position in range(1, len(rollup.key) + 1))
    columns = ", ".join((*rollup.group_expressions.values(), *(measure.aggregate for measure in rollup.measures)))
    return f"SELECT {columns} FROM {source} GROUP BY {positions} ORDER BY {positions}"


def _sum_rollup_rows(rollup: Rollup, source: str) -> str:
    """The same from the rows of a finer rollup of the same dimensions and measures, with the bucket's beginning as the instant."""
    positions = ", ".join(str(position) for position in range(1, len(rollup.key) + 1))
    columns = ", ".join((*rollup.group_expressions.values(), *(f"sum({measure.name})" for measure in rollup.measures)))
    return f"SELECT {columns} FROM {source} GROUP BY {positions} ORDER BY {positions}"


def _upsert_rollup(rollup: Rollup, rows: str) -> str:
    """The INSERT that adds rows, given by a SELECT in the order of the key, to the stored rollup."""
    sums = ", ".join(f"{measure.name} = {rollup.name}.{measure.name} + excluded.{measure.name}" for measure in rollup.measures)
    return f"INSERT INTO {rollup.name} ({_column_list(rollup)}) {rows} ON CONFLICT ({', '.join(rollup.key)}) DO UPDATE SET {sums}"


def insert_rollup(rollup: Rollup, source: str) -> str:
    """Return the INSERT that stores the aggregate of `source` where the rollup has no such rows."""
    return f"INSERT INTO {rollup.name} ({_column_list(rollup)}) {select_rollup_rows(rollup, source)}"


# A day that is closed, even in part, is to be closed anew. Counting the marks locks the row until the commit, so that whoever closes the
# day waits for it.
_REOPENED = """
reopened AS (
  INSERT INTO reopened_days (day, marks)
  SELECT DISTINCT (i.occurred_at AT TIME ZONE 'UTC')::date, 1 FROM {source} i
  WHERE i.occurred_at < (SELECT partly_until FROM closing_state)
  ORDER BY 1
  ON CONFLICT (day) DO UPDATE SET marks = reopened_days.marks + 1
)"""

_SHARES = """(SELECT jsonb_object_agg(part, inserted_count) FROM (
  SELECT b.part, count(*) AS inserted_count FROM inserted JOIN batch b USING (tenant_id, occurred_at, request_id) GROUP BY b.part
) shares)"""


def _steps_after(source: str, *, named: Sequence[str]) -> list[str]:
    """What follows from records that went in, which `source` holds: names to remember, rollups, closed days to be closed anew."""
    rows = {rollup: select_rollup_rows(rollup, source) for rollup in ROLLUPS}
    # The days by model are sums of the hours, which are few.
    columns = _column_list(BY_HOUR_MODEL).replace(BY_HOUR_MODEL.grain.value, "occurred_at", 1)
    hours = f"hours ({columns}) AS MATERIALIZED ({rows[BY_HOUR_MODEL]})"
    rows[BY_HOUR_MODEL] = f"SELECT * FROM hours ORDER BY {', '.join(map(str, range(1, len(BY_HOUR_MODEL.key) + 1)))}"
    rows[BY_DAY_MODEL] = _sum_rollup_rows(BY_DAY_MODEL, "hours")
    # PostgreSQL runs the data-modifying CTEs that nothing reads in reverse order, so they are listed from the last to the first.
    rollups = [f"rolled_{number} AS ({_upsert_rollup(rollup, rows[rollup])})" for number, rollup in enumerate(ROLLUPS)]
    return [hours, _REOPENED.format(source=source), *reversed(rollups), *named]


def ingest_statement(*, with_names: bool, with_shares: bool) -> str:
    """Return the statement that writes a batch of arrays: exactly once, rollups included.

    It gives one row: how many records were inserted, the epoch of `write_state`, and, `with_shares`, how many of each part that had any,
    as a JSON object. `with_names`: whether any record carries a display name to remember.
    """
    return _statement(
        f"batch AS MATERIALIZED ({_FROM_ARRAYS})",
        _FRESH,
        _inserted("batch b JOIN fresh USING (tenant_id, digest)"),
        with_names=with_names,
        with_shares=with_shares,
    )


def store_arrays(*, with_names: bool, with_shares: bool) -> str:
    """Return the statement that stores a batch of arrays, all of it claimed, as `store_some` what is staged."""
    batch = f"batch AS MATERIALIZED ({_FROM_ARRAYS})"
    return _statement(batch, _inserted("batch b"), with_names=with_names, with_shares=with_shares)


def _statement(*first: str, with_names: bool, with_shares: bool) -> str:
    named = [_named(name, _GIVEN, "b") for name in DISPLAY_NAMES] if with_names else []
    steps = [*first, *_steps_after("inserted", named=named)]
    shares = _SHARES if with_shares else "NULL"
    return f"/* app:ingest */ WITH {', '.join(steps)} SELECT (SELECT count(*) FROM inserted), (SELECT epoch FROM write_state), {shares}"


def store_some(*, with_names: bool, with_shares: bool) -> str:
    """Return the statement that stores what is staged, all of it claimed, but for records that are there from before the retry window.

    It gives what `ingest_statement` gives.
    """
    batch = f"batch AS MATERIALIZED (SELECT * FROM {STAGE_TABLE})"
    return _statement(batch, _inserted("batch b"), with_names=with_names, with_shares=with_shares)


def store_all(*, with_names: bool, is_narrow: bool) -> str:
    """Return the statement that stores what is staged, all of it claimed; a unique violation if any record is there already.

    It gives the epoch of `write_state`. `is_narrow`: each count fits an integer.
    """
    named = [_named(name, "priced i", "i") for name in DISPLAY_NAMES] if with_names else []
    steps = [_priced(with_names=with_names, is_narrow=is_narrow), *_steps_after("priced", named=named), _STORED]
    return f"/* app:ingest */ WITH {', '.join(steps)} SELECT (SELECT epoch FROM write_state)"
