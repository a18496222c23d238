"""A gateway in a process of its own and the PostgreSQL below it, as something to be killed and started again.

Only processes of the test's own data folder are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import httpx

import app
from app.embedded.layout import Layout, client_socket_dir, server_url
from app.embedded.process import listener_pid, processes_of

CHECKOUT = Path(app.__file__).parents[1]
READY_SECONDS = 120.0
_POLL_SECONDS = 0.02
_SHOWN = 4000


def tokengraph(*arguments: str) -> list[str]:
    """Return the command line of `tokengraph`."""
    return [sys.executable, "-m", "app", *arguments]


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with no setting of the product but those given, and no limit on the senders' key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENGRAPH_", "GATEWAY_"))}
    return (
        kept | {"TOKENGRAPH_KEY_RATE_LIMIT": "off", "TOKENGRAPH_ADDRESS_RATE_LIMIT": "off", "TOKENGRAPH_KEY_COST_LIMIT": "off"} | settings
    )


def quiet_port() -> int:
    """Return a free port that the kernel gives to no client: a gateway that is away for a moment must get it again."""
    with contextlib.suppress(OSError, ValueError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        random = Random()
        for _ in range(200):
            with contextlib.suppress(OSError), socket.socket() as probe:
                port = random.randrange(10_000, lowest)
                probe.bind(("127.0.0.1", port))
                return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GatewayProcess:
    """`tokengraph serve` on a port of its own; what it prints goes to a file. As a context manager it is ended, however that goes."""

    def __init__(self, settings: Mapping[str, str], printed: Path, *arguments: str, checkout: Path = CHECKOUT) -> None:
        """`arguments`: more of `serve`'s; `checkout`: whose code runs."""
        self._arguments = arguments
        self._checkout = checkout
        self.port = quiet_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = environment(**settings)
        self._printed = printed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting for it."""
        with self._printed.open("ab") as printed:
            self._process = subprocess.Popen(
                tokengraph("serve", "--port", str(self.port), *self._arguments),
                cwd=self._checkout,
                env=self._settings,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of what was started."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether it says that it can serve."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it can serve."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            assert self.is_alive(), f"the gateway ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"the gateway was not ready in {seconds:.0f} s:\n{self.said()}"
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    def terminate(self, seconds: float = 120) -> int:
        """End it with SIGTERM and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(seconds)

    def said(self) -> str:
        """Return the end of what it printed."""
        return self._printed.read_bytes()[-_SHOWN:].decode(errors="replace") if self._printed.exists() else ""

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_alive():
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
                raise


def url_of(layout: Layout) -> str:
    """Return the URL of the database of a data folder."""
    return server_url(client_socket_dir(layout))


def postmaster(layout: Layout) -> int | None:
    """Return the id of PostgreSQL's first process; None if it does not listen."""
    return listener_pid(client_socket_dir(layout)) if layout.cluster.is_dir() else None


def kill_all(layout: Layout) -> int:
    """Kill every process of PostgreSQL, the first one first so that it starts no other; return how many."""
    first = postmaster(layout)
    found = [pid for pid in processes_of(layout) if pid != first]
    killed = 0
    for pid in ([first] if first else []) + found:
        killed += send(pid, signal.SIGKILL)
    return killed


def kill_backend(layout: Layout, random: Random) -> int:
    """Kill one of PostgreSQL's processes that is not the first; return how many that were (none if there is none)."""
    first = postmaster(layout)
    found = [pid for pid in processes_of(layout) if pid != first]
    return send(random.choice(found), signal.SIGKILL) if first and found else 0


def send(pid: int, number: signal.Signals) -> int:
    """Send a signal; return 1, or 0 if the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1


def wait_until_gone(layout: Layout, seconds: float = 60) -> None:
    """Wait until no process of PostgreSQL is left."""
    deadline = time.monotonic() + seconds
    while processes_of(layout):
        assert time.monotonic() < deadline, f"PostgreSQL's processes are still there: {processes_of(layout)}"
        time.sleep(_POLL_SECONDS)
