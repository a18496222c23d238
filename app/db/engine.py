"""The connection pool: `read_connection()` for queries, `transaction()` for writes. Nothing else commits."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from app.db.shares import Shares, Turns, current_workload
from app.domain.errors import (
    BadInputError,
    ConnectionLostError,
    DatabaseBusyError,
    NoConnectionFreeError,
    TokengraphError,
    UnavailableError,
)

log = logging.getLogger(__name__)

NOT_STORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""Characters that PostgreSQL cannot store in text: NUL, and halves of surrogate pairs."""

Connection = AsyncConnection[TupleRow]

_CONNECT_SECONDS = 5.0
_WAIT_SECONDS = 3.0
_STATEMENT_TIMEOUT = "60s"
_BEGIN = b"BEGIN"
_BEGIN_GENERIC = b"BEGIN; SET LOCAL plan_cache_mode = force_generic_plan"  # one round trip
_OUT_OF_RESOURCES = ("53", "58030")  # SQLSTATEs begin so: insufficient resources, errors of the disk


async def _configure(connection: Connection) -> None:
    await connection.set_autocommit(True)
    connection.prepare_threshold = 1
    # JIT off: by default the server compiles statements with a high estimate for a second, and they then run for milliseconds.
    await connection.execute(
        f"SET timezone = 'UTC'; SET statement_timeout = '{_STATEMENT_TIMEOUT}'; SET lock_timeout = '10s'; SET jit = off"
    )


def is_connection_lost(error: psycopg.Error) -> bool:
    """Tell whether the server is gone or refuses connections, as opposed to an error of the statement."""
    if isinstance(error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown | psycopg.errors.CannotConnectNow):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and error.sqlstate is None


class Database:
    """A pool of connections to one PostgreSQL. Open it in the event loop that uses it; the server may be down then.

    `is_shared`: connections are granted by fair shares (`Shares`), to the workload in `shares.current_workload`.
    """

    def __init__(self, url: str, *, min_size: int = 2, max_size: int = 10, is_shared: bool = False) -> None:
        self.url = url
        self.turns = Turns(Shares.of(max_size)) if is_shared else None
        self._pool = _Pool(
            url,
            min_size=min_size,
            max_size=max_size,
            open=False,
            timeout=_WAIT_SECONDS,
            reconnect_timeout=_CONNECT_SECONDS,
            configure=_configure,
            kwargs={"connect_timeout": int(_CONNECT_SECONDS), "application_name": "tokengraph"},
            name="tokengraph",
        )

    async def open(self) -> None:
        """Start to fill the pool; return at once, whether or not the server is up."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def __aenter__(self) -> Database:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def read_connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend an autocommit connection. UnavailableError: no server; DatabaseBusyError: none became free in time."""
        return _Loan(self._pool, self.turns)

    @asynccontextmanager
    async def transaction(self, *, generic_plans: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, committed when the block ends and rolled back when it raises.

        `generic_plans`: prepared statements keep one plan for all values, for those that take as long to plan as to run.
        """
        async with self.read_connection() as connection:
            await connection.execute(_BEGIN_GENERIC if generic_plans else _BEGIN, prepare=False)
            yield connection  # what it raises rolls back, as the connection is given back
            await connection.commit()

    @asynccontextmanager
    async def consistent_reads(self) -> AsyncIterator[Connection]:
        """Lend a connection in a read-only transaction: all its queries see one snapshot."""
        async with self.read_connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection


class _Pool(AsyncConnectionPool[Connection]):
    """The connections, and how many of them are lent."""

    lent = 0


class _Loan:
    """A connection that is lent in turn. A class: every request takes two, and nested generators take twice the time."""

    __slots__ = ("_connection", "_pool", "_turns", "_workload")

    def __init__(self, pool: _Pool, turns: Turns | None) -> None:
        self._pool = pool
        self._turns = turns
        self._workload = current_workload.get()

    async def __aenter__(self) -> Connection:
        pool = self._pool
        if self._turns is not None:
            await self._turns.take(self._workload)
        try:
            self._connection = await pool.getconn()
        except BaseException as error:
            self._give_turn_back()
            if isinstance(error, PoolTimeout):
                raise (UnavailableError if pool.lent < pool.max_size else NoConnectionFreeError) from error
            if isinstance(error, PoolClosed):
                raise UnavailableError from error
            raise
        pool.lent += 1
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        connection = self._connection
        try:
            try:
                if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    await connection.__aexit__(kind, error, trace)
            finally:
                self._pool.lent -= 1
                await self._pool.putconn(connection)
            if isinstance(error, psycopg.Error) and is_connection_lost(error):
                await self._pool.check()
        finally:
            self._give_turn_back()
        if error is not None:
            reported = _reported_as(error)
            if reported is not None:
                raise reported from error

    def _give_turn_back(self) -> None:
        if self._turns is not None:
            self._turns.give_back(self._workload)


def _reported_as(error: BaseException) -> TokengraphError | None:
    """Return the error that callers get for one that occurred while a connection was in use; None: the same."""
    if isinstance(error, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable):
        return DatabaseBusyError()
    if isinstance(error, UnicodeEncodeError):
        return BadInputError("text must be well-formed Unicode")
    if not isinstance(error, psycopg.Error):
        return None
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        return BadInputError("text must not contain NUL characters")
    if (error.sqlstate or "").startswith(_OUT_OF_RESOURCES):
        log.error("the database is out of resources: %s", error)
        return DatabaseBusyError("The database is out of disk, memory or connections; try again")
    return ConnectionLostError() if is_connection_lost(error) else None
