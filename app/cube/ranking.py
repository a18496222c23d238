"""The daily ranking of models by tokens: the rule, as SQL, for the days that are stored and for those that are still open. Pure."""

from __future__ import annotations

from typing import Final

from app.cube.rollups import BY_DAY_MODEL

RANKED_MODELS: Final = 50
"""Models that a day's ranking names; all others are one row."""

TOP_MODELS: Final = 15
"""Public models that the network's snapshot names."""

_COLUMNS: Final = "day, model_id, prompt_tokens, completion_tokens"


def ranked_source(*conditions: str) -> str:
    """Return the relation of the days to rank: the rows of the rollup that meet one of the conditions, which must exclude each other."""
    return " UNION ALL ".join(f"SELECT {_COLUMNS} FROM {BY_DAY_MODEL.name} d WHERE {condition}" for condition in conditions)


def select_ranked(source: str, public: str) -> str:
    """Return the SELECT of (day, place, permaslug, tokens) of the days in `source`, as `ranked_source` gives it.

    `public`: the column of `models` that says which of them may be named. Places 1 to RANKED_MODELS go to the public models with the most
    tokens, then by permaslug; the place after them, without a permaslug, has the sum of all others. Nothing without tokens is ranked.
    """
    return f"""SELECT day, place, min(permaslug) FILTER (WHERE place <= {RANKED_MODELS}) AS permaslug, sum(tokens) AS tokens
FROM (
  SELECT day, permaslug, tokens,
    CASE WHEN number <= {RANKED_MODELS} AND permaslug IS NOT NULL THEN number ELSE {RANKED_MODELS + 1} END AS place
  FROM (
    SELECT *, row_number() OVER (PARTITION BY day ORDER BY permaslug IS NULL, tokens DESC, permaslug) AS number
    FROM (
      SELECT d.day, CASE WHEN m.{public} THEN m.permaslug END AS permaslug, sum(d.prompt_tokens) + sum(d.completion_tokens) AS tokens
      FROM ({source}) d JOIN models m ON m.id = d.model_id
      GROUP BY 1, 2 HAVING sum(d.prompt_tokens) + sum(d.completion_tokens) > 0
    ) totals
  ) numbered
) placed GROUP BY day, place"""
