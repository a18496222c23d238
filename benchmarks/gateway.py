"""A process that serves, as an operator starts it: on a free port, waited for, ended with SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import app
from benchmarks.timing import BenchmarkError

CHECKOUT = Path(app.__file__).parents[1]
NO_LIMIT = "1000000000/minute"
"""A limit that is checked as any other, and never reached."""

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.003
_KILOBYTE = 1024


@dataclass(frozen=True, slots=True)
class RunningServer:
    """`ready_seconds`: from the start of the process to the first 200."""

    port: int
    pid: int
    ready_seconds: float

    def resident_bytes(self) -> int:
        """Return the resident memory of the process itself, without that of PostgreSQL's processes."""
        return _resident_bytes(self.pid)

    def resident_bytes_with_workers(self) -> int:
        """Return the resident memory of the process and of those that it started itself; what they share counts for each."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return _resident_bytes(self.pid) + sum(_resident_bytes(int(child)) for child in children)


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KILOBYTE
    raise BenchmarkError("the process has no resident memory: it has ended")


def gateway_command(port: int) -> list[str]:
    """Return what `tokengraph serve` runs."""
    return [sys.executable, "-m", "app", "serve", "--port", str(port)]


def gateway_environment(**settings: str) -> dict[str, str]:
    """Return this environment with no setting of the product but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENGRAPH_", "GATEWAY_"))}
    return kept | settings


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str], port: int, path: str = "/readyz") -> Iterator[RunningServer]:
    """Run a server until the block ends; it is ready when `path` gives 200. BenchmarkError: it ended, or was not ready in time."""
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=dict(environment), stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while not _is_ready(port, path):
                if process.poll() is not None or time.perf_counter() - started > _READY_SECONDS:
                    printed.seek(0)
                    raise BenchmarkError(f"the server was not ready: {printed.read().decode(errors='replace')[-2000:]}")
                time.sleep(_POLL_SECONDS)
            yield RunningServer(port, process.pid, time.perf_counter() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _is_ready(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
