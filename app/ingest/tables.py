"""Tables of records, CSV and Parquet, read in batches in bounded memory: header, columns, native values."""

from __future__ import annotations

import csv
import io
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, Final

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch, UsageRecord
from app.ingest.fields import FieldRules
from app.ingest.inputs import SourceFile, read_lines
from app.ingest.parse import Unreadable, count_unknown, parse_rows
from app.ingest.sources.choice import Rows, RowSource, SourceName, choose_source, collect_rows
from app.ingest.sources.mapping import ColumnMap

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
class ReadOptions:
    """How a file is read.

    `source`: what its rows are, or a map that says so; None: recognised by its columns, and usage records where they are none of the
    known ones. `tenant_id`: of records that name none, and the only one allowed; None: they must name it.
    """

    now: datetime
    tenant_id: str | None = None
    source: SourceName | ColumnMap | None = None
    batch_size: int = 10_000

    @property
    def rules(self) -> FieldRules:
        """The rules of the record's fields."""
        return FieldRules(self.now, self.tenant_id)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which no row of usage records can be taken."""
        return ("request_id", "occurred_at") if self.tenant_id is not None else ("request_id", "occurred_at", "tenant_id")


class _Table:
    """Which columns of a table are read, and how. Raises BadInputError if a needed one is missing, or one that is read is there twice."""

    def __init__(self, names: Sequence[str], options: ReadOptions, *, has_objects: bool) -> None:
        self.options = options
        self.source = choose_source(options.source, names, options.tenant_id)
        needed = options.required if self.source is None else self.source.needed
        missing = [name for name in needed if not _holds(names, name, self.source, has_objects=has_objects)]
        if missing:
            raise BadInputError(f"there is no column {' and no column '.join(missing)}")
        known = frozenset(UsageRecord._fields) if self.source is None else self.source.known
        positions = [position for position, name in enumerate(names) if known is None or name in known]
        self.names = [names[position] for position in positions]
        self.unknown = [name for name in names if known is not None and name not in known]
        if len(set(self.names)) < len(self.names):
            twice = next(name for count, name in enumerate(self.names) if name in self.names[:count])
            raise BadInputError(f"the column {twice} is there twice")
        self._width = len(names)
        self._positions = positions

    def row(self, cells: list[str] | Unreadable) -> Mapping[str, object] | Unreadable:
        """Return a CSV row's cells by the names of the columns that are read."""
        if isinstance(cells, Unreadable):
            return cells
        if len(cells) != self._width:
            # With a cell too few it may well be a line that was cut off: its last value cannot be trusted.
            return Unreadable(f"has {len(cells)} cells where the header row has {self._width}")
        return dict(zip(self.names, [cells[position] for position in self._positions], strict=True))

    def parse(self, rows: Rows, first_index: int) -> ParsedBatch:
        """Read rows of the known columns; every row has the unknown ones too."""
        if self.source is None:
            options = self.options
            parsed = parse_rows(rows, now=options.now, tenant_id=options.tenant_id, first_index=first_index)
        else:
            parsed = collect_rows(rows, self.source, self.options.rules, first_index)
        count_unknown(self.unknown, parsed.unknown_fields, parsed.received)
        return parsed


def _holds(names: Sequence[str], path: str, source: RowSource | None, *, has_objects: bool) -> bool:
    """Whether there is a column for a path: of that name, or one whose objects a map looks into."""
    return path in names or (has_objects and source is not None and source.name == "map" and path.partition(".")[0] in names)


def _csv_cells(source: SourceFile) -> Iterator[list[str] | Unreadable]:
    """The rows that are not blank lines. Bytes that are not UTF-8 become lone surrogates, which the field rules refuse."""
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in read_lines(source)), strict=True)
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


def _csv_table(source: SourceFile, options: ReadOptions) -> tuple[_Table, Rows]:
    cells = _csv_cells(source)
    header = next(cells, None)
    if header is None:
        raise BadInputError("there is no header row: the file is empty")
    if isinstance(header, Unreadable):
        raise BadInputError(f"the header row {header.message}")
    table = _Table(header, options, has_objects=False)
    rows: Rows = map(table.row, cells)
    proof = None if table.source is None else table.source.proof
    return table, rows if proof is None else proof(rows)


def csv_batches(source: SourceFile, options: ReadOptions) -> Iterator[FileBatch]:
    """Read CSV. A row that is not CSV is rejected by itself. Raises BadInputError for a header that cannot be right."""
    table, rows = _csv_table(source, options)
    if table.source is not None and table.source.proof is not None and source.can_begin_again:
        # What its end proves wrong must not be half written, so it is read to its end first; only a pipe cannot be read twice.
        deque(rows, maxlen=0)
        source = source.from_the_beginning()
        table, rows = _csv_table(source, options)
    index = 0
    for first in rows:
        parsed = table.parse(chain((first,), islice(rows, options.batch_size - 1)), index)
        index += parsed.received
        yield FileBatch(parsed, source.bytes_read)


def parquet_batches(source: SourceFile, options: ReadOptions) -> Iterator[FileBatch]:
    """Read Parquet. Raises BadInputError if it is damaged, or standard input."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.file is getattr(sys.stdin, "buffer", None):
        raise BadInputError("Parquet cannot be read from standard input: it is read from its end")
    size = source.file.seek(0, io.SEEK_END)
    try:
        with pq.ParquetFile(source.file, pre_buffer=False) as file:
            table = _Table(file.schema_arrow.names, options, has_objects=True)
            total = file.metadata.num_rows
            index = 0
            for part in file.iter_batches(options.batch_size, columns=table.names):
                cells = (_native(part.column(name)) for name in table.names)
                rows = (dict(zip(table.names, row, strict=True)) for row in zip(*cells, strict=True))
                parsed = table.parse(rows, index)
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
    except (ValueError, OverflowError, LookupError, pa.ArrowException):
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
