"""The forms of a body, and what a batch says of its records: indexes, rejects, unknown fields, the key's tenant."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import orjson
import pytest

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch, Reject
from app.ingest.fields import COUNT_RULE, ID_RULE, IS_REQUIRED, MODEL_RULE, RULES
from app.ingest.parse import MAX_LINE_BYTES, Unreadable, parse_json, parse_ndjson, parse_rows, parse_values

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
RECORD = {"request_id": "r1", "occurred_at": "2026-03-12T08:30:00Z", "tenant_id": "acme", "model_id": "openai/gpt-4o"}


def record(**fields: object) -> dict[str, object]:
    return {**RECORD, **fields}


def from_json(body: bytes, tenant_id: str | None = None) -> ParsedBatch:
    return parse_json(body, now=NOW, tenant_id=tenant_id)


def from_ndjson(body: bytes, tenant_id: str | None = None) -> ParsedBatch:
    return parse_ndjson(body, now=NOW, tenant_id=tenant_id)


def request_ids(batch: ParsedBatch) -> list[str]:
    return [taken.request_id for taken in batch.records]


def lines(*values: object) -> bytes:
    return b"\n".join(orjson.dumps(value) for value in values)


class TestJsonForms:
    @pytest.mark.parametrize(
        "value",
        [
            [record(), record(request_id="r2")],
            {"records": [record(), record(request_id="r2")]},
            {"records": [record(), record(request_id="r2")], "request_id": "not looked at", "sent_by": "router"},
        ],
    )
    def test_several_records(self, value: object) -> None:
        batch = from_json(orjson.dumps(value))
        assert (batch.received, request_ids(batch), batch.indexes, batch.rejects) == (2, ["r1", "r2"], [0, 1], [])

    def test_one_record(self) -> None:
        batch = from_json(orjson.dumps(record()))
        assert (batch.received, request_ids(batch), batch.indexes) == (1, ["r1"], [0])

    def test_one_record_with_a_field_called_records(self) -> None:
        batch = from_json(orjson.dumps(record(records="three")))
        assert (request_ids(batch), batch.unknown_fields) == (["r1"], {"records": 1})

    @pytest.mark.parametrize("body", [b"[]", b'{"records":[]}', b" [ ] \n", b"\xef\xbb\xbf[]"])
    def test_no_records(self, body: bytes) -> None:
        assert from_json(body) == ParsedBatch()

    @pytest.mark.parametrize("body", [b"{}", b'{"records":{}}', b'{"records":null}', b"1", b'"x"', b"null", b"true"])
    def test_any_other_form_is_refused(self, body: bytes) -> None:
        with pytest.raises(BadInputError, match=r"^the body must be an array of records, an object .*, or one record$"):
            from_json(body)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "the body is empty"),
            (b" \n\t", "the body is empty"),
            (b"\xef\xbb\xbf", "the body is empty"),
            (b'[{"a":1},\n x]', "the body is malformed JSON at line 2 column 2: unexpected character"),
            (b'[{"a":1}', "the body is malformed JSON at line 1 column 9: unexpected end of data"),
            (b'[{"a":1}] []', "the body is malformed JSON at line 1 column 11: unexpected content after document"),
            (b'[{"a":"\x01"}]', "the body is malformed JSON at line 1 column 8"),
            (b"[" * 5000, "the body is malformed JSON at line 1 column 1026: depth limit exceeded"),
            (b'{"a":' * 5000, "the body is malformed JSON at line 1 column"),
            (b'[{"a":"\xff"}]', "the body is not valid UTF-8 at byte 8"),
            (b'[{"a":"\xed\xa0\x80"}]', "the body is not valid UTF-8 at byte 8"),
            ("[]".encode("utf-16"), "the body is not valid UTF-8 at byte 1"),
        ],
    )
    def test_a_body_that_cannot_be_taken_apart(self, body: bytes, message: str) -> None:
        with pytest.raises(BadInputError) as raised:
            from_json(body)
        assert raised.value.message.startswith(message)
        assert len(raised.value.message) < 160


class TestNdjson:
    def test_lines_with_crlf_blank_ones_a_bom_and_no_end(self) -> None:
        body = b"\xef\xbb\xbf" + lines(record()) + b"\r\n\r\n  \n" + lines(record(request_id="r2"))
        batch = from_ndjson(body)
        assert (batch.received, request_ids(batch), batch.indexes, batch.rejects) == (2, ["r1", "r2"], [0, 1], [])

    @pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf"])
    def test_nothing(self, body: bytes) -> None:
        assert from_ndjson(body) == ParsedBatch()

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'{"request_id": x}', "is malformed JSON at column 16: unexpected character"),
            (b'{"request_id": "r', "is malformed JSON at column 18: unexpected end of data"),
            (b"{},{}", "is malformed JSON at column 3: unexpected content after document"),
            (b'{"request_id": "\xff"}', "is not valid UTF-8 at byte 17"),
            (b"[" * 5000, "is malformed JSON at column 1026: depth limit exceeded"),
            (b"1", "must be an object"),
            (b"[]", "must be an object"),
            (b"null", "must be an object"),
            (b'"' + b"x" * MAX_LINE_BYTES + b'"', "is longer than 16777216 bytes"),
        ],
    )
    def test_a_bad_line_is_rejected_by_itself(self, line: bytes, message: str) -> None:
        batch = from_ndjson(lines(record()) + b"\n\n" + line + b"\n" + lines(record(request_id="r2")))
        assert (batch.received, request_ids(batch), batch.indexes) == (3, ["r1", "r2"], [0, 2])
        (reject,) = batch.rejects
        assert (reject.index, reject.field) == (1, None)
        assert reject.message.startswith(message)

    def test_the_halves_of_a_value_are_not_put_together(self) -> None:
        batch = from_ndjson(b'{"request_id":"r1"\n,"tenant_id":"acme"}\n')
        assert (batch.received, batch.records, [reject.index for reject in batch.rejects]) == (2, [], [0, 1])


class TestNumbersThatJsonParsersRefuse:
    """One hostile number rejects its record and leaves the others of the body alone."""

    @pytest.mark.parametrize("number", ["9007199254740992", "9223372036854775808", str(2**64), "1e400", "9" * 400, "9" * 5000])
    @pytest.mark.parametrize("sign", ["", "-"])
    def test_tokens(self, number: str, sign: str) -> None:
        bad = json.dumps(record(prompt_tokens=0)).replace('"prompt_tokens": 0', f'"prompt_tokens": {sign}{number}')
        body = f"[{bad},{json.dumps(record(request_id='r2'))}]".encode()
        batch = from_json(body)
        assert (batch.rejects, request_ids(batch)) == ([Reject(0, "prompt_tokens", COUNT_RULE)], ["r2"])

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "1e-400000000000"])
    def test_cost(self, number: str) -> None:
        bad = json.dumps(record(cost_usd=0)).replace('"cost_usd": 0', f'"cost_usd": {number}')
        batch = from_ndjson(f"{bad}\n{json.dumps(record(request_id='r2'))}".encode())
        if number == "1e-400000000000":
            assert batch.records[0].cost_usd == 0
        else:
            assert (batch.rejects, request_ids(batch)) == ([Reject(0, "cost_usd", RULES["cost_usd"])], ["r2"])

    def test_a_lone_surrogate(self) -> None:
        batch = from_json(rb'[{"request_id":"\ud800","occurred_at":"2026-03-12T08:30:00Z","tenant_id":"acme","model_id":"m"}]')
        assert [(reject.index, reject.field) for reject in batch.rejects] == [(0, "request_id")]


class TestRejects:
    def test_every_wrong_field_is_named_and_the_record_counts_once(self) -> None:
        bad = {"request_id": 7, "tenant_id": "a b", "prompt_tokens": -1, "cost_usd": "free"}
        batch = from_json(orjson.dumps([record(), bad, record(request_id="r2")]))
        assert (batch.received, len(batch.records), batch.indexes) == (3, 2, [0, 2])
        assert {(reject.index, reject.field): reject.message for reject in batch.rejects} == {
            (1, "request_id"): "must be a string of 1 to 128 characters without control characters",
            (1, "tenant_id"): ID_RULE,
            (1, "occurred_at"): IS_REQUIRED,
            (1, "model_id"): MODEL_RULE,
            (1, "prompt_tokens"): COUNT_RULE,
            (1, "cost_usd"): RULES["cost_usd"],
        }

    @pytest.mark.parametrize("value", [1, 1.5, "text", None, True, [], [record()]])
    def test_what_is_not_an_object(self, value: object) -> None:
        batch = from_json(orjson.dumps([value, record()]))
        assert (batch.rejects, request_ids(batch)) == ([Reject(0, None, "must be an object")], ["r1"])

    @pytest.mark.parametrize("name", [*RECORD, "username", "cost_usd", "prompt_tokens", "traffic_mode", "latency_ms"])
    def test_a_message_repeats_nothing_of_what_was_sent(self, name: str) -> None:
        huge = "\x00secret" * 100_000
        (reject,) = from_json(orjson.dumps([record(**{name: huge})])).rejects
        assert reject.field == name
        assert len(reject.message) < 160
        assert "secret" not in reject.message
        assert reject.message.isprintable()

    def test_indexes_may_start_anywhere(self) -> None:
        batch = parse_values([1, record(), 2], now=NOW, tenant_id=None, first_index=70)
        assert (batch.received, batch.indexes, [reject.index for reject in batch.rejects]) == (3, [71], [70, 72])

    def test_the_same_request_id_twice_is_not_the_parsers_business(self) -> None:
        assert request_ids(from_json(orjson.dumps([record(), record()]))) == ["r1", "r1"]


class TestUnknownFields:
    def test_are_kept_out_and_counted_for_good_and_bad_records(self) -> None:
        values = [record(color="red"), record(color=None, size=1), {"color": 1}]
        batch = from_json(orjson.dumps(values))
        assert batch.unknown_fields == {"color": 3, "size": 1}
        assert batch.records[0] == from_json(orjson.dumps([record()])).records[0]

    def test_are_bounded_in_number(self) -> None:
        values = [record(**{f"field{i}": i for i in range(200)}), record(field0=1, field199=1)]
        batch = from_json(orjson.dumps(values))
        assert len(batch.unknown_fields) == 50
        assert batch.unknown_fields["field0"] == 2
        assert "field199" not in batch.unknown_fields

    @pytest.mark.parametrize(
        ("name", "shown"),
        [("x" * 1000, "x" * 80), ("a\x00b\nc\x1b[31m\x85", "a\ufffdb\ufffdc\ufffd[31m\ufffd"), ("", ""), ("é\u2028", "é\ufffd")],
    )
    def test_have_names_that_can_be_shown(self, name: str, shown: str) -> None:
        assert from_json(orjson.dumps([record(**{name: 1})])).unknown_fields == {shown: 1}

    def test_a_lone_surrogate_in_a_name_can_be_shown_too(self) -> None:
        batch = from_json(json.dumps([record(**{"\ud800": 1})]).encode())
        assert (batch.unknown_fields, len(batch.records)) == ({"\ufffd": 1}, 1)


class TestTheKeysTenant:
    @pytest.mark.parametrize("tenant", ["acme", "", None])
    def test_is_implied_or_repeated(self, tenant: str | None) -> None:
        batch = from_json(orjson.dumps([record(tenant_id=tenant)]), tenant_id="acme")
        assert [taken.tenant_id for taken in batch.records] == ["acme"]

    def test_is_implied_where_the_field_is_absent(self) -> None:
        value = record()
        del value["tenant_id"]
        assert [taken.tenant_id for taken in from_ndjson(lines(value), tenant_id="acme").records] == ["acme"]
        assert from_ndjson(lines(value)).rejects == [Reject(0, "tenant_id", IS_REQUIRED)]

    def test_is_the_only_one_allowed(self) -> None:
        batch = from_json(orjson.dumps([record(tenant_id="other.inc"), record(tenant_id="Acme"), record()]), tenant_id="acme")
        message = "this key writes records of tenant acme only"
        assert batch.rejects == [Reject(0, "tenant_id", message), Reject(1, "tenant_id", message)]
        assert batch.indexes == [2]

    def test_does_not_excuse_a_wrong_one(self) -> None:
        (reject,) = from_json(orjson.dumps([record(tenant_id=["acme"])]), tenant_id="acme").rejects
        assert reject == Reject(0, "tenant_id", ID_RULE)


class TestRows:
    def test_cells_of_text(self) -> None:
        row = {**RECORD, "prompt_tokens": "12", "completion_tokens": "", "cost_usd": "0.10", "latency_ms": "", "traffic_mode": ""}
        (taken,) = parse_rows([row], now=NOW, tenant_id=None).records
        (expected,) = from_json(orjson.dumps([record(prompt_tokens=12, cost_usd=0.1)])).records
        assert taken == expected

    def test_an_empty_cell_is_absent(self) -> None:
        batch = parse_rows([dict.fromkeys(RECORD, "")], now=NOW, tenant_id=None)
        assert {reject.field: reject.message for reject in batch.rejects} == {
            **dict.fromkeys(["tenant_id", "request_id", "occurred_at"], IS_REQUIRED),
            "model_id": MODEL_RULE,
        }

    @pytest.mark.parametrize("cell", ["1.5", " 1", "1_000", "١٢", "²", "0x10", "9" * 16, "9" * 5000, "-1", "1e3"])
    def test_a_cell_that_is_no_count(self, cell: str) -> None:
        batch = parse_rows([record(prompt_tokens=cell)], now=NOW, tenant_id=None)
        assert batch.rejects == [Reject(0, "prompt_tokens", COUNT_RULE)]

    def test_a_row_that_could_not_be_read_keeps_its_index(self) -> None:
        batch = parse_rows([Unreadable("is torn"), record()], now=NOW, tenant_id=None, first_index=4)
        assert (batch.received, batch.indexes, batch.rejects) == (2, [5], [Reject(4, None, "is torn")])
