"""Top users by the threshold algorithm: exact for skewed, flat and tied users, in any range; and not by summing every user where it can."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from app.analytics.fetch import fetch_plan, fetch_rows_on
from app.analytics.plan import Plan, Question, Strategy, plan_question
from app.analytics.top_users import try_top_users
from app.analytics.usage import COST
from app.cube.dimensions import MODEL, USER
from app.cube.metrics import REQUESTS
from app.db.engine import Database
from app.domain.principal import Scope
from app.domain.time_range import TimeRange
from app.domain.usage import UsageRecord
from app.summaries.closing import close_days
from app.write.batch import Ingestor
from tests.factories import make_batch, make_record

FIRST = date(2026, 1, 20)
DAYS = 75
NOW = datetime(2026, 4, 6, tzinfo=UTC)
ALL = Scope(tenant_key=None, identities=True)
# Two of them are one public model.
_MODELS = ("a/one", "a/one", "a/two")
_SLUGS = ("a/one-2025", "a/one-2025:free", "a/two")
RANGES = {
    "all time": (date(2020, 1, 1), date(2026, 4, 7)),
    "all time up to a closed day": (date(2020, 1, 1), date(2026, 3, 10)),
    "two months and days at both ends": (date(2026, 1, 25), date(2026, 4, 3)),
    "whole months": (date(2026, 2, 1), date(2026, 3, 31)),
    "days": (date(2026, 2, 20), date(2026, 3, 12)),
    "one day": (date(2026, 2, 20), date(2026, 2, 20)),
    "the open day": (date(2026, 4, 4), date(2026, 4, 7)),
    "nothing": (date(2025, 1, 1), date(2025, 2, 1)),
}


def _spend(kind: str, random: Random, user: int) -> Decimal:
    match kind:
        case "skewed":
            return Decimal(random.randrange(1, 10) * 10**9 // (user + 1) ** 2) / 10**6
        case "even":
            return Decimal(random.randrange(1, 1000)) / 1000
        case "tied":
            return Decimal(user % 3)
        case _:
            return Decimal(0)


def _make(kind: str) -> list[UsageRecord]:
    random = Random(kind)
    records = []
    for day in range(DAYS):
        at = datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), tzinfo=UTC)
        active = random.sample(range(60), 35) if kind != "skewed" else sorted({*range(12), *random.sample(range(60), 25)})
        records += [
            make_record(
                occurred_at=at + timedelta(minutes=user),
                user_id=f"u{user:02d}",
                cost_usd=_spend(kind, random, user),
                tenant_id="t",
                model_id=_MODELS[(user + day) % 3],
                model_permaslug=_SLUGS[(user + day) % 3],
            )
            for user in active
        ]
        records.append(make_record(occurred_at=at, cost_usd=Decimal(10**6), tenant_id="t"))  # of no user
    return records


def _expected(
    records: Sequence[UsageRecord], start: date, end: date, limit: int, model: str | None = None
) -> list[tuple[str, Decimal, int]]:
    sums: dict[str, list[Any]] = defaultdict(lambda: [Decimal(0), 0])
    for record in records:
        if record.user_id is not None and start <= record.occurred_at.date() <= end and model in (None, record.model_id):
            sums[record.user_id][0] += record.cost_usd or 0
            sums[record.user_id][1] += 1
    return sorted(((user, cost, requests) for user, (cost, requests) in sums.items()), key=lambda row: (-row[1], -row[2], row[0]))[:limit]


def _plan(start: date, end: date, limit: int, model: str | None = None) -> Plan:
    filters = () if model is None else ((MODEL, model),)
    window = TimeRange.of_dates(start, end)
    asked = Question("top", (COST, REQUESTS), window, (USER,), filters=filters, greatest=(COST, REQUESTS), limit=limit)
    return plan_question(asked, ALL)


@pytest.mark.parametrize("kind", ["skewed", "even", "tied", "free"])
async def test_it_is_exact(database: Database, ingestor: Ingestor, kind: str) -> None:
    records = _make(kind)
    await ingestor.ingest(make_batch(records))
    await close_days(database, NOW - timedelta(days=2))
    late = [
        make_record(occurred_at=datetime(2026, 3, 5, 4, tzinfo=UTC), user_id=f"u{user:02d}", cost_usd=Decimal(7), model_id="a/two")
        for user in (3, 40, 71)
    ]
    await ingestor.ingest(make_batch(late))
    async with database.read_connection() as connection:
        for name, (start, end) in RANGES.items():
            for limit in (1, 3, 10, 100):
                for model in (None, "a/one", "a/two", "nobody's"):
                    rows = await fetch_plan(connection, _plan(start, end, limit, model))
                    assert rows == _expected([*records, *late], start, end, limit, model), (name, limit, model)


@pytest.mark.parametrize("model", [None, "a/one"])
async def test_each_proof_holds_by_itself(database: Database, ingestor: Ingestor, model: str | None) -> None:
    """Whatever statement says that it is proven gives the answer; for skewed users the first one does."""
    records = _make("skewed")
    await ingestor.ingest(make_batch(records))
    await close_days(database, NOW)
    first_ones = {}
    async with database.read_connection() as connection:
        for name, (start, end) in RANGES.items():
            proven = []
            for statement, values in try_top_users(_plan(start, end, 3, model)):
                rows = await fetch_rows_on(connection, statement, values)
                proven.append(not rows or rows[0][0])
                if proven[-1]:
                    assert [row[1:] for row in rows if row[1] is not None] == _expected(records, start, end, 3, model)
            assert proven[-1]
            first_ones[name] = proven[0]
    assert {name for name, is_proven in first_ones.items() if not is_proven} == {"all time up to a closed day"}


def test_a_tenant_is_answered_from_its_own_rows() -> None:
    question = Question("top", (COST, REQUESTS), TimeRange.of_dates(FIRST, FIRST), (USER,), greatest=(COST, REQUESTS), limit=3)
    plan = plan_question(question, Scope(tenant_key=1, identities=True))
    assert plan.shape.condensed is None
    assert plan.shape.strategy is Strategy.SUM
    assert plan.shape.in_tenant


def _rows_read(node: dict[str, Any]) -> dict[str, int]:
    """Rows that a plan read, by table."""
    read: dict[str, int] = defaultdict(int)
    if "Relation Name" in node:
        read[node["Relation Name"]] += round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    for child in node.get("Plans", []):
        for table, rows in _rows_read(child).items():
            read[table] += rows
    return read


async def _count_rows(database: Database, plan: Plan) -> dict[str, int]:
    async with database.read_connection() as connection:
        statement, values = next(try_top_users(plan))
        rows = await fetch_rows_on(connection, statement, values)
        assert rows[0][0], "proven by the first statement"
        # So few rows a server may read all at once, and keep; of millions it reads those that are asked for.
        await connection.execute("SET enable_seqscan = off; SET enable_material = off; SET enable_hashjoin = off")
        cursor = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", values, prepare=False)
        row = await cursor.fetchone()
    assert row is not None
    return {table: count for table, count in _rows_read(row[0][0]["Plan"]).items() if table.startswith("usage_")}


@pytest.mark.parametrize("model", [None, "a/one"])
async def test_few_rows_are_read_of_many_users(database: Database, ingestor: Ingestor, model: str | None) -> None:
    """A few spend much, many spend little: neither these nor the records of the day that is not over are looked at."""
    records = [
        make_record(
            occurred_at=datetime(2026, 2, 20, 1, tzinfo=UTC) + timedelta(days=day),
            user_id=f"u{user:04d}",
            cost_usd=Decimal(1000 - user if user < 10 else 1),
            model_id="a/one",
        )
        for user in range(1500)
        for day in range(0, 29, 4)
    ]
    await ingestor.ingest(make_batch(records))
    await close_days(database, datetime(2026, 3, 20, 12, tzinfo=UTC))
    async with database.transaction() as connection:
        await connection.execute("ANALYZE")
    read = await _count_rows(database, _plan(date(2026, 2, 20), date(2026, 3, 20), 2, model))
    assert read["usage_by_day_all"] == 0
    assert 0 < sum(read.values()) < 1000
