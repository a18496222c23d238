"""The processes of the HTTP server: sockets bound first, an announcement when all workers are ready, a bounded shutdown."""

from __future__ import annotations

import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.domain.errors import BadInputError
from app.web.http_protocol import BoundedConfig

CLOSING_SECONDS: Final = 10.0
"""Time after open requests were cancelled, to write accepted records and close connections. Then the process is ended."""

_OTHER_FILES: Final = 256
"""Files and connections of a process other than client connections."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to all addresses of a host, not yet listening. BadInputError: they cannot be bound."""
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            one = socket.socket(family, kind, protocol)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], port, *address[2:]))
            port = one.getsockname()[1]
            one.set_inheritable(True)
    except OSError as error:
        for one in bound:
            one.close()
        raise BadInputError(f"{host} port {port} cannot be bound: {error.strerror}. Choose another with --port") from None
    return bound


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files for `wanted` connections as far as allowed; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))


class Server(uvicorn.Server):
    """The server of this process. Announces when it listens; ends within a fixed time after a signal, even if its event loop hangs."""

    def __init__(self, config: BoundedConfig, announce: Callable[[], None], end: Callable[[], None]) -> None:
        """`end`: ends the process immediately; called from a thread after the time limit."""
        super().__init__(config)
        self._announce = announce
        self._end = end
        self._patience = config.bounds.stop_seconds + CLOSING_SECONDS

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then announce."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown."""
        if not self.should_exit:
            overdue = threading.Timer(self._patience, self._end)
            overdue.daemon = True
            overdue.start()
        super().handle_exit(sig, frame)


class Supervisor(Multiprocess):
    """The parent of several workers. Announces when all of them serve; kills those that do not end in time."""

    def __init__(self, config: BoundedConfig, sockets: list[socket.socket], announce: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._announce: Callable[[], None] | None = announce
        self._patience = config.bounds.stop_seconds + CLOSING_SECONDS

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died; announce once all serve."""
        super().keep_subprocess_alive()
        if self._announce is not None and not self.should_exit.is_set() and all(process.is_ready() for process in self.processes):
            self._announce()
            self._announce = None

    def join_all(self) -> None:
        """Wait for the workers to end; kill those that do not."""
        deadline = time.monotonic() + self._patience
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.process.is_alive():
                process.process.kill()
                process.process.join()

    def run(self) -> None:
        """Serve until a signal. SystemExit: a worker could not start."""
        super().run()
        if any(process.exitcode == STARTUP_FAILURE for process in self.processes):
            sys.exit(STARTUP_FAILURE)


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that the embedded server is released; uvicorn raises the signal again after its own shutdown."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
