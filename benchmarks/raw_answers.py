"""The same answers from the raw records: what the rollups are compared with, and what shows that both give the same numbers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from app.db.engine import Connection
from app.domain.time_range import TimeRange, network_windows

_TOKENS = "sum(r.prompt_tokens) + sum(r.completion_tokens)"
_IN_RANGE = "r.occurred_at >= %(start)s AND r.occurred_at < %(end)s"
_DAY = "(r.occurred_at AT TIME ZONE 'UTC')::date"

_DAYS = f"SELECT {_DAY}, {_TOKENS}, count(*) FROM usage_records r WHERE {_IN_RANGE} GROUP BY 1 ORDER BY 1"
_HOURS = (
    f"SELECT date_trunc('hour', r.occurred_at, 'UTC'), {_TOKENS}, count(*) FROM usage_records r WHERE {_IN_RANGE} GROUP BY 1 ORDER BY 1"
)
_TOP = f"""
SELECT m.public_id, {_TOKENS}, count(*) FROM usage_records r JOIN models m ON m.id = r.model_id
WHERE {_IN_RANGE} AND m.is_public GROUP BY 1 HAVING {_TOKENS} > 0 ORDER BY 2 DESC, 1 LIMIT 15
"""
_RANKINGS = f"""
WITH totals AS (
  SELECT {_DAY} AS day, CASE WHEN m.is_public THEN m.permaslug END AS slug, {_TOKENS} AS tokens
  FROM usage_records r JOIN models m ON m.id = r.model_id WHERE {_IN_RANGE} GROUP BY 1, 2 HAVING {_TOKENS} > 0
), placed AS (
  SELECT *, row_number() OVER (PARTITION BY day ORDER BY slug IS NULL, tokens DESC, slug) AS place FROM totals
), shown AS (
  SELECT day, CASE WHEN place <= 50 THEN slug END AS slug, sum(tokens) AS tokens FROM placed GROUP BY 1, 2
)
SELECT day, slug, tokens::text FROM shown ORDER BY day, slug IS NULL, shown.tokens DESC, slug
"""


async def fetch_raw_network(connection: Connection, now: datetime) -> dict[str, Any]:
    """Return the numbers of a network snapshot: `days`, `hours` and `top_models`, each row (name, tokens, requests)."""
    windows = network_windows(now)
    days = {"start": windows.day_range.start, "end": windows.day_range.end}
    hours = {"start": windows.hour_range.start, "end": windows.hour_range.end}
    answer = {}
    for name, statement, bounds in (("days", _DAYS, days), ("hours", _HOURS, hours), ("top_models", _TOP, days)):
        rows = await (await connection.execute(statement, bounds)).fetchall()
        answer[name] = [(label, int(tokens), requests) for label, tokens, requests in rows]
    return answer


def network_numbers(body: dict[str, Any]) -> dict[str, Any]:
    """Return those numbers of a snapshot's body, the buckets without traffic left out."""

    def points(name: str, parse: Any) -> list[tuple[Any, int, int]]:
        return [(parse(point["bucket"]), point["tokens"], point["requests"]) for point in body["trend"][name] if point["requests"]]

    return {
        "days": points("30d", date.fromisoformat),
        "hours": points("24h", lambda bucket: datetime.strptime(bucket, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)),
        "top_models": [(model["model_id"], model["tokens"], model["requests"]) for model in body["top_models"]],
    }


async def fetch_raw_rankings(connection: Connection, whole: TimeRange) -> list[tuple[Any, ...]]:
    """Return what `fetch_rankings` returns for whole days."""
    bounds = {"start": whole.start, "end": whole.end}
    return await (await connection.execute(_RANKINGS, bounds)).fetchall()
