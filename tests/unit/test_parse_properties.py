"""What holds of every input: parsing is total, a record survives every form, and the quick path agrees with the full check."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, assert_never

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.errors import BadInputError
from app.domain.fields import (
    AHEAD,
    EARLIEST,
    PLAUSIBLE,
    Amount,
    Choice,
    Cost,
    Count,
    DisplayName,
    Field,
    Flag,
    Instant,
    ModelName,
    Name,
    SmallNumber,
    Text,
)
from app.domain.usage import FIELDS, ParsedBatch, UsageRecord
from app.ingest.fields import FieldRules, check_record, find_implausible
from app.ingest.parse import parse_json, parse_ndjson, parse_rows
from app.ingest.quick import quick_reader

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)

ids = st.from_regex(r"[A-Za-z0-9._:@/-]{1,128}", fullmatch=True)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def texts(limit: int) -> st.SearchStrategy[str]:
    """Strings that a text field takes."""
    return st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=limit)


def decimals(bound: int) -> st.SearchStrategy[Decimal]:
    """Numbers from 0 to less than `bound`, at most 40 places, of the digits that a Parquet decimal has room for."""
    whole = st.integers(0, 999) | st.integers(0, bound - 1)
    places = st.text("0123456789", max_size=40)
    return st.builds(lambda left, right: Decimal(f"{left}.{right}" if right else left), whole, places)


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """Values of a field that stands by itself, plausible ones."""
    match field.kind:
        case Instant():
            values: st.SearchStrategy[Any] = st.datetimes(
                EARLIEST.replace(tzinfo=None), (NOW + AHEAD).replace(tzinfo=None), timezones=st.just(UTC)
            )
        case Name(is_id=True):
            values = ids
        case Text(limit=limit) | Name(limit=limit) | DisplayName(limit=limit):
            values = texts(limit)
        case ModelName(limit=limit):
            values = texts(limit).filter(lambda name: name != "other")
        case Choice(words=words):
            values = st.sampled_from(words)
        case Count(unit=unit):
            values = st.integers(0, 9) | st.integers(0, PLAUSIBLE[unit])
        case SmallNumber(minimum=minimum, maximum=maximum):
            values = st.sampled_from([field.default, minimum, maximum]) | st.integers(minimum, maximum)
        case Flag():
            values = st.booleans()
        case Amount(unit=unit) | Cost(unit=unit):
            values = decimals(PLAUSIBLE[unit])
        case _:
            assert_never(field.kind)
    return st.none() | values if field.is_optional else values


@st.composite
def usage_records(draw: st.DrawFn) -> UsageRecord:
    """Records as the parser takes them: plausible ones."""
    values: dict[str, Any] = {}
    for field in FIELDS:
        whole = field.kind.part_of if isinstance(field.kind, Count) else None
        values[field.name] = draw(values_of(field) if whole is None else st.integers(0, values[whole]))
    return UsageRecord(**values)


def as_cells(record: UsageRecord) -> dict[str, str]:
    """The record as CSV has it."""
    cells = {name: "" if value is None else str(value) for name, value in record._asdict().items()}
    return {**cells, "occurred_at": record.occurred_at.isoformat()}


def as_object(record: UsageRecord) -> dict[str, object]:
    """The record as JSON has it, decimals as strings."""
    fields = {name: str(value) if isinstance(value, Decimal) else value for name, value in record._asdict().items()}
    return {**fields, "occurred_at": record.occurred_at.isoformat()}


def rejected(batch: ParsedBatch) -> int:
    return len({reject.index for reject in batch.rejects})


def assert_whole(batch: ParsedBatch) -> None:
    """Every record is taken, rejected or quarantined, under its own index, and every message can be shown."""
    assert batch.received == len(batch.records) + rejected(batch) + len(batch.quarantined)
    assert len(batch.indexes) == len(batch.records)
    kept_aside = [item.index for item in batch.quarantined]
    assert sorted({*batch.indexes, *kept_aside, *(reject.index for reject in batch.rejects)}) == list(range(batch.received))
    assert len({(reject.index, reject.field) for reject in batch.rejects}) == len(batch.rejects)
    assert all(len(reject.message) <= 200 and reject.message.isprintable() for reject in batch.rejects)


@given(st.lists(usage_records(), max_size=3))
def test_a_record_survives_json_ndjson_and_rows(records: list[UsageRecord]) -> None:
    body = orjson.dumps([as_object(record) for record in records])
    lines = b"\n".join(orjson.dumps(as_object(record)) for record in records)
    rows = [as_cells(record) for record in records]
    for batch in (
        parse_json(body, now=NOW, tenant_id=None),
        parse_ndjson(lines, now=NOW, tenant_id=None),
        parse_rows(rows, now=NOW, tenant_id=None),
    ):
        assert (batch.records, batch.rejects, batch.indexes) == (records, [], list(range(len(records))))


@given(usage_records(), zones)
def test_an_instant_is_the_same_in_every_time_zone(record: UsageRecord, zone: timezone) -> None:
    sent = {**as_object(record), "occurred_at": record.occurred_at.astimezone(zone).isoformat()}
    assert parse_json(orjson.dumps(sent), now=NOW, tenant_id=None).records == [record]


@given(usage_records(), st.floats(0, 1_000_000).filter(lambda number: number == 0 or number >= 1e-20))
def test_a_float_is_read_by_its_shortest_writing(record: UsageRecord, number: float) -> None:
    sent = json.dumps({**as_object(record), "cost_usd": number}).encode()
    (taken,) = parse_json(sent, now=NOW, tenant_id=None).records
    assert taken == record._replace(cost_usd=Decimal(repr(number)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from(UsageRecord._fields)
edge_values: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "",
        0,
        1,
        -1,
        True,
        False,
        200,
        404,
        599,
        600,
        2**53 - 1,
        2**53,
        2**63,
        2**64,
        0.0,
        -0.0,
        1.0,
        1.5,
        1e12,
        1e-30,
        1e-41,
        float("nan"),
        float("inf"),
        "1",
        "01",
        "1.50",
        "1e3",
        "1e999",
        "x" * 128,
        "x" * 129,
        "x" * 257,
        "other",
        "unknown",
        "shared",
        "byok",
        "a b",
        "a\n",
        "\x00",
        "\u2028",
        "\ud800",
        "2026-03-12T08:30:00Z",
        "2026-03-12T08:30:00",
        "2026-03-12T08:30:00+00:00",
        "2026-03-12T08:30:00.1234567Z",
        "2026-03-13T12:00:00.000001Z",
        "2019-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z",
        [],
        {},
        ["a"],
        10**12,
        10**12 - 1,
        1e-20,
        9.9e-21,
        5e-324,
        "2026-03-12T24:00:00Z",
        "2026-03-12t08:30z",
        "2020-01-01T00:00:00+14:00",
    ]
)
native_values = st.sampled_from(
    [
        Decimal("1.5"),
        Decimal("7"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("1E+13"),
        Decimal("1E-41"),
        b"a",
        NOW,
        NOW + AHEAD,
        NOW.replace(tzinfo=None),
        datetime.max.replace(tzinfo=UTC),
        datetime(2026, 3, 12, tzinfo=timezone(timedelta(hours=5))),
    ]
)
spoilt_fields = st.dictionaries(field_names, edge_values | native_values | json_values, max_size=3)


@given(usage_records(), spoilt_fields, st.none() | st.just("acme"), st.booleans())
def test_the_quick_path_agrees_with_the_full_check(
    record: UsageRecord, spoilt: dict[str, Any], tenant_id: str | None, is_bound: bool
) -> None:
    rules = FieldRules(NOW, record.tenant_id if is_bound else tenant_id)
    values = {**as_object(record), **spoilt}
    quick = quick_reader(rules)([values[name] for name in UsageRecord._fields])
    if quick is not None:
        checked = check_record(values, rules)
        assert quick == checked
        assert find_implausible(quick) == ()
        assert [type(value) for value in quick] == [type(value) for value in checked]
        assert quick.occurred_at.tzinfo is UTC


@given(usage_records())
def test_the_quick_path_takes_every_plain_record(record: UsageRecord) -> None:
    def is_plain(value: object) -> bool:
        return not isinstance(value, str) or value.isprintable()

    sent = [value if is_plain(value) else "plain" for value in as_object(record).values()]
    assert quick_reader(FieldRules(NOW, None))(sent) is not None


@given(st.lists(st.builds(lambda record, spoilt: {**as_object(record), **spoilt}, usage_records(), spoilt_fields), max_size=3))
def test_rows_of_any_values_are_taken_or_rejected(rows: list[dict[str, object]]) -> None:
    for tenant_id in (None, "acme"):
        assert_whole(parse_rows(rows, now=NOW, tenant_id=tenant_id))


json_scraps = st.sampled_from([b'{"', b'":', b"[", b"]", b"}", b",", b"\n", b"1e", b"9", b"NaN", b"\\ud800", b'"', b"\xff", b" "])


@given(st.binary() | st.lists(json_scraps, max_size=12).map(b"".join))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe[\x00]\x00")
@example(b'[{"cost_usd":1e400},' + b"9" * 5000 + b"]")
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    assert_whole(parse_ndjson(body, now=NOW, tenant_id=None))
    try:
        assert_whole(parse_json(body, now=NOW, tenant_id="acme"))
    except BadInputError as error:
        message = error.message
    else:
        return
    assert len(message) <= 200
    assert message.isprintable()


@given(st.lists(json_values | st.dictionaries(field_names | st.text(max_size=4), edge_values | json_values, max_size=8), max_size=4))
def test_any_json_is_taken_or_rejected(values: list[object]) -> None:
    # json and not orjson: it writes NaN, huge integers and lone surrogates too.
    assert_whole(parse_json(json.dumps(values).encode(), now=NOW, tenant_id=None))
    assert_whole(parse_json(json.dumps({"records": values}).encode(), now=NOW, tenant_id="acme"))
    batch = parse_ndjson("\n".join(json.dumps(value) for value in values).encode(), now=NOW, tenant_id=None)
    assert_whole(batch)
    assert batch.received == len(values)
