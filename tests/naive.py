"""The surfaces' answers by plain Python over the records: what the oracle tests compare with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from app.domain.usage import UsageRecord
from tests.factories import Price, naive_cost, naive_provider

PriceOf = Callable[[UsageRecord], Price | None]


def day_of(record: UsageRecord) -> date:
    return record.occurred_at.astimezone(UTC).date()


def within(records: Iterable[UsageRecord], first: date | None, last: date | None) -> list[UsageRecord]:
    return [record for record in records if (first is None or first <= day_of(record)) and (last is None or day_of(record) <= last)]


def is_success(record: UsageRecord) -> bool:
    return 200 <= record.status_code <= 299


def half_up(value: Decimal, places: int) -> float:
    return float(value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def period_label(day: date, aggregation: str, numbering: str = "iso") -> str:
    if aggregation == "month":
        return day.strftime("%Y-%m")
    if aggregation == "week":
        if numbering == "monday":
            return day.strftime("%Y-W%W")
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02d}"
    return day.isoformat()


def _usage_sums(records: Sequence[UsageRecord], price_of: PriceOf) -> dict[str, Any]:
    return {
        "input_tokens": sum(record.prompt_tokens for record in records),
        "output_tokens": sum(record.completion_tokens for record in records),
        "cost": half_up(sum((naive_cost(record, price_of(record))[0] for record in records), Decimal(0)), 6),
        "request_count": len(records),
    }


def _grouped(records: Iterable[UsageRecord], key: Callable[[UsageRecord], Any]) -> dict[Any, list[UsageRecord]]:
    groups: dict[Any, list[UsageRecord]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return groups


def newest_names(records: Iterable[UsageRecord]) -> dict[str, str]:
    named = sorted((record.occurred_at, record.username, record.user_id) for record in records if record.user_id and record.username)
    return {user: name for _, name, user in named if user is not None and name is not None}


def usage_analytics(
    stored: Sequence[UsageRecord],
    price_of: PriceOf,
    *,
    first: date | None = None,
    last: date | None = None,
    aggregation: str = "day",
    model_id: str | None = None,
    numbering: str = "iso",
    top: int = 100,
) -> dict[str, Any]:
    """Return the body of document 002 for all that is stored."""
    records = [record for record in within(stored, first, last) if model_id is None or record.model_id == model_id]
    exact = {
        user: sum((naive_cost(record, price_of(record))[0] for record in group), Decimal(0))
        for user, group in _grouped(records, lambda record: record.user_id).items()
    }
    models = {
        key: sum((naive_cost(record, price_of(record))[0] for record in group), Decimal(0))
        for key, group in _grouped(records, lambda record: (record.model_id, naive_provider(record))).items()
    }
    periods = _grouped(sorted(records, key=day_of), lambda record: period_label(day_of(record), aggregation, numbering))
    by_model = _grouped(records, lambda record: (record.model_id, naive_provider(record)))
    users = {user: group for user, group in _grouped(records, lambda record: record.user_id).items() if user is not None}
    names = newest_names(stored)
    return {
        "time_series": [{"period": period, **_usage_sums(group, price_of)} for period, group in periods.items()],
        "by_model": [
            {"model_id": key[0], "provider": key[1], **_usage_sums(by_model[key], price_of)}
            for key in sorted(by_model, key=lambda key: (-models[key], key))
        ],
        "top_users": [
            {"user_id": user, "username": names.get(user), "total_cost": half_up(exact[user], 6), "request_count": len(users[user])}
            for user in sorted(users, key=lambda user: (-exact[user], -len(users[user]), user))
        ][:top],
    }


def _outcomes(records: Sequence[UsageRecord]) -> dict[str, int]:
    good = sum(map(is_success, records))
    return {"requests": len(records), "successful": good, "failed": len(records) - good}


def gateway_stats(
    stored: Sequence[UsageRecord],
    *,
    today: date,
    days: int | None = None,
    project: str | None = None,
    known: Sequence[UsageRecord] | None = None,
) -> dict[str, Any]:
    """Return the body of document 003. `known`: the records that say which tenants have a project; `stored` if not given."""
    records = within(stored, None if days is None else today - timedelta(days=days - 1), None if days is None else today)
    owners: dict[str, set[str]] = {}
    for record in stored if known is None else known:
        if record.project_id is not None:
            owners.setdefault(record.project_id, set()).add(record.tenant_id)

    def name_of(record: UsageRecord) -> str:
        shared = record.project_id is not None and len(owners[record.project_id]) > 1
        return f"{record.tenant_id}/{record.project_id}" if shared else record.project_id or "unknown"

    def is_meant(record: UsageRecord) -> bool:
        owned = record.project_id is not None and f"{record.tenant_id}/{record.project_id}" == project and project not in owners
        return project in (None, name_of(record), record.project_id or "unknown") or owned

    records = [record for record in records if is_meant(record)]
    totals = _outcomes(records)

    def section(key: Callable[[UsageRecord], str]) -> dict[str, Any]:
        groups = _grouped(records, key)
        return {name: _outcomes(groups[name]) for name in sorted(groups, key=lambda name: (-len(groups[name]), name))}

    daily = _grouped(records, day_of)
    return {
        "total_requests": totals["requests"],
        "successful_requests": totals["successful"],
        "failed_requests": totals["failed"],
        "success_rate": half_up(Decimal(totals["successful"]) / totals["requests"], 4) if records else 0,
        "providers": section(naive_provider),
        "models": section(lambda record: record.model_id),
        "projects": section(name_of),
        "daily": [{"date": day.isoformat(), **_outcomes(daily[day])} for day in sorted(daily)],
    }


_CHARGES = {
    "shared_model_spend": "shared_model_spend",
    "byok_platform_fees": "byok_platform_fee",
    "managed_tool_fees": "managed_tool_fee",
    "agent_runtime_fees": "agent_runtime_fee",
    "search_requests": "search_requests",
}


def _charges(records: Sequence[UsageRecord]) -> dict[str, int]:
    return {name: sum(getattr(record, field) for record in records) for name, field in _CHARGES.items()}


def _spend(records: Sequence[UsageRecord]) -> int:
    charges = _charges(records)
    return sum(charges.values()) - charges["search_requests"]


def tenant_analytics(stored: Sequence[UsageRecord], tenant: str, first: date, last: date, key: str | None = None) -> dict[str, Any]:
    """Return the body of document 004."""
    records = [record for record in within(stored, first, last) if record.tenant_id == tenant and (key is None or record.api_key_id == key)]
    days = _grouped(records, day_of)
    totals = _outcomes(records)
    latencies = [record.latency_ms for record in records if record.latency_ms is not None]
    prompt = sum(record.prompt_tokens for record in records)
    completion = sum(record.completion_tokens for record in records)

    def day_row(day: date) -> dict[str, Any]:
        group = days.get(day, [])
        tokens_in, tokens_out = sum(record.prompt_tokens for record in group), sum(record.completion_tokens for record in group)
        return {
            "date": day.isoformat(),
            "requests": len(group),
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "tokens": tokens_in + tokens_out,
            **_charges(group),
            "spend": _spend(group),
        }

    return {
        "period": {"start_date": f"{first}T00:00:00.000Z", "end_date": f"{last}T00:00:00.000Z"},
        "summary": {
            "total_requests": totals["requests"],
            "successful_requests": totals["successful"],
            "failed_requests": totals["failed"],
            "error_rate": half_up(Decimal(100 * totals["failed"]) / len(records), 2) if records else 0,
            "total_tokens": prompt + completion,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            **_charges(records),
            "total_spend": _spend(records),
            "avg_latency_ms": half_up(sum(latencies, Decimal(0)) / len(latencies), 1) if latencies else None,
        },
        "timeseries": [day_row(first + timedelta(days=number)) for number in range((last - first).days + 1)],
    }


def export_rows(stored: Sequence[UsageRecord], tenant: str, first: date, last: date) -> list[list[Any]]:
    """Return the rows of the grouped export, in order."""
    records = [record for record in within(stored, first, last) if record.tenant_id == tenant]
    groups = _grouped(
        records,
        lambda record: (
            day_of(record).isoformat(),
            record.model_id,
            naive_provider(record),
            record.api_key_id or "",
            ("shared", "byok").index(record.traffic_mode),
        ),
    )
    rows = []
    for key in sorted(groups):
        group = groups[key]
        totals = _outcomes(group)
        prompt, completion = sum(record.prompt_tokens for record in group), sum(record.completion_tokens for record in group)
        charges = _charges(group)
        mode = ("shared", "byok")[key[4]]
        rows.append([*key[:4], mode, *totals.values(), prompt, completion, prompt + completion, *charges.values(), _spend(group)])
    return rows
