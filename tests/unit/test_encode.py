"""All forms in which records travel say the same of each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import UsageRecord
from app.write.columns import Identities, Phrases, encode_copy, encode_keys
from app.write.encode import encode_rows
from app.write.identities import Names
from app.write.rollup import STAGE, copy_stage
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


# What `columns` writes otherwise than `str` does, read back.
_READ: dict[str, Callable[[str], object]] = {
    "occurred_at": datetime.fromisoformat,
    "cache_hit": {"true": True, "false": False}.__getitem__,
    "interrupted": {"true": True, "false": False}.__getitem__,
}


def read_cell(column: str, text: str | None) -> object:
    if text is None:
        return None
    return _READ[column](text) if column in _READ else text


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
    positions = {column.name: position for position, column in enumerate(STAGE)}
    assert set(columns) == positions.keys() - {"digest"} - (set() if with_names else {"username"}) - (set() if with_parts else {"part"})
    rows = encode_rows(records, parts, names)
    wanted = [{column: row[positions[column]] for column in columns} for row in rows]
    for row in wanted:
        for column, cell in row.items():
            if cell is not None and column not in _READ:
                row[column] = str(cell)
    lines = read_copy(b"".join(text.slices))
    assert [{column: read_cell(column, cell) for column, cell in zip(columns, line, strict=True)} for line in lines] == wanted
    counts = [position for position, column in enumerate(STAGE) if column.type == "bigint"]
    assert text.is_narrow == all(row[position] < 2**31 for row in rows for position in counts)


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
    rows = encode_rows(records, [0] * len(records), names)
    position = {column.name: number for number, column in enumerate(STAGE)}
    tenants, digests = encode_keys(records, identities_of(records, names).tenants)
    assert [int.from_bytes(element, "big") for element in read_array(tenants, 23)] == [row[position["tenant_id"]] for row in rows]
    assert [element.hex() for element in read_array(digests, 2950)] == [row[position["digest"]] for row in rows]


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
