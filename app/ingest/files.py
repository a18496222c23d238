"""Files of usage records, read in batches: NDJSON, CSV and Parquet of any size in bounded memory, JSON whole.

The only module here that opens files; what a record must be is decided elsewhere.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.decompress import FILE_WINDOW, stream_decoder
from app.ingest.parse import MAX_LINE_BYTES, UTF8_BOM, Unreadable, count_unknown, json_values, parse_lines, parse_rows, parse_values

FileFormat = Literal["ndjson", "csv", "parquet", "json"]

STDIN: Final = "-"
MAX_JSON_BYTES: Final = 256 * 2**20
_FORMATS: Final[dict[str, FileFormat]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
_ENCODINGS: Final = {".gz": "gzip", ".zst": "zstd"}
_PLAIN_CHUNK: Final = 256 * 1024
# What a slice of compressed bytes decodes to is held at once, and zstd can make 32,000 times as much of it.
_COMPRESSED_CHUNK: Final = 4 * 1024
_MAX_SHOWN: Final = 80
# Instants further off are out of every range, but datetime has no room for them: they are read as these seconds since 1970.
_FIRST_SECOND: Final = -(10**10)
_LAST_SECOND: Final = 10**11
_NO_VALUE: Final = object()
_TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6}


@dataclass(frozen=True, slots=True)
class FileBatch:
    """A part of a file: its records, with indexes counted from the first of the file, and the bytes of the file read so far."""

    parsed: ParsedBatch
    bytes_read: int


@dataclass(frozen=True, slots=True)
class _Batching:
    size: int
    now: datetime
    tenant_id: str | None

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which no row can be taken."""
        return ("request_id", "occurred_at") if self.tenant_id is not None else ("request_id", "occurred_at", "tenant_id")


def detect_format(path: Path | str) -> FileFormat:
    """Tell a file's format by the end of its name; all but Parquet may also end in .gz or .zst. Raises BadInputError."""
    name = Path(path)
    if str(name) == STDIN:
        raise BadInputError("standard input has no name: say which format it has, ndjson or csv")
    encoded = name.suffix.lower() in _ENCODINGS
    found = _FORMATS.get((name.with_suffix("") if encoded else name).suffix.lower())
    if found is None or (encoded and found == "parquet"):
        known = ", ".join(_FORMATS)
        raise BadInputError(f"{_shown(path)}: the name must end in one of {known} (also .gz or .zst but for .parquet)")
    return found


def iter_batches(
    path: Path | str, file_format: FileFormat, *, batch_size: int = 10_000, now: datetime, tenant_id: str | None
) -> Iterator[FileBatch]:
    """Read a file, or standard input for the path `-`, in batches of at most `batch_size` records.

    Raises BadInputError, from the first step on, if the file cannot be read or is not of its format.
    """
    batching = _Batching(batch_size, now, tenant_id)
    read = {"ndjson": _ndjson_batches, "csv": _csv_batches, "json": _json_batches, "parquet": _parquet_batches}[file_format]
    try:
        with _opened(path) as file:
            yield from read(file, batching)
    except BadInputError as error:
        raise BadInputError(f"{_shown(path)}: {error.message}") from None
    except OSError as error:
        raise BadInputError(f"{_shown(path)}: {(error.strerror or 'cannot be read').lower()}") from None


def _shown(path: Path | str) -> str:
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(path))
    return text if len(text) <= _MAX_SHOWN else f"...{text[-_MAX_SHOWN:]}"


class _SourceFile(io.RawIOBase):
    """A file's bytes, decompressed, and how many of its own were read."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        super().__init__()
        self.file = file
        self.bytes_read = 0
        self._chunk = _COMPRESSED_CHUNK if encoding else _PLAIN_CHUNK
        self._pieces: deque[bytes] = deque()
        self._decoder = stream_decoder(encoding, self._pieces.append, window=FILE_WINDOW)
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._pieces:
            if self._at_end:
                return 0
            chunk = self.file.read(self._chunk)
            self.bytes_read += len(chunk)
            if chunk:
                self._decoder.feed(chunk)
            else:
                self._at_end = True
                self._decoder.finish()
        piece = self._pieces.popleft()
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        return count


@contextmanager
def _opened(path: Path | str) -> Iterator[_SourceFile]:
    name = Path(path)
    if str(name) == STDIN:
        yield _SourceFile(sys.stdin.buffer, "")
        return
    try:
        file = name.open("rb")
    except ValueError:
        raise BadInputError("is not a file name") from None
    with file:
        yield _SourceFile(file, _ENCODINGS.get(name.suffix.lower(), ""))


def _lines(source: _SourceFile) -> Iterator[bytes]:
    """Lines with their ends; one that is longer than any record may be is cut right after that length."""
    reader = io.BufferedReader(source, _PLAIN_CHUNK)
    line = reader.readline(MAX_LINE_BYTES + 1).removeprefix(UTF8_BOM)
    while line:
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = reader.readline(MAX_LINE_BYTES + 1)
        yield line
        line = reader.readline(MAX_LINE_BYTES + 1)


def _ndjson_batches(source: _SourceFile, batching: _Batching) -> Iterator[FileBatch]:
    lines = _lines(source)
    index = 0
    for first in lines:
        chunk = chain((first,), islice(lines, batching.size - 1))
        parsed = parse_lines(chunk, now=batching.now, tenant_id=batching.tenant_id, first_index=index)
        index += parsed.received
        yield FileBatch(parsed, source.bytes_read)


def _json_batches(source: _SourceFile, batching: _Batching) -> Iterator[FileBatch]:
    body = io.BufferedReader(source, _PLAIN_CHUNK).read(MAX_JSON_BYTES + 1)
    if len(body) > MAX_JSON_BYTES:
        raise BadInputError(f"a JSON file may not be longer than {MAX_JSON_BYTES} bytes: write one record a line, as ndjson")
    try:
        values = json_values(body)
    except BadInputError as error:
        raise BadInputError(f"{error.message} (a file of one record a line has the format ndjson)") from None
    for start in range(0, len(values), batching.size):
        part = values[start : start + batching.size]
        parsed = parse_values(part, now=batching.now, tenant_id=batching.tenant_id, first_index=start)
        yield FileBatch(parsed, source.bytes_read)


class _Columns:
    """Which columns of a table hold which fields. Raises BadInputError if a required one is missing, or one is there twice."""

    def __init__(self, names: Sequence[str], batching: _Batching) -> None:
        missing = [name for name in batching.required if name not in names]
        if missing:
            raise BadInputError(f"there is no column {' and no column '.join(missing)}")
        self.width = len(names)
        positions = [position for position, name in enumerate(names) if name in UsageRecord._fields]
        self.names = [names[position] for position in positions]
        self.unknown = [name for name in names if name not in UsageRecord._fields]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise BadInputError(f"the column {twice} is there twice")
        self.pick = itemgetter(*positions)

    def parse(self, rows: Iterator[Mapping[str, object] | Unreadable], batching: _Batching, first_index: int) -> ParsedBatch:
        """Read rows of the known columns; every row has the unknown ones too."""
        parsed = parse_rows(rows, now=batching.now, tenant_id=batching.tenant_id, first_index=first_index)
        count_unknown(self.unknown, parsed.unknown_fields, parsed.received)
        return parsed


def _csv_cells(source: _SourceFile) -> Iterator[list[str] | Unreadable]:
    """The rows that are not blank lines. Bytes that are not UTF-8 become lone surrogates, which the field rules refuse."""
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in _lines(source)), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Unreadable(f"is malformed CSV: {error}")
        else:
            if cells:
                yield cells


def _csv_row(cells: list[str] | Unreadable, columns: _Columns) -> Mapping[str, object] | Unreadable:
    if isinstance(cells, Unreadable):
        return cells
    if len(cells) != columns.width:
        # With a cell too few it may well be a line that was cut off: its last value cannot be trusted.
        return Unreadable(f"has {len(cells)} cells where the header row has {columns.width}")
    return dict(zip(columns.names, columns.pick(cells), strict=True))


def _csv_batches(source: _SourceFile, batching: _Batching) -> Iterator[FileBatch]:
    rows = _csv_cells(source)
    header = next(rows, None)
    if header is None:
        raise BadInputError("there is no header row: the file is empty")
    if isinstance(header, Unreadable):
        raise BadInputError(f"the header row {header.message}")
    columns = _Columns(header, batching)
    index = 0
    for first in rows:
        chunk = (_csv_row(cells, columns) for cells in chain((first,), islice(rows, batching.size - 1)))
        parsed = columns.parse(chunk, batching, index)
        index += parsed.received
        yield FileBatch(parsed, source.bytes_read)


def _parquet_batches(source: _SourceFile, batching: _Batching) -> Iterator[FileBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.file is getattr(sys.stdin, "buffer", None):
        raise BadInputError("Parquet cannot be read from standard input: it is read from its end")
    size = source.file.seek(0, io.SEEK_END)
    try:
        with pq.ParquetFile(source.file, pre_buffer=False) as file:
            columns = _Columns(file.schema_arrow.names, batching)
            total = file.metadata.num_rows
            index = 0
            for table in file.iter_batches(batching.size, columns=columns.names):
                cells = (_native(table.column(name)) for name in columns.names)
                rows = (dict(zip(columns.names, row, strict=True)) for row in zip(*cells, strict=True))
                parsed = columns.parse(rows, batching, index)
                index += parsed.received
                yield FileBatch(parsed, size * index // total)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise BadInputError("is not a Parquet file, or is damaged") from None


def _native(column: Any) -> Sequence[object]:
    """A Parquet column's values as Python has them; what it cannot hold becomes an object that no field rule takes."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return _instants(column)
    try:
        values: list[object] = column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [_native_value(scalar) for scalar in column]
    return values


def _native_value(scalar: Any) -> object:
    try:
        value: object = scalar.as_py()
    except Exception:
        return _NO_VALUE
    return value


def _instants(column: Any) -> Sequence[object]:
    """Timestamps in microseconds, aware if the column has a time zone; without asking a time zone database for it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ticks = column.cast(pa.int64())
    unit = column.type.unit
    if unit in _TICKS:
        first, last = pa.scalar(_FIRST_SECOND * _TICKS[unit]), pa.scalar(_LAST_SECOND * _TICKS[unit])
        ticks = pc.max_element_wise(pc.min_element_wise(ticks, last, skip_nulls=False), first, skip_nulls=False)
    values: list[datetime | None] = ticks.cast(pa.timestamp(unit)).cast(pa.timestamp("us"), safe=False).to_pylist()
    if column.type.tz is None:
        return values
    return [value and value.replace(tzinfo=UTC) for value in values]
