"""Where a question is answered from: by what is closed, by what a source has, and by how many rows there are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from app.cube.dimensions import Privacy
from app.cube.rollups import BY_DAY_ALL, BY_DAY_MODEL, BY_DAY_TENANT, SOURCES
from app.cube.usage_dimensions import BY_MODEL, BY_PROJECT, BY_PROVIDER, BY_TENANT, BY_USER, USAGE_DIMENSIONS, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME
from app.domain.calendar import Interval, parse_zone, split_buckets
from app.domain.errors import ForbiddenError
from app.domain.time_range import TimeRange, midnight
from app.query.bind import PUBLIC_READER, Bound, Reader, bind
from app.query.cover import cover
from app.query.filters import EVERYTHING, All, Bounded, Condition, Match, Named, Not
from app.query.filters import Bound as Comparison
from app.query.plan import Asked, plan
from app.query.question import Grouping, Question
from app.query.state import Closing, State

NOTHING = Closing(date(2020, 1, 1), midnight(date(2020, 1, 1)))
CLOSED = Closing(date(2026, 6, 20), midnight(date(2026, 6, 20)))
PARTLY = Closing(date(2026, 6, 20), datetime(2026, 6, 20, 9, 45, tzinfo=UTC))
RANGE = TimeRange.of_dates(date(2026, 4, 10), date(2026, 6, 20))
ALL_TIME = TimeRange.of_dates(date(2020, 1, 1), date(2026, 6, 21))
READER = Reader(None, sees_private=True)


def ask(
    *by: UsageDimension,
    metric: str = "requests",
    window: TimeRange = RANGE,
    where: Condition = EVERYTHING,
    interval: Interval | None = None,
    tenant: int | None = None,
) -> Bound:
    buckets = None if interval is None else tuple(split_buckets(window, interval, parse_zone("UTC"), 0))
    return bind(Question(window, (METRICS_BY_NAME[metric],), where), Grouping(by, buckets), Reader(tenant, sees_private=True))


def found(bound: Bound, state: State) -> dict[str, list[str]]:
    """Table to its stretches, whose ends are given only where they are no midnights."""

    def name(span: TimeRange) -> str:
        return " ".join(f"{at:%m-%d}" if at == midnight(at.date()) else f"{at:%m-%dT%H:%M}" for at in (span.start, span.end))

    return {scan.table: [name(span) for span in scan.spans] for scan in cover(bound, state)}


def test_what_is_not_closed_comes_from_the_rollups_that_are_written_with_the_records() -> None:
    assert found(ask(BY_MODEL), State(NOTHING)) == {"usage_by_day_model": ["04-10 06-21"]}
    assert found(ask(BY_PROJECT), State(NOTHING)) == {"usage_by_day_all": ["04-10 06-21"]}
    ragged = TimeRange(RANGE.start + timedelta(hours=1, minutes=30), RANGE.end)
    assert found(ask(BY_MODEL, window=ragged), State(NOTHING)) == {
        "usage_by_day_model": ["04-11 06-21"],
        "usage_by_hour_model": ["04-10T02:00 04-11"],
        "usage_records": ["04-10T01:30 04-10T02:00"],
    }


def test_closed_months_and_days_come_from_their_summaries() -> None:
    assert found(ask(BY_MODEL), State(CLOSED)) == {
        "usage_by_month_model": ["05-01 06-01"],
        "usage_by_day_model": ["04-10 05-01", "06-01 06-21"],
    }
    assert found(ask(BY_PROJECT), State(CLOSED)) == {
        "usage_by_month_project": ["05-01 06-01"],
        "usage_by_day_project": ["04-10 05-01", "06-01 06-20"],
        "usage_by_day_all": ["06-20 06-21"],
    }
    assert found(ask(), State(CLOSED))["usage_by_day"] == ["04-10 06-20"]
    weeks = ask(BY_TENANT, metric="spend", interval=Interval.WEEK)
    assert found(weeks, State(CLOSED)) == {"usage_by_day_tenant": ["04-10 06-20"], "usage_by_day_all": ["06-20 06-21"]}
    assert found(ask(BY_TENANT, BY_MODEL), State(CLOSED)) == {"usage_by_day_all": ["04-10 06-21"]}, "no summary has both"


def test_days_that_are_reopened_come_from_what_is_written_with_the_records() -> None:
    reopened = Closing(CLOSED.closed_until, CLOSED.partly_until, frozenset({date(2026, 5, 3), date(2026, 6, 2)}))
    assert found(ask(BY_PROJECT), State(reopened)) == {
        "usage_by_day_project": ["04-10 05-03", "05-04 06-02", "06-03 06-20"],
        "usage_by_day_all": ["05-03 05-04", "06-02 06-03", "06-20 06-21"],
    }
    assert "usage_by_project" not in found(ask(BY_PROJECT, window=ALL_TIME), State(reopened))


def test_all_time_comes_from_its_own_sums_where_it_is_the_range() -> None:
    assert found(ask(BY_PROJECT, window=ALL_TIME), State(CLOSED)) == {
        "usage_by_project": ["01-01 06-20"],
        "usage_by_day_all": ["06-20 06-22"],
    }
    for bound in (
        ask(BY_PROJECT, window=TimeRange(ALL_TIME.start, midnight(date(2026, 6, 19)))),
        ask(BY_PROJECT, window=ALL_TIME, interval=Interval.MONTH),
    ):
        assert "usage_by_project" not in found(bound, State(CLOSED))


@pytest.mark.parametrize(("cube", "since"), [(4_000, 10), (10, 4_000)])
def test_the_open_day_comes_from_fewer_rows(cube: int, since: int) -> None:
    state = State(PARTLY, partly_cube_rows=cube, records_since_partly=since)
    tables = found(ask(BY_TENANT, window=TimeRange.of_dates(date(2026, 6, 19), date(2026, 6, 20))), state)
    if cube > since:
        assert tables == {"usage_by_day_tenant": ["06-19 06-20T09:45"], "usage_records": ["06-20T09:45 06-21"]}
    else:
        assert tables == {"usage_by_day_tenant": ["06-19 06-20"], "usage_by_day_all": ["06-20 06-21"]}
    late = State(Closing(PARTLY.closed_until, PARTLY.partly_until, frozenset({PARTLY.closed_until})), partly_cube_rows=cube)
    assert found(ask(BY_TENANT, window=TimeRange.of_dates(date(2026, 6, 20), date(2026, 6, 20))), late) == {
        "usage_by_day_all": ["06-20 06-21"]
    }


def test_the_source_with_fewer_rows_is_asked_first() -> None:
    day = TimeRange.of_dates(date(2026, 6, 10), date(2026, 6, 10))
    month = TimeRange.of_dates(date(2026, 5, 1), date(2026, 5, 31))
    for tenants, projects, expected in ((10, 90, "usage_by_day_tenant"), (90, 10, "usage_by_month_project")):
        state = State(CLOSED, tuples={"usage_by_day_tenant": tenants, "usage_by_month_project": projects})
        assert list(found(ask(BY_TENANT, window=month), state)) == [expected]
    counted = State(CLOSED, tuples={"usage_by_day_all": 5})
    assert list(found(ask(BY_TENANT, window=day), counted)) != ["usage_by_day_all"], (
        "what nobody has counted has no more rows than its source"
    )


def test_sums_of_users_tell_nothing_of_requests_without_one() -> None:
    named = Named(BY_USER, Match.IN, ("u",))
    assert "usage_by_month_user" in found(ask(where=named), State(CLOSED))
    assert "usage_by_month_user" in found(ask(where=All((All(()), named)), tenant=None), State(CLOSED))
    for where in (EVERYTHING, Not(named), Named(BY_USER, Match.ABSENT)):
        assert "usage_by_month_user" not in found(ask(BY_USER, where=where), State(CLOSED))


def test_a_tenant_is_answered_from_what_has_tenants() -> None:
    for dimension in USAGE_DIMENSIONS:
        for scan in cover(ask(dimension, tenant=7), State(CLOSED)):
            assert scan.rollup is None or "tenant_id" in scan.rollup.key
    assert list(found(ask(tenant=7, metric="spend"), State(CLOSED))) == ["usage_by_day_tenant", "usage_by_day_all"]


def test_rows_are_counted_from_what_is_kept() -> None:
    day = date(2026, 6, 10)
    window = TimeRange.of_dates(day, day + timedelta(days=1))
    state = State(NOTHING, records={day: 1_000, day + timedelta(days=1): 4}, tuples={"usage_by_day_model": 300}, days=10)
    assert plan(Asked(ask(BY_MODEL, window=window)), [state]).rows == 30 + 4, "as many as usual, and never more than there are records"
    assert plan(Asked(ask(BY_PROJECT, window=window)), [state]).rows == 1_004, "nobody has counted the cube"
    half = TimeRange(window.start + timedelta(hours=11, minutes=59), window.start + timedelta(hours=12, minutes=1))
    assert plan(Asked(ask(BY_PROJECT, window=half), with_rest=True), [state]).rows == 4, "2 minutes of 1,000 records, twice"
    assert plan(Asked(ask(window=TimeRange(window.start, window.start))), [state]).rows == 1


def test_every_instant_is_read_once() -> None:
    reopened = Closing(date(2026, 6, 20), PARTLY.partly_until, frozenset({date(2026, 5, 3)}))
    for closing in (NOTHING, CLOSED, PARTLY, reopened):
        for state in (State(closing, partly_cube_rows=9), State(closing, records_since_partly=9)):
            for window in (RANGE, ALL_TIME, TimeRange(RANGE.start + timedelta(minutes=7), datetime(2026, 6, 20, 9, 30, tzinfo=UTC))):
                for bound in (ask(window=window), ask(BY_PROJECT, window=window), ask(BY_TENANT, window=window, interval=Interval.MONTH)):
                    spans = sorted((span for scan in cover(bound, state) for span in scan.spans), key=lambda span: span.start)
                    assert spans[0].start == window.start
                    assert spans[-1].end == window.end
                    assert all(before.end == after.start for before, after in pairwise(spans))


def test_sources_are_declared_alike() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    assert [source.is_condensed for source in (BY_DAY_ALL, BY_DAY_MODEL, BY_DAY_TENANT)] == [False, False, True]
    assert {source.name for source in SOURCES if source.has_parts} == {
        "usage_by_day_tenant",
        "usage_by_day_project",
        "usage_by_day_user",
        "usage_by_day_model_user",
    }


def test_counts_and_means_of_latencies_need_no_records() -> None:
    for metric in ("latency_count", "latency_avg"):
        assert list(found(ask(BY_TENANT, metric=metric), State(CLOSED))) == ["usage_by_day_tenant", "usage_by_day_all"]
    assert list(found(ask(BY_TENANT, metric="latency_max"), State(CLOSED))) == ["usage_records"]


def test_a_public_question_by_names_is_about_public_models() -> None:
    question = Question(RANGE, (METRICS_BY_NAME["requests"],))
    assert not bind(question, None, PUBLIC_READER).only_public
    named = bind(question, Grouping((BY_PROVIDER,)), PUBLIC_READER)
    assert named.only_public
    assert all(scan.rollup is not None and "model_id" in scan.rollup.key for scan in cover(named, State(CLOSED)))
    for dimension in USAGE_DIMENSIONS:
        if dimension.stored is None or dimension.stored.privacy is not Privacy.PUBLIC:
            with pytest.raises(ForbiddenError, match="may not"):
                bind(question, Grouping((dimension,)), PUBLIC_READER)
            with pytest.raises(ForbiddenError, match="may not"):
                bind(Question(RANGE, question.metrics, Not(Named(dimension, Match.IN, ("x",)))), None, PUBLIC_READER)
    with pytest.raises(ForbiddenError, match="prompt_tokens"):
        bind(Question(RANGE, question.metrics, Bounded("prompt_tokens", Comparison.GT, Decimal(1))), None, PUBLIC_READER)
