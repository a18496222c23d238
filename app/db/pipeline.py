"""Several SELECTs in one round trip and one snapshot: libpq's pipeline mode with prepared statements.

psycopg's cursors take twice the time for the same, which is as much as all other work of a small answer. Errors are psycopg's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, InterfaceError, OperationalError, abc, adapters
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

Rows = list[tuple[Any, ...]]

MAX_PREPARED: Final = 500
"""Prepared statements per connection; further statements are not prepared."""

_BINARY: Final = Format.BINARY
_NUMERIC: Final = adapters.types["numeric"].oid
"""Making a Decimal from text takes a third of the time of making it from the binary format."""
_QUICK_AS_TEXT: Final = frozenset(
    adapters.types[name].oid for name in ("numeric", "int2", "int4", "int8", "text", "varchar", "date", "bool")
)
_BEGIN: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_COMMIT: Final = b"COMMIT"
# What fails in between ends the transaction, and undoes the setting with it.
_GENERIC_PLAN: Final = (b"SET plan_cache_mode = force_generic_plan", b"SET max_parallel_workers_per_gather = 0")
_RESET_PLAN: Final = (b"RESET plan_cache_mode", b"RESET max_parallel_workers_per_gather")
_PLACEHOLDER = re.compile(r"%(?:%|\((\w+)\)s)")


class Planning(Enum):
    """The `plan_cache_mode` of a prepared statement."""

    AUTO = auto()
    """PostgreSQL chooses between the generic plan and custom plans, by estimated cost."""
    GENERIC = auto()
    """One plan for all values, without parallel workers. For reads by key, which take less time than planning or starting a worker."""
    CUSTOM = auto()
    """A plan for each execution. For statements with a best plan that depends on the values."""


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT with psycopg's named placeholders, their values and the plan cache mode."""

    sql: str
    values: Mapping[str, Any]
    planning: Planning = Planning.AUTO


@dataclass(slots=True)
class _Session:
    """State of a connection: its adapters, and its prepared statements by text and types."""

    transformer: abc.Transformer
    prepared: dict[tuple[str, tuple[int, ...]], bytes] = field(default_factory=dict)
    formats: dict[tuple[str, tuple[int, ...]], Format] = field(default_factory=dict)
    """The fastest format of the rows of a statement, known after its first answer."""


_sessions: WeakKeyDictionary[AsyncConnection[TupleRow], _Session] = WeakKeyDictionary()


@lru_cache(maxsize=1024)
def number_placeholders(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the text with `$1`, `$2`, ... as libpq has it, and the name of each."""
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACEHOLDER.sub(place, sql).encode(), tuple(names)


@dataclass(slots=True)
class _Message:
    """A SELECT to send. `key`: of its prepared statement, if any. `generic`: with a generic plan. `result`: format of its rows."""

    text: bytes
    values: Sequence[Any]
    types: tuple[int, ...]
    formats: Sequence[Any]
    key: tuple[str, tuple[int, ...]] | None
    generic: bool
    statement: tuple[str, tuple[int, ...]]
    result: Format


async def ask(connection: AsyncConnection[TupleRow], questions: Sequence[Select]) -> list[Rows]:
    """Return the rows of each question, all of one instant. The connection must be in autocommit, idle and the caller's alone."""
    session = _sessions.get(connection)
    if session is None:
        session = _sessions[connection] = _Session(Transformer(connection))
    try:
        return await _ask(connection, session, questions)
    except InvalidSqlStatementName:
        # psycopg deallocates all there is after a rollback.
        session.prepared.clear()
        return await _ask(connection, session, questions)


async def _ask(connection: AsyncConnection[TupleRow], session: _Session, questions: Sequence[Select]) -> list[Rows]:
    pgconn = connection.pgconn
    messages = [_encode(session, question) for question in questions]
    new: list[tuple[str, tuple[int, ...]]] = []
    async with connection.lock:
        pgconn.enter_pipeline_mode()
        try:
            places = _send(pgconn, session, messages, new)
            results = await connection.wait(_communicate(pgconn))
        except BaseException:
            _leave(pgconn)
            if pgconn.transaction_status != TransactionStatus.IDLE:
                pgconn.finish()  # its pending results will not be read
            raise
        _leave(pgconn)
    failed = next((result for result in results if result.status == ExecStatus.FATAL_ERROR), None)
    if failed is not None:
        for key in new:
            session.prepared.pop(key, None)
        if pgconn.transaction_status == TransactionStatus.INERROR:
            await connection.rollback()
        raise error_from_result(failed, encoding=connection.info.encoding)
    return [_rows_of(session, message, results[place]) for message, place in zip(messages, places, strict=True)]


def _encode(session: _Session, question: Select) -> _Message:
    text, names = number_placeholders(question.sql)
    transformer = session.transformer
    values = transformer.dump_sequence([question.values[name] for name in names], [PyFormat.AUTO] * len(names))
    types = transformer.types or ()
    key = (question.sql, types)
    is_prepared = question.planning is not Planning.CUSTOM and (key in session.prepared or len(session.prepared) < MAX_PREPARED)
    generic = is_prepared and question.planning is Planning.GENERIC
    result = session.formats.get(key, _BINARY)
    return _Message(text, values, types, transformer.formats or (), key if is_prepared else None, generic, key, result)


def _send(pgconn: PGconn, session: _Session, messages: Sequence[_Message], new: list[tuple[str, tuple[int, ...]]]) -> list[int]:
    """Send the questions; return the place of each one's result among all. `new` is told what is prepared with them."""
    places: list[int] = []
    sent = 0
    if len(messages) > 1:
        pgconn.send_query_params(_BEGIN, None, result_format=_BINARY)
        sent += 1
    for message in messages:
        if message.generic:
            sent += _send_all(pgconn, _GENERIC_PLAN)
        if message.key is None:
            pgconn.send_query_params(
                message.text, message.values, param_types=message.types, param_formats=message.formats, result_format=message.result
            )
        else:
            name = session.prepared.get(message.key)
            if name is None:
                new.append(message.key)
                name = session.prepared[message.key] = b"_tokengraph_%d" % next(_numbers)
                pgconn.send_prepare(name, message.text, message.types)
                sent += 1
            pgconn.send_query_prepared(name, message.values, param_formats=message.formats, result_format=message.result)
        places.append(sent)
        sent += 1
        if message.generic:
            sent += _send_all(pgconn, _RESET_PLAN)
    if len(messages) > 1:
        pgconn.send_query_params(_COMMIT, None, result_format=_BINARY)
    pgconn.pipeline_sync()
    return places


def _send_all(pgconn: PGconn, commands: Sequence[bytes]) -> int:
    for command in commands:
        pgconn.send_query_params(command, None, result_format=_BINARY)
    return len(commands)


_numbers = count(1)
"""Of statements, over all connections: no name is given twice, also where a first try to prepare has failed."""


def _communicate(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Send what waits to be sent, and return the results up to the sync. For `AsyncConnection.wait`."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[PGresult] = []
    while True:
        # Before waiting: all of it may have come while the last of the questions was on its way.
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                continue  # between the results of two statements
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
        yield Wait.R
        pgconn.consume_input()


def _leave(pgconn: PGconn) -> None:
    if pgconn.pipeline_status != PipelineStatus.OFF:
        try:
            pgconn.exit_pipeline_mode()
        except (OperationalError, InterfaceError):
            pgconn.finish()


def _rows_of(session: _Session, message: _Message, result: PGresult) -> Rows:
    if message.statement not in session.formats:
        if len(session.formats) >= MAX_PREPARED:
            session.formats.clear()
        session.formats[message.statement] = _quickest_format(result)
    session.transformer.set_pgresult(result, set_loaders=True, format=message.result)
    return session.transformer.load_rows(0, result.ntuples, tuple)


def _quickest_format(result: PGresult) -> Format:
    types = {result.ftype(column) for column in range(result.nfields)}
    return Format.TEXT if _NUMERIC in types and types <= _QUICK_AS_TEXT else _BINARY
