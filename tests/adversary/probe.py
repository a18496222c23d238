"""An honest caller beside the attacks: it asks for one thing again and again, each time on a new connection, and notes how long that took."""

from __future__ import annotations

import http.client
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import orjson

_PATIENCE = 60.0
_PAUSE = 0.02


@dataclass(slots=True)
class Noted:
    """Seconds of each answer with when it was asked for, and what was wrong."""

    seconds: list[tuple[float, float]] = field(default_factory=list)
    busy: int = 0
    wrong: list[str] = field(default_factory=list)

    def worst(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the longest that one took of those that were asked for or answered in a time."""
        return max((took for begun, took in self.seconds if begun + took >= since and begun <= until), default=0.0)


def _healthz(connection: http.client.HTTPConnection, key: str, number: int) -> None:
    connection.request("GET", "/healthz")


def _ingest(connection: http.client.HTTPConnection, key: str, number: int) -> None:
    record = {"request_id": f"honest-{number}", "occurred_at": datetime.now(UTC).isoformat(), "tenant_id": "honest", "model_id": "a/b"}
    body = orjson.dumps([record])
    connection.request("POST", "/v1/ingest/usage", body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})


PROBES: dict[str, Callable[[http.client.HTTPConnection, str, int], None]] = {"/healthz": _healthz, "ingest of one record": _ingest}


def _run(name: str, port: int, key: str, pipe: Connection) -> None:
    noted, number = Noted(), 0
    while not pipe.poll():
        number += 1
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        begun = time.monotonic()
        try:
            PROBES[name](connection, key, number)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 429:
                noted.busy += 1
            elif answer.status != 200:
                noted.wrong.append(f"{name}: {answer.status} {content[:200]!r}")
        except (OSError, http.client.HTTPException) as error:
            noted.wrong.append(f"{name}: {error!r} after {time.monotonic() - begun:.1f} s")
        finally:
            connection.close()
        noted.seconds.append((begun, time.monotonic() - begun))
        time.sleep(_PAUSE)
    pipe.send(noted)


class Probe:
    """A probe in a process of its own. `stop` returns what it noted."""

    def __init__(self, name: str, port: int, key: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(name, port, key, theirs), daemon=True)
        self._process.start()

    def stop(self) -> Noted:
        """End it."""
        self._pipe.send("stop")
        noted: Noted = self._pipe.recv()
        self._process.join(_PATIENCE)
        return noted
