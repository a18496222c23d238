"""Document 001: daily rankings, through GraphQL and their URL."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from app.domain.usage import UsageRecord
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

URL = "/api/v1/datasets/rankings-daily"
DAY = datetime(2026, 6, 20, 8, tzinfo=UTC)


def entry(permaslug: str, public: bool = True) -> dict[str, Any]:
    return {"model_id": permaslug.partition(":")[0], "permaslug": permaslug, "public": public}


async def rows_of(gateway: Gateway, headers: dict[str, str], **parameters: str) -> list[tuple[str, str, str]]:
    response = await gateway.client.get(URL, params=parameters, headers=headers)
    assert response.status_code == 200, response.text
    return [(row["date"], row["model_permaslug"], row["total_tokens"]) for row in response.json()["data"]]


async def test_the_whole_body(gateway: Gateway) -> None:
    await gateway.catalog(
        entry("openai/gpt-4o-2024-05-13"), entry("anthropic/claude-3.5-sonnet-20241022"), entry("x/private", public=False)
    )
    await gateway.store(
        [
            make_record(model_id="openai/gpt-4o-2024-05-13", prompt_tokens=12_345_000, completion_tokens=678, cached_tokens=5),
            make_record(model_id="anthropic/claude-3.5-sonnet-20241022", prompt_tokens=9_876_543, completion_tokens=0),
            make_record(model_id="x/private", prompt_tokens=4_321_098, completion_tokens=0),
        ]
    )
    response = await gateway.client.get(URL, headers=await gateway.key("ingest"))
    assert response.json() == snapshot(
        {
            "data": [
                {"date": "2026-06-25", "model_permaslug": "openai/gpt-4o-2024-05-13", "total_tokens": "12345678"},
                {"date": "2026-06-25", "model_permaslug": "anthropic/claude-3.5-sonnet-20241022", "total_tokens": "9876543"},
                {"date": "2026-06-25", "model_permaslug": "other", "total_tokens": "4321098"},
            ],
            "meta": {"as_of": "2026-06-26T12:00:00Z", "version": "v1", "start_date": "2026-05-26", "end_date": "2026-06-25"},
        }
    )


async def test_fifty_models_a_day_ties_by_permaslug_and_the_rest_last(gateway: Gateway) -> None:
    await gateway.catalog(*(entry(f"m/{number:02d}") for number in range(60)), entry("m/zero"), entry("m/zz"))
    await gateway.store(
        [
            *(make_record(occurred_at=DAY, model_id=f"m/{number:02d}", prompt_tokens=10, completion_tokens=0) for number in range(60)),
            make_record(occurred_at=DAY, model_id="m/zz", prompt_tokens=11, completion_tokens=0),
            make_record(occurred_at=DAY, model_id="m/zero", prompt_tokens=0, completion_tokens=0),
            make_record(occurred_at=DAY + timedelta(days=2), model_id="m/07", prompt_tokens=1, completion_tokens=0),
        ]
    )
    headers = await gateway.key("admin")
    assert await rows_of(gateway, headers, start_date="2026-06-20", end_date="2026-06-22") == [
        ("2026-06-20", "m/zz", "11"),
        *(("2026-06-20", f"m/{number:02d}", "10") for number in range(49)),
        ("2026-06-20", "other", "110"),
        ("2026-06-22", "m/07", "1"),
    ]


async def test_variants_rank_by_themselves_and_unlisted_ones_follow_their_model(gateway: Gateway) -> None:
    await gateway.catalog(entry("m/a"), entry("m/a:free"), entry("m/hidden", public=False))
    await gateway.store(
        [
            make_record(occurred_at=DAY, model_id="m/a", prompt_tokens=5),
            make_record(occurred_at=DAY, model_id="m/a", model_permaslug="m/a:free", prompt_tokens=3),
            make_record(occurred_at=DAY, model_id="m/a", model_permaslug="m/a-2026:beta", prompt_tokens=2),
            make_record(occurred_at=DAY, model_id="m/hidden", model_permaslug="m/hidden:free", prompt_tokens=1),
        ]
    )
    rows = await rows_of(gateway, await gateway.key("gateway"), start_date="2026-06-20", end_date="2026-06-20")
    assert [(permaslug, int(tokens)) for _, permaslug, tokens in rows] == [
        ("m/a", 25),
        ("m/a:free", 23),
        ("m/a-2026:beta", 22),
        ("other", 21),
    ]


@pytest.mark.parametrize(
    ("parameters", "resolved"),
    [
        ({}, ("2026-05-26", "2026-06-25")),
        ({"end_date": "2026-06-26"}, ("2026-05-27", "2026-06-26")),
        ({"end_date": "2030-01-01"}, ("2026-05-27", "2026-06-26")),
        ({"start_date": "2020-01-01"}, ("2025-01-01", "2026-06-25")),
        ({"start_date": "0001-01-01", "end_date": "2025-01-01"}, ("2025-01-01", "2025-01-01")),
        ({"end_date": "2025-01-10"}, ("2025-01-01", "2025-01-10")),
        ({"start_date": "2026-06-25"}, ("2026-06-25", "2026-06-25")),
    ],
)
async def test_windows_are_resolved_and_echoed(gateway: Gateway, parameters: dict[str, str], resolved: tuple[str, str]) -> None:
    response = await gateway.client.get(URL, params=parameters, headers=await gateway.key("admin"))
    meta = response.json()["meta"]
    assert (meta["start_date"], meta["end_date"]) == resolved


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"start_date": "2026-6-1"}, "start_date must match YYYY-MM-DD"),
        ({"end_date": "2026-06-01T00:00:00Z"}, "end_date must match YYYY-MM-DD"),
        ({"end_date": "２０２６-06-01"}, "end_date must match YYYY-MM-DD"),
        ({"end_date": "2026-06-01\n"}, "end_date must match YYYY-MM-DD"),
        ({"start_date": "2026-02-30", "end_date": "junk"}, "end_date must match YYYY-MM-DD"),
        ({"start_date": "2026-02-30"}, "start_date is not a calendar date: 2026-02-30"),
        ({"end_date": "2024-12-31"}, "end_date must be on or after 2025-01-01"),
        ({"start_date": "2026-06-10", "end_date": "2026-06-09"}, "start_date must not be after end_date (2026-06-09)"),
        ({"start_date": "2026-07-10", "end_date": "2026-07-11"}, "start_date must not be after end_date (2026-06-26)"),
        ({"start_date": ""}, "start_date must match YYYY-MM-DD"),
    ],
)
async def test_bad_dates_are_named(gateway: Gateway, parameters: dict[str, str], message: str) -> None:
    headers = await gateway.key("admin")
    response = await gateway.client.get(URL, params=parameters, headers=headers)
    assert (response.status_code, response.json()) == (400, {"error": {"code": 400, "message": message}})
    variables = {name.replace("_d", "D"): value for name, value in parameters.items()}
    document = "query ($startDate: Date, $endDate: Date) { rankingsDaily(startDate: $startDate, endDate: $endDate) { meta { version } } }"
    answer = await gateway.graphql(document, headers, **variables)
    spelled = message.replace("_d", "D")
    extensions = {"code": "BAD_USER_INPUT", "argument": spelled.partition(" ")[0]}
    assert (answer["errors"][0]["message"], answer["errors"][0]["extensions"]) == (spelled, extensions)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing Authentication header"),
        ({"Authorization": "Bearer tg_wrong"}, "Invalid credentials"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "Invalid credentials"),
        ({"Authorization": "Bearer "}, "Invalid credentials"),
        ({"X-API-Key": "tg_wrong"}, "Invalid credentials"),
    ],
)
async def test_a_key_is_needed(gateway: Gateway, headers: dict[str, str], message: str) -> None:
    response = await gateway.client.get(URL, headers=headers)
    assert (response.status_code, response.json()) == (401, {"error": {"code": 401, "message": message}})
    assert response.headers["www-authenticate"] == "Bearer"
    answer = await gateway.graphql("{ rankingsDaily { meta { version } } }", headers)
    assert answer["data"] == {"rankingsDaily": None}
    assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_thirty_a_minute_count_rest_and_graphql_together(gateway: Gateway) -> None:
    headers = await gateway.key("tenant", "acme")
    for number in range(15):
        assert (await gateway.client.get(URL, headers=headers)).status_code == 200, number
    twice = await gateway.graphql("{ a: rankingsDaily { meta { version } } b: rankingsDaily { meta { version } } }", headers)
    assert "errors" not in twice
    for _ in range(13):
        assert "errors" not in await gateway.graphql("{ rankingsDaily { meta { version } } }", headers)
    refused = await gateway.client.get(URL, headers=headers)
    assert (refused.status_code, refused.json()) == (429, {"error": {"code": 429, "message": "Rate limit exceeded"}})
    assert refused.headers["x-ratelimit-limit"] == "30"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert int(refused.headers["retry-after"]) >= 1
    assert int(refused.headers["x-ratelimit-reset"]) > 0
    answer = await gateway.graphql("{ rankingsDaily { meta { version } } }", headers)
    assert answer["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert (await gateway.client.get(URL, headers=await gateway.key("tenant", "acme"))).status_code == 200, "another key of the account"


async def test_five_hundred_a_day_count_by_account_and_utc_day(gateway: Gateway) -> None:
    def key_of(tenant: str) -> Any:
        return gateway.key("tenant", tenant)

    for _ in range(20):
        headers = await key_of("acme")
        for _ in range(25):
            assert (await gateway.client.get(URL, params={"end_date": "2025-01-01"}, headers=headers)).status_code == 200
    refused = await gateway.client.get(URL, headers=await key_of("acme"))
    assert (refused.status_code, refused.headers["x-ratelimit-limit"]) == (429, "500")
    assert refused.headers["retry-after"] == str(12 * 3600)
    assert (await gateway.client.get(URL, headers=await key_of("umbrella"))).status_code == 200
    gateway.clock.advance(timedelta(hours=12))
    assert (await gateway.client.get(URL, headers=await key_of("acme"))).status_code == 200


def naive_rankings(records: list[UsageRecord], public: set[str], first: date, last: date) -> list[tuple[str, str, str]]:
    sums: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in records:
        sums[record.occurred_at.date()][record.model_permaslug] += record.prompt_tokens + record.completion_tokens
    rows = []
    for day in sorted(day for day in sums if first <= day <= last):
        ranked = sorted(((-tokens, name) for name, tokens in sums[day].items() if tokens and name in public))
        rows += [(day.isoformat(), name, str(-tokens)) for tokens, name in ranked[:50]]
        rest = sum(sums[day].values()) + sum(tokens for tokens, _ in ranked[:50])
        rows += [(day.isoformat(), "other", str(rest))] if rest else []
    return rows


_names = [f"m/{number}" for number in range(70)]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    drawn=st.lists(st.tuples(st.sampled_from(_names), st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), min_size=60, max_size=200),
    private=st.sets(st.sampled_from(_names), max_size=10),
)
async def test_it_equals_a_direct_aggregation(gateway: Gateway, drawn: list[tuple[str, int, int, int]], private: set[str]) -> None:
    async with gateway.database.transaction() as connection:
        await connection.execute("TRUNCATE usage_records, usage_by_day_model, models CASCADE")
    await gateway.catalog(*(entry(name, name not in private) for name in _names))
    records = [
        make_record(model_id=name, prompt_tokens=prompt, completion_tokens=completion, occurred_at=DAY + timedelta(days=days))
        for name, prompt, completion, days in drawn
    ]
    await gateway.store(records)
    rows = await rows_of(gateway, await gateway.key("admin"), start_date="2026-06-01", end_date=NOW.date().isoformat())
    assert rows == naive_rankings(records, set(_names) - private, date(2026, 6, 1), NOW.date())


async def test_unchanged_rankings_are_not_sent_again_but_counted(gateway: Gateway) -> None:
    await gateway.catalog(entry("m/x"))
    await gateway.store([make_record(model_id="m/x", occurred_at=DAY)])
    headers = await gateway.key("tenant", "acme")
    first = await gateway.client.get(URL, headers=headers)
    assert first.headers["cache-control"].startswith("private")
    left = int(first.headers["x-ratelimit-remaining"])
    gateway.clock.advance(timedelta(seconds=90))
    again = await gateway.client.get(URL, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert int(again.headers["x-ratelimit-remaining"]) == left - 1
    whole = await gateway.client.get(URL, headers=headers)
    assert (whole.status_code, whole.headers["etag"]) == (200, first.headers["etag"])
    assert (first.json()["meta"]["as_of"], whole.json()["meta"]["as_of"]) == ("2026-06-26T12:00:00Z", "2026-06-26T12:01:30Z")
    other = await gateway.client.get(URL, params={"start_date": "2026-06-01"}, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (other.status_code, other.headers["etag"] != first.headers["etag"]) == (200, True)
    await gateway.store([make_record(model_id="m/x", occurred_at=DAY)])
    changed = await gateway.client.get(URL, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)


async def test_no_validator_opens_the_rankings(gateway: Gateway) -> None:
    headers = await gateway.key("tenant", "acme")
    etag = (await gateway.client.get(URL, headers=headers)).headers["etag"]
    for key in ({}, {"X-API-Key": "tg_wrong"}):
        refused = await gateway.client.get(URL, headers={**key, "If-None-Match": etag})
        assert (refused.status_code, "etag" in refused.headers) == (401, False)
    for _ in range(29):
        assert (await gateway.client.get(URL, headers={**headers, "If-None-Match": etag})).status_code == 304
    assert (await gateway.client.get(URL, headers={**headers, "If-None-Match": etag})).status_code == 429
