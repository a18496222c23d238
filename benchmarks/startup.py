"""Start-up: from the start of `tokengraph serve` to 200 on `/readyz`, and the gateway's memory then, beside a bare FastAPI process.

The first start makes the data folder, the PostgreSQL cluster and the schema; the second finds them. The memory is that of the gateway's
own process. The limit is uvicorn with a FastAPI application of one route, which does nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.gateway import free_port, gateway_command, gateway_environment, serving
from benchmarks.report import Comparison, Quantity

_SECTION = "Start-up"
_MEGABYTE = 2**20
_BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
app.get("/readyz")(lambda: {"status": "ready"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
"""


def measure_startup(repetitions: int, say: Callable[[str], None]) -> list[Comparison]:
    """Return the times and the memory beside those of the bare process."""
    found: dict[str, list[float]] = defaultdict(list)

    def keep(name: str, seconds: float, resident: int) -> None:
        found[name].append(seconds)
        found[f"{name}, memory"].append(resident / _MEGABYTE)
        say(f"{name}: {seconds:.2f} s, {resident / _MEGABYTE:.0f} MB")

    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="tokengraph-bench-") as folder:
            for name in ("first start", "second start"):
                port = free_port()
                environment = gateway_environment(TOKENGRAPH_DATA_DIR=str(Path(folder) / "data"))
                with serving(gateway_command(port), environment, port) as server:
                    keep(name, server.ready_seconds, server.resident_bytes())
        port = free_port()
        with serving([sys.executable, "-c", _BARE, str(port)], gateway_environment(), port) as server:
            keep("bare FastAPI", server.ready_seconds, server.resident_bytes())

    bare, bare_memory = Quantity.of(found["bare FastAPI"], "s"), Quantity.of(found["bare FastAPI, memory"], "MB")
    return [
        Comparison(_SECTION, "first start", Quantity.of(found["first start"], "s"), "bare FastAPI", bare),
        Comparison(_SECTION, "second start", Quantity.of(found["second start"], "s"), "bare FastAPI", bare),
        Comparison(_SECTION, "memory of the gateway", Quantity.of(found["second start, memory"], "MB"), "bare FastAPI", bare_memory),
    ]
