"""The questions of usage analytics, gateway statistics and tenant analytics: each surface's sections, all from one database snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from app.analytics.fetch import fetch_plans
from app.analytics.plan import Question, plan_question
from app.cube.dimensions import CALLER_KEY, MODEL, PROJECT, PROVIDER, TRAFFIC_MODE, USER, Bucket, Dimension
from app.cube.metrics import (
    BILLING_MEASURES,
    CACHE_HITS,
    COMPLETION_TOKENS,
    COST_USD,
    FAILED,
    INTERRUPTED,
    LATENCY_COUNT,
    LATENCY_SUM_MS,
    PRICED_COUNT,
    PROMPT_TOKENS,
    REQUESTS,
    RETRIES,
    SUCCESSFUL,
    TOKENS,
    Metric,
    as_metric,
)
from app.db.engine import Database
from app.db.pipeline import Rows
from app.domain.principal import Scope
from app.domain.time_range import DateWindow

INPUT, OUTPUT, COST, PRICED = (as_metric(measure) for measure in (PROMPT_TOKENS, COMPLETION_TOKENS, COST_USD, PRICED_COUNT))
USAGE_METRICS = (INPUT, OUTPUT, COST, REQUESTS, PRICED)
OUTCOME_METRICS = (REQUESTS, SUCCESSFUL, FAILED)
GATEWAY_METRICS = (*OUTCOME_METRICS, RETRIES, CACHE_HITS, INTERRUPTED)
CREDIT_METRICS = tuple(as_metric(measure) for measure in BILLING_MEASURES if measure not in (LATENCY_COUNT, LATENCY_SUM_MS))
"""Shared spend, BYOK fees, tool fees, runtime fees, search requests."""
LATENCY_METRICS = (as_metric(LATENCY_COUNT), as_metric(LATENCY_SUM_MS))


async def _fetch_sections(database: Database, questions: dict[str, Question], scope: Scope) -> dict[str, Rows]:
    """Ask several questions of one instant of the database, so that their sums agree."""
    plans = [plan_question(question, scope) for question in questions.values()]
    return dict(zip(questions, await fetch_plans(database, plans), strict=True))


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """What usage analytics is asked. `sections`: of time_series, by_model, top_users, totals; `model_id`: only this public model id.

    `metrics`: of each section, but for the users.
    """

    window: DateWindow
    sections: Collection[str]
    bucket: Bucket = Bucket.DAY
    model_id: str | None = None
    by_model_limit: int | None = None
    top_users_limit: int = 100
    metrics: tuple[Metric, ...] = USAGE_METRICS


async def fetch_usage(database: Database, asked: UsageQuestion, scope: Scope) -> dict[str, Rows]:
    """Return the sections' rows.

    time_series: (bucket start, input, output, cost, requests, priced requests), ascending; by_model: (model id, provider, the same five),
    highest cost first; top_users: (user id, cost, requests), highest cost first; totals: the same five, in one row.
    """
    window = asked.window.range
    filters = () if asked.model_id is None else ((MODEL, asked.model_id),)
    questions = {
        "time_series": Question("usage_time_series", asked.metrics, window, bucket=asked.bucket, filters=filters),
        "by_model": Question(
            "usage_by_model", asked.metrics, window, (MODEL, PROVIDER), filters=filters, greatest=(COST,), limit=asked.by_model_limit
        ),
        "top_users": Question(
            "usage_top_users", (COST, REQUESTS), window, (USER,), filters=filters, greatest=(COST, REQUESTS), limit=asked.top_users_limit
        ),
        "totals": Question("usage_totals", asked.metrics, window, filters=filters),
    }
    return await _fetch_sections(database, {name: questions[name] for name in questions if name in asked.sections}, scope)


def fill_gaps(rows: Rows, start: date | None, end: date | None, bucket: Bucket, zeros: tuple[Any, ...]) -> Rows:
    """Return a time series with a row of `zeros` for every bucket that has none, from the one of `start` to the one of `end`.

    None: from the first row, or to the last one; without rows there is nothing to fill then.
    """
    found = {row[0]: row for row in rows}
    first = start if start is not None or not rows else rows[0][0]
    last = end if end is not None or not rows else rows[-1][0]
    if first is None or last is None:
        return []
    starts = dict.fromkeys(bucket.start_of(day) for day in DateWindow(first, last).dates())
    return [found.get(begin, (begin, *zeros)) for begin in starts]


GATEWAY_SECTIONS: dict[str, tuple[Dimension, ...]] = {"totals": (), "providers": (PROVIDER,), "models": (MODEL,), "projects": (PROJECT,)}


@dataclass(frozen=True, slots=True)
class GatewayQuestion:
    """What gateway statistics are asked. `sections`: of totals, providers, models, projects, daily; `limits`: rows of each at most."""

    window: DateWindow
    sections: Collection[str]
    project_id: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = GATEWAY_METRICS


async def fetch_gateway(database: Database, asked: GatewayQuestion, scope: Scope) -> dict[str, Rows]:
    """Return the rows of the asked sections.

    Each row: its name or date, but for the totals, then requests, successful, failed, retries, cache hits, interrupted.
    """
    filters = () if asked.project_id is None else ((PROJECT, asked.project_id),)
    window = asked.window.range
    questions = {
        name: Question(
            f"gateway_{name}",
            asked.metrics,
            window,
            dimensions,
            filters=filters,
            greatest=(REQUESTS,) if dimensions else (),
            limit=asked.limits.get(name),
        )
        for name, dimensions in GATEWAY_SECTIONS.items()
    }
    questions["daily"] = Question("gateway_daily", asked.metrics, window, bucket=Bucket.DAY, filters=filters)
    return await _fetch_sections(database, {name: questions[name] for name in questions if name in asked.sections}, scope)


def rest_of(totals: Rows, rows: Rows, first: int) -> tuple[Any, ...]:
    """Return what a list that was cut leaves out: the one row of totals less the list's columns from `first` on."""
    listed = [sum(column) for column in zip(*(row[first:] for row in rows), strict=True)]
    return tuple(total - part for total, part in zip(totals[0], listed, strict=True)) if listed else totals[0]


TENANT_METRICS: tuple[Metric, ...] = (*OUTCOME_METRICS, INPUT, OUTPUT, TOKENS, *CREDIT_METRICS)


async def fetch_tenant_days(
    database: Database,
    window: DateWindow,
    api_key_id: str | None,
    scope: Scope,
    metrics: tuple[Metric, ...] = (*TENANT_METRICS, *LATENCY_METRICS),
) -> Rows:
    """Return (date, requests, successful, failed, prompt, completion, tokens, four charges, searches, latencies, their sum) by day."""
    filters = () if api_key_id is None else ((CALLER_KEY, api_key_id),)
    question = Question("tenant_days", metrics, window.range, bucket=Bucket.DAY, filters=filters)
    return (await _fetch_sections(database, {"days": question}, scope))["days"]


GroupPlace = tuple[date, str, str, str, int]
"""A group of a tenant: day, model, provider, caller key, traffic mode's number."""


@dataclass(frozen=True, slots=True)
class GroupsQuestion:
    """A tenant's groups of a window of days, in their order: `limit` at most, after the one at `after` if given."""

    window: DateWindow
    limit: int
    api_key_id: str | None = None
    after: GroupPlace | None = None
    metrics: tuple[Metric, ...] = TENANT_METRICS


async def fetch_tenant_groups(database: Database, asked: GroupsQuestion, scope: Scope) -> Rows:
    """Return usage by (day, model, provider, caller key, traffic mode's number), then as `fetch_tenant_days` up to the searches."""
    window = asked.window
    if asked.after is not None and asked.after[0] > window.start_date:
        window = DateWindow(asked.after[0], window.end_date)
    question = Question(
        "tenant_groups",
        asked.metrics,
        window.range,
        (MODEL, PROVIDER, CALLER_KEY, TRAFFIC_MODE),
        bucket=Bucket.DAY,
        filters=() if asked.api_key_id is None else ((CALLER_KEY, asked.api_key_id),),
        limit=asked.limit,
        after=asked.after or (),
    )
    return (await _fetch_sections(database, {"groups": question}, scope))["groups"]


async def caller_key_exists(database: Database, tenant_key: int, api_key_id: str) -> bool:
    """Tell whether the tenant's records have named this caller key."""
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "/* app:caller_key */ SELECT EXISTS (SELECT FROM caller_keys WHERE tenant_id = %s AND external_id = %s)",
            [tenant_key, api_key_id],
        )
        row: Any = await cursor.fetchone()
    return bool(row[0])


async def find_tenant(database: Database, tenant_id: str) -> int | None:
    """Return a tenant's surrogate, None if there is none of that id."""
    async with database.read_connection() as connection:
        row = await (await connection.execute("/* app:tenant */ SELECT id FROM tenants WHERE external_id = %s", [tenant_id])).fetchone()
    return None if row is None else int(row[0])


async def fetch_usernames(database: Database, user_ids: list[str], scope: Scope) -> dict[str, str]:
    """Return the newest name seen of each user that has one: of all tenants, or of the scope's tenant alone."""
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "/* app:usernames */ SELECT DISTINCT ON (u.external_id) u.external_id, t.username FROM users u"
            " JOIN tenant_users t ON t.user_id = u.id WHERE u.external_id = ANY(%s) AND t.username IS NOT NULL"
            " AND (%s::integer IS NULL OR t.tenant_id = %s)"
            ' ORDER BY u.external_id, t.username_at DESC, t.username COLLATE "C" DESC',
            [user_ids, scope.tenant_key, scope.tenant_key],
        )
        return dict(await cursor.fetchall())
