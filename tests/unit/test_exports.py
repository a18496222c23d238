"""The gateway's own exports read back: the id's instant and name, charges and totals that must agree, apostrophes undone."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadInputError
from app.domain.time_range import format_instant
from app.domain.usage import PLAUSIBLE_UP_TO, ParsedBatch
from app.graph.request_log import encode_cursor, encode_id
from app.ingest.fields import FieldRules
from app.ingest.files import FileBatch, ReadOptions, iter_batches
from app.ingest.sources import exports
from app.ingest.sources.candidates import collect_candidates
from app.ingest.sources.exports import log_candidate, place_of, statement_candidate
from app.resolvers.engine import build_engine
from app.resolvers.schema import build_schema
from app.rest.customer import export_table, statement_table, stream_statement
from app.rest.execute import StoredDocuments

SCHEMA = build_schema()
DOCUMENTS = StoredDocuments(SCHEMA, build_engine(SCHEMA))
STATEMENT = statement_table(DOCUMENTS)
EXPORT = export_table(DOCUMENTS)

NOW = datetime(2026, 7, 1, tzinfo=UTC)
AT = datetime(2026, 6, 25, 10, 30, 0, 123456, tzinfo=UTC)


def node(request_id: str = "r1", at: datetime = AT, **changed: Any) -> dict[str, Any]:
    """A request as the request log shows it."""
    return {
        "id": encode_id("acme", at, request_id),
        "request_id": request_id,
        "created_at": format_instant(at),
        "model": "openai/gpt-4o",
        "provider": "openai",
        "status": "success",
        "traffic_mode": "byok",
        "tokens": {"prompt": 100, "completion": 20, "total": 120},
        "cost_breakdown": {"model_charge": 5, "byok_platform_fee": 4, "managed_tool_fee": 3, "agent_runtime_fee": 2, "total_charge": 14},
        "latency_ms": 12.5,
        "api_key_id": "k1",
        "cost_usd": 0.000025,
        "cost_source": "priced",
        **changed,
    }


def statement(*nodes: dict[str, Any]) -> bytes:
    """A statement as the gateway writes it."""

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        yield list(nodes)

    async def parts() -> list[bytes]:
        return [part async for part in stream_statement(STATEMENT, pages())]

    return b"".join(asyncio.run(parts()))


def read(path: Path | str, **options: Any) -> list[FileBatch]:
    return list(iter_batches(path, "json" if str(path).endswith(".json") else "csv", ReadOptions(NOW, "acme", **options)))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(BadInputError) as raised:
        read(path, **options)
    return raised.value.message.partition(": ")[2]


def judge(row: dict[str, Any]) -> ParsedBatch:
    return collect_candidates([log_candidate(row)], "export", FieldRules(NOW, "acme"))


def test_the_columns_are_those_that_the_gateway_writes() -> None:
    assert (*exports.STATEMENT_COLUMNS, *exports.LATER_COLUMNS) == STATEMENT.names
    assert tuple(node()) == (*exports.LOG_COLUMNS, *exports.LATER_COLUMNS)
    assert set(EXPORT.names) >= exports.GROUPED_COLUMNS


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), st.text(min_size=1, max_size=128))
def test_an_id_says_what_it_was_made_of(at: datetime, request_id: str) -> None:
    try:
        request_id.encode()
    except UnicodeEncodeError:
        return
    assert place_of(encode_id("a:1/@b", at, request_id)) == (at, request_id)
    assert place_of(encode_cursor(at, request_id)) == (at, request_id), "the ids of older exports"


@pytest.mark.parametrize("row_id", [None, 5, "", "total", "AAAA", "!!!", "MTIz", "OnIx", "MTo", "LTU6cjE", "Kzc6cjE", "é", "9" * 400])
def test_what_is_no_id(row_id: object) -> None:
    assert place_of(row_id) is None


def test_both_exports_give_the_same_records(tmp_path: Path) -> None:
    nodes = [node("r2", AT + timedelta(seconds=1), status="error", latency_ms=None), node()]
    (tmp_path / "a.csv").write_bytes(statement(*nodes))
    (tmp_path / "a.json").write_bytes(orjson.dumps({"data": nodes, "limit": 50, "offset": 0, "has_more": False, "next_cursor": None}))
    (from_csv,), (from_json,) = read(tmp_path / "a.csv"), read(tmp_path / "a.json")
    assert from_csv.parsed.records == from_json.parsed.records
    failed, taken = from_csv.parsed.records
    assert (taken.tenant_id, taken.request_id, taken.occurred_at, taken.status_code) == ("acme", "r1", AT, 200)
    assert (taken.model_id, taken.provider, taken.traffic_mode, taken.latency_ms) == ("openai/gpt-4o", "openai", "byok", Decimal("12.5"))
    assert (taken.prompt_tokens, taken.completion_tokens, taken.cost_usd, taken.api_key_id) == (100, 20, None, "k1")
    assert (taken.shared_model_spend, taken.byok_platform_fee, taken.managed_tool_fee, taken.agent_runtime_fee) == (5, 4, 3, 2)
    assert (failed.status_code, failed.latency_ms) == (500, None)
    assert from_csv.parsed.quarantined == from_json.parsed.quarantined == []


def test_apostrophes_are_undone(tmp_path: Path) -> None:
    names = ["=1+1", "+x", "-x", "@x", "'x", "x'", "''=x"]
    nodes = [node(name, AT + timedelta(seconds=count), model=name, provider=name) for count, name in enumerate(names)]
    (tmp_path / "a.csv").write_bytes(statement(*nodes))
    (batch,) = read(tmp_path / "a.csv")
    assert [(taken.request_id, taken.model_id, taken.provider) for taken in batch.parsed.records] == [(name,) * 3 for name in names]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": "x"}, "id"),
        ({"request_id": "r9"}, "request_id"),
        ({"created_at": "2026-06-25T10:30:00.124Z"}, "created_at"),
        ({"status": "fine"}, "status"),
        ({"status": ["success"]}, "status"),
        ({"tokens": {"prompt": 100, "completion": 20, "total": 121}}, "total_tokens"),
        ({"tokens": None}, None),
        ({"cost_breakdown": {**node()["cost_breakdown"], "total_charge": 15}}, "total_charge"),
        ({"cost_breakdown": {**node()["cost_breakdown"], "model_charge": -1}}, "shared_model_spend"),
        ({"cost_breakdown": {}}, None),
        ({"traffic_mode": "x"}, "traffic_mode"),
    ],
)
def test_what_contradicts_itself_is_quarantined(changed: dict[str, Any], field: str | None) -> None:
    batch = judge({**node(), **changed})
    assert batch.records == []
    assert batch.quarantined[0].reasons[0].field == field


def test_charges_together_may_pass_what_one_may_be() -> None:
    most = PLAUSIBLE_UP_TO["shared_model_spend"]
    charges = dict.fromkeys(("model_charge", "byok_platform_fee", "managed_tool_fee", "agent_runtime_fee"), most)
    assert len(judge(node(cost_breakdown={**charges, "total_charge": 4 * most})).records) == 1


class TestTheClosingTotal:
    @pytest.fixture(name="path")
    def a_path(self, tmp_path: Path) -> Path:
        return tmp_path / "a.csv"

    def test_of_nothing(self, path: Path) -> None:
        path.write_bytes(statement())
        assert read(path) == []

    def test_is_missing_or_cut_off(self, path: Path) -> None:
        whole = statement(node("r2"), node())
        lines = whole.splitlines(keepends=True)
        for cut in (b"".join(lines[:-1]), b"".join(lines[:2]), lines[0], whole[: whole.rindex(b"total") + 3]):
            path.write_bytes(cut)
            assert refusal(path) == "the statement has no closing total: the download was cut off"

    @pytest.mark.parametrize(
        ("found", "put", "message"),
        [
            (
                b"openai/gpt-4o,openai,success,byok,100",
                b"openai/gpt-4o,openai,success,byok,101",
                "the prompt_tokens of the requests are 202 together",
            ),
            (b"total,2 requests", b"total,3 requests", "there are 2 requests"),
            (b",28,,,0.000050,\r\n", b",29,,,0.000050,\r\n", "the total_charge of the requests are 28 together"),
        ],
    )
    def test_does_not_agree(self, path: Path, found: bytes, put: bytes, message: str) -> None:
        whole = statement(*(node(name) for name in ("r2", "r1")))
        path.write_bytes(whole.replace(found, put))
        assert refusal(path, batch_size=1) == f"the closing total does not agree: {message}"

    def test_is_not_the_last_row(self, path: Path) -> None:
        whole = statement(node())
        path.write_bytes(whole + whole.partition(b"\r\n")[2])
        assert refusal(path) == "more follows the closing total of the statement: it is not one whole statement"
        path.write_bytes(whole + whole)
        assert refusal(path).startswith("more follows the closing total")

    def test_cannot_be_checked(self, path: Path) -> None:
        whole = statement(node("r2"), node())
        path.write_bytes(whole.replace(b",100,", b",many,", 1))
        assert refusal(path) == "record 0 of the statement cannot be read, so that its total cannot be checked"

    def test_is_checked_before_anything_is_given_but_in_a_pipe(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = (statement(node("r3"), node("r2"), node())).replace(b"3 requests", b"4 requests")
        path.write_bytes(content)
        with pytest.raises(BadInputError):
            next(iter_batches(path, "csv", ReadOptions(NOW, "acme", batch_size=1)))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Pipe(content))))
        given_before: list[str] = []
        with pytest.raises(BadInputError, match="there are 3 requests"):
            given_before.extend(
                taken.request_id
                for batch in iter_batches("-", "csv", ReadOptions(NOW, "acme", batch_size=1))
                for taken in batch.parsed.records
            )
        assert given_before == ["r3", "r2", "r1"]


class _Pipe(io.RawIOBase):
    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._parts: Iterator[bytes] = iter((content,))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        part = next(self._parts, b"")
        buffer[: len(part)] = part
        return len(part)


class TestChoice:
    def test_the_grouped_export_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "export.csv"
        path.write_text(",".join(EXPORT.names) + "\n")
        for options in ({}, {"source": "export"}, {"source": "usage"}):
            assert refusal(path, **options).startswith("each row is many requests (it has the columns date and requests)")
        assert "usage-statement.csv or /v1/customer/logs" in refusal(path)

    def test_a_source_that_was_asked_for_and_is_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text(",".join(STATEMENT.names[:-4]) + "\n")
        assert refusal(path, source="export") == "there is no column latency_ms, which a usage statement has"

    def test_an_export_names_no_tenant(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(orjson.dumps({"data": [node()]}))
        with pytest.raises(BadInputError, match="a request log names no tenant"):
            list(iter_batches(path, "json", ReadOptions(NOW)))

    def test_the_usage_record_wins_where_both_could_be_meant(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(orjson.dumps([{**node(), "occurred_at": "2026-06-25T10:30:00Z", "model_id": "m"}]))
        (batch,) = read(path)
        assert (batch.parsed.records[0].model_id, batch.parsed.records[0].occurred_at.microsecond) == ("m", 0)

    def test_no_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        for body in (b'{"data": []}', b'{"records": []}', b"[]"):
            path.write_bytes(body)
            assert read(path) == []
        for body in (b'{"data": 5}', b'{"data": {}}', b"{}"):
            path.write_bytes(body)
            assert "the body must be an array of records" in refusal(path)


def test_statement_cells_that_are_empty_say_nothing() -> None:
    cells = dict(zip(STATEMENT.names, STATEMENT.cells(node()), strict=True))
    candidate = statement_candidate({name: "" if name == "traffic_mode" else cell for name, cell in cells.items()})
    assert candidate.values["traffic_mode"] is None
