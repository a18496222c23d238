"""Document 000: the network snapshot, through GraphQL and its URL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from inline_snapshot import snapshot

from app.analytics.snapshot import take_snapshot_if_due
from app.db.engine import Database
from app.domain.usage import UsageRecord
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

URL = "/api/v1/analytics/network"

PUBLIC = [
    {"model_id": "openai/gpt-4o", "name": "GPT-4o", "provider_name": "OpenAI", "public": True},
    {"model_id": "openai/gpt-4o", "permaslug": "openai/gpt-4o-2024-05-13", "name": "GPT-4o (May)", "public": True},
    {"model_id": "zeta/last", "name": "Last", "provider_name": "Zeta", "public": True},
    {"model_id": "acme/secret", "name": "Secret", "public": False},
]


async def test_before_the_first_snapshot(gateway: Gateway) -> None:
    response = await gateway.client.get(URL)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
    assert response.json() == snapshot(
        {
            "generated_at": None,
            "totals": {
                "tokens": 0,
                "requests": 0,
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "cached_tokens": 0,
                "reasoning_tokens": 0,
            },
            "top_models": [],
            "trend": {"24h": [], "7d": [], "30d": []},
        }
    )


async def test_the_sample_of_the_document(gateway: Gateway) -> None:
    """The document's own numbers come out of records made to yield them."""
    await gateway.catalog(*PUBLIC)
    gpt = make_record(prompt_tokens=340_000_000, completion_tokens=160_000_000, occurred_at=NOW - timedelta(days=1))
    rest = make_record(
        model_id="acme/secret",
        prompt_tokens=830_000_000 - 340_000_000,
        cached_tokens=30_000_000,
        completion_tokens=404_567_890 - 160_000_000,
        reasoning_tokens=4_567_890,
        occurred_at=NOW - timedelta(days=25),
    )
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "occurred_at": NOW - timedelta(days=2)}
    await gateway.store(
        [
            gpt,
            rest,
            *(make_record(**nothing) for _ in range(24_999)),
            *(make_record(model_id="acme/secret", **nothing) for _ in range(24_999)),
        ]
    )
    body = await gateway.snapshot()
    answer = (await gateway.client.get(URL)).json()
    assert answer == body
    assert answer["generated_at"] == "2026-06-26T12:00:00.000Z"
    assert answer["totals"] == snapshot(
        {
            "tokens": 1234567890,
            "requests": 50000,
            "prompt_tokens": 800000000,
            "completion_tokens": 400000000,
            "cached_tokens": 30000000,
            "reasoning_tokens": 4567890,
        }
    )
    assert answer["top_models"] == snapshot(
        [
            {
                "model_id": "openai/gpt-4o",
                "model_name": "GPT-4o",
                "provider": "OpenAI",
                "rank": 1,
                "tokens": 500000000,
                "requests": 25000,
                "share": 0.405,
            }
        ]
    )
    assert answer["trend"]["24h"][-1] == {"bucket": "2026-06-26 11:00", "tokens": 0, "requests": 0}
    assert answer["trend"]["7d"][-2] == {"bucket": "2026-06-25", "tokens": 500000000, "requests": 1}


async def test_top_models_are_public_summed_by_id_and_ordered(gateway: Gateway) -> None:
    await gateway.catalog(*PUBLIC, *({"model_id": f"many/m{number:02d}", "public": True} for number in range(20)))
    records = [
        make_record(model_id="openai/gpt-4o", prompt_tokens=300, completion_tokens=0),
        make_record(model_id="openai/gpt-4o", model_permaslug="openai/gpt-4o-2024-05-13", prompt_tokens=200, completion_tokens=0),
        make_record(model_id="openai/gpt-4o", model_permaslug="openai/gpt-4o:free", prompt_tokens=100, completion_tokens=0),
        make_record(model_id="acme/secret", prompt_tokens=10_000, completion_tokens=0),
        make_record(model_id="nobody/knows", prompt_tokens=10_000, completion_tokens=0),
        make_record(model_id="zeta/last", prompt_tokens=0, completion_tokens=0),
        *(make_record(model_id=f"many/m{number:02d}", prompt_tokens=50, completion_tokens=0) for number in range(20)),
    ]
    await gateway.store(records)
    await gateway.snapshot()
    answer = (await gateway.client.get(URL)).json()
    assert [(model["rank"], model["model_id"], model["tokens"]) for model in answer["top_models"]] == [
        (1, "openai/gpt-4o", 600),
        *((rank, f"many/m{rank - 2:02d}", 50) for rank in range(2, 16)),
    ]
    assert answer["totals"]["tokens"] == 300 + 200 + 100 + 20_000 + 20 * 50
    assert "secret" not in str(answer).lower()
    assert "nobody" not in str(answer)


@pytest.mark.parametrize(
    ("now", "last_hour", "last_day"),
    [
        (datetime(2026, 6, 26, 12, 0, tzinfo=UTC), "2026-06-26 11:00", "2026-06-26"),
        (datetime(2026, 6, 26, 12, 0, 0, 1000, tzinfo=UTC), "2026-06-26 12:00", "2026-06-26"),
        (datetime(2026, 6, 26, 0, 0, tzinfo=UTC), "2026-06-25 23:00", "2026-06-25"),
        (datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "2026-03-29 01:00", "2026-03-29"),
        (datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), "2026-01-01 00:00", "2026-01-01"),
    ],
)
async def test_trends_have_every_bucket_and_the_same_sum(gateway: Gateway, now: datetime, last_hour: str, last_day: str) -> None:
    gateway.clock.now = now
    records = [make_record(occurred_at=now - timedelta(hours=7 * number, minutes=11), prompt_tokens=number) for number in range(130)]
    await gateway.store(records)
    answer = await gateway.snapshot()
    trend = answer["trend"]
    assert [len(trend[name]) for name in ("24h", "7d", "30d")] == [24, 7, 30]
    assert (trend["24h"][-1]["bucket"], trend["7d"][-1]["bucket"], trend["30d"][-1]["bucket"]) == (last_hour, last_day, last_day)
    assert trend["7d"] == trend["30d"][-7:]
    for name in ("tokens", "requests"):
        assert sum(point[name] for point in trend["30d"]) == answer["totals"][name]
    hours = {point["bucket"]: point["requests"] for point in trend["24h"]}
    expected: dict[str, int] = dict.fromkeys(hours, 0)
    for record in records:
        bucket = record.occurred_at.strftime("%Y-%m-%d %H:00")
        if bucket in expected:
            expected[bucket] += 1
    assert hours == expected


async def test_it_is_cached_and_validated_by_its_etag(gateway: Gateway) -> None:
    await gateway.store([make_record()])
    await gateway.snapshot()
    first = await gateway.client.get(URL)
    assert first.headers["cache-control"] == "public, max-age=600, s-maxage=600"
    for given in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = await gateway.client.get(URL, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await gateway.client.get(URL, headers={"If-None-Match": '"other"'})).status_code == 200
    gateway.clock.advance(timedelta(minutes=10))
    await gateway.snapshot()
    changed = await gateway.client.get(URL, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


async def test_graphql_gives_the_same_numbers_and_needs_no_key(gateway: Gateway) -> None:
    await gateway.catalog(*PUBLIC)
    await gateway.store([make_record()])
    body = await gateway.snapshot()
    document = """{ network { generatedAt totals { totalTokens freshPromptTokens } topModels { modelId modelName providerName share }
                   trend { h24 { bucket totalTokens } d7 { requests } d30 { bucket } } } }"""
    answer = await gateway.graphql(document, {"Authorization": "Bearer nonsense"})
    network = answer["data"]["network"]
    assert network["generatedAt"] == body["generated_at"]
    assert network["totals"] == {"totalTokens": 120, "freshPromptTokens": 100}
    assert network["topModels"] == [{"modelId": "openai/gpt-4o", "modelName": "GPT-4o", "providerName": "OpenAI", "share": 1.0}]
    assert [len(network["trend"][name]) for name in ("h24", "d7", "d30")] == [24, 7, 30]


async def test_sums_past_64_bits_are_exact(gateway: Gateway) -> None:
    def full(model: int) -> list[UsageRecord]:
        return [make_record(model_id=f"m/{model}", prompt_tokens=2**53 - 1, completion_tokens=0) for _ in range(1024)]

    for model in range(3):
        await gateway.store(full(model))
    await gateway.snapshot()
    answer = orjson.loads((await gateway.client.get(URL)).content.replace(b"27670116110564324352", b'"exact"'))
    assert 3 * 1024 * (2**53 - 1) > 2**64
    text = (await gateway.client.get(URL)).text
    assert f'"tokens":{3 * 1024 * (2**53 - 1)},' in text
    assert answer["totals"]["requests"] == 3072


async def test_one_of_many_takes_the_snapshot(database: Database) -> None:
    every = timedelta(minutes=10)

    async def attempts(now: datetime) -> int:
        taken: list[Any] = await asyncio.gather(*(take_snapshot_if_due(database, now, every) for _ in range(6)))
        return sum(snapshot is not None for snapshot in taken)

    assert await attempts(NOW) == 1
    assert await attempts(NOW + every - timedelta(milliseconds=1)) == 0
    assert await attempts(NOW + every) == 1
    assert await attempts(NOW - timedelta(days=1)) == 1, "a clock that was set back does not stop it"
