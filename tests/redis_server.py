"""A Redis of a test's own, where redis-server is installed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis

PROGRAM = shutil.which("redis-server")


class Server:
    """A Redis of this test's own, on a Unix socket, that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"redis+unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        command = [str(PROGRAM), "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no", *options]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with self.connect() as connection:
                    connection.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def connect(self) -> redis.Redis:
        """Return a client of the test's own."""
        return redis.Redis(unix_socket_path=str(self.socket), protocol=2, decode_responses=False)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)
