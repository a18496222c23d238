"""Every documented question: asked of the product by its own functions, and of DuckDB on the raw columns by SQL that says the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from app.analytics.fetch import fetch_rankings
from app.analytics.snapshot import take_snapshot
from app.analytics.usage import GATEWAY_SECTIONS, GatewayQuestion, UsageQuestion, fetch_gateway, fetch_tenant_days, fetch_usage, find_tenant
from app.cube.dimensions import Bucket
from app.db.engine import Database
from app.domain.principal import Scope
from app.domain.time_range import (
    DateWindow,
    network_windows,
    resolve_days_back,
    resolve_rankings_window,
    resolve_tenant_window,
    resolve_usage_window,
)
from benchmarks.generate import END, LAST
from benchmarks.generate import START as FIRST
from benchmarks.population import list_callers, list_models
from benchmarks.reads import EVERYTHING
from benchmarks.timing import BenchmarkError

Rows = list[tuple[Any, ...]]

RAGGED = DateWindow(date(2025, 3, 10), date(2026, 12, 9))
"""Twenty-one months that begin and end inside one."""

_MODEL = list_models()[3].model_id
_MIDDLE = list_callers()[2_500]
_LARGEST = list_callers()[0]


@dataclass(frozen=True, slots=True)
class Question:
    """`ask`: by the product, as sections of rows; `statements`: the same sections by DuckDB."""

    name: str
    ask: Callable[[Database], Awaitable[Mapping[str, Rows]]]
    statements: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)


_IN = "occurred_at >= $start AND occurred_at < $end"
_TOKENS = "sum(prompt_tokens) + sum(completion_tokens)"
_USAGE = "sum(prompt_tokens), sum(completion_tokens), sum(cost_usd), count(*), count(*) FILTER (WHERE is_priced)"
_OUTCOMES = (
    "count(*), count(*) FILTER (WHERE status_code BETWEEN 200 AND 299), count(*) FILTER (WHERE status_code NOT BETWEEN 200 AND 299),"
    " count(*) FILTER (WHERE attempt > 1), count(*) FILTER (WHERE cache_hit), count(*) FILTER (WHERE interrupted)"
)
_OF_PROJECT = "AND (tenant_id, project_id) IN (SELECT (tenant_id, id) FROM projects WHERE external_id = $project)"


def _series(bucket: str, rest: str = "") -> str:
    return f"SELECT {bucket}, {_USAGE} FROM records WHERE {_IN} {rest} GROUP BY 1 ORDER BY 1"


_BY_MODEL = f"""
SELECT m.public_id, p.slug, sum(a), sum(b), sum(c), sum(d), sum(e) FROM (
  SELECT model_id, provider_id, {_USAGE} FROM records WHERE {_IN} GROUP BY 1, 2
) s(model_id, provider_id, a, b, c, d, e) JOIN models m ON m.id = model_id JOIN providers p ON p.id = provider_id
GROUP BY 1, 2 ORDER BY 5 DESC, 1, 2
"""


def _top_users(rest: str = "") -> str:
    return f"""
SELECT u.external_id, c, n FROM (SELECT user_id, sum(cost_usd) c, count(*) n FROM records WHERE {_IN} {rest} GROUP BY 1) s
JOIN users u ON u.id = s.user_id ORDER BY c DESC, n DESC, 1 LIMIT 100
"""


_WITH_MODEL = "AND model_id IN (SELECT id FROM models WHERE public_id = $model)"

_RANKINGS = f"""
WITH totals AS (
  SELECT day, CASE WHEN m.is_public THEN m.permaslug END slug, sum(t) tokens
  FROM (SELECT occurred_at::DATE AS day, model_id, {_TOKENS} t FROM records WHERE {_IN} GROUP BY 1, 2) s JOIN models m ON m.id = s.model_id
  GROUP BY 1, 2 HAVING sum(t) > 0
), placed AS (
  SELECT *, row_number() OVER (PARTITION BY day ORDER BY slug IS NULL, tokens DESC, slug) place FROM totals
), shown AS (SELECT day, CASE WHEN place <= 50 THEN slug END slug, sum(tokens) tokens FROM placed GROUP BY 1, 2)
SELECT day, coalesce(slug, 'other'), tokens::VARCHAR FROM shown ORDER BY day, slug IS NULL, tokens DESC, slug
"""

_NETWORK = {
    "days": f"SELECT occurred_at::DATE AS day, {_TOKENS}, count(*) FROM records WHERE {_IN} GROUP BY 1 ORDER BY 1",
    "hours": (
        f"SELECT date_trunc('hour', occurred_at), {_TOKENS}, count(*) FROM records"
        " WHERE occurred_at >= $hour_start AND occurred_at < $hour_end GROUP BY 1 ORDER BY 1"
    ),
    "top_models": f"""
SELECT m.public_id, sum(t), sum(n) FROM (SELECT model_id, {_TOKENS} t, count(*) n FROM records WHERE {_IN} GROUP BY 1) s
JOIN models m ON m.id = s.model_id WHERE m.is_public GROUP BY 1 HAVING sum(t) > 0 ORDER BY 2 DESC, 1 LIMIT 15
""",
}


def _gateway(rest: str) -> dict[str, str]:
    def named(key: str, source: str, label: str) -> str:
        sums = ", ".join(f"sum({letter})" for letter in "abcdef")
        return (
            f"SELECT {label}, {sums} FROM (SELECT {key}, {_OUTCOMES} FROM records WHERE {_IN} {rest} GROUP BY {key})"
            f" s({key}, a, b, c, d, e, f) {source} GROUP BY 1 ORDER BY 2 DESC, 1"
        )

    return {
        "totals": f"SELECT {_OUTCOMES} FROM records WHERE {_IN} {rest}",
        "providers": named("provider_id", "JOIN providers p ON p.id = provider_id", "p.slug"),
        "models": named("model_id", "JOIN models m ON m.id = model_id", "m.public_id"),
        "projects": named(
            "tenant_id, project_id",
            "LEFT JOIN projects p ON p.tenant_id = s.tenant_id AND p.id = s.project_id",
            "coalesce(p.external_id, 'unknown')",
        ),
        "daily": f"SELECT occurred_at::DATE AS day, {_OUTCOMES} FROM records WHERE {_IN} {rest} GROUP BY 1 ORDER BY 1",
    }


_TENANT = f"""
SELECT occurred_at::DATE AS day, count(*), count(*) FILTER (WHERE status_code BETWEEN 200 AND 299),
  count(*) FILTER (WHERE status_code NOT BETWEEN 200 AND 299), sum(prompt_tokens), sum(completion_tokens), {_TOKENS},
  sum(shared_model_spend), sum(byok_platform_fee), sum(managed_tool_fee), sum(agent_runtime_fee), sum(search_requests), count(latency_ms),
  sum(latency_ms)
FROM records WHERE {_IN} AND tenant_id = (SELECT id FROM tenants WHERE external_id = $tenant) GROUP BY 1 ORDER BY 1
"""


def _bounds(window: DateWindow, **others: Any) -> dict[str, Any]:
    return {"start": window.range.start, "end": window.range.end, **others}


async def _ask_network(database: Database) -> Mapping[str, Rows]:
    trend = (await take_snapshot(database, END)).body
    days, hours = (
        [(parse(point["bucket"]), point["tokens"], point["requests"]) for point in trend["trend"][name] if point["requests"]]
        for name, parse in (("30d", date.fromisoformat), ("24h", _parse_hour))
    )
    return {"days": days, "hours": hours, "top_models": [(m["model_id"], m["tokens"], m["requests"]) for m in trend["top_models"]]}


def _parse_hour(bucket: str) -> datetime:
    return datetime.strptime(bucket, "%Y-%m-%d %H:%M")


def _network() -> Question:
    windows = network_windows(END)
    days, hours = windows.day_range, windows.hour_range
    parameters = {"start": days.start, "end": days.end, "hour_start": hours.start, "hour_end": hours.end}
    return Question("network: 30 days, top 15, 24 hours", _ask_network, _NETWORK, parameters)


def _rankings(name: str, window: DateWindow) -> Question:
    async def ask(database: Database) -> Mapping[str, Rows]:
        return {"rows": [row[:3] for row in await fetch_rankings(database, window)]}

    return Question(name, ask, {"rows": _RANKINGS}, _bounds(window))


def _usage(name: str, asked: UsageQuestion, statement: str) -> Question:
    async def ask(database: Database) -> Mapping[str, Rows]:
        return await fetch_usage(database, asked, EVERYTHING)

    (section,) = asked.sections
    return Question(name, ask, {section: statement}, _bounds(asked.window, model=asked.model_id))


def _gateway_question(name: str, window: DateWindow, project_id: str | None) -> Question:
    async def ask(database: Database) -> Mapping[str, Rows]:
        return await fetch_gateway(database, GatewayQuestion(window, (*GATEWAY_SECTIONS, "daily"), project_id), EVERYTHING)

    return Question(name, ask, _gateway("" if project_id is None else _OF_PROJECT), _bounds(window, project=project_id))


def _tenant_question(name: str, days: int, tenant_id: str) -> Question:
    window = resolve_tenant_window(f"{DateWindow(LAST, LAST).start_date.fromordinal(LAST.toordinal() - days + 1)}", f"{LAST}", END)

    async def ask(database: Database) -> Mapping[str, Rows]:
        key = await find_tenant(database, tenant_id)
        if key is None:
            raise BenchmarkError(f"there is no tenant {tenant_id}")
        return {"days": await fetch_tenant_days(database, window, None, Scope(tenant_key=key, identities=True))}

    return Question(name, ask, {"days": _TENANT}, _bounds(window, tenant=tenant_id))


def list_questions() -> list[Question]:
    """Return the questions. The windows end with the data; "all" is what a request without dates gets."""
    whole = resolve_usage_window(None, None, END)
    recent = resolve_rankings_window(None, None, END)
    days = DateWindow(recent.start_date, recent.end_date)
    day, week = "occurred_at::DATE", "date_trunc('week', occurred_at)::DATE"
    users = ("top_users",)
    return [
        _network(),
        _rankings("rankings, 30 days", recent),
        _rankings("rankings, all", resolve_rankings_window(f"{FIRST:%Y-%m-%d}", None, END)),
        _usage("usage by day, all", UsageQuestion(whole, ("time_series",)), _series(day)),
        _usage("usage by week, all", UsageQuestion(whole, ("time_series",), Bucket.WEEK), _series(week)),
        _usage("usage by model, all", UsageQuestion(whole, ("by_model",)), _BY_MODEL),
        _usage("top users, 30 days", UsageQuestion(days, users), _top_users()),
        _usage("top users, all", UsageQuestion(whole, users), _top_users()),
        _usage("top users, 30 days, one model", UsageQuestion(days, users, model_id=_MODEL), _top_users(_WITH_MODEL)),
        _usage("top users, 21 ragged months", UsageQuestion(RAGGED, users), _top_users()),
        _gateway_question("gateway, one project, 30 days", resolve_days_back(30, END), _MIDDLE.project_id),
        _gateway_question("gateway, all projects, all time", resolve_days_back(None, END), None),
        _tenant_question("customer, 7 days", 7, _MIDDLE.tenant_id),
        _tenant_question("customer, 90 days", 90, _MIDDLE.tenant_id),
        _tenant_question("largest customer, 90 days", 90, _LARGEST.tenant_id),
    ]


def normalized(sections: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the sections with cells that compare across drivers."""
    return {name: [tuple(map(_cell, row)) for row in rows] for name, rows in sections.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return Decimal(value) if isinstance(value, int) else value
