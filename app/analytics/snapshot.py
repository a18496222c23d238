"""The network snapshot: computed in one database snapshot, stored as it will be served, taken once among all workers and hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.analytics.fetch import fetch_model_cards
from app.cube.ranking import TOP_MODELS
from app.cube.usage_dimensions import BY_MODEL
from app.cube.usage_metrics import METRICS_BY_NAME
from app.db.engine import Connection, Database
from app.domain.calendar import Bucket
from app.domain.time_range import NetworkWindows, format_instant, midnight, network_windows
from app.money.rounding import SHARE_PLACES, ratio
from app.query.bind import PUBLIC_READER, bind
from app.query.plan import Asked
from app.query.question import Grouping, Having, Order, Question
from app.query.run import Answer, answer_on

_LOCK = 0x736E6170  # "snap"
_KEPT = timedelta(days=2)

_TOKENS = METRICS_BY_NAME["total_tokens"]
_SHOWN = (_TOKENS, METRICS_BY_NAME["requests"])
_NAMES = ("tokens", "requests")
_PARTS = tuple(METRICS_BY_NAME[f"{part}_tokens"] for part in ("fresh_prompt", "visible_completion", "cached", "reasoning"))
"""The four that add up to the tokens."""

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


def _questions(windows: NetworkWindows) -> list[Asked]:
    """Return what is asked: the sums of each day, of each hour, and the first models."""
    day, hour = timedelta(days=1), timedelta(hours=1)
    days = tuple(Bucket(start, start + day, "") for start in map(midnight, windows.days))
    hours = tuple(Bucket(start, start + hour, "") for start in windows.hours)
    first = Grouping(by=(BY_MODEL,), having=(Having(_TOKENS, ">", Decimal(0)),), order=(Order(True, metric=_TOKENS),), first=TOP_MODELS)
    of_days, of_hours = Question(windows.day_range, (*_SHOWN, *_PARTS)), Question(windows.hour_range, _SHOWN)
    return [
        Asked(bind(of_days, Grouping(buckets=days, fill=True, first=len(days)), PUBLIC_READER)),
        Asked(bind(of_hours, Grouping(buckets=hours, fill=True, first=len(hours)), PUBLIC_READER)),
        Asked(bind(Question(windows.day_range, _SHOWN), first, PUBLIC_READER)),
    ]


async def _compute(connection: Connection, generated_at: datetime) -> dict[str, Any]:
    windows = network_windows(generated_at)
    days, hours, top = await answer_on(connection, _questions(windows))
    ranked = [(str(row.labels[0].value), *(row.numbers[metric.name] for metric in _SHOWN)) for row in top.rows]
    cards = await fetch_model_cards(connection, [model_id for model_id, _, _ in ranked])
    tokens, requests, prompt, completion, cached, reasoning = (
        sum(row.numbers[metric.name] for row in days.rows) for metric in (*_SHOWN, *_PARTS)
    )
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


def _trend(windows: NetworkWindows, days: Answer, hours: Answer) -> dict[str, list[dict[str, Any]]]:
    def points(buckets: Sequence[date], answer: Answer, pattern: str) -> list[dict[str, Any]]:
        return [
            {"bucket": bucket.strftime(pattern), **{name: row.numbers[metric.name] for name, metric in zip(_NAMES, _SHOWN, strict=True)}}
            for bucket, row in zip(buckets, answer.rows, strict=True)
        ]

    monthly = points(windows.days, days, "%Y-%m-%d")
    return {"24h": points(windows.hours, hours, "%Y-%m-%d %H:00"), "7d": monthly[-7:], "30d": monthly}
