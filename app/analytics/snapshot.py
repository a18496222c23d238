"""The network snapshot: computed in one database snapshot, stored as it will be served, taken once among all workers and hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.analytics.fetch import fetch_model_cards, fetch_plan
from app.analytics.plan import Question, plan_question
from app.cube.dimensions import MODEL, Bucket
from app.cube.metrics import CACHED, FRESH_PROMPT, REASONING, REQUESTS, TOKENS, VISIBLE_COMPLETION
from app.cube.ranking import TOP_MODELS
from app.db.engine import Connection, Database
from app.domain.principal import PUBLIC_SCOPE
from app.domain.time_range import NetworkWindows, format_instant, network_windows
from app.money.rounding import SHARE_PLACES, ratio

_LOCK = 0x736E6170  # "snap"
_KEPT = timedelta(days=2)

_SELECT_LATEST = "/* app:network */ SELECT generated_at, body FROM network_snapshots ORDER BY generated_at DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored snapshot: `body` has the documented names and values, `generated_at` milliseconds."""

    generated_at: datetime
    body: dict[str, Any]


def empty_body() -> dict[str, Any]:
    """Return what is served before the first snapshot."""
    return {
        "generated_at": None,
        "totals": dict.fromkeys(("tokens", "requests", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), 0),
        "top_models": [],
        "trend": {"24h": [], "7d": [], "30d": []},
    }


async def fetch_snapshot(database: Database) -> Snapshot | None:
    """Return the newest stored snapshot; None before the first."""
    async with database.read_connection() as connection:
        row = await (await connection.execute(_SELECT_LATEST)).fetchone()
    return None if row is None else Snapshot(*row)


async def take_snapshot(database: Database, now: datetime) -> Snapshot:
    """Compute and store a snapshot as of `now`, waiting for one that is under way elsewhere."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        return await _compute_and_store(database, connection, now)


async def take_snapshot_if_due(database: Database, now: datetime, every: timedelta) -> Snapshot | None:
    """Take a snapshot unless one is younger than `every` or under way elsewhere; None then."""
    async with database.transaction() as connection:
        locked = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])).fetchone()
        if locked != (True,):
            return None
        row = await (await connection.execute(_SELECT_LATEST)).fetchone()
        if row is not None and now - every < row[0] <= now:
            return None
        return await _compute_and_store(database, connection, now)


async def _compute_and_store(database: Database, connection: Connection, now: datetime) -> Snapshot:
    generated_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    # Read on another connection: the one that holds the lock has been looking since before it had it.
    async with database.consistent_reads() as reader:
        snapshot = Snapshot(generated_at, await _compute(reader, generated_at))
    await connection.execute(
        "INSERT INTO network_snapshots (generated_at, body) VALUES (%s, %s::jsonb)"
        " ON CONFLICT (generated_at) DO UPDATE SET body = excluded.body",
        [snapshot.generated_at, json.dumps(snapshot.body)],
    )
    await connection.execute(
        "DELETE FROM network_snapshots WHERE generated_at < %s OR generated_at > %s", [generated_at - _KEPT, generated_at]
    )
    return snapshot


async def _compute(connection: Connection, generated_at: datetime) -> dict[str, Any]:
    windows = network_windows(generated_at)
    totals_by_day = Question(
        "network_days",
        (TOKENS, REQUESTS, FRESH_PROMPT, VISIBLE_COMPLETION, CACHED, REASONING),
        windows.day_range,
        bucket=Bucket.DAY,
    )
    totals_by_hour = Question("network_hours", (TOKENS, REQUESTS), windows.hour_range, bucket=Bucket.HOUR)
    top = Question("network_top", (TOKENS, REQUESTS), windows.day_range, (MODEL,), greatest=(TOKENS,), limit=TOP_MODELS, nonzero=True)
    days = await fetch_plan(connection, plan_question(totals_by_day, PUBLIC_SCOPE))
    hours = await fetch_plan(connection, plan_question(totals_by_hour, PUBLIC_SCOPE))
    ranked = await fetch_plan(connection, plan_question(top, PUBLIC_SCOPE))
    cards = await fetch_model_cards(connection, [model_id for model_id, _, _ in ranked])
    sums = [sum(column) for column in list(zip(*days, strict=True))[1:]] or [0] * 6
    tokens, requests, prompt, completion, cached, reasoning = sums
    return {
        "generated_at": format_instant(generated_at),
        "totals": {
            "tokens": tokens,
            "requests": requests,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cached_tokens": cached,
            "reasoning_tokens": reasoning,
        },
        "top_models": [
            {
                "model_id": model_id,
                "model_name": cards[model_id][0],
                "provider": cards[model_id][1],
                "rank": rank,
                "tokens": model_tokens,
                "requests": model_requests,
                "share": ratio(model_tokens, tokens, SHARE_PLACES),
            }
            for rank, (model_id, model_tokens, model_requests) in enumerate(ranked, 1)
        ],
        "trend": _trend(windows, days, hours),
    }


def _trend(windows: NetworkWindows, days: list[tuple[Any, ...]], hours: list[tuple[Any, ...]]) -> dict[str, list[dict[str, Any]]]:
    by_bucket = {row[0]: (row[1], row[2]) for row in (*days, *hours)}

    def points(buckets: tuple[Any, ...], pattern: str) -> list[dict[str, Any]]:
        return [
            dict(zip(("bucket", "tokens", "requests"), (bucket.strftime(pattern), *by_bucket.get(bucket, (0, 0))), strict=True))
            for bucket in buckets
        ]

    monthly = points(windows.days, "%Y-%m-%d")
    return {"24h": points(windows.hours, "%Y-%m-%d %H:00"), "7d": monthly[-7:], "30d": monthly}
