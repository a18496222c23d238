"""The connection pool: `read_connection()` for queries, `transaction()` for writes. Nothing else commits."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from app.db.shares import Shares, Turns, current_workload
from app.domain.errors import BadInputError, ConnectionLostError, DatabaseBusyError, NoConnectionFreeError, UnavailableError

log = logging.getLogger(__name__)

NOT_STORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""Characters that PostgreSQL cannot store in text: NUL, and halves of surrogate pairs."""

Connection = AsyncConnection[TupleRow]

_CONNECT_SECONDS = 5.0
_WAIT_SECONDS = 3.0
_STATEMENT_TIMEOUT = "60s"
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
        self._lent = 0
        self._max_size = max_size
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
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

    @asynccontextmanager
    async def read_connection(self) -> AsyncIterator[Connection]:
        """Lend an autocommit connection. UnavailableError: no server; DatabaseBusyError: none became free in time."""
        async with self._lend() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, committed when the block ends and rolled back when it raises."""
        async with self._lend() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def consistent_reads(self) -> AsyncIterator[Connection]:
        """Lend a connection in a read-only transaction: all its queries see one snapshot."""
        async with self._lend() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Connection]:
        turns, workload = self.turns, current_workload.get()
        if turns is not None:
            await turns.take(workload)
        try:
            async with self._pool.connection() as connection:
                self._lent += 1
                try:
                    yield connection
                finally:
                    self._lent -= 1
        except PoolTimeout as error:
            raise (UnavailableError if self._lent < self._max_size else NoConnectionFreeError) from error
        except PoolClosed as error:
            raise UnavailableError from error
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
            raise DatabaseBusyError from error
        except UnicodeEncodeError as error:
            raise BadInputError("text must be well-formed Unicode") from error
        except psycopg.Error as error:
            if isinstance(error, psycopg.DataError) and "NUL" in str(error):
                raise BadInputError("text must not contain NUL characters") from error
            if (error.sqlstate or "").startswith(_OUT_OF_RESOURCES):
                log.error("the database is out of resources: %s", error)
                raise DatabaseBusyError("The database is out of disk, memory or connections; try again") from error
            if is_connection_lost(error):
                await self._pool.check()
                raise ConnectionLostError from error
            raise
        finally:
            if turns is not None:
                turns.give_back(workload)
