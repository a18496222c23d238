"""Bytes and rows into usage records: the forms that a batch may have, and the loop over its records.

Pure and total: a wrong record is a reject by itself; only a body that cannot be taken apart raises BadInputError.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

import orjson

from app.domain.errors import BadInputError, BodyTooLargeError
from app.domain.usage import FIELDS, ParsedBatch, Quarantined, Reject, UsageRecord
from app.ingest.elements import Elements
from app.ingest.fields import INTEGER_FIELDS, FieldRules, check_record, find_implausible
from app.ingest.quick import quick_reader
from app.ingest.weight import refuse_heavy, weigh_json

MAX_RECORDS: Final = 100_000
MAX_LINE_BYTES: Final = 16 * 2**20
MAX_UNKNOWN_FIELDS: Final = 50
MAX_NAME_LENGTH: Final = 80

SOURCE: Final = "usage_record"
"""Name of the usage record's own format in the quarantine."""

NOT_AN_OBJECT: Final = "must be an object"
_FORMS: Final = 'the body must be an array of records, an object {"records": [...]}, or one record'
UTF8_BOM: Final = b"\xef\xbb\xbf"
_NOT_SHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# The record with nothing given, in the order in which a record is built.
_ABSENT: Final = {field.name: field.default for field in FIELDS}
_FIELD_COUNT: Final = len(_ABSENT)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in the place of a record that could not be taken apart, so that it is counted and keeps its index."""

    message: str


def _parse_int(digits: str) -> int | float:
    """An integer, or a float if it is far out of every range: Python reads no more than 4300 digits, and slowly."""
    return int(digits) if len(digits) <= 20 else float(digits)


_LENIENT: Final = json.JSONDecoder(parse_int=_parse_int)


def json_value(data: bytes) -> object:
    """Decode JSON text. Beside JSON proper, numbers too big for a double, NaN, Infinity and lone surrogates come through.

    Those reach the rules, so that they reject one record and not the whole body. Raises orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return _LENIENT.decode(data.decode())
        except (ValueError, RecursionError):
            pass
        raise


def _malformed(data: bytes, error: orjson.JSONDecodeError, where: str) -> str:
    """What is wrong with JSON text; what was sent is not repeated."""
    try:
        data.decode()
    except UnicodeDecodeError as undecodable:
        return f"is not valid UTF-8 at byte {undecodable.start + 1}"
    return f"is malformed JSON at {where}: {error.msg}"


def json_values(body: bytes) -> list[object]:
    """Take a JSON body apart into its records. Raises BadInputError if it is malformed or has none of the three forms."""
    body = body.removeprefix(UTF8_BOM)
    return _values_of(body, lambda error: (error.lineno, error.colno))


def _values_of(body: bytes, place_of: Callable[[orjson.JSONDecodeError], tuple[int, int]]) -> list[object]:
    try:
        value = json_value(body)
    except orjson.JSONDecodeError as error:
        if not body or body.isspace():
            raise BadInputError("the body is empty") from None
        line, column = place_of(error)
        raise BadInputError(f"the body {_malformed(body, error, f'line {line} column {column}')}") from None
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        records = value.get("records")
        if isinstance(records, list):
            return records
        if "request_id" in value:
            return [value]
    raise BadInputError(_FORMS)


def _json_records(body: bytes) -> Iterator[object]:
    """Give the records of a JSON body, decoded some at a time. BadInputError; BodyTooLargeError: there are too many, or too large ones."""
    elements = Elements(body.removeprefix(UTF8_BOM), json_value)
    count = 0
    for count, value in enumerate(elements, 1):
        _refuse_more_than_allowed(count)
        yield value
    rest = elements.rest
    refuse_heavy(rest, weigh_json)
    values = _values_of(rest, elements.place_of)
    _refuse_more_than_allowed(count + len(values))
    yield from _drained(values)


def _drained(values: list[object]) -> Iterator[object]:
    """Give the values in order, letting go of each: a batch is not in memory twice, and that is faster too."""
    values.reverse()
    while values:
        yield values.pop()


def line_values(lines: Iterable[bytes]) -> Iterator[object]:
    """Decode the lines that are not blank; what stands for a malformed one says why."""
    for whole_line in lines:
        if len(whole_line) > MAX_LINE_BYTES:
            yield Unreadable(f"is longer than {MAX_LINE_BYTES} bytes")
            continue
        line = whole_line.rstrip()
        if not line:
            continue
        try:
            refuse_heavy(line, weigh_json)
            value = json_value(line)
        except orjson.JSONDecodeError as error:
            value = Unreadable(_malformed(line, error, f"column {error.colno}"))
        except BodyTooLargeError:
            value = Unreadable("holds too many values")
        yield value


def _typed(row: Mapping[str, object]) -> dict[str, object]:
    """A row of cells as a JSON object would have it: whole numbers as integers, no empty cell."""
    typed: dict[str, object] = {}
    for name, value in row.items():
        if type(value) is str:
            if not value:
                continue
            if name in INTEGER_FIELDS and len(value) < 16 and value.isascii() and value.isdecimal():
                typed[name] = int(value)
                continue
        typed[name] = value
    return typed


def count_unknown(names: Iterable[str], counts: dict[str, int], times: int = 1) -> None:
    """Count the names of unknown fields, cut to 80 characters and fit to be shown; no more than 50 distinct ones."""
    for name in names:
        shown = _NOT_SHOWN.sub("\ufffd", name[:MAX_NAME_LENGTH])
        if shown in counts or len(counts) < MAX_UNKNOWN_FIELDS:
            counts[shown] = counts.get(shown, 0) + times


def _collect(items: Iterable[object], rules: FieldRules, first_index: int) -> ParsedBatch:
    """Read every item: a record, its rejects, or what is to be quarantined."""
    batch = ParsedBatch()
    add_record, add_index = batch.records.append, batch.indexes.append
    absent = {**_ABSENT, "tenant_id": rules.tenant_id}
    quick = quick_reader(rules)
    index = first_index
    for index, item in enumerate(items, first_index + 1):
        if not isinstance(item, dict):
            message = item.message if isinstance(item, Unreadable) else NOT_AN_OBJECT
            batch.rejects.append(Reject(index - 1, None, message))
            continue
        values = absent | item
        if len(values) != _FIELD_COUNT:
            count_unknown(islice(values, _FIELD_COUNT, None), batch.unknown_fields)
            values = dict(islice(values.items(), _FIELD_COUNT))
        record = quick(values.values())
        if record is None:
            checked = check_record(values, rules)
            if isinstance(checked, dict):
                batch.rejects.extend(Reject(index - 1, field, message) for field, message in checked.items())
                continue
            reasons = find_implausible(checked)
            if reasons:
                given = {name: item[name] for name in UsageRecord._fields if item.get(name) is not None}
                batch.quarantined.append(Quarantined(index - 1, SOURCE, rules.now, rules.tenant_id, given, reasons))
                continue
            record = checked
        add_record(record)
        add_index(index - 1)
    batch.received = index - first_index
    return batch


def parse_values(values: Iterable[object], *, now: datetime, tenant_id: str | None, first_index: int = 0) -> ParsedBatch:
    """Read decoded JSON values; the first one has the index `first_index`."""
    return _collect(values, FieldRules(now, tenant_id), first_index)


def _refuse_more_than_allowed(count: int) -> None:
    # What a bad record costs does not depend on its length, so that bytes alone do not bound the work.
    if count > MAX_RECORDS:
        raise BodyTooLargeError(f"the body holds more than {MAX_RECORDS} records: send several")


def parse_json(body: bytes, *, now: datetime, tenant_id: str | None) -> ParsedBatch:
    """Read a JSON body: an array, an object with `records`, or one record.

    BadInputError: any other body; BodyTooLargeError: more than MAX_RECORDS, or what cannot be decoded some records at a time is too heavy.

    `tenant_id` is the tenant that the caller's key is bound to: implied where a record names none, and the only one allowed.
    """
    return parse_values(_json_records(body), now=now, tenant_id=tenant_id)


def parse_lines(lines: Iterable[bytes], *, now: datetime, tenant_id: str | None, first_index: int = 0) -> ParsedBatch:
    """Read NDJSON lines, one at a time; blank ones have no index, a malformed one is a reject by itself."""
    return _collect(line_values(lines), FieldRules(now, tenant_id), first_index)


def parse_ndjson(body: bytes, *, now: datetime, tenant_id: str | None) -> ParsedBatch:
    """Read an NDJSON body: one record a line, with LF or CRLF. BodyTooLargeError: more than MAX_RECORDS lines."""
    _refuse_more_than_allowed(body.count(b"\n"))
    return parse_lines(io.BytesIO(body.removeprefix(UTF8_BOM)), now=now, tenant_id=tenant_id)


def parse_rows(
    rows: Iterable[Mapping[str, object] | Unreadable], *, now: datetime, tenant_id: str | None, first_index: int = 0
) -> ParsedBatch:
    """Read rows of CSV (text cells, empty for absent) or Parquet (native values, aware datetimes)."""
    items = (row if isinstance(row, Unreadable) else _typed(row) for row in rows)
    return _collect(items, FieldRules(now, tenant_id), first_index)
