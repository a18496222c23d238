"""All forms in which records travel say the same of each."""

from __future__ import annotations

import re
import struct
from datetime import datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import PLAUSIBLE_UP_TO, UsageRecord
from app.write.columns import Identities, Phrases, encode_copy, encode_keys
from app.write.encode import encode_arrays
from app.write.identities import Names
from app.write.rollup import copy_stage
from app.write.stage import STAGE
from tests.unit.test_parse_properties import usage_records


def names_of(records: list[UsageRecord]) -> Names:
    """Give every name in the records a number."""
    names = Names()
    for number, record in enumerate(records, 1):
        tenant = names.tenants.setdefault(record.tenant_id, number)
        for known, name in ((names.projects, record.project_id), (names.caller_keys, record.api_key_id)):
            if name is not None:
                known.setdefault((tenant, name), number)
        for plain, name in ((names.users, record.user_id), (names.providers, record.provider)):
            if name is not None:
                plain.setdefault(name, number)
        names.models.setdefault((record.model_id, record.model_permaslug), number)
    return names


def read_copy(text: bytes) -> list[list[str | None]]:
    """Read COPY's text format as its documentation defines it."""
    escapes = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}

    def cell(raw: str) -> str | None:
        if raw == "\\N":
            return None
        out, characters = "", iter(raw)
        for character in characters:
            out += escapes[next(characters)] if character == "\\" else character
        return out

    lines = text.decode().split("\n")
    assert lines.pop() == ""
    return [[cell(raw) for raw in line.split("\t")] for line in lines]


def read_literal(text: str) -> list[str | None]:
    """Read the literal of a PostgreSQL array of one dimension, as its documentation defines it."""
    assert (text[0], text[-1]) == ("{", "}")
    cells = re.findall(r'(?:"((?:[^"\\]|\\.)*)"|([^",]+))(?:,|$)', text[1:-1], re.DOTALL)
    return [None if plain == "NULL" else plain or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) for quoted, plain in cells]


def read_cell(type_: str, text: str | None) -> object:
    """Read a cell as the server would."""
    if text is None:
        return None
    match type_:
        case "timestamptz":
            return datetime.fromisoformat(text)
        case "boolean":
            return {"true": True, "false": False}[text.lower()]
        case "numeric":
            return Decimal(text)
        case _:
            return text


def rows_of(records: list[UsageRecord], parts: list[int], names: Names) -> list[dict[str, object]]:
    """Read back what a few records are encoded to."""
    literals = encode_arrays(records, parts, names)
    columns = [[read_cell(column.type, cell) for cell in read_literal(text)] for column, text in zip(STAGE, literals, strict=True)]
    return [dict(zip([column.name for column in STAGE], row, strict=True)) for row in zip(*columns, strict=True)]


def identities_of(records: list[UsageRecord], names: Names) -> Identities:
    phrases = Phrases()
    phrases.learn(records, names)
    return Identities.of(records, phrases)


@given(records=st.lists(usage_records(), min_size=1, max_size=8), with_names=st.booleans(), with_parts=st.booleans())
def test_copy_says_what_the_rows_say(records: list[UsageRecord], with_names: bool, with_parts: bool) -> None:
    names = names_of(records)
    parts = [number % 3 for number in range(len(records))]
    text = encode_copy(records, parts if with_parts else None, identities_of(records, names), with_names=with_names)
    columns = copy_stage(with_names=with_names, with_parts=with_parts).partition("(")[2].partition(")")[0].split(", ")
    types = {column.name: column.type for column in STAGE}
    left_out = {"digest", *(() if with_names else ["username"]), *(() if with_parts else ["part"])}
    assert set(columns) == types.keys() - left_out
    rows = rows_of(records, parts, names)
    lines = read_copy(b"".join(text.slices))
    written = [{column: read_cell(types[column], cell) for column, cell in zip(columns, line, strict=True)} for line in lines]
    assert written == [{column: row[column] for column in columns} for row in rows]
    assert text.is_narrow == all(int(str(row[name])) < 2**31 for row in rows for name, type_ in types.items() if type_ == "bigint")


@given(record=usage_records())
def test_what_is_written_is_the_record(record: UsageRecord) -> None:
    (row,) = rows_of([record], [0], names_of([record]))
    free = record.cost_usd is None and record.cache_hit
    assert row["cost_usd"] == (0 if free else record.cost_usd)
    assert row["traffic_mode"] == str(["shared", "byok"].index(record.traffic_mode))
    for name in ("request_id", "occurred_at", "username", "latency_ms", "ttft_ms", "cache_hit", "interrupted"):
        assert row[name] == getattr(record, name)
    for name in ("status_code", "attempt", *PLAUSIBLE_UP_TO):
        if name not in ("cost_usd", "latency_ms", "ttft_ms"):
            assert row[name] == str(getattr(record, name))


def read_array(data: bytes, oid: int) -> list[bytes]:
    """Read PostgreSQL's binary format of an array of one dimension without nulls."""
    dimensions, has_nulls, found, number, first = struct.unpack_from(">5i", data)
    assert (dimensions, has_nulls, found, first) == (1, 0, oid, 1)
    elements, at = [], 20
    for _ in range(number):
        (length,) = struct.unpack_from(">i", data, at)
        elements.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    assert at == len(data)
    return elements


@given(records=st.lists(usage_records(), min_size=1, max_size=8))
def test_keys_are_those_of_the_rows(records: list[UsageRecord]) -> None:
    names = names_of(records)
    rows = rows_of(records, [0] * len(records), names)
    tenants, digests = encode_keys(records, identities_of(records, names).tenants)
    assert [int.from_bytes(element, "big") for element in read_array(tenants, 23)] == [int(str(row["tenant_id"])) for row in rows]
    assert [element.hex() for element in read_array(digests, 2950)] == [row["digest"] for row in rows]


@given(known=st.lists(usage_records(), max_size=6), others=st.lists(usage_records(), max_size=6))
def test_what_is_not_known_is_named_and_filled(known: list[UsageRecord], others: list[UsageRecord]) -> None:
    records = [*others, *known]
    names = names_of(records)
    remembered, learned = Phrases(), Phrases()
    remembered.learn(known, names)
    identities = Identities.of(records, remembered)
    strangers = identities.unknown()
    assert all(position < len(others) for position in strangers)
    learned.learn([records[position] for position in strangers], names)
    identities.fill(strangers, records, learned)
    assert identities == identities_of(records, names)
