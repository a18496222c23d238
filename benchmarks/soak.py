"""A soak: posts of 500 records at a rate beside readers of the five surfaces, for minutes; prints what every minute was like.

`python -m benchmarks.soak --minutes 20 --rate 6000` prints a line a minute: what was stored, how long posts and answers took. Answers must
not get slower as the day fills. It is no part of `make bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import uvloop
from rich.console import Console
from rich.table import Table

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.time_range import system_clock
from app.domain.usage import UsageRecord
from app.summaries.closing import close_days
from app.write.batch import Ingestor
from benchmarks.databases import BenchmarkServer, open_server, verify
from benchmarks.gateway import NO_LIMIT, free_port, gateway_command, gateway_environment, serving
from benchmarks.load import Target, encode_request, fetch
from benchmarks.timing import BenchmarkError, percentile
from benchmarks.traffic import encode_ndjson, generate_traffic, make_batch

BATCH = 500
GROUPS = 4_000
"""Different callers and models: as many rows has the day's cube, however many records there are."""

_SENDERS = 4
_DAYS_BEFORE = 30
_PAUSE = 0.02
"""Seconds between two questions of a reader."""

_RANKINGS = "rankings"
_RANKINGS_EVERY = 5.0
"""Seconds between two questions for the rankings, which are limited by the key and by the day."""


@dataclass(frozen=True, slots=True)
class Soak:
    """How long, how many records a second, and how many readers."""

    minutes: int
    rate: int
    readers: int


@dataclass(slots=True)
class _Minute:
    """Milliseconds by what was asked."""

    stored: int = 0
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def _groups() -> list[UsageRecord]:
    """Return a record of each group; what is sent are copies of them."""
    return generate_traffic("soak", GROUPS)


def _questions(keys: dict[Role, str]) -> dict[str, bytes]:
    admin, gateway, own = ({"Authorization": f"Bearer {keys[role]}"} for role in (Role.ADMIN, Role.GATEWAY, Role.TENANT))
    return {
        "network": encode_request("GET", "/api/v1/analytics/network", {}),
        _RANKINGS: encode_request("GET", "/api/v1/datasets/rankings-daily?end_date=" + datetime.now(UTC).date().isoformat(), admin),
        "usage": encode_request("GET", "/api/usage/analytics", admin),
        "gateway": encode_request("GET", "/v1/analytics?days=30", gateway),
        "tenant": encode_request("GET", "/v1/customer/analytics", own),
    }


async def _prepare(url: str, groups: list[UsageRecord], now: datetime) -> dict[Role, str]:
    """Store some weeks before and the beginning of the day, close what is over, and make keys."""
    async with Database(url, min_size=1, max_size=2) as database:
        ingestor = Ingestor(database)
        for day in range(_DAYS_BEFORE, -1, -1):
            at = now - timedelta(days=day, hours=2)
            records = [
                record._replace(request_id=f"before-{day}-{number}", occurred_at=at + timedelta(milliseconds=number))
                for number, record in enumerate(groups)
            ]
            await ingestor.ingest(make_batch(records))
        await close_days(database, now)
        async with database.read_connection() as connection:
            await connection.execute("VACUUM (ANALYZE)")
        requests = {
            Role.ADMIN: KeyRequest(Role.ADMIN),
            Role.GATEWAY: KeyRequest(Role.GATEWAY),
            Role.TENANT: KeyRequest(Role.TENANT, tenant_id=groups[0].tenant_id),
        }
        return {role: (await create_key(database, request, system_clock())).secret for role, request in requests.items()}


class _Run:
    """The posts and questions under way, and what each minute came to."""

    def __init__(self, port: int, keys: dict[Role, str], groups: list[UsageRecord], soak: Soak) -> None:
        self._port, self._groups, self._soak = port, groups, soak
        headers = {"Authorization": f"Bearer {keys[Role.ADMIN]}", "Content-Type": "application/x-ndjson"}
        self._target = Target(port, "/v1/ingest/usage", headers)
        self._questions = _questions(keys)
        self._numbers = itertools.count()
        self._started = time.perf_counter()
        self._rankings_due = self._started
        self.stored = 0
        self.minutes = [_Minute() for _ in range(soak.minutes)]

    async def go(self) -> None:
        """Post and ask until the time is up."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_SENDERS):
                group.create_task(self._send())
            for _ in range(self._soak.readers):
                group.create_task(self._read())

    def _minute(self) -> _Minute | None:
        passed = int((time.perf_counter() - self._started) // 60)
        return self.minutes[passed] if passed < len(self.minutes) else None

    def _body(self, number: int) -> bytes:
        now = datetime.now(UTC)
        places = ((number * BATCH + offset) % GROUPS for offset in range(BATCH))
        return encode_ndjson([self._groups[place]._replace(request_id=f"soak-{number}-{place}", occurred_at=now) for place in places])

    async def _ask(self, name: str, request: bytes) -> None:
        before = time.perf_counter()
        answer = await fetch(self._port, request)
        minute = self._minute()
        if answer.status != 200:
            raise BenchmarkError(f"{name}: answered {answer.status}: {answer.body[:200]!r}")
        if minute is not None:
            minute.took[name].append((time.perf_counter() - before) * 1000)

    async def _send(self) -> None:
        while (minute := self._minute()) is not None:
            number = next(self._numbers)
            due = self._started + number * BATCH / self._soak.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._ask("posts", self._target.request(self._body(number)))
            minute.stored += BATCH
            self.stored += BATCH

    def _is_due(self, name: str) -> bool:
        now = time.perf_counter()
        if name != _RANKINGS:
            return True
        if now < self._rankings_due:
            return False
        self._rankings_due = now + _RANKINGS_EVERY
        return True

    async def _read(self) -> None:
        while self._minute() is not None:
            for name, request in self._questions.items():
                if self._is_due(name):
                    await self._ask(name, request)
                await asyncio.sleep(_PAUSE)


def _render(run: _Run) -> Table:
    names = list(dict.fromkeys(name for minute in run.minutes for name in minute.took))
    table = Table("minute", "records/s", *(f"{name}\np50 / p99 ms" for name in names))
    for number, minute in enumerate(run.minutes, 1):
        cells = [f"{percentile(took, 0.5):.0f} / {percentile(took, 0.99):.0f}" if (took := minute.took[name]) else "" for name in names]
        table.add_row(str(number), f"{minute.stored / 60:,.0f}", *cells)
    return table


def run_soak(server: BenchmarkServer, soak: Soak) -> Table:
    """Run one and return its table. BenchmarkError: an answer that is none, or a rollup that is not what the records say."""
    groups = _groups()
    with server.fresh_database() as url:
        keys = uvloop.run(_prepare(url, groups, system_clock()))
        port = free_port()
        environment = gateway_environment(
            TOKENGRAPH_DATABASE_URL=url, TOKENGRAPH_CACHE_MEMORY="0", TOKENGRAPH_KEY_RATE_LIMIT=NO_LIMIT, TOKENGRAPH_KEY_COST_LIMIT=NO_LIMIT
        )

        async def go() -> _Run:
            run = _Run(port, keys, groups, soak)
            await run.go()
            return run

        with serving(gateway_command(port), environment, port):
            run = uvloop.run(go())
        uvloop.run(verify(url, run.stored + GROUPS * (_DAYS_BEFORE + 1)))
    return _render(run)


def main() -> int:
    """Run the soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Posts beside readers, minute by minute.")
    parser.add_argument("--minutes", type=int, default=20, help="how long (20)")
    parser.add_argument("--rate", type=int, default=6_000, help="records a second (6000)")
    parser.add_argument("--readers", type=int, default=3, help="readers, each of all surfaces in turn (3)")
    given = parser.parse_args()
    try:
        with open_server() as server:
            table = run_soak(server, Soak(given.minutes, given.rate, given.readers))
    except BenchmarkError as error:
        print(error)
        return 1
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
