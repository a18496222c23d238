"""Limits of questions about usage: each refuses what is beyond it, and what it proposes instead passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cube.usage_dimensions import BY_MODEL, BY_OUTCOME, BY_PROMPT_SIZE, BY_TRAFFIC_MODE, USAGE_DIMENSIONS, UsageDimension
from app.cube.usage_metrics import COST, REQUESTS
from app.domain.calendar import MAX_BUCKETS, Interval, parse_zone
from app.domain.time_range import TimeRange
from app.query.limits import LimitError, Refusal, Timing, check_conditions, check_counts, check_filled, fillable_groups, split
from app.query.question import MAX_CONDITIONS, MAX_FILLED, MAX_GROUPED, MAX_ROWS, MAX_TOP, Grouping, Having, Order, Top

START = datetime(2026, 1, 15, 7, 20, tzinfo=UTC)


def timing(days: float, interval: Interval, zone: str = "UTC", week_start: int = 0) -> Timing:
    return Timing(TimeRange(START, START + timedelta(days=days)), interval, parse_zone(zone), week_start)


def refusal_of(error: pytest.ExceptionInfo[LimitError]) -> Refusal:
    return error.value.refusal


def grouping(timing: Timing, by: tuple[UsageDimension, ...] = (), top: Top | None = None) -> Grouping:
    return Grouping(by=by, buckets=split(timing), fill=True, top=top)


@settings(max_examples=20, deadline=None)
@given(
    st.floats(105, 3000),
    st.sampled_from([Interval.QUARTER_HOUR, Interval.HOUR, Interval.DAY]),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_buckets(days: float, interval: Interval, zone: str) -> None:
    asked = timing(days, interval, zone)
    if asked.buckets() is not None:
        assert len(split(asked)) <= MAX_BUCKETS
        return
    with pytest.raises(LimitError, match="buckets of the interval") as error:
        split(asked)
    coarser, shorter = refusal_of(error).changes
    assert coarser.interval is not None
    assert len(split(replace(asked, interval=coarser.interval))) <= MAX_BUCKETS
    assert shorter.range is not None
    assert len(split(replace(asked, window=shorter.range))) == MAX_BUCKETS
    assert (shorter.range.start > asked.window.start, shorter.range.end) == (True, asked.window.end)
    assert str(coarser) in str(error.value)
    assert str(shorter) in str(error.value)


def test_the_narrowest_interval_that_passes_is_proposed() -> None:
    with pytest.raises(LimitError) as error:
        split(timing(2000, Interval.QUARTER_HOUR))
    assert refusal_of(error).changes[0].interval is Interval.DAY


def test_counts() -> None:
    top = Top(MAX_TOP, COST)
    check_counts(MAX_ROWS, USAGE_DIMENSIONS[:MAX_GROUPED], top)
    for arguments, argument, count, keep in (
        ((MAX_ROWS + 1, (), None), "first", MAX_ROWS, None),
        ((1, USAGE_DIMENSIONS[: MAX_GROUPED + 1], None), "by", None, MAX_GROUPED),
        ((1, (BY_MODEL,), replace(top, count=MAX_TOP + 1)), "top.count", MAX_TOP, None),
    ):
        with pytest.raises(LimitError) as error:
            check_counts(*arguments)
        (change,) = refusal_of(error).changes
        assert (change.argument, change.count, change.keep) == (argument, count, keep)
        assert f"at most {refusal_of(error).at_most}" in str(error.value)


def test_conditions() -> None:
    bounds = [[Having(REQUESTS, ">", Decimal(1))] * width for width in (3, 3, 2, 1)]
    order = [Order(descending=True)] * (MAX_CONDITIONS + 1)
    check_conditions(bounds[:3], order[:MAX_CONDITIONS])
    with pytest.raises(LimitError, match="bounds in having: 9 asked for, at most 8; what passes: the first 3 of having") as error:
        check_conditions(bounds, [])
    check_conditions(bounds[: refusal_of(error).changes[0].keep], [])
    with pytest.raises(LimitError, match="the first 8 of orderBy"):
        check_conditions([], order)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9000), st.integers(1, MAX_TOP), st.booleans(), st.sampled_from([Interval.QUARTER_HOUR, Interval.HOUR]))
def test_gaps_of_a_top_are_judged_before_anything_runs(quarters: int, count: int, with_other: bool, interval: Interval) -> None:
    asked = timing(quarters / 96, interval)
    filled = grouping(asked, (BY_MODEL,), Top(count, COST, with_other=with_other))
    if (count + with_other) * len(filled.buckets or ()) <= MAX_FILLED:
        check_filled(filled, asked)
        return
    with pytest.raises(LimitError, match="rows that fill makes") as error:
        check_filled(filled, asked)
    assert refusal_of(error).changes
    for change in refusal_of(error).changes:
        if change.interval is not None:
            other = replace(asked, interval=change.interval)
            check_filled(replace(filled, buckets=split(other)), other)
        elif change.range is not None:
            other = replace(asked, window=change.range)
            check_filled(replace(filled, buckets=split(other)), other)
        else:
            assert change.count is not None
            assert change.argument == "top.count"
            assert filled.top is not None
            check_filled(replace(filled, top=replace(filled.top, count=change.count)), asked)


def test_gaps_of_dimensions_of_known_size() -> None:
    asked = timing(100, Interval.QUARTER_HOUR)
    by = (BY_OUTCOME, BY_TRAFFIC_MODE, BY_PROMPT_SIZE)
    check_filled(grouping(asked, by[:1]), asked)
    with pytest.raises(LimitError):
        check_filled(grouping(asked, by), asked)
    # A top of fewer than there are passes; and where sizes are not known, it is judged by what is found.
    check_filled(grouping(asked, by, Top(19, COST, with_other=False)), asked)
    unknown = grouping(asked, (BY_MODEL,))
    check_filled(unknown, asked)
    check_filled(unknown, asked, fillable_groups(unknown))
    with pytest.raises(LimitError) as error:
        check_filled(unknown, asked, fillable_groups(unknown) + 1)
    (top,) = (change.count for change in refusal_of(error).changes if change.argument == "top.count")
    assert top is not None
    check_filled(replace(unknown, top=Top(top, COST)), asked)


def test_gaps_of_a_top_of_each_bucket() -> None:
    asked = timing(100, Interval.QUARTER_HOUR)
    each = grouping(asked, (BY_MODEL,), Top(1, COST, per_bucket=True))
    check_filled(each, asked)
    with pytest.raises(LimitError) as error:
        check_filled(each, asked, 500)
    (change,) = refusal_of(error).changes
    assert change.range is not None
    shorter = replace(asked, window=change.range)
    check_filled(replace(each, buckets=split(shorter)), shorter, 500)


def test_without_fill_there_is_no_limit_of_gaps() -> None:
    asked = timing(100, Interval.QUARTER_HOUR)
    check_filled(replace(grouping(asked, (BY_MODEL,), Top(MAX_TOP, COST)), fill=False), asked)
