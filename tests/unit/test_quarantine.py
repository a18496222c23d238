"""What may be kept of a hostile record, ids, places in the list, changes on the command line, and the gauge's text."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.quarantine import parse_settings
from app.domain.errors import BadInputError
from app.domain.fields import MAX_COUNT
from app.graph.quarantine import decode_position, encode_position
from app.ingest.release import MAX_IDS, read_ids
from app.web.metrics import Metrics
from app.write.quarantine import content_id, storable, storable_record
from app.write.receipt import Receipt

ID = "0123456789abcdef0123456789ABCDEF"
AT = datetime(2026, 6, 26, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (MAX_COUNT, MAX_COUNT),
        (-MAX_COUNT, -MAX_COUNT),
        (MAX_COUNT + 1, "9007199254740992"),
        (2**63, "9223372036854775808"),
        (-(2**70), "-1180591620717411303424"),
        (1.5, 1.5),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+999999"), "1E+999999"),
        (AT, "2026-06-26T12:00:00.123456+00:00"),
        ("a\0b\ud800c", "a\ufffdb\ufffdc"),
        ("x" * 2_000, "x" * 1_000),
        (b"\x00" * 2_000, ("b'" + "\\x00" * 300)[:1_000]),
        ({"a\0": [1, {"b": "y" * 200}]}, {"a\ufffd": [1, {"b": "y" * 100}]}),
        ([[[[["deep"]]]]], [[[["..."]]]]),
        (list(range(100)), list(range(50))),
    ],
)
def test_a_value_is_kept_as_it_can_be(value: object, kept: object) -> None:
    assert storable(value) == kept


TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\ud800"), max_size=20)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(TEXTS, ANYTHING))
def test_a_record_is_always_json_that_a_database_takes(values: dict[str, Any]) -> None:
    record = storable_record(values)
    text = json.dumps(record, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    assert json.loads(text.encode()) == record
    assert storable_record(record) == record


def test_a_record_stays_small_however_it_is_nested() -> None:
    wide: object = "z" * 1_000
    for _ in range(4):
        wide = [wide] * 60
    record = storable_record({f"field-{number}": wide for number in range(200)})
    assert len(record) == 50
    assert len(json.dumps(record)) < 300_000


def test_a_number_of_thousands_of_digits_is_not_written_out() -> None:
    assert storable(10**5_000) == "a very long number"


def test_the_same_content_has_the_same_id_and_another_sender_another() -> None:
    first = content_id("otlp", None, {"a": 1, "b": 2})
    assert first == content_id("otlp", None, {"b": 2, "a": 1})
    assert len({first, content_id("otlp", "acme", {"a": 1, "b": 2}), content_id("litellm", None, {"a": 1, "b": 2})}) == 3


def test_ids_are_read_once_each_in_every_writing() -> None:
    key = UUID(ID)
    assert read_ids([ID, str(key), str(key).upper(), "no", "no", "", "\ud800", "{" + str(key) + "}", "x" * 5_000]) == (
        [key],
        ["no", "", "\ufffd", "{" + str(key) + "}", "x" * 1_000],
    )
    assert read_ids([ID] * MAX_IDS) == ([key], [])


@pytest.mark.parametrize("ids", [[], [ID] * (MAX_IDS + 1)])
def test_too_many_ids_and_none_are_refused(ids: list[str]) -> None:
    with pytest.raises(BadInputError, match=f"^record_ids must be 1 to {MAX_IDS}$"):
        read_ids(ids)


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2500, 1, 1), timezones=st.just(UTC)), st.uuids())
def test_a_place_is_found_again(at: datetime, key: UUID) -> None:
    assert decode_position(encode_position((at, key)), "after") == (at, key)


@pytest.mark.parametrize("cursor", ["", "x", "é", "\ud800", "MTox", "OTk5OTk5OTk5OTk5OTk5OTk5OTk6MDEyMw", "A" * 300])
def test_a_cursor_of_nobody_is_refused(cursor: str) -> None:
    with pytest.raises(BadInputError, match=r"^the cursor is not one that this list gave$"):
        decode_position(cursor, "after")


def test_changes_are_read_from_the_command_line() -> None:
    assert parse_settings(["tenant_id=acme", "cost_usd=", "model_id=a=b"]) == {"tenant_id": "acme", "cost_usd": None, "model_id": "a=b"}


@pytest.mark.parametrize("text", ["tenant_id", "tenantId=acme", "=acme", "total_tokens=1", "\x1b[31m=1"])
def test_a_change_of_no_field_is_refused_without_writing_to_the_terminal(text: str) -> None:
    with pytest.raises(BadInputError, match="must be FIELD=VALUE, with a field of the usage record") as caught:
        parse_settings([text])
    assert "\x1b" not in caught.value.message


def test_a_change_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="--set attempt: is given twice"):
        parse_settings(["attempt=1", "attempt=2"])


def test_the_gauge_is_there_if_it_is_known() -> None:
    metrics = Metrics()
    metrics.observe_receipt(Receipt(received=3, inserted=1, duplicates=0, rejected=0, quarantined=2))
    text = metrics.render({"otlp": 2, "litellm": 0}).decode()
    assert "# TYPE tokengraph_quarantined_records gauge\n" in text
    assert 'tokengraph_quarantined_records{source="litellm"} 0.0\ntokengraph_quarantined_records{source="otlp"} 2.0\n' in text
    assert 'tokengraph_ingest_records_total{result="quarantined"} 2.0\n' in text
    assert "tokengraph_quarantined_records" not in metrics.render(None).decode()
