"""The column map: what it may say, what is told of one that is wrong, and what rows of any table become by it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app
from app.domain.errors import BadInputError
from app.domain.fields import MAX_COUNT
from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.fields import EARLIEST_RULE, INSTANT_RULE, IS_REQUIRED, OFFSET_RULE, RULES, FieldRules
from app.ingest.sources.candidates import collect_candidates
from app.ingest.sources.mapping import MAX_MAP_BYTES, parse_map

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
PLAIN = """
fields:
  request_id: id
  occurred_at: ts
  tenant_id: {value: acme}
  model_id: model
"""
ROW: dict[str, Any] = {"id": "r1", "ts": "2026-03-12T08:30:00Z", "model": "gpt-4o"}


def read(text: str, *rows: dict[str, Any]) -> ParsedBatch:
    candidate = parse_map(text.encode()).candidate
    return collect_candidates([candidate(row) for row in rows], "map", FieldRules(NOW, None))


def record(text: str, **changed: Any) -> UsageRecord:
    batch = read(text, {**ROW, **changed})
    assert batch.quarantined == []
    return batch.records[0]


def reasons(text: str, **changed: Any) -> list[tuple[str | None, str]]:
    batch = read(text, {**ROW, **changed})
    assert batch.records == []
    return [(reason.field, reason.message) for reason in batch.quarantined[0].reasons]


class TestFields:
    def test_columns_by_name(self) -> None:
        assert record(PLAIN) == UsageRecord(
            tenant_id="acme",
            request_id="r1",
            occurred_at=datetime(2026, 3, 12, 8, 30, tzinfo=UTC),
            project_id=None,
            api_key_id=None,
            user_id=None,
            username=None,
            model_id="gpt-4o",
            model_permaslug="gpt-4o",
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

    def test_a_dotted_path_looks_into_objects_unless_a_column_has_that_name(self) -> None:
        text = PLAIN + "  prompt_tokens: usage.prompt\n"
        assert record(text, usage={"prompt": 7}).prompt_tokens == 7
        assert record(text, **{"usage.prompt": "8", "usage": {"prompt": 7}}).prompt_tokens == 8
        assert record(text, usage=None).prompt_tokens == record(text, usage={}).prompt_tokens == 0
        assert reasons(text, usage="7") == [("prompt_tokens", "cannot be found: usage is no object")]

    def test_numbers_that_are_ids_become_text(self) -> None:
        assert record(PLAIN, id=12).request_id == "12"
        assert [field for field, _ in reasons(PLAIN, id=1.5)] == ["request_id"]
        assert [field for field, _ in reasons(PLAIN, id=True)] == ["request_id"]

    def test_prefix(self) -> None:
        text = PLAIN.replace("model_id: model", 'model_id: {column: model, prefix: "openai/"}')
        assert record(text).model_id == "openai/gpt-4o"
        with_status = text.replace("fields:", "fields:\n  status_code: status", 1)
        assert record(with_status, model="", status="500").model_id == "unknown"

    @pytest.mark.parametrize(
        ("cell", "scale", "expected"),
        [
            ("150", "0.01", "1.5"),
            (0.1, "0.1", "0.01"),
            (Decimal("1.234567890123456789012345678901"), "0.1", "0.1234567890123456789012345678901"),
            ("0.1234567890123456789012345678901234567", "0.001", "0.0001234567890123456789012345678901234567"),
            (3, "2", "6"),
        ],
    )
    def test_scale_is_exact(self, cell: object, scale: str, expected: str) -> None:
        text = PLAIN + f"  cost_usd: {{column: cents, scale: {scale}}}\n"
        assert record(text, cents=cell).cost_usd == Decimal(expected)

    def test_what_is_no_number_is_refused_and_not_scaled(self) -> None:
        text = PLAIN + "  cost_usd: {column: cents, scale: 0.01}\n"
        for cell in ("abc", "-5", float("nan"), float("inf"), True, [1], "9" * 200):
            assert reasons(text, cents=cell) == [("cost_usd", RULES["cost_usd"])]

    def test_choices(self) -> None:
        text = PLAIN + '  status_code: {column: ok, map: {"true": 200, "false": 500, 7: 429, "": 0}}\n'
        assert [record(text, ok=cell).status_code for cell in (True, "false", 7, "7", None)] == [200, 500, 429, 429, 200]
        assert reasons(text, ok="True")[0] == ("status_code", "is not one of the values that the map of ok lists")
        assert reasons(text, ok={})[0][0] == "status_code"
        unquoted = PLAIN + "  traffic_mode: {column: own, map: {true: byok, false: shared}}\n"
        assert record(unquoted, own="true").traffic_mode == "byok"

    def test_flags(self) -> None:
        text = PLAIN + "  cache_hit: hit\n  interrupted: {column: cut, map: {1: true, 0: false}}\n"
        taken = record(text, hit="True", cut=1)
        assert (taken.cache_hit, taken.interrupted) == (True, True)

    def test_the_tenant_may_be_left_to_the_caller(self) -> None:
        text = PLAIN.replace("  tenant_id: {value: acme}\n", "")
        assert not parse_map(text.encode()).names_tenant
        assert parse_map(PLAIN.encode()).names_tenant
        assert reasons(text) == [("tenant_id", IS_REQUIRED)]


class TestInstants:
    def text(self, options: str) -> str:
        return PLAIN.replace("occurred_at: ts", f"occurred_at: {{column: ts, {options}}}")

    @pytest.mark.parametrize(
        ("unit", "cell"),
        [
            ("s", 1773304200),
            ("s", "1773304200"),
            ("s", 1773304200.0),
            ("ms", 1773304200000),
            ("us", Decimal("1773304200000000")),
            ("ns", "1773304200000000789"),
        ],
    )
    def test_counts_since_1970(self, unit: str, cell: object) -> None:
        assert record(self.text(f"unit: {unit}"), ts=cell).occurred_at == datetime(2026, 3, 12, 8, 30, tzinfo=UTC)

    def test_fractions_are_exact_to_the_microsecond(self) -> None:
        taken = record(self.text("unit: s"), ts="1773304200.1234567")
        assert taken.occurred_at == datetime(2026, 3, 12, 8, 30, 0, 123456, tzinfo=UTC)

    @pytest.mark.parametrize("cell", ["2026-03-12T08:30:00Z", True, -1, "1e30", float("inf"), [], "9" * 300, 10**19])
    def test_what_is_no_count(self, cell: object) -> None:
        assert reasons(self.text("unit: ms"), ts=cell)[0][0] == "occurred_at"

    def test_a_count_in_the_wrong_unit_is_not_guessed_right(self) -> None:
        assert reasons(self.text("unit: s"), ts=1773304200000)[0] == ("occurred_at", "is out of range: is it a count of seconds?")
        assert reasons(self.text("unit: ms"), ts=1773304200) == [("occurred_at", EARLIEST_RULE)]

    def test_times_without_an_offset_need_a_declared_zone(self) -> None:
        assert reasons(PLAIN, ts="2026-03-12 08:30:00") == [("occurred_at", OFFSET_RULE)]
        berlin = self.text("timezone: Europe/Berlin")
        assert record(berlin, ts="2026-03-12 08:30:00").occurred_at == datetime(2026, 3, 12, 7, 30, tzinfo=UTC)
        assert record(berlin, ts="2025-07-12T08:30:00.5").occurred_at == datetime(2025, 7, 12, 6, 30, 0, 500000, tzinfo=UTC)
        assert record(berlin, ts="2026-03-12T08:30:00Z").occurred_at == datetime(2026, 3, 12, 8, 30, tzinfo=UTC)
        assert record(berlin, ts=datetime(2026, 3, 12, 8, 30)).occurred_at == datetime(2026, 3, 12, 7, 30, tzinfo=UTC)
        assert record(self.text("timezone: UTC"), ts="2026-03-12 08:30:00").occurred_at == datetime(2026, 3, 12, 8, 30, tzinfo=UTC)

    @pytest.mark.parametrize("cell", ["2025-10-26 02:30:00", "2025-03-30 02:30:00"])
    def test_a_time_that_was_twice_or_never_is_quarantined(self, cell: str) -> None:
        assert reasons(self.text("timezone: Europe/Berlin"), ts=cell)[0] == (
            "occurred_at",
            "is not one instant in Europe/Berlin: the clocks were changed then",
        )

    @pytest.mark.parametrize("cell", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "2026-03-12", "x", 5])
    def test_times_that_no_zone_mends(self, cell: object) -> None:
        for zone in ("Pacific/Kiritimati", "America/Los_Angeles"):
            assert reasons(self.text(f"timezone: {zone}"), ts=cell)[0][0] == "occurred_at"
        assert reasons(PLAIN, ts=5) == [("occurred_at", INSTANT_RULE)]


class TestTokens:
    text = PLAIN + "  prompt_tokens: p\n  completion_tokens: c\n"
    parts = "  cached_tokens: k\n  reasoning_tokens: r\n  cache_write_tokens: w\n"

    def test_parts_beside_are_added(self) -> None:
        beside = self.text + self.parts + "tokens: {cached: beside, cache_writes: beside, reasoning: beside, total: t}\n"
        taken = record(beside, p=10, c=5, k=3, r=2, w=4, t=24)
        assert (taken.prompt_tokens, taken.cached_tokens, taken.completion_tokens, taken.reasoning_tokens) == (17, 3, 7, 2)
        inside = beside.replace("beside", "inside")
        taken = record(inside, p=10, c=5, k=3, r=2, w=4, t=15)
        assert (taken.prompt_tokens, taken.cached_tokens, taken.completion_tokens, taken.reasoning_tokens) == (10, 3, 5, 2)

    def test_contradictions_are_quarantined(self) -> None:
        text = self.text + self.parts + "tokens: {cached: inside, cache_writes: inside, reasoning: inside, total: t}\n"
        assert ("cached_tokens", "is part of prompt_tokens and may not exceed it") in reasons(text, p=2, k=3)
        assert reasons(text, p=1, c=1, t=3) == [("total_tokens", "is not the sum of prompt and completion tokens")]
        assert [field for field, _ in reasons(text, p=MAX_COUNT + 1)] == ["prompt_tokens"]

    def test_an_empty_total_says_nothing(self) -> None:
        assert record(self.text + "tokens: {total: t}\n", p="1", c="1", t="").prompt_tokens == 1

    @pytest.mark.parametrize("part", ["cached", "reasoning", "cache_writes"])
    def test_where_a_part_is_counted_must_be_said(self, part: str) -> None:
        name = {"cached": "cached_tokens", "reasoning": "reasoning_tokens", "cache_writes": "cache_write_tokens"}[part]
        with pytest.raises(BadInputError) as raised:
            parse_map((self.text + f"  {name}: x\n").encode())
        assert raised.value.message == f"tokens.{part}: is required where fields.{name} is: inside or beside"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'must be an object with the key "fields"'),
        ("[1]", 'must be an object with the key "fields"'),
        ("fields: 1", "fields: must be an object of the record's fields"),
        ("field: {}", "field: is not known here; known: fields, tokens"),
        (PLAIN + "  model: x", "fields.model: is no field of the usage record (see docs/usage-record.md)"),
        (PLAIN + "  1: x", "fields.1: is no field of the usage record (see docs/usage-record.md)"),
        (PLAIN + "  user_id: 5", "fields.user_id: must be a column's name, or an object with column or value"),
        (PLAIN + "  user_id: {}", "fields.user_id: must have either column or value"),
        (PLAIN + "  user_id: {column: a, value: b}", "fields.user_id: must have either column or value"),
        (PLAIN + "  user_id: {value: 2026-01-01}", "fields.user_id.value: must be text, a number, true or false (quote dates)"),
        (PLAIN + "  user_id: {value: a, prefix: b}", "fields.user_id.prefix: is not known here; known: value"),
        (PLAIN + "  user_id: {column: a, scale: 2}", "fields.user_id.scale: is not known here; known: column, map, prefix"),
        (PLAIN + "  user_id: {column: a, prefix: 1}", "fields.user_id.prefix: must be text"),
        (PLAIN + "  user_id: {column: a, prefix: b, map: {a: b}}", "fields.user_id.map: stands alone beside column"),
        (PLAIN + "  cost_usd: {column: a, scale: 0}", "fields.cost_usd.scale: must be a number over 0"),
        (PLAIN + "  cost_usd: {column: a, scale: -1}", "fields.cost_usd.scale: must be a number over 0"),
        (PLAIN + "  cost_usd: {column: a, scale: .nan}", "fields.cost_usd.scale: must be a number over 0"),
        (PLAIN + "  cost_usd: {column: a, scale: true}", "fields.cost_usd.scale: must be a number over 0"),
        (PLAIN + "  cost_usd: {column: a, prefix: x}", "fields.cost_usd.prefix: is not known here; known: column, map, scale"),
        (PLAIN + "  cache_hit: {column: a, map: {}}", "fields.cache_hit.map: must be an object: each value"),
        (PLAIN + "  cache_hit: {column: a, map: {1.5: true}}", "fields.cache_hit.map.1.5: must be text, a whole number, true or false"),
        (PLAIN + "  cache_hit: {column: a, map: {true: true, 'true': false}}", "fields.cache_hit.map.true: is there twice"),
        (PLAIN + "  cache_hit: {column: a, map: {x: [1]}}", "fields.cache_hit.map.x: must be text, a number, true or false"),
        (PLAIN.replace("ts", "{column: ts, unit: m}"), "fields.occurred_at.unit: must be one of s, ms, us, ns, iso"),
        (
            PLAIN.replace("ts", "{column: ts, timezone: Mars/Base}"),
            "fields.occurred_at.timezone: must be a time zone that this machine knows",
        ),
        (PLAIN.replace("ts", "{column: ts, timezone: ../../etc/passwd}"), "fields.occurred_at.timezone: must be a time zone"),
        (PLAIN.replace("ts", "{column: no}"), "fields.occurred_at.column: must be a column's name of 1 to 256 characters"),
        (PLAIN.replace("ts", "{value: 5}"), "fields.occurred_at: must name a column"),
        ("fields: {occurred_at: ts}", "fields.request_id: must name a column"),
        (PLAIN + "tokens: 1", "tokens: must be an object"),
        (PLAIN + "tokens: {cache: inside}", "tokens.cache: is not known here; known: cache_writes, cached, reasoning, total"),
        (PLAIN + "tokens: {cached: within}", "tokens.cached: must be inside or beside"),
        (PLAIN + "tokens: {cached: [inside]}", "tokens.cached: must be inside or beside"),
        (PLAIN + "tokens: {total: 5}", "tokens.total: must be a column's name"),
        (PLAIN + "  user_id: a\n  user_id: b", "line 8: the key is there twice"),
        (PLAIN + "  ? [a, b]\n  : c", "line 7: a key must be a plain word"),
        (PLAIN + "  user_id: &a x\n  username: *a", "may not use aliases (*name)"),
        (PLAIN + "  user_id: !!python/object/apply:os.system [id]", "is malformed YAML at line 7: could not determine a constructor"),
        (PLAIN + "  user_id: {value: 2026-02-30}", "is malformed YAML"),
        (PLAIN + "---\na: b", "is malformed YAML at line 7: but found another document"),
        ("fields: {", "is malformed YAML at line 1: expected the node content"),
        ("a: \x01", "is malformed YAML"),
        ("[" * 60_000, "may not be nested deeper than 6 levels"),
        ("{a: " * 10_000, "may not be nested deeper than 6 levels"),
        ("#" * (MAX_MAP_BYTES + 1), f"may not be longer than {MAX_MAP_BYTES} bytes"),
    ],
)
def test_a_wrong_map_is_told_by_its_key_and_rule(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_map(text.encode())
    assert raised.value.message.startswith(message)
    assert len(raised.value.message) < 250


def test_a_bomb_of_aliases_is_not_even_built() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(8)
    )
    with pytest.raises(BadInputError, match="may not use aliases"):
        parse_map(bomb.encode())


def test_bytes_that_are_not_text() -> None:
    with pytest.raises(BadInputError, match="is not UTF-8 text"):
        parse_map(b"\xff\xfe")


def test_paths_and_columns() -> None:
    read_map = parse_map((PLAIN + "  prompt_tokens: usage.prompt\ntokens: {total: usage.all}\n").encode())
    assert read_map.paths == ("id", "ts", "model", "usage.prompt", "usage.all")
    assert read_map.columns == {"id", "ts", "model", "usage", "usage.prompt", "usage.all"}


def test_the_map_of_the_guide() -> None:
    guide = (Path(app.__file__).parents[1] / "docs" / "connect" / "files.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    row = {
        "id": 7,
        "created": 1773304200000,
        "model": "gpt-4o",
        "ok": False,
        "usage": {"input": 10, "output": 5, "cache": {"read": 3, "write": 2}, "total": 20},
        "cost_cents": 1.5,
        "seconds": 0.25,
    }
    (taken,) = read(text, row).records
    assert (taken.request_id, taken.tenant_id, taken.model_id, taken.status_code) == ("7", "acme", "openai/gpt-4o", 500)
    assert (taken.prompt_tokens, taken.cached_tokens, taken.completion_tokens) == (15, 3, 5)
    assert (taken.cost_usd, taken.latency_ms) == (Decimal("0.015"), Decimal(250))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_map_or_refused(data: bytes) -> None:
    for whole in (data, PLAIN.encode() + b"  user_id: " + data):
        try:
            parse_map(whole)
        except BadInputError:
            continue


_CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.decimals() | st.datetimes()
_EVERYTHING = (
    PLAIN.replace("occurred_at: ts", "occurred_at: {column: ts, timezone: Europe/Berlin}")
    + TestTokens.parts
    + "  prompt_tokens: p\n  completion_tokens: {column: c, scale: 1000}\n  cost_usd: {column: k, scale: 0.01}\n"
    + "  status_code: {column: id, map: {a: 200}}\n  latency_ms: deep.er\n  user_id: {column: model, prefix: x}\n"
    + "tokens: {cached: beside, cache_writes: inside, reasoning: beside, total: t}\n"
)


@given(st.dictionaries(st.sampled_from(["id", "ts", "model", "p", "c", "k", "r", "w", "t", "deep"]), _CELLS))
def test_every_row_is_a_record_or_quarantined(row: dict[str, Any]) -> None:
    for text in (_EVERYTHING, _EVERYTHING.replace("timezone: Europe/Berlin", "unit: ns")):
        batch = read(text, row)
        assert batch.received == len(batch.records) + len(batch.quarantined) == 1
