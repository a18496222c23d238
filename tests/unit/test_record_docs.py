"""docs/usage-record.md has the fields that are declared."""

from __future__ import annotations

from tests import record_docs


def test_the_fields_are_written_from_the_declarations() -> None:
    assert record_docs.drawn() == record_docs.draw(), "run `make schema`"
