"""Calendar buckets: for every zone of the tz database, against a walk through the minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.calendar import (
    MAX_BUCKETS,
    Interval,
    add_intervals,
    date_start,
    first_instant,
    parse_zone,
    split_buckets,
    zone_names,
)
from app.domain.errors import BadInputError
from app.domain.time_range import TimeRange

ZONES = sorted(zone_names())
QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
TWO_YEARS = TimeRange(datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
LONG = [interval for interval in Interval if interval.minutes is None]


def distinct_zones() -> list[str]:
    """One zone of each behaviour in the two years: most names are other names for the same clocks."""
    found: dict[tuple[object, ...], str] = {}
    for name in ZONES:
        zone = parse_zone(name)
        hours = (TWO_YEARS.end - TWO_YEARS.start) // timedelta(hours=1)
        found.setdefault(
            tuple((TWO_YEARS.start + timedelta(hours=3 * step)).astimezone(zone).utcoffset() for step in range(hours // 3)), name
        )
    return sorted(found.values())


def walk(zone: ZoneInfo) -> tuple[dict[date, datetime], list[datetime]]:
    """Go through the two years by hours, and by quarters where something changes in one.

    Return the first instant of each local date, and the hours in which the offset changes.
    """
    dates: dict[date, datetime] = {}
    changes: list[datetime] = []
    at = TWO_YEARS.start
    before = at.astimezone(zone)
    while at < TWO_YEARS.end:
        after = (at + HOUR).astimezone(zone)
        if before.utcoffset() != after.utcoffset():
            changes.append(at)
        if before.date() != after.date() or before.utcoffset() != after.utcoffset():
            for step in range(4):
                quarter = at + QUARTER * step
                dates.setdefault(quarter.astimezone(zone).date(), quarter)
        dates.setdefault(after.date(), at + HOUR)
        at, before = at + HOUR, after
    return dates, changes


def test_every_zone_every_interval_for_two_years() -> None:
    names = distinct_zones()
    assert len(names) > 60
    for name in names:
        zone = parse_zone(name)
        dates, changes = walk(zone)
        for interval in LONG:
            buckets = split_buckets(TWO_YEARS, interval, zone)
            assert all(before.end == after.start for before, after in pairwise(buckets)), name
            starts: dict[date, datetime] = {}
            for day, at in dates.items():
                starts.setdefault(date_start(day, interval, 0), at)
            expected = [at for at in list(starts.values())[1:] if at < TWO_YEARS.end]
            assert [bucket.start for bucket in buckets[1:]] == expected, (name, interval)
            assert buckets[0].start <= TWO_YEARS.start < buckets[0].end
            assert buckets[-1].end >= TWO_YEARS.end
        for interval in (Interval.HOUR, Interval.QUARTER_HOUR):
            for around in (TWO_YEARS.start + 9 * HOUR, *changes):
                window = TimeRange(around - 5 * HOUR, around + 5 * HOUR)
                assert [bucket.start for bucket in split_buckets(window, interval, zone)][1:] == short_starts(window, interval, zone)[1:]


def short_starts(window: TimeRange, interval: Interval, zone: ZoneInfo) -> list[datetime]:
    """Where the local hour or quarter, or the offset, is another than a quarter of an hour before."""
    seen: list[datetime] = []
    last: object = None
    for step in range((window.end - window.start) // QUARTER):
        at = window.start + step * QUARTER
        local = at.astimezone(zone)
        mark = (local.date(), local.hour, local.minute // (interval.minutes or 60), local.utcoffset())
        if mark != last:
            seen.append(at)
        last = mark
    return seen


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Havana", date(2024, 3, 10), 23),
        ("America/Havana", date(2024, 11, 3), 25),
        ("Asia/Kathmandu", date(2026, 6, 1), 24),
    ],
)
def test_days_have_the_length_that_they_had(zone: str, day: date, hours: float) -> None:
    start, end = first_instant(day, parse_zone(zone)), first_instant(day + timedelta(days=1), parse_zone(zone))
    assert end - start == timedelta(hours=hours)
    buckets = split_buckets(TimeRange(start, end), Interval.HOUR, parse_zone(zone))
    assert (buckets[0].start, buckets[-1].end) == (start, end)
    assert len({bucket.label for bucket in buckets}) == len(buckets), "an hour that comes twice is labelled with its offset"


def test_a_date_that_never_was_has_no_bucket() -> None:
    zone = parse_zone("Pacific/Apia")
    window = TimeRange(datetime(2011, 12, 28, 12, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
    assert [bucket.label for bucket in split_buckets(window, Interval.DAY, zone)] == [
        "2011-12-28",
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
    ]


def test_clocks_that_are_set_back_over_midnight_do_not_begin_the_day_anew() -> None:
    zone = parse_zone("America/St_Johns")  # 2010-11-07 00:01 became 2010-11-06 23:01
    start = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)
    assert start.astimezone(zone).isoformat() == "2010-11-06T23:15:00-03:30"
    (bucket,) = split_buckets(TimeRange(start, start + QUARTER), Interval.DAY, zone)
    assert (bucket.label, bucket.start) == ("2010-11-07", datetime(2010, 11, 7, 2, 30, tzinfo=UTC))


def test_labels() -> None:
    zone = parse_zone("Europe/Berlin")
    window = TimeRange(datetime(2026, 12, 28, 12, tzinfo=UTC), datetime(2026, 12, 28, 13, tzinfo=UTC))
    labels = {interval: split_buckets(window, interval, zone)[0].label for interval in Interval}
    assert labels == {
        Interval.QUARTER_HOUR: "2026-12-28T13:00+01:00",
        Interval.HOUR: "2026-12-28T13:00+01:00",
        Interval.DAY: "2026-12-28",
        Interval.WEEK: "2026-W53",
        Interval.MONTH: "2026-12",
        Interval.QUARTER: "2026-Q4",
        Interval.YEAR: "2026",
    }
    assert split_buckets(window, Interval.WEEK, zone, week_start=6)[0].label == "2026-12-27"


@pytest.mark.parametrize(
    "name", ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "Europe", "x" * 100, "Europe/Berlin\0", "posixrules\n"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="time_zone must be the name of an IANA time zone"):
        parse_zone(name)


def test_too_many_buckets_are_refused_before_they_are_made() -> None:
    window = TimeRange(datetime(2020, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(BadInputError, match=f"more than {MAX_BUCKETS} buckets"):
        split_buckets(window, Interval.QUARTER_HOUR, parse_zone("UTC"))
    assert split_buckets(TimeRange(window.end, window.start), Interval.DAY, parse_zone("UTC")) == []


@settings(max_examples=200)
@given(
    start=st.datetimes(datetime(2019, 12, 31), datetime(2030, 1, 1), timezones=st.just(UTC)),
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=40)),
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(list(Interval)),
    week_start=st.integers(0, 6),
)
def test_buckets_cover_any_range_once(start: datetime, length: timedelta, zone: str, interval: Interval, week_start: int) -> None:
    window = TimeRange(start, start + length)
    buckets = split_buckets(window, interval, parse_zone(zone), week_start)
    assert buckets[0].start <= window.start < buckets[0].end
    assert buckets[-1].start < window.end <= buckets[-1].end
    assert all(before.end == after.start for before, after in pairwise(buckets))
    middle = start + length / 2
    assert sum(bucket.start <= middle < bucket.end for bucket in buckets) == 1


@pytest.mark.parametrize("interval", LONG)
def test_intervals_are_added_and_taken_off(interval: Interval) -> None:
    day = date_start(date(2026, 2, 28), interval, 0)
    for count in (1, 5, 13, 40):
        assert add_intervals(add_intervals(day, interval, count), interval, -count) == day
