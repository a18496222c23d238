"""The write, as SQL: one statement that keeps the records that are new and adds just those to every rollup. Pure; from the cube.

Every process locks rows in the same order: request ids, records, rollups in the cube's order, each sorted by its key, then the closed
days that it reopens. So writers wait for each other but never in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.cube.rollups import ROLLUPS, Rollup


@dataclass(frozen=True, slots=True)
class StageColumn:
    """A column of a batch as it travels to the server."""

    name: str
    type: str


STAGE = (
    StageColumn("occurred_at", "timestamptz"),
    StageColumn("tenant_id", "integer"),
    StageColumn("request_id", "text"),
    StageColumn("digest", "uuid"),
    StageColumn("project_id", "integer"),
    StageColumn("user_id", "integer"),
    StageColumn("username", "text"),
    StageColumn("caller_key_id", "integer"),
    StageColumn("model_id", "integer"),
    StageColumn("provider_id", "integer"),
    StageColumn("status_code", "smallint"),
    StageColumn("traffic_mode", "smallint"),
    StageColumn("prompt_tokens", "bigint"),
    StageColumn("completion_tokens", "bigint"),
    StageColumn("cached_tokens", "bigint"),
    StageColumn("reasoning_tokens", "bigint"),
    StageColumn("shared_model_spend", "bigint"),
    StageColumn("byok_platform_fee", "bigint"),
    StageColumn("managed_tool_fee", "bigint"),
    StageColumn("agent_runtime_fee", "bigint"),
    StageColumn("search_requests", "bigint"),
    StageColumn("cost_usd", "numeric"),
    StageColumn("latency_ms", "numeric"),
    StageColumn("ttft_ms", "numeric"),
    StageColumn("attempt", "smallint"),
    StageColumn("cache_hit", "boolean"),
    StageColumn("interrupted", "boolean"),
    StageColumn("part", "integer"),
)
"""A batch, column by column. `provider_id` null: the model's; `cost_usd` null: priced from the catalog; `part`: number of the delivery."""

STAGE_TABLE = "ingest_stage_2"
"""Session-local staging table of large batches. The number changes with `STAGE`, so that a pooled session never has an old shape."""

_NAMES = ", ".join(column.name for column in STAGE)

CREATE_STAGE = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGE_TABLE} ("
    + ", ".join(f"{column.name} {column.type}" for column in STAGE)
    + ") ON COMMIT DELETE ROWS"
)
EMPTY_STAGE = f"DELETE FROM {STAGE_TABLE}"
COPY_STAGE = f"COPY {STAGE_TABLE} ({_NAMES}) FROM STDIN"

FROM_STAGE = f"SELECT {_NAMES} FROM {STAGE_TABLE}"
FROM_ARRAYS = "SELECT * FROM unnest(" + ", ".join(f"%s::text::{column.type}[]" for column in STAGE) + f") AS arrays ({_NAMES})"

_DERIVED = ("provider_id", "cost_usd", "is_priced")
_RECORD = tuple(column.name for column in STAGE if column.name not in ("digest", "username", "part", *_DERIVED))

_FRESH = """
fresh AS (
  INSERT INTO recent_requests (tenant_id, digest)
  SELECT b.tenant_id, b.digest FROM batch b
  WHERE NOT EXISTS (SELECT FROM previous_requests p WHERE p.tenant_id = b.tenant_id AND p.digest = b.digest)
  ORDER BY b.tenant_id, b.digest
  ON CONFLICT DO NOTHING
  RETURNING tenant_id, digest
)"""

_INSERTED = f"""
inserted AS (
  INSERT INTO usage_records ({", ".join((*_RECORD, *_DERIVED))})
  SELECT {", ".join(f"b.{name}" for name in _RECORD)},
    coalesce(b.provider_id, m.provider_id),
    coalesce(b.cost_usd,
      b.prompt_tokens * coalesce(p.cost_per_input_token, 0) + b.completion_tokens * coalesce(p.cost_per_output_token, 0)),
    b.cost_usd IS NOT NULL OR (p.cost_per_input_token IS NOT NULL AND p.cost_per_output_token IS NOT NULL)
  FROM batch b
  JOIN fresh USING (tenant_id, digest)
  JOIN models m ON m.id = b.model_id
  LEFT JOIN model_prices p ON p.model_id = m.entry_id AND b.occurred_at >= p.valid_from AND b.occurred_at < p.valid_to
  ORDER BY b.tenant_id, b.occurred_at, b.request_id
  ON CONFLICT DO NOTHING
  RETURNING *
)"""

_NAMED = """
named AS (
  UPDATE tenant_users u SET username = l.username, username_at = l.occurred_at
  FROM (
    SELECT o.tenant_id, o.user_id, n.username, n.occurred_at
    FROM tenant_users o JOIN (
      SELECT DISTINCT ON (i.tenant_id, i.user_id) i.tenant_id, i.user_id, b.username, i.occurred_at
      FROM inserted i JOIN batch b USING (occurred_at, tenant_id, request_id)
      WHERE b.username IS NOT NULL AND i.user_id <> 0
      ORDER BY i.tenant_id, i.user_id, i.occurred_at DESC, b.username COLLATE "C" DESC
    ) n USING (tenant_id, user_id)
    WHERE o.username_at IS NULL OR (n.occurred_at, n.username COLLATE "C") > (o.username_at, o.username COLLATE "C")
    ORDER BY o.tenant_id, o.user_id FOR NO KEY UPDATE OF o
  ) l
  WHERE u.tenant_id = l.tenant_id AND u.user_id = l.user_id
    AND (u.username_at IS NULL OR (l.occurred_at, l.username COLLATE "C") > (u.username_at, u.username COLLATE "C"))
)"""


def _column_list(rollup: Rollup) -> str:
    return ", ".join((*rollup.key, *(measure.name for measure in rollup.measures)))


def select_rollup_rows(rollup: Rollup, source: str) -> str:
    """Return the SELECT of a rollup's rows, by key, aggregated from `source`: a relation with the columns of `usage_records`."""
    positions = ", ".join(str(position) for position in range(1, len(rollup.key) + 1))
    columns = ", ".join((*rollup.group_expressions.values(), *(measure.aggregate for measure in rollup.measures)))
    return f"SELECT {columns} FROM {source} GROUP BY {positions} ORDER BY {positions}"


def upsert_rollup(rollup: Rollup, source: str) -> str:
    """Return the INSERT that adds the aggregate of `source` to the stored rollup."""
    sums = ", ".join(f"{measure.name} = {rollup.name}.{measure.name} + excluded.{measure.name}" for measure in rollup.measures)
    return (
        f"INSERT INTO {rollup.name} ({_column_list(rollup)}) {select_rollup_rows(rollup, source)}"
        f" ON CONFLICT ({', '.join(rollup.key)}) DO UPDATE SET {sums}"
    )


def insert_rollup(rollup: Rollup, source: str) -> str:
    """Return the INSERT that stores the aggregate of `source` where the rollup has no such rows."""
    return f"INSERT INTO {rollup.name} ({_column_list(rollup)}) {select_rollup_rows(rollup, source)}"


# A day that is closed is to be closed anew. Counting the marks locks the row until the commit, so that whoever closes the day waits for it.
_REOPENED = """
reopened AS (
  INSERT INTO reopened_days (day, marks)
  SELECT DISTINCT (i.occurred_at AT TIME ZONE 'UTC')::date, 1 FROM inserted i
  WHERE i.occurred_at < (SELECT closed_until::timestamp AT TIME ZONE 'UTC' FROM closing_state)
  ORDER BY 1
  ON CONFLICT (day) DO UPDATE SET marks = reopened_days.marks + 1
)"""

_SHARES = """(SELECT jsonb_object_agg(part, inserted_count) FROM (
  SELECT b.part, count(*) AS inserted_count FROM inserted JOIN batch b USING (tenant_id, occurred_at, request_id) GROUP BY b.part
) shares)"""


def ingest_statement(source: str, *, with_names: bool, with_shares: bool) -> str:
    """Return the statement that writes a batch read from `source` (FROM_ARRAYS or FROM_STAGE): exactly once, rollups included.

    It gives one row: how many records were inserted, the epoch of `write_state`, and, `with_shares`, how many of each part that had any,
    as a JSON object. `with_names`: whether any record carries a username to remember.
    """
    # PostgreSQL runs the data-modifying CTEs that nothing reads in reverse order, so they are listed from the hottest to the coldest.
    rollups = [f"rolled_{number} AS ({upsert_rollup(rollup, 'inserted')})" for number, rollup in enumerate(ROLLUPS)]
    steps = [f"batch AS MATERIALIZED ({source})", _FRESH, _INSERTED, _REOPENED, *reversed(rollups), *([_NAMED] if with_names else [])]
    shares = _SHARES if with_shares else "NULL"
    return f"/* app:ingest */ WITH {', '.join(steps)} SELECT (SELECT count(*) FROM inserted), (SELECT epoch FROM write_state), {shares}"
