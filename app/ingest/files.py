"""Files of requests, read in batches: NDJSON, CSV and Parquet of any size in bounded memory, JSON whole.

Which source a file is from, and what a record must be, is decided elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

import orjson

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch
from app.ingest.inputs import PLAIN_CHUNK, FileFormat, SourceFile, detect_format, opened, read_lines, shown
from app.ingest.parse import MAX_LINE_BYTES, json_values, line_values, parse_lines, parse_values
from app.ingest.sources.choice import RowSource, choose_source, collect_rows, count_unknown_of
from app.ingest.tables import FileBatch, ReadOptions, csv_batches, parquet_batches

__all__ = ["MAX_JSON_BYTES", "FileBatch", "FileFormat", "LineParser", "ReadOptions", "detect_format", "iter_batches"]

MAX_JSON_BYTES: Final = 256 * 2**20
_LINES_TO_RECOGNISE: Final = 100


def iter_batches(path: Path | str, file_format: FileFormat, options: ReadOptions) -> Iterator[FileBatch]:
    """Read a file, or standard input for the path `-`, in batches of at most `options.batch_size` records.

    Raises BadInputError, from the first step on, if the file cannot be read or is not of its format or source.
    """
    read = {"ndjson": _ndjson_batches, "csv": csv_batches, "json": _json_batches, "parquet": parquet_batches}[file_format]
    try:
        with opened(path) as file:
            yield from read(file, options)
    except BadInputError as error:
        raise BadInputError(f"{shown(path)}: {error.message}") from None
    except OSError as error:
        raise BadInputError(f"{shown(path)}: {(error.strerror or 'cannot be read').lower()}") from None


class LineParser:
    """Reads NDJSON, some lines at a time: the first object tells the source, and indexes count on from call to call."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._source: RowSource | None = None
        self._is_chosen = options.source == "usage"
        self._index = 0

    def parse(self, lines: Iterator[bytes], now: datetime) -> ParsedBatch:
        """Read lines, each with its end. Raises BadInputError if they are not of the source asked for."""
        if not self._is_chosen:
            lines = self._recognise(lines)
        if self._source is None:
            parsed = parse_lines(lines, now=now, tenant_id=self._options.tenant_id, first_index=self._index)
        else:
            parsed = _collect_objects(line_values(lines), self._source, replace(self._options, now=now), self._index)
        self._index += parsed.received
        return parsed

    def _recognise(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Choose the source by the first object, and return the lines, all of them."""
        seen: list[bytes] = []
        size = 0
        for line in lines:
            seen.append(line)
            size += len(line)
            first = next(line_values((line,)), None)
            if isinstance(first, dict):
                self._source = choose_source(self._options.source, first.keys(), self._options.tenant_id)
                self._is_chosen = True
                break
            if len(seen) == _LINES_TO_RECOGNISE or size > MAX_LINE_BYTES:
                break
        return chain(seen, lines)


def _collect_objects(values: Iterable[object], source: RowSource, options: ReadOptions, first_index: int) -> ParsedBatch:
    unknown: dict[str, int] = {}

    def counted() -> Iterator[object]:
        for value in values:
            if isinstance(value, Mapping):
                count_unknown_of(value, source, unknown)
            yield value

    parsed = collect_rows(counted(), source, options.rules, first_index)
    parsed.unknown_fields.update(unknown)
    return parsed


def _ndjson_batches(source: SourceFile, options: ReadOptions) -> Iterator[FileBatch]:
    lines = read_lines(source)
    parser = LineParser(options)
    for first in lines:
        parsed = parser.parse(chain((first,), islice(lines, options.batch_size - 1)), options.now)
        yield FileBatch(parsed, source.bytes_read)


def _listed(body: bytes) -> list[object]:
    """The objects of a JSON body: as usage records come, or the `data` of an answer that lists them. Raises BadInputError."""
    if body.lstrip()[:1] == b"{":
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = {}
        rows = answer.get("data")
        if isinstance(rows, list) and "records" not in answer and "request_id" not in answer:
            return rows
    try:
        return json_values(body)
    except BadInputError as error:
        raise BadInputError(f"{error.message} (a file of one record a line has the format ndjson)") from None


def _json_batches(source: SourceFile, options: ReadOptions) -> Iterator[FileBatch]:
    body = io.BufferedReader(source, PLAIN_CHUNK).read(MAX_JSON_BYTES + 1)
    if len(body) > MAX_JSON_BYTES:
        raise BadInputError(f"a JSON file may not be longer than {MAX_JSON_BYTES} bytes: write one record a line, as ndjson")
    values = _listed(body)
    del body
    first = next((value for value in values if isinstance(value, dict)), None)
    chosen = None if first is None else choose_source(options.source, first.keys(), options.tenant_id)
    for start in range(0, len(values), options.batch_size):
        part = values[start : start + options.batch_size]
        if chosen is None:
            parsed = parse_values(part, now=options.now, tenant_id=options.tenant_id, first_index=start)
        else:
            parsed = _collect_objects(part, chosen, options, start)
        yield FileBatch(parsed, source.bytes_read)
