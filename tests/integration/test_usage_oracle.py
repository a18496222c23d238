"""Any question over any records equals a naive answer: metrics, dimensions, filters, zones, intervals, tops, pages, callers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from app.cube.rollups import SOURCES
from app.cube.usage_dimensions import RECORD_NUMBERS, USAGE_DIMENSIONS, Kind, UsageDimension
from app.cube.usage_metrics import USAGE_METRICS
from app.db.engine import Database
from app.domain.calendar import Interval, first_buckets, parse_zone, split_buckets
from app.domain.comparison import ComparisonPeriod, compared_range
from app.domain.errors import ForbiddenError
from app.domain.time_range import TimeRange
from app.domain.usage import UsageRecord
from app.query.bind import Reader, bind
from app.query.cover import Scan
from app.query.filters import All, Bound, Bounded, Condition, Match, Named, Not, Some
from app.query.plan import Asked
from app.query.question import Grouping, Having, Order, Question, Top
from app.query.run import Answer, Row, plan_questions, run_questions
from app.query.sql import select_rest, select_rows
from app.summaries.closing import close_days
from app.write.batch import Ingestor
from tests import naive_usage
from tests.factories import first_of_each, make_batch, make_record

MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)  # the day on which Berlin's clocks go forward
MAX_PAGED = 6  # rows that pages are followed for
_ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Pacific/Kiritimati"]


@st.composite
def _records(draw: st.DrawFn) -> UsageRecord:
    prompt, completion = draw(st.integers(0, 5000)), draw(st.integers(0, 500))
    model = draw(st.sampled_from(["openai/gpt-4o", "acme/a", "acme/B", "plain", "unknown"]))
    latency = draw(st.none() | st.decimals(0, 99, places=1))
    return make_record(
        tenant_id=draw(st.sampled_from(["acme", "umbrella"])),
        occurred_at=MIDNIGHT
        + draw(st.timedeltas(timedelta(days=-3), timedelta(days=3)) | st.sampled_from([timedelta(0), timedelta(hours=1)])),
        project_id=draw(st.sampled_from([None, "p1", "p2", "unknown"])),
        api_key_id=draw(st.sampled_from([None, "k1", "k2"])),
        user_id=draw(st.sampled_from([None, "u1", "U2", "\u00fc3"])),
        model_id=model,
        model_permaslug=draw(st.sampled_from([model, f"{model}-2026", f"{model}:free"])),
        provider=draw(st.sampled_from([None, "azure"])),
        status_code=draw(st.sampled_from([200, 204, 429, 0])),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=draw(st.integers(0, prompt)),
        reasoning_tokens=draw(st.integers(0, completion)),
        cost_usd=draw(st.none() | st.decimals(0, 5, places=3)),
        traffic_mode=draw(st.sampled_from(["shared", "byok"])),
        shared_model_spend=draw(st.integers(0, 9)),
        byok_platform_fee=draw(st.integers(0, 9)),
        managed_tool_fee=draw(st.integers(0, 9)),
        agent_runtime_fee=draw(st.integers(0, 2)),
        search_requests=draw(st.integers(0, 3)),
        latency_ms=latency,
        ttft_ms=draw(st.none() | st.just(latency) | st.decimals(0, 50, places=1)),
        attempt=draw(st.integers(1, 3)),
        cache_hit=draw(st.booleans()),
        interrupted=draw(st.booleans()),
    )


@st.composite
def _named(draw: st.DrawFn, records: list[UsageRecord]) -> Named:
    dimension: UsageDimension = draw(st.sampled_from(USAGE_DIMENSIONS))
    known = naive_usage.dimension_values(dimension, records)
    if dimension.kind is not Kind.TEXT:
        return Named(dimension, Match.IN, tuple(draw(st.lists(st.sampled_from([*known, 7]), max_size=2))))
    match = draw(st.sampled_from(Match))
    texts = st.sampled_from([*known, "nobody's"])
    if match is Match.ABSENT:
        return Named(dimension, match)
    if match is Match.IN:
        return Named(dimension, match, tuple(draw(st.lists(texts, max_size=3))))
    text = draw(texts)
    return Named(dimension, match, (draw(st.sampled_from([text[:1], text[1:], "%", "_", ""])),))


def _conditions(records: list[UsageRecord]) -> st.SearchStrategy[Condition]:
    bounded = st.builds(Bounded, st.sampled_from(sorted(RECORD_NUMBERS)), st.sampled_from(Bound), st.decimals(0, 3000, places=1))

    def lists(part: st.SearchStrategy[Condition]) -> st.SearchStrategy[tuple[Condition, ...]]:
        return st.lists(part, max_size=3).map(tuple)

    return st.recursive(
        _named(records) | bounded,
        lambda part: st.builds(All, lists(part)) | st.builds(Some, lists(part)) | st.builds(Not, part),
        max_leaves=4,
    )


@st.composite
def _questions(draw: st.DrawFn, records: list[UsageRecord]) -> tuple[Question, Grouping]:
    # Whole hours and days often, so that rollups take part; then anything.
    steps = st.integers(-72, 72).map(lambda hours: timedelta(hours=hours)) | st.integers(-3, 3).map(lambda days: timedelta(days=days))
    start, end = sorted([MIDNIGHT + draw(steps | st.timedeltas(timedelta(days=-3), timedelta(days=3))) for _ in range(2)])
    # One metric that needs records is enough for all to be read from there: half of the questions have none.
    from_records = draw(st.booleans())
    known = [metric for metric in USAGE_METRICS if from_records or not metric.needs_records]
    metrics = tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=5, unique=True)))
    where: Condition = draw(st.just(All(())) | _conditions(records))
    dimensions = [dimension for dimension in USAGE_DIMENSIONS if from_records or not dimension.needs_records]
    by = tuple(draw(st.lists(st.sampled_from(dimensions), max_size=3, unique=True)))
    interval = draw(st.none() | st.sampled_from(Interval))
    window = TimeRange(start, end)
    buckets = None
    if interval is not None:
        buckets = tuple(split_buckets(window, interval, parse_zone(draw(st.sampled_from(_ZONES))), draw(st.integers(0, 6))))
    top = None
    with_top, per_bucket, with_other = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    if by and with_top:
        top = Top(draw(st.integers(1, 3)), draw(st.sampled_from(known)), per_bucket and buckets is not None, with_other)
    orders = [st.builds(Order, st.booleans(), st.sampled_from(known)), st.builds(Order, st.booleans())]
    if by:
        orders.append(st.builds(Order, st.booleans(), st.none(), st.sampled_from(by)))
    numbers = [metric for metric in known if not metric.name.endswith("_seen")]
    having = st.builds(Having, st.sampled_from(numbers), st.sampled_from([">", ">=", "<", "<=", "="]), st.decimals(0, 20, places=1))
    grouping = Grouping(
        by=by,
        buckets=buckets,
        fill=draw(st.booleans()) and buckets is not None and len(buckets) < 200,
        top=top,
        having=tuple(draw(st.lists(having, max_size=1))),
        order=tuple(draw(st.lists(st.one_of(orders), max_size=2))),
        first=draw(st.sampled_from([1, 2, 5, 10_000])),
    )
    return Question(window, metrics, where), grouping


@st.composite
def _compared(draw: st.DrawFn, question: Question, grouping: Grouping) -> tuple[Question, Grouping] | None:
    """The same question of another range, with buckets of its own: another width even, they are matched by position."""
    zone = parse_zone(draw(st.sampled_from(_ZONES)))
    days = st.timedeltas(timedelta(days=-3), timedelta(days=3))
    match draw(st.sampled_from(["none", "any", *ComparisonPeriod])):
        case "none":
            return None
        case ComparisonPeriod() as period:
            window = compared_range(question.range, period, zone)
        case _:
            window = TimeRange(*sorted([MIDNIGHT + draw(days), MIDNIGHT + draw(days)]))
    buckets = None
    if grouping.buckets is not None:
        buckets = tuple(first_buckets(window, draw(st.sampled_from(Interval)), zone, 0, len(grouping.buckets) + 1))
    return replace(question, range=window), Grouping(by=grouping.by, buckets=buckets)


async def _store(database: Database, records: list[UsageRecord]) -> list[UsageRecord]:
    async with database.transaction() as connection:
        names = ["usage_records", "recent_requests", "users", "models", "projects", "caller_keys", "reopened_days"]
        await connection.execute(f"TRUNCATE {', '.join([*names, *(source.name for source in SOURCES)])} CASCADE")
        await connection.execute("UPDATE write_state SET epoch = epoch + 1")
        await connection.execute("UPDATE closing_state SET closed_until = '2020-01-01', partly_until = '2020-01-01 00:00+00'")
    await Ingestor(database).ingest(make_batch(records))
    return first_of_each(records)


async def _tenant_keys(database: Database) -> dict[str, int]:
    async with database.read_connection() as connection:
        return dict(await (await connection.execute("SELECT external_id, id FROM tenants")).fetchall())


async def answers(database: Database, asked: list[Asked]) -> list[Answer]:
    found = await run_questions(database, await plan_questions(database, asked))
    return [answer for answer in found if isinstance(answer, Answer)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
async def test_every_question_equals_the_records(database: Database, data: st.DataObject) -> None:
    given_records = data.draw(st.lists(_records(), max_size=40))
    late = data.draw(st.integers(0, 3))
    closed = data.draw(st.none() | st.integers(-30, 80))
    await _store(database, given_records[late:])
    if closed is not None:
        assert await close_days(database, MIDNIGHT + timedelta(hours=closed)) is not None
    await Ingestor(database).ingest(make_batch(given_records[:late]))
    records = first_of_each([*given_records[late:], *given_records[:late]])
    tenants = await _tenant_keys(database)
    for _ in range(8):
        question, grouping = data.draw(_questions(records))
        caller = data.draw(st.sampled_from([None, *tenants]))
        reader = Reader(None if caller is None else tenants[caller], sees_private=data.draw(st.booleans()))
        compared = data.draw(_compared(question, grouping))
        try:
            bind(question, grouping, reader)
        except ForbiddenError:
            event("forbidden")
            reader = replace(reader, sees_private=True)
        await _Asking(database, records, tenants, caller, reader).check(question, grouping, compared)


@dataclass(frozen=True)
class _Asking:
    """One caller's questions of a database, compared with the records in it."""

    database: Database
    records: list[UsageRecord]
    tenants: dict[str, int]
    caller: str | None
    reader: Reader

    def about(self, question: Question) -> list[UsageRecord]:
        return naive_usage.asked_of(question, self.records, self.caller)

    async def check(self, question: Question, grouping: Grouping, compared: tuple[Question, Grouping] | None) -> None:
        """Compare the totals and all pages."""
        (planned,) = await plan_questions(self.database, [Asked(bind(question, grouping, self.reader))])
        for scan in planned.scans:
            event("records" if scan.rollup is None else scan.rollup.name)
        event("compared" if compared is not None else "alone")
        (totals,) = await answers(self.database, [Asked(bind(question, None, self.reader))])
        about = self.about(question)
        assert totals.totals == naive_usage.numbers(question, about)
        expected = naive_usage.Rows(question, grouping, about, None if self.reader.sees_private else self.tenants)
        await self._check_sources(question, grouping)
        skip = 0
        while True:
            page = await self._check_page(question, grouping, compared, expected, skip)
            skip += len(page.rows)
            if not page.rows or skip >= MAX_PAGED:
                break
            event("later page")
            # Behind the last row, whatever was before it.
            grouping = replace(grouping, after=page.rows[-1].position)

    async def _check_sources(self, question: Question, grouping: Grouping) -> None:
        """What is read from rollups is read from the records alone, too."""
        bound = bind(question, grouping, self.reader)
        (planned,) = await plan_questions(self.database, [Asked(bound)])
        scans = planned.scans
        if not any(scan.rollup is not None for scan in scans) or grouping.buckets == ():
            return
        event("both sources")
        records = (Scan(None, (question.range,)),)
        async with self.database.read_connection() as connection:
            for select in (select_rows, select_rest):
                one, other = (select(bound, grouping, source) for source in (scans, records))
                found = [await (await connection.execute(each.sql, each.values)).fetchall() for each in (one, other)]
                assert found[0] == found[1]

    async def _check_page(
        self, question: Question, grouping: Grouping, compared: tuple[Question, Grouping] | None, expected: naive_usage.Rows, skip: int
    ) -> Answer:
        earlier = None if compared is None else bind(*compared, self.reader)
        asked = Asked(bind(question, grouping, self.reader), with_rest=True, compared=earlier, with_previous_rest=earlier is not None)
        (answer,) = await answers(self.database, [asked])
        names = {key: name for name, key in self.tenants.items()}
        found = [(self._group(grouping, row, names), row.numbers) for row in answer.rows]
        page = expected.page(skip)
        assert found == [(group, naive_usage.numbers(question, members)) for group, members in page]
        assert answer.row_count == len(expected.ordered)
        assert [row.place for row in answer.rows] == list(range(skip + 1, skip + 1 + len(page)))
        assert answer.rest == naive_usage.numbers(question, expected.rest(skip))
        if compared is None:
            assert all(row.previous is None for row in answer.rows)
            assert answer.previous_rest is None
            return answer
        before = expected.earlier(self.about(compared[0]), compared[1].buckets, skip)
        assert answer.previous_rest == naive_usage.numbers(question, before.pop(None))
        assert [row.previous for row in answer.rows] == [naive_usage.numbers(question, before[group]) for group, _ in page]
        return answer

    def _group(self, grouping: Grouping, row: Row, names: dict[int, str]) -> naive_usage.Group:
        labels = (_label(names, dimension, label) for dimension, label in zip(grouping.by, row.labels, strict=True))
        return row.bucket, row.is_other, tuple(labels)


def _label(names: dict[int, str], dimension: UsageDimension, label: Any) -> Any:
    is_of_tenant = dimension.stored is not None and dimension.stored.in_tenant
    return (label.value, names[label.tenant_key]) if is_of_tenant and label.tenant_key is not None else label.value
