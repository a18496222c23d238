"""The limit of ingest: binary COPY of the very rows that the product stored into a table without an index, same batches, same commits.

Twice: rows that psycopg encodes on the way, and bytes that were encoded before, so that only the server's work counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.copy import LibpqWriter
from psycopg.rows import TupleRow

from benchmarks.timing import Rate

_CREATE = "CREATE TABLE bare_records (LIKE usage_records)"
_COPY = "COPY bare_records FROM STDIN (FORMAT BINARY)"
_BATCHES_PER_SECOND_AT_MOST = 6_000


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows as `usage_records` has them, and the type of each column by OID."""

    rows: list[tuple[Any, ...]]
    types: tuple[int, ...]


def read_stored_rows(url: str) -> StoredRows:
    """Return what a database holds, in the order of the instants."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute("SELECT * FROM usage_records ORDER BY occurred_at", binary=True)
        types = tuple(column.type_code for column in cursor.description or ())
        return StoredRows(cursor.fetchall(), types)


def copy_rows(url: str, stored: StoredRows, size: int, seconds: float) -> Rate:
    """Copy the rows in batches of `size`, over and over until the time is up."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_CREATE)
        batches = _split(stored.rows, size)
        number = 0
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            _copy_batch(connection, stored.types, batches[number % len(batches)], None)
            number += 1
        _expect(connection, number * size)
    return Rate(number * size, elapsed)


def copy_encoded(url: str, stored: StoredRows, size: int, seconds: float) -> Rate:
    """Copy the rows as `copy_rows` does, each batch encoded before the clock starts."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_CREATE)
        payloads = []
        for batch in _split(stored.rows, size)[: int(seconds * _BATCHES_PER_SECOND_AT_MOST) + 1]:
            writer = _KeepingWriter(connection.cursor())
            _copy_batch(connection, stored.types, batch, writer)
            payloads.append(b"".join(writer.parts))
        connection.execute("TRUNCATE bare_records")
        connection.execute("CHECKPOINT")
        number = 0
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            with connection.cursor().copy(_COPY) as copy:
                copy.write(payloads[number % len(payloads)])
            number += 1
        _expect(connection, number * size)
    return Rate(number * size, elapsed)


class _KeepingWriter(LibpqWriter):
    """Keeps what it sends."""

    def __init__(self, cursor: psycopg.Cursor[TupleRow]) -> None:
        super().__init__(cursor)
        self.parts: list[bytes] = []

    def write(self, data: Buffer) -> None:
        self.parts.append(bytes(data))
        super().write(data)


def _split(rows: list[tuple[Any, ...]], size: int) -> list[list[tuple[Any, ...]]]:
    return [rows[first : first + size] for first in range(0, len(rows) - size + 1, size)]


def _copy_batch(
    connection: psycopg.Connection[TupleRow], types: Sequence[int], rows: list[tuple[Any, ...]], writer: LibpqWriter | None
) -> None:
    cursor = connection.cursor() if writer is None else writer.cursor
    with cursor.copy(_COPY, writer=writer) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _expect(connection: psycopg.Connection[TupleRow], rows: int) -> None:
    counted = connection.execute("SELECT count(*) FROM bare_records").fetchone()
    assert counted == (rows,), f"{counted} of {rows} rows"
