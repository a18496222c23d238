"""A live gateway of several workers for the adversary, with a database and a Redis of its own, and what its workers take of the memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.processes import CHECKOUT, GatewayProcess, environment
from tests.redis_server import PROGRAM, Server

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """`keys`: by role."""

    process: GatewayProcess
    workers: int
    keys: dict[str, str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.process.port

    def memory(self) -> dict[int, int]:
        """Return the most megabytes that each worker had, by process id."""
        parent = self.process.pid
        if self.workers == 1:
            return {parent: peak_of(parent)}
        found = {child: peak_of(child) for child in children_of(parent)}
        return {child: peak for child, peak in found.items() if peak > 60}  # the least is a helper of multiprocessing


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def peak_of(pid: int) -> int:
    """Return the most megabytes that a process had; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 // _MEGABYTE
    return 0


@contextmanager
def serving(checkout: Path = CHECKOUT) -> Iterator[LiveGateway]:
    """Serve with two workers, or one where there is no Redis. `checkout`: whose code runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-adv-")))
        settings = {"TOKENGRAPH_DATA_DIR": str(folder / "data"), "TOKENGRAPH_FAILED_AUTH_RATE_LIMIT": "off"}
        workers = 1
        if PROGRAM is not None:
            redis = Server(folder)
            redis.start()
            stack.callback(redis.stop)
            settings["TOKENGRAPH_REDIS_URL"] = redis.url
            workers = 2
        process = GatewayProcess(settings, folder / "log", "--workers", str(workers), checkout=checkout)
        stack.enter_context(process)
        process.wait_until_ready()
        keys = {role: _make_key(role, settings, checkout) for role in ("admin", "ingest", "tenant")}
        gateway = LiveGateway(process, workers, keys)
        while len(gateway.memory()) < workers:
            time.sleep(0.1)
        yield gateway


def _make_key(role: str, settings: dict[str, str], checkout: Path) -> str:
    tenant = ("--tenant", "acme") if role == "tenant" else ()
    command = [sys.executable, "-m", "app", "keys", "create", "--role", role, *tenant, "--json"]
    done = subprocess.run(command, cwd=checkout, env=environment(**settings), capture_output=True, text=True, check=True, timeout=120)
    key: str = json.loads(done.stdout)["key"]
    return key
