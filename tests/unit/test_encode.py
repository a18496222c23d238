"""Both forms in which records travel say the same of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.usage import UsageRecord
from app.ingest.encode import encode_copy, encode_rows
from app.ingest.names import Names
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


@given(records=st.lists(usage_records(), max_size=8))
def test_copy_says_what_the_rows_say(records: list[UsageRecord]) -> None:
    names = names_of(records)
    parts = [number % 3 for number in range(len(records))]
    rows = encode_rows(records, parts, names)
    assert read_copy(encode_copy(records, parts, names)) == [[None if cell is None else str(cell) for cell in row] for row in rows]
