"""Closed days: whatever comes late, whenever days are closed, answers equal a direct aggregation, and what is kept equals the rollups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analytics.fetch import fetch_plan, fetch_rankings
from app.analytics.plan import Question, plan_question
from app.analytics.usage import COST, GatewayQuestion, UsageQuestion, fetch_gateway, fetch_tenant_days, fetch_usage, find_tenant
from app.cube.dimensions import PROJECT, USER, Bucket
from app.cube.metrics import REQUESTS
from app.cube.rollups import BY_DAY_ALL, CONDENSED, ROLLUPS
from app.db.engine import Connection, Database
from app.domain.principal import Scope
from app.domain.time_range import DateWindow
from app.domain.usage import OTHER, UsageRecord
from app.summaries.closing import close_days
from app.summaries.retention import retain_records
from app.summaries.verify import chunks_of, find_differences, find_extent, rebuild
from app.write.batch import Ingestor, Written
from app.write.catalog import load_catalog, parse_catalog
from tests import naive
from tests.factories import make_batch, make_record

NOW = datetime(2026, 6, 25, 12, tzinfo=UTC)
ALL = Scope(tenant_key=None, identities=True)
FOREVER = DateWindow(date(2020, 1, 1), date(2026, 6, 26))

_INSTANTS = st.sampled_from(
    [
        datetime(2026, 4, 30, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 5, 1, tzinfo=UTC),
        datetime(2026, 5, 31, 12, tzinfo=UTC),
        datetime(2026, 6, 24, 23, tzinfo=UTC),
        NOW,
        NOW + timedelta(hours=20),
    ]
) | st.datetimes(datetime(2026, 3, 20), datetime(2026, 6, 25), timezones=st.just(UTC))


@st.composite
def _records(draw: st.DrawFn) -> UsageRecord:
    return make_record(
        tenant_id=draw(st.sampled_from(["acme", "umbrella"])),
        occurred_at=draw(_INSTANTS),
        project_id=draw(st.sampled_from([None, "p1", "p2", "unknown"])),
        api_key_id=draw(st.sampled_from([None, "k1"])),
        user_id=draw(st.sampled_from([None, "u1", "u2", "u3", "u4"])),
        model_id=draw(st.sampled_from(["a/one", "a/two", "b/three", "plain"])),
        status_code=draw(st.sampled_from([200, 500])),
        prompt_tokens=draw(st.integers(0, 5000) | st.just(2**53 - 1)),
        completion_tokens=draw(st.integers(0, 5000)),
        cost_usd=draw(st.sampled_from([Decimal(0), Decimal("0.5"), Decimal("1.25"), Decimal("1E-15")])),
        latency_ms=draw(st.none() | st.decimals(0, 9999, places=3)),
    )


async def _empty(database: Database) -> None:
    stored = [*ROLLUPS, *(rollup for condensed in CONDENSED for rollup in condensed.rollups)]
    tables = ["usage_records", "recent_requests", "users", "projects", "models", "rankings_by_day", "reopened_days"]
    async with database.transaction() as connection:
        await connection.execute(f"TRUNCATE {', '.join([*tables, *(rollup.name for rollup in stored)])} CASCADE")
        await connection.execute("UPDATE closing_state SET closed_until = '2020-01-01', partly_until = '2020-01-01 00:00+00'")


async def _publish(database: Database, public: Sequence[str]) -> None:
    entries = [{"model_id": name, "public": name in public} for name in ("a/one", "a/two", "b/three", "plain")]
    await load_catalog(database, parse_catalog(entries), NOW)


def _naive_rankings(records: Sequence[UsageRecord], public: Sequence[str]) -> list[tuple[date, str, str]]:
    days: dict[date, dict[str | None, int]] = {}
    for record in records:
        slugs = days.setdefault(naive.day_of(record), {})
        slug = record.model_permaslug if record.model_id in public else None
        slugs[slug] = slugs.get(slug, 0) + record.prompt_tokens + record.completion_tokens
    rows: list[tuple[date, str, str]] = []
    for day in sorted(days):
        named = sorted(
            ((slug, tokens) for slug, tokens in days[day].items() if tokens), key=lambda row: (row[0] is None, -row[1], row[0] or "")
        )
        rows += [(day, slug or OTHER, str(tokens)) for slug, tokens in named]
    return rows


async def _assert_equal(database: Database, records: Sequence[UsageRecord], public: Sequence[str], window: DateWindow) -> None:
    found = naive.within(records, window.start_date, window.end_date)
    assert await fetch_rankings(database, window) == _naive_rankings(found, public)

    for model in (None, "a/one"):
        expected = naive.usage_analytics(found, lambda record: None, model_id=model, top=2)
        for bucket in (Bucket.DAY, Bucket.WEEK, Bucket.MONTH):
            asked = UsageQuestion(window, ("time_series", "by_model", "top_users"), bucket, model, top_users_limit=2)
            usage = await fetch_usage(database, asked, ALL)
            series = naive.usage_analytics(found, lambda record: None, aggregation=bucket.value, model_id=model)["time_series"]
            assert [(bucket.label(row[0]), *row[1:3], row[4]) for row in usage["time_series"]] == [
                (row["period"], row["input_tokens"], row["output_tokens"], row["request_count"]) for row in series
            ]
        assert [(*row[:4], naive.half_up(row[4], 6), row[5]) for row in usage["by_model"]] == [
            tuple(row[name] for name in ("model_id", "provider", "input_tokens", "output_tokens", "cost", "request_count"))
            for row in expected["by_model"]
        ]
        assert [(row[0], naive.half_up(row[1], 6), row[2]) for row in usage["top_users"]] == [
            (row["user_id"], row["total_cost"], row["request_count"]) for row in expected["top_users"]
        ]

    for project in (None, "p1", "unknown"):
        stats = await fetch_gateway(database, GatewayQuestion(window, ("totals", "providers", "models", "projects", "daily"), project), ALL)
        answer = naive.gateway_stats(found, today=window.end_date, project=project, known=records)
        assert stats["totals"][0][0] == answer["total_requests"]
        for section in ("providers", "models", "projects"):
            assert [(row[0], row[1], row[2]) for row in stats[section]] == [
                (name, row["requests"], row["successful"]) for name, row in answer[section].items()
            ]
        assert [(row[0].isoformat(), row[1]) for row in stats["daily"]] == [(row["date"], row["requests"]) for row in answer["daily"]]

    for tenant in ("acme", "umbrella"):
        key = await find_tenant(database, tenant)
        if key is not None:
            days = await fetch_tenant_days(database, window, None, Scope(tenant_key=key, identities=True))
            mine = [record for record in found if record.tenant_id == tenant]
            assert sum(row[1] for row in days) == len(mine)
            assert sum(row[6] for row in days) == sum(record.prompt_tokens + record.completion_tokens for record in mine)
            assert sum(row[-1] for row in days) == sum(record.latency_ms or 0 for record in mine)


async def _assert_kept_is_right(database: Database) -> None:
    whole = await find_extent(database)
    for chunk in [] if whole is None else chunks_of(whole):
        if chunk.rollup is None:
            assert await find_differences(database, chunk) == []


_STEPS = st.lists(
    st.lists(_records(), min_size=1, max_size=12)
    | st.integers(0, 60).map(lambda back: NOW - timedelta(days=back))
    | st.integers(-14, 60).map(lambda back: NOW - timedelta(hours=back))
    | st.sampled_from([(), ("a/one",), ("a/one", "plain"), ("a/two", "b/three")])
    | st.just("rebuild"),
    max_size=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    steps=_STEPS,
    start=st.sampled_from([date(2020, 1, 1), date(2026, 4, 1), date(2026, 4, 17), date(2026, 5, 31)]),
    end=st.sampled_from([date(2026, 6, 26), date(2026, 6, 24), date(2026, 5, 31), date(2026, 4, 30)]),
)
async def test_answers_are_the_same_whenever_days_are_closed(database: Database, steps: list[Any], start: date, end: date) -> None:
    await _empty(database)
    public: Sequence[str] = ("a/one", "b/three")
    await _publish(database, public)
    stored: list[UsageRecord] = []
    for step in steps:
        if isinstance(step, list):
            await Ingestor(database).ingest(make_batch(step))
            stored += step
        elif isinstance(step, datetime):
            assert await close_days(database, step) is not None
        elif isinstance(step, tuple):
            public = step
            await _publish(database, public)
        elif (whole := await find_extent(database)) is not None:
            assert [part async for part in rebuild(database, whole)]
        await _assert_kept_is_right(database)
        await _assert_equal(database, stored, public, DateWindow(start, end))
    await _assert_equal(database, stored, public, FOREVER)


async def _reopened(database: Database) -> list[date]:
    async with database.read_connection() as connection:
        return [day for (day,) in await (await connection.execute("SELECT day FROM reopened_days ORDER BY day")).fetchall()]


async def test_a_late_record_reopens_its_day_alone_until_it_is_closed_anew(database: Database, ingestor: Ingestor) -> None:
    days = [datetime(2026, 5, 30, 10, tzinfo=UTC) + timedelta(days=number) for number in range(5)]
    await ingestor.ingest(make_batch(make_record(occurred_at=day, user_id="u") for day in days))
    closed = await close_days(database, NOW)
    assert closed is not None
    assert (closed.until, len(closed.days)) == (date(2026, 6, 4), 5)
    assert await _reopened(database) == []

    late = make_record(occurred_at=days[1] + timedelta(minutes=1), user_id="u")
    await ingestor.ingest(make_batch([late]))
    await ingestor.ingest(make_batch([late]))
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW)]))
    assert await _reopened(database) == [date(2026, 5, 31)]
    again = await close_days(database, datetime(2026, 6, 4, 0, 10, tzinfo=UTC))
    assert again is not None
    assert again.days == (date(2026, 5, 31),)
    await _assert_kept_is_right(database)


async def _set_cube(database: Database, day: date, requests: int) -> None:
    async with database.transaction() as connection:
        await connection.execute("UPDATE usage_by_day_all SET request_count = %s WHERE day = %s", [requests, day])


async def _requests_by_user(database: Database) -> dict[str, int]:
    asked = UsageQuestion(DateWindow(NOW.date(), NOW.date()), ("top_users",))
    return {row[0]: row[2] for row in (await fetch_usage(database, asked, ALL))["top_users"]}


async def test_the_day_that_is_not_over_is_closed_in_parts(database: Database, ingestor: Ingestor) -> None:
    """What was before the last minutes is not read from the cube, until a late record reopens it."""
    hours = {name: NOW - timedelta(minutes=back) for name, back in (("early", 500), ("last", 16), ("open", 15), ("now", 0))}
    await ingestor.ingest(make_batch(make_record(occurred_at=at, user_id=name, project_id="p") for name, at in hours.items()))
    closed = await close_days(database, NOW)
    assert closed is not None
    assert (closed.until, closed.days) == (NOW.date(), (NOW.date(),))
    assert await _reopened(database) == []
    await _assert_kept_is_right(database)

    await _set_cube(database, NOW.date(), 50)
    assert await _requests_by_user(database) == dict.fromkeys(hours, 1)
    today = DateWindow(NOW.date(), NOW.date())
    assert (await fetch_gateway(database, GatewayQuestion(today, ("totals",), "p"), ALL))["totals"][0][0] == 4
    await ingestor.ingest(make_batch([make_record(occurred_at=hours["open"], user_id="open")]))
    assert await _reopened(database) == []
    assert await _requests_by_user(database) == {**dict.fromkeys(hours, 1), "open": 2}

    await _set_cube(database, NOW.date(), 1)
    await ingestor.ingest(make_batch([make_record(occurred_at=hours["early"], user_id="early")]))
    assert await _reopened(database) == [NOW.date()]
    async with database.transaction() as connection:  # as the cube has it: two records of one user by two projects
        cursor = await connection.execute("SELECT sum(request_count) FROM usage_by_day_all")
        assert await cursor.fetchone() == (6,)
    assert await _requests_by_user(database) == {**dict.fromkeys(hours, 1), "open": 2, "early": 2}
    for later in (0, 1, 24):
        assert await close_days(database, NOW + timedelta(hours=later)) is not None
        await _assert_kept_is_right(database)
        assert await _requests_by_user(database) == {**dict.fromkeys(hours, 1), "open": 2, "early": 2}


async def _stale(database: Database) -> list[str]:
    async with database.read_connection() as connection:
        cursor = await connection.execute("SELECT public_id FROM models WHERE is_ranking_stale ORDER BY 1")
        return [name for (name,) in await cursor.fetchall()]


async def test_ranking_anew_waits_for_nobody_who_publishes(database: Database, ingestor: Ingestor) -> None:
    await _publish(database, ())
    records = [make_record(occurred_at=NOW - timedelta(days=3), model_id=name, prompt_tokens=9) for name in ("a/one", "a/two", "b/three")]
    await ingestor.ingest(make_batch(records))
    assert await close_days(database, NOW) is not None
    assert await _stale(database) == []
    await _publish(database, ("a/one", "b/three"))
    assert await _stale(database) == ["a/one", "b/three"]
    await _assert_equal(database, records, ("a/one", "b/three"), FOREVER)
    async with database.transaction() as connection:
        await connection.execute("UPDATE models SET is_public = false WHERE public_id = 'b/three'")
        async with asyncio.timeout(60):
            assert await close_days(database, NOW) is not None
        assert await _stale(database) == ["b/three"], "the one that nobody changes is ranked anew"
    # The other came back to what was ranked.
    assert await _stale(database) == []
    await _assert_equal(database, records, ("a/one",), FOREVER)
    await _assert_kept_is_right(database)


async def test_a_new_model_leaves_the_rankings_as_they_are(database: Database, ingestor: Ingestor) -> None:
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW - timedelta(days=3), model_id="plain")]))
    assert await close_days(database, NOW) is not None
    await _publish(database, ("a/one",))
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW - timedelta(days=2), model_id="a/one", model_permaslug="a/one:free")]))
    assert await _stale(database) == []


async def test_verify_finds_what_is_wrong_of_a_day_that_is_not_over(database: Database, ingestor: Ingestor) -> None:
    await ingestor.ingest(
        make_batch([make_record(occurred_at=NOW - timedelta(hours=2), user_id="u", project_id="p"), make_record(occurred_at=NOW)])
    )
    assert await close_days(database, NOW) is not None
    of_cube = [condensed.by_day for condensed in CONDENSED if condensed.source is BY_DAY_ALL and condensed.by_day is not None]
    async with database.transaction() as connection:
        for rollup in of_cube:
            await connection.execute(f"UPDATE {rollup.name} SET request_count = request_count + 1")
    whole = await find_extent(database)
    assert whole is not None
    found = [
        difference.rollup for chunk in chunks_of(whole) if chunk.rollup is None for difference in await find_differences(database, chunk)
    ]
    assert {rollup.name for rollup in of_cube} <= set(found)
    assert [part async for part in rebuild(database, whole)]
    assert await _reopened(database) == [NOW.date()]
    assert await close_days(database, NOW) is not None
    await _assert_kept_is_right(database)


async def test_records_that_are_dropped_while_their_day_is_closed_in_part_stay_counted(database: Database, ingestor: Ingestor) -> None:
    """Nobody closes days for months: what the records of the last minutes would say, the cube says."""
    await ingestor.ingest(make_batch(make_record(occurred_at=NOW - timedelta(hours=back), user_id="u") for back in (0, 2)))
    assert await close_days(database, NOW) is not None
    later = NOW + timedelta(days=100)
    await ingestor.ingest(make_batch([make_record(occurred_at=later)]))
    await retain_records(database, later, timedelta(days=10))
    assert await _requests_by_user(database) == {"u": 2}
    assert await close_days(database, later) is not None
    assert await _requests_by_user(database) == {"u": 2}
    await _assert_kept_is_right(database)


async def test_verify_finds_what_is_wrong(database: Database, ingestor: Ingestor) -> None:
    await _publish(database, ("a/one",))
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW - timedelta(days=40), user_id="u", project_id="p", model_id="a/one")]))
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW)]))
    assert await close_days(database, NOW) is not None
    await _assert_kept_is_right(database)
    kept = [rollup.name for condensed in CONDENSED for rollup in condensed.rollups]
    async with database.transaction() as connection:
        for name in kept:
            await connection.execute(f"UPDATE {name} SET request_count = request_count + 1")
        await connection.execute("UPDATE rankings_by_day SET tokens = tokens + 1")
    whole = await find_extent(database)
    assert whole is not None
    chunks = [chunk for chunk in chunks_of(whole) if chunk.rollup is None]
    found = [difference for chunk in chunks for difference in await find_differences(database, chunk)]
    by_days = {  # right sums of wrong days
        rollup.name for condensed in CONDENSED for rollup in condensed.rollups if condensed.by_day not in (None, rollup)
    }
    assert {difference.rollup for difference in found} == {*kept, "rankings_by_day"} - by_days

    async with database.transaction() as connection:
        for name in by_days:
            await connection.execute(f"UPDATE {name} SET request_count = request_count + 1")
    found = [difference for chunk in chunks for difference in await find_differences(database, chunk)]
    assert {difference.rollup for difference in found} == {*kept, "rankings_by_day"}

    assert [part async for part in rebuild(database, whole)]
    assert await close_days(database, NOW) is not None
    await _assert_kept_is_right(database)
    closed = await close_days(database, NOW)
    assert closed is not None
    assert closed.days == ()


async def test_a_clock_that_is_ahead_closes_no_day_to_come(database: Database, ingestor: Ingestor) -> None:
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW)]))
    closed = await close_days(database, NOW + timedelta(days=700))
    assert closed is not None
    assert closed.until == NOW.date() + timedelta(days=1)
    await ingestor.ingest(make_batch([make_record(occurred_at=NOW + timedelta(hours=20))]))
    assert await _reopened(database) == []


@pytest.mark.parametrize("was_closed", [False, True])
async def test_closing_waits_for_the_writes_under_way(database: Database, ingestor: Ingestor, was_closed: bool) -> None:
    """A write that has begun before a day is closed, and one that has marked it, commit before it is derived."""
    at = datetime(2026, 6, 20, 10, tzinfo=UTC)
    await ingestor.ingest(make_batch([make_record(occurred_at=at)]))
    if was_closed:
        await close_days(database, NOW)
        await ingestor.ingest(make_batch([make_record(occurred_at=at)]))
    closing: list[asyncio.Task[Any]] = []

    async def close_meanwhile(connection: Connection, written: Written) -> None:
        closing.append(asyncio.create_task(close_days(database, NOW)))
        await asyncio.sleep(0.5)
        assert not closing[0].done()

    await Ingestor(database).ingest(make_batch([make_record(occurred_at=at, prompt_tokens=7)]), close_meanwhile)
    closed = await closing[0]
    assert closed is not None
    assert closed.days == (at.date(),)
    assert await _reopened(database) == []
    await _assert_kept_is_right(database)


async def test_a_write_that_comes_while_its_day_is_closed_reopens_it(database: Database, ingestor: Ingestor) -> None:
    at = datetime(2026, 6, 20, 10, tzinfo=UTC)
    await ingestor.ingest(make_batch([make_record(occurred_at=at), make_record(occurred_at=at + timedelta(days=1))]))
    await close_days(database, NOW)
    await ingestor.ingest(make_batch([make_record(occurred_at=at)]))
    async with database.transaction() as connection:
        # What the closer does first, held up.
        await connection.execute("DELETE FROM reopened_days")
        late = asyncio.create_task(Ingestor(database).ingest(make_batch([make_record(occurred_at=at)])))
        await Ingestor(database).ingest(make_batch([make_record(occurred_at=NOW)]))  # of no closed day: it does not wait
        await asyncio.sleep(0.2)
        assert not late.done()
    assert (await late).inserted == 1
    assert await _reopened(database) == [at.date()]


async def test_a_day_that_is_being_closed_has_no_record_missing(database: Database, ingestor: Ingestor) -> None:
    """Writers and closers at once: after every commit what is kept is right, and at the end all of it is there."""
    random = Random(7)
    start = datetime(2026, 5, 20, tzinfo=UTC)
    stored: list[UsageRecord] = []
    ended = asyncio.Event()

    async def write(number: int) -> None:
        own = Ingestor(database)
        for turn in range(40):
            late = [
                make_record(
                    request_id=f"w{number}-{turn}-{position}",
                    occurred_at=start + timedelta(hours=random.randrange(24 * (4 + turn // 2))),
                    user_id=f"u{random.randrange(30)}",
                    project_id=f"p{random.randrange(4)}",
                    model_id=f"m/{random.randrange(6)}",
                    cost_usd=Decimal(random.randrange(100)),
                )
                for position in range(random.randrange(1, 30))
            ]
            await own.ingest(make_batch(late))
            stored.extend(late)

    async def close(seed: int) -> int:
        done = 0
        own = Random(seed)
        while not ended.is_set():
            closed = await close_days(database, start + timedelta(days=own.randrange(30)))
            done += 0 if closed is None else len(closed.days)
            await asyncio.sleep(own.random() / 50)
        return done

    async def check() -> int:
        turns = 0
        while not ended.is_set():
            await _assert_kept_is_right(database)
            turns += 1
        return turns

    async def read() -> None:
        """In one snapshot, what is answered from closed days equals the sum over the rollup that ingest writes."""
        while not ended.is_set():
            async with database.consistent_reads() as connection:
                users = Question("users", (COST, REQUESTS), FOREVER.range, (USER,), greatest=(COST, REQUESTS), limit=5)
                found = await fetch_plan(connection, plan_question(users, ALL))
                cursor = await connection.execute(
                    "SELECT external_id, sum(cost_usd), sum(request_count)::bigint FROM usage_by_day_all JOIN users u ON u.id = user_id"
                    " GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT 5"
                )
                assert found == await cursor.fetchall()
                projects = Question("projects", (REQUESTS,), FOREVER.range, (PROJECT,), greatest=(REQUESTS,))
                answered = await fetch_plan(connection, plan_question(projects, ALL))
                cursor = await connection.execute(
                    "SELECT external_id, sum(request_count)::bigint FROM usage_by_day_all c JOIN projects p ON p.id = c.project_id"
                    " GROUP BY 1 ORDER BY 2 DESC, 1"
                )
                assert answered == await cursor.fetchall()

    async def write_all() -> None:
        try:
            await asyncio.gather(*(write(number) for number in range(3)))
        finally:
            ended.set()

    closed_one, closed_two, turns, _, _ = await asyncio.gather(close(1), close(2), check(), read(), write_all())
    assert min(closed_one + closed_two, turns) > 10
    assert await close_days(database, NOW) is not None
    assert await _reopened(database) == []
    await _assert_kept_is_right(database)
    for window in (FOREVER, DateWindow(date(2026, 5, 22), date(2026, 6, 3))):
        expected = naive.usage_analytics(naive.within(stored, window.start_date, window.end_date), lambda record: None, top=5)["top_users"]
        rows = (await fetch_usage(database, UsageQuestion(window, ("top_users",), top_users_limit=5), ALL))["top_users"]
        assert [(row[0], float(row[1]), row[2]) for row in rows] == [
            (row["user_id"], row["total_cost"], row["request_count"]) for row in expected
        ]
