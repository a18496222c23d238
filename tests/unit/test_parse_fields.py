"""The rule of each field of the usage record, at its edges and against hostile values."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from app.domain.fields import MAX_COUNT
from app.domain.usage import PLAUSIBLE_UP_TO, Reason, UsageRecord
from app.ingest.fields import (
    AHEAD_RULE,
    COUNT_RULE,
    EARLIEST_RULE,
    ID_RULE,
    INSTANT_RULE,
    IS_REQUIRED,
    MODEL_RULE,
    OFFSET_RULE,
    RESERVED_RULE,
    FieldRules,
    check_record,
    find_implausible,
)
from app.ingest.parse import parse_values

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
RULES = FieldRules(NOW, None)
STATUS_RULE = "must be an integer from 0 to 599"
COST_RULE = "must be a number from 0 to less than 1000000000000 with at most 40 decimal places"
DURATION_RULE = "must be a number from 0 to 1000000000000 with at most 40 decimal places, or null"
TRAFFIC_RULE = 'must be "shared" or "byok"'
SHORT_RULE = "must be a string of 1 to 128 characters without control characters"
LONG_RULE = "must be a string of 1 to 256 characters without control characters"
REQUIRED = {"request_id": "r1", "occurred_at": "2026-03-12T08:30:00Z", "tenant_id": "acme"}
COUNTS = ["prompt_tokens", "completion_tokens", "shared_model_spend", "byok_platform_fee", "managed_tool_fee"]
COUNTS += ["agent_runtime_fee", "search_requests"]
CONTROLS = ["\x00", "a\x00", "a\n", "\ta", "a\x1fb", "a\x7f", "a\x85", "a\x9fb", "\ud800", "a\udfffb"]


def outcome(**fields: Any) -> UsageRecord | dict[str, str]:
    """What a record with these fields is read as, checked to be the same with and without the quick path."""
    row = {**REQUIRED, "model_id": "openai/gpt-4o", **fields}
    batch = parse_values([row], now=NOW, tenant_id=None)
    rejects = {str(reject.field): reject.message for reject in batch.rejects}
    checked = check_record(row, RULES)
    assert len(batch.records) + bool(rejects) + len(batch.quarantined) == 1
    if batch.quarantined:
        assert isinstance(checked, UsageRecord)
        assert batch.quarantined[0].reasons == find_implausible(checked) != ()
        return checked
    result: UsageRecord | dict[str, str] = batch.records[0] if batch.records else rejects
    assert result == checked
    return result


def taken(name: str, value: object, **fields: Any) -> Any:
    """The value that the record has for the field."""
    result = outcome(**{name: value}, **fields)
    assert isinstance(result, UsageRecord), result
    return getattr(result, name)


def test_what_is_left_out() -> None:
    assert outcome() == UsageRecord(
        tenant_id="acme",
        request_id="r1",
        occurred_at=datetime(2026, 3, 12, 8, 30, tzinfo=UTC),
        project_id=None,
        api_key_id=None,
        user_id=None,
        username=None,
        model_id="openai/gpt-4o",
        model_permaslug="openai/gpt-4o",
        provider=None,
        status_code=200,
        prompt_tokens=0,
        completion_tokens=0,
        cached_tokens=0,
        reasoning_tokens=0,
        cost_usd=None,
        traffic_mode="shared",
        shared_model_spend=0,
        byok_platform_fee=0,
        managed_tool_fee=0,
        agent_runtime_fee=0,
        search_requests=0,
        latency_ms=None,
        ttft_ms=None,
    )


@pytest.mark.parametrize("name", [name for name in UsageRecord._fields if name not in REQUIRED and name != "model_id"])
def test_null_is_absent(name: str) -> None:
    assert outcome(**{name: None}) == outcome()


@pytest.mark.parametrize("name", ["project_id", "api_key_id", "user_id", "username", "model_permaslug", "provider", "traffic_mode"])
def test_an_empty_optional_string_is_absent(name: str) -> None:
    assert outcome(**{name: ""}) == outcome()


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""])
def test_required(name: str, value: object) -> None:
    assert outcome(**{name: value}) == {name: IS_REQUIRED}


class TestIdentifiers:
    @pytest.mark.parametrize("name", ["tenant_id", "project_id", "api_key_id"])
    @pytest.mark.parametrize("value", ["a", "A-z0.9_:@/-", "x" * 128, "/", "-", "../../etc"])
    def test_good(self, name: str, value: str) -> None:
        assert taken(name, value) == value

    @pytest.mark.parametrize("name", ["tenant_id", "project_id", "api_key_id"])
    @pytest.mark.parametrize("value", ["x" * 129, "a b", "a\n", "é", "a\x00", "a+b", "%00", "ａ", "\ud800", 1, 1.5, True, [], ["a"], {}])
    def test_bad(self, name: str, value: object) -> None:
        assert outcome(**{name: value}) == {name: ID_RULE}


class TestText:
    @pytest.mark.parametrize(("name", "limit"), [("request_id", 128), ("user_id", 128), ("username", 256), ("provider", 256)])
    def test_length_is_in_characters(self, name: str, limit: int) -> None:
        rule = SHORT_RULE if limit == 128 else LONG_RULE
        for character in "aé漢😀 ":
            assert taken(name, character * limit) == character * limit
            assert outcome(**{name: character * (limit + 1)}) == {name: rule}

    @pytest.mark.parametrize("name", ["request_id", "user_id", "username", "provider", "model_id", "model_permaslug"])
    @pytest.mark.parametrize("value", [*CONTROLS, 1, 0, 1.5, False, ["a"], {"a": 1}, b"a"])
    def test_bad(self, name: str, value: object) -> None:
        assert outcome(**{name: value}) == {name: SHORT_RULE if name in ("request_id", "user_id") else LONG_RULE}

    @pytest.mark.parametrize("value", ["O'Brien; DROP TABLE", "=1+1", "a\u200bb", "\u202eabc", "a\u2028b", " ", "\ufffd", "\ue000"])
    def test_anything_else_is_taken_as_it_is(self, value: str) -> None:
        assert taken("username", value) == taken("request_id", value) == value


class TestModel:
    def test_the_permaslug_is_the_models_where_there_is_none(self) -> None:
        assert taken("model_permaslug", None) == "openai/gpt-4o"
        assert taken("model_permaslug", "openai/gpt-4o-2024-05-13:free") == "openai/gpt-4o-2024-05-13:free"

    @pytest.mark.parametrize("status_code", [0, 199, 300, 404, 499, 503, 599])
    @pytest.mark.parametrize("model", [None, ""])
    def test_a_failed_request_may_have_none(self, status_code: int, model: str | None) -> None:
        assert taken("model_id", model, status_code=status_code) == "unknown"

    @pytest.mark.parametrize("status_code", [None, 200, 204, 299])
    def test_a_successful_one_may_not(self, status_code: int | None) -> None:
        assert outcome(model_id=None, status_code=status_code) == {"model_id": MODEL_RULE}
        assert outcome(model_id="", status_code=status_code) == {"model_id": MODEL_RULE}
        without = {**REQUIRED, "status_code": status_code, "model_permaslug": "openai/gpt-4o"}
        assert check_record(without, RULES) == {"model_id": MODEL_RULE}

    def test_an_empty_name_of_a_failed_request_counts_under_unknown(self) -> None:
        result = outcome(model_id="", model_permaslug="", status_code=500)
        assert isinstance(result, UsageRecord)
        assert (result.model_id, result.model_permaslug) == ("unknown", "unknown")

    def test_the_model_is_not_asked_for_where_the_status_is_wrong(self) -> None:
        assert outcome(model_id=None, status_code=999) == {"status_code": STATUS_RULE}

    @pytest.mark.parametrize("name", ["model_id", "model_permaslug"])
    def test_other_is_reserved(self, name: str) -> None:
        assert outcome(**{name: "other"}) == {name: RESERVED_RULE}
        assert outcome(**{name: "other"}, status_code=500) == {name: RESERVED_RULE}
        assert taken(name, "Other") == "Other"
        assert taken(name, "other/other") == "other/other"


class TestIntegers:
    @pytest.mark.parametrize("name", COUNTS)
    @pytest.mark.parametrize("value", [0, 1, MAX_COUNT, 7.0, -0.0, float(MAX_COUNT), "0", "12", "007", str(MAX_COUNT), Decimal("12.00")])
    def test_good(self, name: str, value: Any) -> None:
        number = taken(name, value)
        assert number == int(value)
        assert type(number) is int

    @pytest.mark.parametrize("name", COUNTS)
    @pytest.mark.parametrize(
        "value",
        [
            -1,
            MAX_COUNT + 1,
            2**63,
            2**64,
            True,
            False,
            1.5,
            -1.0,
            2.0**53,
            1e300,
            float("nan"),
            float("inf"),
            "-1",
            "+1",
            "1.0",
            "1e3",
            "",
            " 1",
            "1\n",
            "1_0",
            "١",
            "²",
            "0x1",
            str(MAX_COUNT + 1),
            "NaN",
            "\ud800",
            Decimal("1.5"),
            Decimal("NaN"),
            Decimal("sNaN"),
            Decimal("Infinity"),
            Decimal("-1"),
            Decimal("1E+999999"),
            [],
            {},
            b"1",
        ],
    )
    def test_bad(self, name: str, value: object) -> None:
        assert outcome(**{name: value}) == {name: COUNT_RULE}

    @pytest.mark.parametrize(("name", "whole"), [("cached_tokens", "prompt_tokens"), ("reasoning_tokens", "completion_tokens")])
    def test_a_part_is_no_more_than_its_whole(self, name: str, whole: str) -> None:
        rule = f"is part of {whole} and may not exceed it"
        assert taken(name, 5, **{whole: 5}) == 5
        assert taken(name, MAX_COUNT, **{whole: MAX_COUNT}) == MAX_COUNT
        assert outcome(**{name: 6, whole: 5}) == {name: rule}
        assert outcome(**{name: 1}) == {name: rule}
        assert outcome(**{name: -1, whole: 5}) == {name: COUNT_RULE}
        assert outcome(**{name: 5, whole: -1}) == {whole: COUNT_RULE}
        assert outcome(**{name: True, whole: 5}) == {name: COUNT_RULE}

    @pytest.mark.parametrize("value", [0, 200, 599, "404", 200.0])
    def test_status(self, value: Any) -> None:
        assert taken("status_code", value) == int(value)

    @pytest.mark.parametrize("value", [-1, 600, 1000, 200.5, True, "OK", "2xx", [], {}])
    def test_bad_status(self, value: object) -> None:
        assert outcome(status_code=value) == {"status_code": STATUS_RULE}


class TestDecimals:
    @pytest.mark.parametrize("name", ["cost_usd", "latency_ms", "ttft_ms"])
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0, "0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "0"),
            (1e-7, "0.0000001"),
            (1e-40, "1E-40"),
            (12345678.000001, "12345678.000001"),
            (999_999_999_999, "999999999999"),
            (999_999_999_999.9, "999999999999.9"),
            ("0.000000000000000000000000000000000000001", "1E-39"),
            ("1E-40", "1E-40"),
            ("12.50", "12.5"),
            ("1e3", "1000"),
            ("0e999", "0"),
            ("0e-999", "0"),
            ("-0", "0"),
            ("000.5", "0.5"),
            (Decimal("3.50"), "3.5"),
            (Decimal("2E+5"), "200000"),
        ],
    )
    def test_good(self, name: str, value: object, expected: str) -> None:
        number = taken(name, value)
        assert number == Decimal(expected)
        assert type(number) is Decimal
        assert -40 <= int(number.as_tuple().exponent) <= 0
        assert not number.is_signed()

    @pytest.mark.parametrize("name", ["cost_usd", "latency_ms", "ttft_ms"])
    @pytest.mark.parametrize(
        "value",
        [
            -1,
            -0.1,
            "-0.1",
            10**13,
            1e13,
            2**64,
            True,
            False,
            "",
            " 1",
            "1\n",
            "1 ",
            "1_0",
            "$1",
            "1,5",
            "٣",
            ".5",
            "5.",
            "+1",
            "NaN",
            "nan",
            "Infinity",
            "-inf",
            "sNaN",
            "1e-100000",
            "1e999999",
            "1e-41",
            "1e13",
            "1e999",
            "0." + "0" * 40 + "1",
            "--1",
            float("nan"),
            float("inf"),
            1e-41,
            5e-324,
            1.5e-40,
            Decimal("NaN"),
            Decimal("sNaN"),
            Decimal("Infinity"),
            Decimal("1E+999999"),
            Decimal("1E-999999"),
            Decimal("-1"),
            [],
            {},
            b"1",
        ],
    )
    def test_bad(self, name: str, value: object) -> None:
        assert outcome(**{name: value}) == {name: COST_RULE if name == "cost_usd" else DURATION_RULE}

    def test_the_greatest(self) -> None:
        assert taken("latency_ms", 10**12) == taken("ttft_ms", "1e12") == taken("latency_ms", 1e12) == 10**12
        assert outcome(cost_usd=10**12) == outcome(cost_usd=1e12) == outcome(cost_usd="1000000000000") == {"cost_usd": COST_RULE}
        assert outcome(latency_ms="1000000000000.1") == {"latency_ms": DURATION_RULE}
        assert taken("cost_usd", "999999999999." + "9" * 40) == Decimal("999999999999." + "9" * 40)

    @pytest.mark.parametrize("value", ["byok", "shared"])
    def test_traffic_mode(self, value: str) -> None:
        assert taken("traffic_mode", value) == value

    @pytest.mark.parametrize("value", ["BYOK", "shared ", "free", 1, True, [], ["byok"], {}])
    def test_bad_traffic_mode(self, value: object) -> None:
        assert outcome(traffic_mode=value) == {"traffic_mode": TRAFFIC_RULE}


class TestInstants:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("2026-03-12T08:30:00Z", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12t08:30:00z", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12 08:30:00Z", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30Z", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30:00+00:00", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30:00-00:00", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30:00+0000", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30:00+00", "2026-03-12T08:30:00+00:00"),
            ("2026-03-12T08:30:00+05:30", "2026-03-12T03:00:00+00:00"),
            ("2026-03-12T08:30:00-0800", "2026-03-12T16:30:00+00:00"),
            ("2026-03-12T20:30:00.5+23:59", "2026-03-11T20:31:00.500000+00:00"),
            ("2026-03-12T08:30:00.1Z", "2026-03-12T08:30:00.100000+00:00"),
            ("2026-03-12T08:30:00.123456Z", "2026-03-12T08:30:00.123456+00:00"),
            ("2026-03-12T08:30:00.123456999Z", "2026-03-12T08:30:00.123456+00:00"),
            ("2026-03-12T08:30:00,123Z", "2026-03-12T08:30:00.123000+00:00"),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59+00:00"),
            ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00+00:00"),
            ("2019-12-31T23:00:00-01:00", "2020-01-01T00:00:00+00:00"),
            ("2026-03-13T12:00:00Z", "2026-03-13T12:00:00+00:00"),
            (datetime(2026, 3, 12, 8, 30, 0, 5, tzinfo=UTC), "2026-03-12T08:30:00.000005+00:00"),
            (datetime(2026, 3, 12, 8, 30, tzinfo=timezone(timedelta(hours=2))), "2026-03-12T06:30:00+00:00"),
        ],
    )
    def test_good(self, value: object, expected: str) -> None:
        instant = taken("occurred_at", value)
        assert instant.isoformat() == expected
        assert instant.tzinfo is UTC

    @pytest.mark.parametrize(
        "value",
        [
            "yesterday",
            "2026-03-12",
            "2026-03-12Z",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "now",
            "2026-03-12T24:00:00Z",
            "2026-03-12T23:59:60Z",
            "2026-03-12T23:60:00Z",
            "2026-03-12T08:30:00+24:00",
            "2026-03-12T08:30:00+01:60",
            "2026-03-12T08:30:00Z\n",
            " 2026-03-12T08:30:00Z",
            "2026-03-12T08:30:00 Z",
            "2026-03-12T08Z",
            "2026-W11-4T08:30:00Z",
            "20260312T083000Z",
            "2026-071T08:30:00Z",
            "+02026-03-12T08:30:00Z",
            "２026-03-12T08:30:00Z",
            "2026-03-12T08:30:00.Z",
            "2026-03-12T08:30.5Z",
            "2026-03-12T08:30:00ZZ",
            "2026-03-12T08:30:00UTC",
            "2026-03-12x08:30:00Z",
            "2026-03-12T08:30:00[Europe/Paris]",
            "2026-03-12T08:30:00.1\x00Z",
            "\ud800",
            "0000-01-01T00:00:00Z",
            "2026-03-12T083000Z",
            "1773304200",
            "2026-03-12T08:30:00+01:00:30",
            "24026-03-12T08:30:00Z",
            1773304200,
            1773304200.5,
            True,
            [],
            {},
            date(2026, 3, 12),
        ],
    )
    def test_bad(self, value: object) -> None:
        assert outcome(occurred_at=value) == {"occurred_at": INSTANT_RULE}

    @pytest.mark.parametrize("value", ["2026-03-12T08:30:00", "2026-03-12 08:30:00.5", NOW.replace(tzinfo=None)])
    def test_without_an_offset(self, value: object) -> None:
        assert outcome(occurred_at=value) == {"occurred_at": OFFSET_RULE}

    @pytest.mark.parametrize(
        "value",
        [
            "2019-12-31T23:59:59.999999Z",
            "2020-01-01T00:00:00+00:01",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00+23:59",
            datetime.min.replace(tzinfo=UTC),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
        ],
    )
    def test_too_early(self, value: object) -> None:
        assert outcome(occurred_at=value) == {"occurred_at": EARLIEST_RULE}

    @pytest.mark.parametrize(
        "value",
        [
            "2026-03-13T12:00:00.000001Z",
            "2026-03-13T12:00:00-00:01",
            "9999-12-31T23:59:59-23:59",
            datetime.max.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))),
        ],
    )
    def test_too_late(self, value: object) -> None:
        assert outcome(occurred_at=value) == {"occurred_at": AHEAD_RULE}


def test_huge_values_are_refused_at_once() -> None:
    million = "9" * 1_000_000
    numbers = [million, f"0.{million}", f"1e{million}", f"1e-{million}", 10**5000, -(10**5000), Decimal(f"1E+{10**9}")]
    started = time.perf_counter()
    for value in numbers:
        assert outcome(prompt_tokens=value) == {"prompt_tokens": COUNT_RULE}
        assert outcome(cost_usd=value) == {"cost_usd": COST_RULE}
        assert outcome(latency_ms=value) == {"latency_ms": DURATION_RULE}
    assert outcome(occurred_at=f"2026-03-12T08:30:00.{million}Z") == {"occurred_at": INSTANT_RULE}
    assert outcome(tenant_id=million, username=million) == {"tenant_id": ID_RULE, "username": LONG_RULE}
    assert time.perf_counter() - started < 2


class TestImplausible:
    @pytest.mark.parametrize("name", PLAUSIBLE_UP_TO)
    def test_a_field_over_its_bound(self, name: str) -> None:
        bound = PLAUSIBLE_UP_TO[name]
        whole = {"cached_tokens": "prompt_tokens", "reasoning_tokens": "completion_tokens"}.get(name, name)
        at, over = (outcome(**{whole: value, name: value}) for value in (bound, bound + 1))
        row = {**REQUIRED, "model_id": "m", whole: bound, name: bound}
        assert len(parse_values([row], now=NOW, tenant_id=None).records) == 1
        assert isinstance(at, UsageRecord)
        assert isinstance(over, UsageRecord)
        assert find_implausible(at) == ()
        assert Reason(name, f"is implausible: over {bound} for one request") in find_implausible(over)
        assert {reason.field for reason in find_implausible(over)} == {name, whole}

    def test_a_fraction_over_a_bound(self) -> None:
        over = outcome(cost_usd="1000000.000001")
        assert isinstance(over, UsageRecord)
        assert [reason.field for reason in find_implausible(over)] == ["cost_usd"]

    def test_what_is_not_given_is_plausible(self) -> None:
        given = outcome()
        assert isinstance(given, UsageRecord)
        assert find_implausible(given) == ()
