"""Files of records: every format and compression gives the same records, and what is wrong with a file is said in words."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import BadInputError
from app.domain.usage import PLAUSIBLE_UP_TO, Reject, UsageRecord
from app.ingest import files
from app.ingest.fields import AHEAD_RULE, COUNT_RULE, EARLIEST_RULE, INSTANT_RULE, IS_REQUIRED, OFFSET_RULE
from app.ingest.files import FileBatch, FileFormat, ReadOptions, detect_format, iter_batches
from app.ingest.parse import MAX_LINE_BYTES
from app.ingest.sources.litellm_vocabulary import PASSED_OVER
from app.ingest.sources.mapping import parse_map
from tests.unit.test_parse import NOW, RECORD, lines, record
from tests.unit.test_parse_properties import as_cells, as_object, assert_whole, usage_records

HALF_PAST_EIGHT = datetime(2026, 3, 12, 8, 30, tzinfo=UTC)

MOST = PLAUSIBLE_UP_TO["prompt_tokens"]


def read(path: Path | str, file_format: FileFormat | None = None, *, size: int = 10_000, tenant: str | None = None) -> list[FileBatch]:
    return list(iter_batches(path, file_format or detect_format(path), ReadOptions(NOW, tenant, batch_size=size)))


def records_of(batches: list[FileBatch]) -> list[UsageRecord]:
    return [taken for batch in batches for taken in batch.parsed.records]


def rejects_of(batches: list[FileBatch]) -> list[Reject]:
    return [reject for batch in batches for reject in batch.parsed.rejects]


def refusal(path: Path | str, file_format: FileFormat | None = None, **options: Any) -> str:
    with pytest.raises(BadInputError) as raised:
        read(path, file_format, **options)
    return raised.value.message


def csv_bytes(*rows: Sequence[object], **dialect: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue().encode()


def table_bytes(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def columns(**changed: Any) -> dict[str, Any]:
    """A table of one row, or of as many as the changed columns have."""
    count = max((len(values) for values in changed.values()), default=1)
    good = {name: [value] * count for name, value in RECORD.items()}
    good["occurred_at"] = pa.array([NOW] * count, pa.timestamp("us", tz="UTC"))
    return {**good, **changed}


@pytest.fixture(name="file")
def a_file(tmp_path: Path) -> Path:
    """The path of a file that is not there yet."""
    return tmp_path / "usage"


class TestDetectFormat:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("a.ndjson", "ndjson"),
            ("a.jsonl", "ndjson"),
            ("a.json", "json"),
            ("a.csv", "csv"),
            ("a.parquet", "parquet"),
            ("A.CSV", "csv"),
            ("x/2026.03/a.b.ndjson.gz", "ndjson"),
            ("a.jsonl.zst", "ndjson"),
            ("a.CSV.GZ", "csv"),
            ("a.json.zst", "json"),
        ],
    )
    def test_by_the_end_of_the_name(self, name: str, expected: str) -> None:
        assert detect_format(name) == detect_format(Path(name)) == expected

    @pytest.mark.parametrize("name", ["a", "a.txt", "a.gz", "a.parquet.gz", "a.csv.bz2", "csv", ".csv", "a.csv.gz.gz", ""])
    def test_any_other_end(self, name: str) -> None:
        with pytest.raises(BadInputError, match=r"the name must end in one of \.ndjson, \.jsonl, \.json, \.csv, \.parquet"):
            detect_format(name)

    def test_standard_input_has_no_name(self) -> None:
        with pytest.raises(BadInputError, match="say which format it has"):
            detect_format("-")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(usage_records(), min_size=1, max_size=5), st.integers(1, 4), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_records_survive_every_format(tmp_path: Path, records: list[UsageRecord], size: int, quoting: int) -> None:
    names = UsageRecord._fields
    objects = [as_object(each) for each in records]
    native = [{**each, "occurred_at": made.occurred_at} for each, made in zip(objects, records, strict=True)]
    contents = {
        "a.ndjson": b"\r\n".join(map(orjson.dumps, objects)),
        "a.json": orjson.dumps({"records": objects}),
        "a.csv": csv_bytes(names, *(list(as_cells(each).values()) for each in records), quoting=quoting),
        "a.parquet": table_bytes({name: [each[name] for each in native] for name in names}),
    }
    for name in ("a.ndjson", "a.json", "a.csv"):
        contents[f"{name}.gz"] = gzip.compress(contents[name])
        contents[f"{name}.zst"] = zstandard.compress(contents[name])
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        batches = read(tmp_path / name, size=size)
        assert (records_of(batches), rejects_of(batches)) == (records, []), name
        assert [index for batch in batches for index in batch.parsed.indexes] == list(range(len(records)))
        assert all(batch.parsed.received <= size for batch in batches)
        assert batches[-1].bytes_read == len(content)


class TestNdjson:
    def test_indexes_count_through_the_file(self, file: Path) -> None:
        file.write_bytes(b"\xef\xbb\xbf" + lines(record()) + b"\n\nx\n" + lines(record(request_id="r2")) + b"\n\n\n\n1")
        batches = read(file, "ndjson", size=2)
        assert [index for batch in batches for index in batch.parsed.indexes] == [0, 2]
        assert [reject.index for reject in rejects_of(batches)] == [1, 3]
        assert sum(batch.parsed.received for batch in batches) == 4

    def test_nothing_in_it(self, file: Path) -> None:
        file.write_bytes(b"")
        assert read(file, "ndjson") == []
        file.write_bytes(b"\n\n")
        assert sum(batch.parsed.received for batch in read(file, "ndjson")) == 0

    @pytest.mark.parametrize("length", [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, MAX_LINE_BYTES * 2 + 2, MAX_LINE_BYTES * 3])
    def test_a_line_without_end_is_one_reject(self, file: Path, length: int) -> None:
        file.write_bytes(lines(record()) + b"\n" + b" " * length + b"x\n" + lines(record(request_id="r2")))
        batches = read(file, "ndjson")
        assert [taken.request_id for taken in records_of(batches)] == ["r1", "r2"]
        assert rejects_of(batches) == [Reject(1, None, f"is longer than {MAX_LINE_BYTES} bytes")]

    def test_the_keys_tenant(self, file: Path) -> None:
        file.write_bytes(lines(record(tenant_id=None), record(tenant_id="umbrella")))
        batches = read(file, "ndjson", tenant="acme")
        assert [taken.tenant_id for taken in records_of(batches)] == ["acme"]
        assert [reject.index for reject in rejects_of(batches)] == [1]

    def test_memory_stays_small(self, tmp_path: Path) -> None:
        path = tmp_path / "big.ndjson.gz"
        with gzip.open(path, "wb", compresslevel=1) as out:
            for start in range(0, 20_000, 1000):
                out.write(b"".join(orjson.dumps(record(request_id=f"r{start + i}", note="x" * 2500)) + b"\n" for i in range(1000)))
        count, seen = 0, 0
        tracemalloc.start()
        try:
            for batch in iter_batches(path, "ndjson", ReadOptions(NOW, batch_size=500)):
                count += len(batch.parsed.records)
                assert seen <= batch.bytes_read <= path.stat().st_size
                seen = batch.bytes_read
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (count, seen) == (20_000, path.stat().st_size)
        assert peak < 16 * 2**20


class TestJson:
    def test_a_part_of_the_values_at_a_time(self, file: Path) -> None:
        file.write_bytes(orjson.dumps([record(), 1, record(request_id="r2")]))
        batches = read(file, "json", size=2)
        assert [(batch.parsed.received, batch.parsed.indexes) for batch in batches] == [(2, [0]), (1, [2])]

    def test_what_it_must_be(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file.write_bytes(lines(record(), record()))
        assert "unexpected content after document" in refusal(file, "json")
        assert refusal(file, "json").endswith("(a file of one record a line has the format ndjson)")
        monkeypatch.setattr(files, "MAX_JSON_BYTES", 10)
        assert "may not be longer than 10 bytes" in refusal(file, "json")


class TestCsv:
    header: tuple[object, ...] = (*RECORD, "username", "prompt_tokens")

    def row(self, username: object = "", prompt_tokens: object = 5, request_id: str = "r1") -> list[object]:
        return [*{**RECORD, "request_id": request_id}.values(), username, prompt_tokens]

    def test_quotes_newlines_a_bom_and_blank_lines(self, file: Path) -> None:
        names = ['O"Brien, Ann', " spaced ", "=1+1"]
        rows = csv_bytes([*self.header], *([*self.row(name)] for name in names), lineterminator="\n\n")
        file.write_bytes(b"\xef\xbb\xbf\n" + rows)
        assert [taken.username for taken in records_of(read(file, "csv"))] == names
        assert rejects_of(read(file, "csv")) == []
        file.write_bytes(csv_bytes([*self.header], self.row("two\nlines"), self.row()))
        batches = read(file, "csv")
        assert [(reject.index, reject.field) for reject in rejects_of(batches)] == [(0, "username")]
        assert [index for batch in batches for index in batch.parsed.indexes] == [1]

    def test_numbers_stay_exact(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*RECORD, "prompt_tokens", "cost_usd"], [*RECORD.values(), MOST, "0.1234567890123456789"]))
        (taken,) = records_of(read(file, "csv"))
        assert (taken.prompt_tokens, taken.cost_usd) == (MOST, Decimal("0.1234567890123456789"))

    def test_an_implausible_row_is_quarantined(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*RECORD, "prompt_tokens"], [*RECORD.values(), MOST + 1]))
        (batch,) = read(file, "csv")
        (item,) = batch.parsed.quarantined
        assert (batch.parsed.records, batch.parsed.rejects, item.source) == ([], [], "usage_record")
        assert item.values == {**RECORD, "prompt_tokens": MOST + 1}

    def test_a_row_with_too_many_or_too_few_cells(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*self.header], [*self.row(), "x"], self.row()[:-1], self.row()))
        batches = read(file, "csv", size=1)
        assert rejects_of(batches) == [
            Reject(0, None, "has 7 cells where the header row has 6"),
            Reject(1, None, "has 5 cells where the header row has 6"),
        ]
        assert [batch.parsed.indexes for batch in batches] == [[], [], [2]]

    @pytest.mark.parametrize("cell", [b'"torn" quote', b'"' + b"x" * 200_000 + b'"', b"x" * 200_000, b"a\rb"])
    def test_a_row_that_is_not_csv(self, file: Path, cell: bytes) -> None:
        head, bad, good = csv_bytes([*self.header], self.row("CELL", request_id="bad"), self.row()).split(b"\r\n")[:3]
        file.write_bytes(b"\r\n".join([head, bad.replace(b"CELL", cell), good]))
        batches = read(file, "csv")
        (reject,) = rejects_of(batches)
        assert (reject.index, reject.field) == (0, None)
        assert reject.message.startswith("is malformed CSV: ")
        assert [taken.request_id for taken in records_of(batches)] == ["r1"]

    def test_a_quote_that_is_never_closed(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*self.header], self.row()) + b'"r2,2026')
        batches = read(file, "csv")
        assert [reject.message for reject in rejects_of(batches)] == ["is malformed CSV: unexpected end of data"]
        assert len(records_of(batches)) == 1

    def test_bytes_that_are_not_utf_8_reject_their_row(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*self.header], self.row("CELL"), self.row()).replace(b"CELL", b"\xe9"))
        batches = read(file, "csv")
        assert [(reject.index, reject.field) for reject in rejects_of(batches)] == [(0, "username")]
        assert len(records_of(batches)) == 1

    def test_empty_cells(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*self.header], self.row("", ""), ["", *self.row()[1:]]))
        batches = read(file, "csv")
        assert [(taken.username, taken.prompt_tokens) for taken in records_of(batches)] == [(None, 0)]
        assert rejects_of(batches) == [Reject(1, "request_id", IS_REQUIRED)]

    def test_a_model_that_is_empty_or_has_no_column_is_missing(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*RECORD], ["r1", "2026-03-12T08:30:00Z", "acme", ""]))
        assert [reject.field for reject in rejects_of(read(file, "csv"))] == ["model_id"]
        file.write_bytes(csv_bytes(["request_id", "occurred_at", "tenant_id"], ["r1", "2026-03-12T08:30:00Z", "acme"]))
        assert [reject.field for reject in rejects_of(read(file, "csv"))] == ["model_id"]

    def test_unknown_columns(self, file: Path) -> None:
        file.write_bytes(csv_bytes([*self.header, "team", "\x1bteam"], *([*self.row(), "x", ""] for _ in range(3))))
        assert [batch.parsed.unknown_fields for batch in read(file, "csv", size=2)] == [
            {"team": 2, "\ufffdteam": 2},
            {"team": 1, "\ufffdteam": 1},
        ]

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            (b"", "there is no header row: the file is empty"),
            (b"\n\r\n", "there is no header row: the file is empty"),
            (b"tenant_id,model_id\n", "there is no column request_id and no column occurred_at"),
            (b"request_id;occurred_at;tenant_id\n", "there is no column request_id and no column occurred_at and no column tenant_id"),
            (b"request_id,occurred_at\n", "there is no column tenant_id"),
            (b"request_id,occurred_at,tenant_id,request_id\n", "the column request_id is there twice"),
            (b'"request_id\n', "the header row is malformed CSV: unexpected end of data"),
            (b"x" * (MAX_LINE_BYTES + 5), "the header row is malformed CSV: field larger than field limit (131072)"),
            (orjson.dumps(RECORD), "the header row is malformed CSV: ',' expected after '\"'"),
        ],
    )
    def test_a_bad_header(self, file: Path, header: bytes, message: str) -> None:
        file.write_bytes(header)
        assert refusal(file, "csv").endswith(f"usage: {message}")

    def test_a_key_with_a_tenant_needs_no_tenant_column(self, file: Path) -> None:
        file.write_bytes(b"request_id,occurred_at,model_id\nr1,2026-03-12T08:30:00Z,m\n")
        assert [taken.tenant_id for taken in records_of(read(file, "csv", tenant="acme"))] == ["acme"]


class TestParquet:
    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("zone", ["UTC", "+05:30", "America/New_York"])
    def test_instants(self, file: Path, unit: str, zone: str) -> None:
        ticks = int(NOW.timestamp()) * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        extra = 789 if unit == "ns" else 0
        file.write_bytes(table_bytes(columns(occurred_at=pa.array([ticks + extra], pa.int64()).cast(pa.timestamp(unit, tz=zone)))))
        (taken,) = records_of(read(file, "parquet"))
        assert (taken.occurred_at, taken.occurred_at.tzinfo) == (NOW, UTC)

    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    def test_instants_out_of_range(self, file: Path, unit: str) -> None:
        ticks = pa.array([2**63 - 1, -(2**63) + 1, 0, None], pa.int64())
        file.write_bytes(table_bytes(columns(occurred_at=ticks.cast(pa.timestamp(unit, tz="UTC")))))
        assert [reject.message for reject in rejects_of(read(file, "parquet"))] == [
            AHEAD_RULE,
            EARLIEST_RULE,
            EARLIEST_RULE,
            IS_REQUIRED,
        ]

    def test_instants_without_a_zone_or_of_another_type(self, file: Path) -> None:
        for values, rule in (
            (pa.array([datetime(2026, 3, 12)], pa.timestamp("us")), OFFSET_RULE),
            (pa.array([2**62], pa.timestamp("us")), OFFSET_RULE),
            (pa.array([20_000], pa.date32()), INSTANT_RULE),
            (pa.array([1773304200]), INSTANT_RULE),
            (pa.array(["2026-03-12T08:30:00"]), OFFSET_RULE),
        ):
            file.write_bytes(table_bytes(columns(occurred_at=values)))
            assert rejects_of(read(file, "parquet")) == [Reject(0, "occurred_at", rule)]

    def test_numbers(self, file: Path) -> None:
        file.write_bytes(
            table_bytes(
                columns(
                    prompt_tokens=pa.array([MOST], pa.uint64()),
                    completion_tokens=pa.array([Decimal("12")], pa.decimal128(38, 0)),
                    search_requests=pa.array([3.0]),
                    cost_usd=pa.array([Decimal("0.1234567890")], pa.decimal128(20, 10)),
                    latency_ms=pa.array([0.1]),
                    ttft_ms=pa.array([7], pa.int8()),
                    username=pa.array(["Ann"]).dictionary_encode(),
                    provider=pa.array([None], pa.null()),
                )
            )
        )
        (taken,) = records_of(read(file, "parquet"))
        assert (taken.prompt_tokens, taken.completion_tokens, taken.search_requests) == (MOST, 12, 3)
        assert (taken.cost_usd, taken.latency_ms, taken.ttft_ms) == (Decimal("0.123456789"), Decimal("0.1"), Decimal(7))
        assert (taken.username, taken.provider) == ("Ann", None)

    def test_values_that_no_field_takes(self, file: Path) -> None:
        bad_text = pa.Array.from_buffers(pa.string(), 2, [None, *pa.array([b"\xff\xfe", b"ok"]).buffers()[1:]])
        file.write_bytes(
            table_bytes(
                columns(
                    username=bad_text,
                    prompt_tokens=pa.array([None, -1]),
                    latency_ms=pa.array([float("nan"), None]),
                    provider=pa.array([["a"], None]),
                    project_id=pa.array([{"a": 1}, None]),
                    ttft_ms=pa.array([timedelta(1), None]),
                )
            )
        )
        assert [(reject.index, reject.field) for reject in rejects_of(read(file, "parquet"))] == [
            (0, "project_id"),
            (0, "username"),
            (0, "provider"),
            (0, "latency_ms"),
            (0, "ttft_ms"),
            (1, "prompt_tokens"),
        ]
        assert rejects_of(read(file, "parquet"))[-1].message == COUNT_RULE

    def test_batches_and_unknown_columns(self, file: Path) -> None:
        file.write_bytes(table_bytes(columns(request_id=[f"r{i}" for i in range(7)], team=["x"] * 7, **{"a\x00": [[1]] * 7})))
        batches = read(file, "parquet", size=3)
        assert [batch.parsed.indexes for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
        assert batches[0].parsed.unknown_fields == {"team": 3, "a\ufffd": 3}
        assert [batch.bytes_read for batch in batches] == sorted({batch.bytes_read for batch in batches})
        assert batches[-1].bytes_read == file.stat().st_size

    def test_no_rows(self, file: Path) -> None:
        file.write_bytes(table_bytes({name: pa.array([], pa.string()) for name in RECORD}))
        assert read(file, "parquet") == []

    def test_missing_columns(self, file: Path) -> None:
        file.write_bytes(table_bytes({"tenant_id": ["acme"], "request_id": ["r1"]}))
        assert refusal(file, "parquet").endswith("usage: there is no column occurred_at")

    def test_damage(self, file: Path) -> None:
        whole = table_bytes(columns(request_id=[f"r{i}" for i in range(2000)]))
        damaged = [whole[:-20], whole[:4] + b"\xff" * 3000 + whole[3004:], whole.replace(b"model_id", b"m\xffdel_id")]
        for content in (b"", b"PAR1", b"x" * 1000, lines(record()), *damaged):
            file.write_bytes(content)
            assert refusal(file, "parquet").endswith("usage: is not a Parquet file, or is damaged")


class TestTheFileItself:
    @pytest.mark.parametrize("file_format", ["ndjson", "csv", "json", "parquet"])
    def test_is_not_there_or_not_a_file(self, tmp_path: Path, file_format: FileFormat) -> None:
        assert refusal(tmp_path / "none.csv", file_format).endswith("none.csv: no such file or directory")
        assert refusal(tmp_path, file_format).endswith(": is a directory")
        assert refusal(f"{tmp_path}/a\x00b", file_format).endswith("a\ufffdb: is not a file name")
        assert len(refusal(tmp_path / ("x" * 5000), file_format)) < 160

    @pytest.mark.parametrize("end", ["gz", "zst"])
    def test_is_cut_off_or_not_compressed(self, tmp_path: Path, end: str) -> None:
        content = lines(*(record(request_id=f"r{i}") for i in range(500)))
        packed = gzip.compress(content) if end == "gz" else zstandard.compress(content)
        path = tmp_path / f"a.ndjson.{end}"
        name = {"gz": "gzip", "zst": "zstd"}[end]
        path.write_bytes(packed[:-9])
        assert refusal(path).endswith(f"a.ndjson.{end}: the {name} data ends too early")
        path.write_bytes(content)
        assert refusal(path).endswith(f"a.ndjson.{end}: the {name} data is damaged, or something else follows it")
        path.write_bytes(b"")
        assert refusal(path).endswith("ends too early")

    @pytest.mark.parametrize("file_format", ["ndjson", "csv"])
    def test_is_standard_input(self, monkeypatch: pytest.MonkeyPatch, file_format: FileFormat) -> None:
        content = lines(record()) if file_format == "ndjson" else csv_bytes([*RECORD], [*RECORD.values()])
        stdin = io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "stdin", stdin)
        (batch,) = read("-", file_format)
        assert ([taken.request_id for taken in batch.parsed.records], batch.bytes_read) == (["r1"], len(content))
        assert not stdin.buffer.closed

    def test_is_not_standard_input_for_parquet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table_bytes(columns()))))
        assert refusal("-", "parquet") == "-: Parquet cannot be read from standard input: it is read from its end"


class TestSources:
    """What the rows are is seen by the columns, in every format, or told."""

    spend: ClassVar[dict[str, object]] = {
        "request_id": "r1",
        "call_type": "acompletion",
        "spend": 0.5,
        "startTime": "2026-03-12T08:30:00Z",
        "endTime": "2026-03-12T08:30:01Z",
        "model": "gpt-4o",
    }
    column_map = parse_map(b"fields: {request_id: id, occurred_at: {column: ts, unit: s}, model_id: m.name, tenant_id: {value: acme}}")
    mapped: ClassVar[dict[str, object]] = {"id": "r1", "ts": 1773304200, "m": {"name": "gpt-4o"}, "more": 1}

    def contents(self, *rows: dict[str, object]) -> dict[str, bytes]:
        return {
            "a.ndjson": b"\n" + lines(*rows),
            "a.json": orjson.dumps(rows),
            "b.json": orjson.dumps({"data": rows, "total": 2, "page": 1}),
            "a.csv": csv_bytes([*rows[0]], *([*row.values()] for row in rows)),
            "a.parquet": table_bytes({name: [row[name] for row in rows] for name in rows[0]}),
        }

    def test_spend_logs_are_recognised_everywhere(self, tmp_path: Path) -> None:
        other_call = {**self.spend, "request_id": "r3", "call_type": "avector_store_search", "spend": 0}
        for name, content in self.contents(self.spend, {**self.spend, "request_id": "r2", "spend": -1}, other_call).items():
            (tmp_path / name).write_bytes(content)
            for source in (None, "litellm-spend-logs"):
                (batch,) = iter_batches(tmp_path / name, detect_format(name), ReadOptions(NOW, "acme", source))
                parsed = batch.parsed
                assert [(taken.request_id, taken.occurred_at, taken.cost_usd) for taken in parsed.records] == [
                    ("r1", HALF_PAST_EIGHT, Decimal("0.5"))
                ], name
                assert [(item.index, item.reasons[0].field) for item in parsed.quarantined] == [(1, "cost_usd")], name
                assert [(reject.index, reject.message) for reject in parsed.rejects] == [(2, PASSED_OVER)], name
                assert parsed.received == 3

    def test_usage_is_what_it_is_told_to_be(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(lines(self.spend))
        (batch,) = iter_batches(path, "ndjson", ReadOptions(NOW, "acme", "usage"))
        assert [reject.field for reject in batch.parsed.rejects] == ["occurred_at", "model_id"]
        assert batch.parsed.quarantined == []

    def test_a_map_reads_every_format(self, tmp_path: Path) -> None:
        for name, content in self.contents(self.mapped, {**self.mapped, "id": "r2", "ts": -1}).items():
            if name.endswith(".csv"):
                content = csv_bytes(["id", "ts", "m.name", "more"], ["r1", 1773304200, "gpt-4o", 1], ["r2", -1, "gpt-4o", 1])
            (tmp_path / name).write_bytes(content)
            (batch,) = iter_batches(tmp_path / name, detect_format(name), ReadOptions(NOW, source=self.column_map))
            assert [(taken.request_id, taken.occurred_at, taken.model_id) for taken in batch.parsed.records] == [
                ("r1", HALF_PAST_EIGHT, "gpt-4o")
            ], name
            assert [(item.index, item.source) for item in batch.parsed.quarantined] == [(1, "map")], name
            assert batch.parsed.unknown_fields == {"more": 2}, name

    def test_a_table_lacks_what_a_map_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(csv_bytes(["id", "m"], ["r1", "x"]))
        (tmp_path / "a.parquet").write_bytes(table_bytes({"id": ["r1"], "m": ["x"]}))
        for name, missing in (("a.csv", "there is no column ts and no column m.name"), ("a.parquet", "there is no column ts")):
            with pytest.raises(BadInputError) as raised:
                list(iter_batches(tmp_path / name, detect_format(name), ReadOptions(NOW, source=self.column_map)))
            assert raised.value.message.endswith(f"{name}: {missing}")

    def test_lines_before_the_first_object_do_not_hide_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(b"# started\n\n[1]\n" + lines(self.mapped) + b"\n5\n")
        batches = list(iter_batches(path, "ndjson", ReadOptions(NOW, source=self.column_map, batch_size=3)))
        assert [taken.request_id for taken in records_of(batches)] == ["r1"]
        assert [reject.index for reject in rejects_of(batches)] == [0, 1, 3]
        assert [index for batch in batches for index in batch.parsed.indexes] == [2]

    def test_rows_that_cannot_be_read_are_rejected_and_keep_their_places(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        good = b"r1,1773304200,x\n"
        path.write_bytes(b"id,ts,m.name\n" + good + b"cut\n" + good + b'"torn"x,1,1\n' + good)
        (batch,) = iter_batches(path, "csv", ReadOptions(NOW, source=self.column_map))
        assert (batch.parsed.indexes, [reject.index for reject in batch.parsed.rejects], batch.parsed.received) == ([0, 2, 4], [1, 3], 5)

    def test_a_column_that_is_read_may_not_be_there_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b"id,ts,m.name,id\nr1,1773304200,x,r2\n")
        with pytest.raises(BadInputError, match="the column id is there twice"):
            list(iter_batches(path, "csv", ReadOptions(NOW, source=self.column_map)))

    def test_a_source_without_tenant_is_told_at_once(self, tmp_path: Path) -> None:
        no_tenant = parse_map(b"fields: {request_id: id, occurred_at: ts}")
        for name, content in self.contents(self.mapped).items():
            (tmp_path / name).write_bytes(content)
            with pytest.raises(BadInputError, match="the map names no tenant: give one"):
                list(iter_batches(tmp_path / name, detect_format(name), ReadOptions(NOW, source=no_tenant)))

    def test_ten_thousand_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        names = [*RECORD, *(f"c{number}" for number in range(10_000))]
        path.write_bytes(csv_bytes(names, *([*RECORD.values(), *[""] * 10_000] for _ in range(3))))
        (batch,) = read(path)
        assert (len(batch.parsed.records), len(batch.parsed.unknown_fields)) == (3, 50)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["ndjson", "csv", "json", "parquet"]), st.sampled_from(["", ".gz", ".zst"]))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes, file_format: FileFormat, end: str) -> None:
    path = tmp_path / f"any{end}"
    header = b"request_id,occurred_at,tenant_id,model_id,username\n" if file_format == "csv" else b""
    whole = header + content
    path.write_bytes(gzip.compress(whole) if end == ".gz" else zstandard.compress(whole) if end == ".zst" else whole)
    try:
        batches = read(path, file_format)
    except BadInputError:
        return
    assert len(batches) <= 1
    for batch in batches:
        assert_whole(batch.parsed)
