"""What decoding may take is told from the bytes, and too much of it is refused before anything is decoded."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.domain.errors import BadInputError, BodyTooLargeError
from app.ingest.elements import RUN_BYTES, Elements
from app.ingest.fields import FieldRules
from app.ingest.parse import MAX_RECORDS, json_value, parse_json, parse_ndjson
from app.ingest.sources import litellm
from app.ingest.sources.traces import Delivery, Encoding, parse_traces
from app.ingest.weight import MAX_WEIGHT, weigh_json, weigh_protobuf

NOW = datetime(2026, 7, 1, tzinfo=UTC)
RULES = FieldRules(NOW, None)
MANY = 200_000


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of protobuf."""
    length, written = len(content), bytearray([number << 3 | 2])
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(written) + bytes((length,)) + content


def in_span(content: bytes) -> bytes:
    return field(1, field(2, field(2, content)))


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * MANY + b"0]",
        b"[" + b"[]," * MANY + b"0]",
        b"[" + b"[0]," * MANY + b"0]",
        b"[" + b'{"a":0},' * MANY + b"0]",
        b"[" + b'{"a":{"a":{}}},' * MANY + b"0]",
        b"[" + b"9999," * MANY + b"0]",
        b"[" + b"1.5," * MANY + b"0]",
        b"[" + b'"abc",' * MANY + b"0]",
        b"[" + '"一",'.encode() * MANY + b"0]",
        b"[" + '"\U0001f600",'.encode() * MANY + b"0]",
        b"{" + b",".join(b'"%x":0' % number for number in range(MANY)) + b"}",
        b'["' + b"a" * 2**22 + '\U0001f600"]'.encode(),
        b'["' + b"a" * 2**22 + b'\\ud83d\\ude00"]',
    ],
)
def test_no_value_takes_more_than_its_weight(body: bytes) -> None:
    tracemalloc.start()
    value = orjson.loads(body)
    taken, _ = tracemalloc.get_traced_memory()  # the peak counts what grows in its place twice
    tracemalloc.stop()
    assert value
    assert taken <= weigh_json(body)


def test_an_honest_body_weighs_a_few_times_what_it_takes() -> None:
    records = [{"request_id": f"r{number}", "occurred_at": "2026-06-25T10:30:00Z", "prompt_tokens": number} for number in range(10_000)]
    body = orjson.dumps(records)
    tracemalloc.start()
    value = orjson.loads(body)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value
    assert taken < weigh_json(body) < 4 * taken


HOSTILE_JSON = [b"[" + b"{}," * (2**22) + b"{}]", b'{"records":[' + b"[]," * (2**22) + b"0]}", b'{"a":' + b"[" + b'"",' * 2**22 + b"0]}"]


@pytest.mark.parametrize("body", HOSTILE_JSON)
@pytest.mark.parametrize(
    "parse",
    [
        lambda body: parse_json(body, now=NOW, tenant_id=None),
        lambda body: litellm.parse_payloads(body, litellm.Delivery(), RULES),
        lambda body: parse_traces(body, Delivery(Encoding.JSON), RULES),
    ],
)
def test_a_body_of_very_many_values_is_refused_undecoded(body: bytes, parse: Callable[[bytes], Any]) -> None:
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError):
        parse(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(body) + 4 * RUN_BYTES


@pytest.mark.parametrize(
    "body",
    [
        in_span(b"\x12\x00" * 2**21),  # spans
        in_span(field(2, b"\x4a\x00" * 2**22)),  # attributes
        in_span(field(2, b"\xca\x00\x00" * 2**22)),  # the same, written longer
        in_span(field(2, field(9, field(2, field(5, b"\x0a\x00" * 2**22))))),  # values of a list
    ],
)
def test_a_protobuf_of_very_many_messages_is_refused_undecoded(body: bytes) -> None:
    with pytest.raises(BodyTooLargeError):
        parse_traces(body, Delivery(Encoding.PROTOBUF), RULES)


def test_an_honest_protobuf_of_many_spans_is_taken() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(8_192):
        span = spans.add(trace_id=bytes(16), span_id=number.to_bytes(8, "big"), name="chat gpt-4o")
        for attribute in range(20):
            span.attributes.add(key=f"gen_ai.attribute.{attribute}").value.string_value = "a value of some length, " * 2
    body = request.SerializeToString()
    assert weigh_protobuf(body) < MAX_WEIGHT
    assert parse_traces(body, Delivery(Encoding.PROTOBUF), RULES).received == 0


def test_a_line_of_very_many_values_is_one_reject() -> None:
    lines = b'{"request_id":"a","x":[' + b"{}," * 2**21 + b"0]}\n" + b"1\n"
    batches = (parse_ndjson(lines, now=NOW, tenant_id=None), litellm.parse_payloads(b"1\n" + lines, litellm.Delivery(), RULES))
    for batch in batches:
        assert "holds too many values" in [reject.message for reject in batch.rejects]


# The cutting of large arrays


def wanted(body: bytes) -> object:
    value = json_value(body)
    return value["records"] if isinstance(value, dict) else value


def given_of(body: bytes) -> tuple[list[object], int]:
    """Return all elements, and how many came before the rest."""
    elements = Elements(body, json_value)
    cut = list(elements)
    rest = wanted(elements.rest)
    assert isinstance(rest, list)
    return cut + rest, len(cut)


RECORD = {"request_id": "a},{", "s": '"request_id"', "n": [{"request_id": 1}, {"request_id": "\\"}], "more": "x" * 500}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n\t", " : ")])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_large_array_is_the_same_in_runs(separators: tuple[str, str], indent: int | None, wrapped: bool) -> None:
    records = [{**RECORD, "number": number} for number in range(3_000)]
    body = json.dumps({"records": records} if wrapped else records, separators=separators, indent=indent).encode()
    elements, cut = given_of(body)
    assert elements == records
    assert cut > 1_000, "most of it was decoded in runs"


@given(st.data())
def test_any_array_is_the_same_in_runs(data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.integers(-5, 5) | st.sampled_from(['"', "\\", "}, {", '},{"a', "é", "\U0001f600", ""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "records", "}"]), inner, max_size=3),
        max_leaves=12,
    )
    few = data.draw(st.lists(st.dictionaries(st.sampled_from(["a", "b", "records"]), values, max_size=3), min_size=1, max_size=4))
    records = [{"a": few, "pad": "x" * 30_000}, *few] * 30
    body = json.dumps(records).encode()
    assert given_of(body)[0] == records


def test_what_follows_the_records_is_read_as_ever() -> None:
    records = [{**RECORD, "number": number} for number in range(3_000)]
    body = json.dumps({"records": records, "source": "x"}).encode()
    assert given_of(body)[0] == records
    twice = body[:-1] + b',"records":[{"request_id":"last"}]}'
    assert given_of(twice) == ([{"request_id": "last"}], 0), "the last of two counts"


@pytest.mark.parametrize("separators", [(",", ":"), (",\n", ":")])
@pytest.mark.parametrize("spoilt", [b"nul", b"}", b"", b'"'])
def test_a_malformed_array_is_told_of_where_it_is_wrong(separators: tuple[str, str], spoilt: bytes) -> None:
    records = [{"request_id": f"é{number}", "occurred_at": "2026-06-25T10:30:00Z", "pad": "x" * 500} for number in range(3_000)]
    body = json.dumps(records, separators=separators, ensure_ascii=False).encode()
    middle = body.index("é2500".encode()) + 7 + len(separators[0])
    body = body[:middle] + spoilt + b"," + body[middle:]
    with pytest.raises(orjson.JSONDecodeError) as whole:
        orjson.loads(body)
    with pytest.raises(BadInputError, match=f"line {whole.value.lineno} column {whole.value.colno}"):
        parse_json(body, now=NOW, tenant_id=None)


def test_more_records_than_allowed_are_refused_wherever_they_are_counted() -> None:
    body = b"[" + b",".join([b'{"request_id":""}'] * (MAX_RECORDS + 1)) + b"]"
    with pytest.raises(BodyTooLargeError, match="more than 100000 records"):
        parse_json(body, now=NOW, tenant_id=None)
