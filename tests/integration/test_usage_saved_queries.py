"""Each saved question about usage, as it is saved, equals a naive answer that is read from its text."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import count
from random import Random

import pytest

from app.domain.principal import Role
from app.domain.usage import UsageRecord
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.naive_document import naive_answer
from tests.saved_queries import CALLERS, saved_queries

QUESTIONS = [query for query in saved_queries() if query.roots == {"usage"}]
REQUESTS = 400


def records() -> list[UsageRecord]:
    """Requests of two tenants over a year, most of them lately, with all that the saved questions ask about."""
    random, numbers = Random(7), count()
    ages = [random.choice([random.uniform(0, 2), random.uniform(0, 70), random.uniform(0, 400)]) for _ in range(REQUESTS)]
    return [
        make_record(
            tenant_id=random.choice(["acme", "acme", "beta"]),
            occurred_at=NOW - timedelta(days=age, microseconds=next(numbers)),
            project_id=random.choice([None, "chat", "search"]),
            api_key_id=random.choice([None, "k1", "k2"]),
            user_id=random.choice([None, *(f"u{number}" for number in range(25))]),
            model_id=random.choice([f"lab/m{number}" for number in range(13)]),
            provider=random.choice([None, "azure"]),
            status_code=random.choice([200, 200, 200, 429, 500]),
            prompt_tokens=random.choice([0, 5, 900, 5_000, 70_000]),
            completion_tokens=(completion := random.randrange(300)),
            reasoning_tokens=random.choice([0, completion // 2]),
            cost_usd=random.choice([None, Decimal(random.randrange(10_000)) / 1_000]),
            latency_ms=(latency := random.choice([None, Decimal(random.randrange(1, 5_000)) / 10])),
            ttft_ms=random.choice([None, latency, Decimal(random.randrange(500)) / 10]),
            attempt=random.choice([1, 1, 2]),
            cache_hit=random.random() < 0.1,
            traffic_mode=random.choice(["shared", "byok"]),
        )
        for age in ages
    ]


async def test_every_saved_question_equals_its_naive_answer(gateway: Gateway) -> None:
    assert len(QUESTIONS) >= 15
    stored = records()
    await gateway.store(stored)
    for query in QUESTIONS:
        role = CALLERS[query.caller]
        assert role is not None
        tenant = "acme" if role is Role.TENANT else None
        answer = await gateway.graphql(query.text, await gateway.key(role, tenant))
        expected = naive_answer(query.text, stored, tenant, NOW)
        assert answer == {"data": {"usage": expected}}, query.file
        assert expected["totals"]["requests" if "requests" in expected["totals"] else "cost"], f"{query.file} asks about nothing"


@pytest.mark.parametrize("interval", ["WEEK", "MONTH"])
async def test_a_question_beside_every_earlier_period(gateway: Gateway, interval: str) -> None:
    stored = records()
    await gateway.store(stored)
    admin = await gateway.key("admin")
    for previous in ("PERIOD", "WEEK", "MONTH", "YEAR"):
        numbers = "{ requests tokensPerSecond { count p90 avg } share(of: COST) change(of: COST) errors: change(of: ERROR_RATE) }"
        text = f"""{{ usage(range: {{last: {{count: 70, unit: DAY}}}}, timeZone: "Asia/Kathmandu", compareTo: {{previous: {previous}}}) {{
          range {{ start end }} previousRange {{ start end }} totals {numbers} previousTotals {numbers}
          rows(by: [MODEL, PROJECT], interval: {interval}, top: {{count: 4}}, orderBy: [{{metric: COST}}], first: 12) {{
            totalCount nodes {{ label isOther bucket {{ label }} metrics {numbers} previous {numbers} }} rest {numbers} previousRest {numbers} }} }} }}"""
        assert await gateway.graphql(text, admin) == {"data": {"usage": naive_answer(text, stored, None, NOW)}}, previous
