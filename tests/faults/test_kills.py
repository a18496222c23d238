"""Gateway and database killed at random moments under load: nothing acknowledged is lost, nothing doubled, no batch half written."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from app.db.engine import Database
from app.embedded.layout import Layout
from app.embedded.process import processes_of
from tests.faults.checks import (
    assert_answers_are_right,
    assert_stored_once,
    assert_sums_are_right,
    fingerprint,
    replay,
    verify_rollups,
)
from tests.faults.conftest import COUNTED
from tests.faults.processes import GatewayProcess, kill_all, kill_backend, postmaster, send, url_of
from tests.faults.traffic import Habits, Senders, admin_headers

_FIND_SECONDS = 60.0


class Faults:
    """What can go wrong at once with a gateway and its embedded server. Each leaves a gateway process that runs or is starting."""

    def __init__(self, gateway: GatewayProcess, layout: Layout, random: Random) -> None:
        self._gateway = gateway
        self._layout = layout
        self._random = random
        self.ended: list[str] = []
        """Last words of gateways that ended by themselves."""
        self.kinds: dict[str, Callable[[], None]] = {
            "gateway": self.kill_gateway,
            "postmaster": self.kill_postmaster,
            "both": self.kill_both,
            "PostgreSQL's processes": self.kill_postgres,
            "backend": self.kill_backend,
            "SIGTERM": self.restart,
        }

    def revive(self) -> None:
        """Start the gateway again if it has ended by itself, as whatever watches over it would."""
        if not self._gateway.is_alive():
            self.ended.append(self._gateway.said())
            self._gateway.start()

    def kill_gateway(self) -> None:
        """Kill the gateway; its server lives on and is joined by the next one."""
        self._gateway.kill()
        time.sleep(self._random.choice((0, self._random.uniform(0, 0.5))))
        self._gateway.start()

    def kill_postmaster(self) -> None:
        """Kill PostgreSQL's first process; the others notice."""
        self._until(lambda: (pid := postmaster(self._layout)) is not None and pid > 0 and send(pid, signal.SIGKILL) > 0)

    def kill_both(self) -> None:
        """Kill gateway and server."""
        if self._random.random() < 0.5:
            self._gateway.kill()
            kill_all(self._layout)
        else:
            kill_all(self._layout)
            self._gateway.kill()
        self._gateway.start()

    def kill_postgres(self) -> None:
        """Kill all of PostgreSQL's processes."""
        self._until(lambda: kill_all(self._layout) > 0)

    def kill_backend(self) -> None:
        """Kill one of PostgreSQL's processes that is not the first: it then ends the others itself, and recovers."""
        self._until(lambda: kill_backend(self._layout, self._random) > 0)

    def restart(self) -> None:
        """End the gateway with SIGTERM and start it again."""
        was_ready = self._gateway.is_ready()
        code = self._gateway.terminate()
        assert code == 0 or not was_ready, f"exit code {code}:\n{self._gateway.said()}"
        self._gateway.start()

    def _until(self, succeeds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _FIND_SECONDS  # it may be starting
        while not succeeds():
            self.revive()
            assert time.monotonic() < deadline, f"PostgreSQL does not run:\n{self._gateway.said()}"
            time.sleep(0.01)


def endless(random: Random, kinds: list[str]) -> Iterator[str]:
    """Yield kinds of faults without end, in random order, every one before any comes again."""
    while True:
        yield from random.sample(kinds, len(kinds))


@pytest.mark.slow
@pytest.mark.timeout(180 + 30 * int(os.environ.get("SOAK_KILLS", "4")))
async def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    layout: Layout, short_folder: Path, kills: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    random = Random(seed)
    started = time.monotonic()
    settings = {"TOKENGRAPH_DATA_DIR": str(layout.data_dir), "TOKENGRAPH_SNAPSHOT_SECONDS": "1"}
    inflicted: Counter[str] = Counter()
    longest: dict[str, float] = {}
    with GatewayProcess(settings, short_folder / "gateway.log") as gateway:
        await asyncio.to_thread(gateway.wait_until_ready)
        headers = await admin_headers(url_of(layout))
        faults = Faults(gateway, layout, Random(random.random()))
        async with Senders(gateway.url, headers, Random(random.random()), Habits()) as senders:
            book = senders.book
            await senders.progress(20)
            for kind in islice(endless(random, list(faults.kinds)), kills):
                await asyncio.sleep(random.choice((0.0, random.uniform(0, 1))))
                begun = time.monotonic()
                await asyncio.to_thread(faults.kinds[kind])
                inflicted[kind] += 1
                if random.random() < 0.8:
                    await senders.progress(1, meanwhile=faults.revive)
                    longest[kind] = max(longest.get(kind, 0.0), time.monotonic() - begun)
                    await senders.progress(random.randrange(5, 60), meanwhile=faults.revive)
                # Otherwise the next fault meets a start or a recovery that is not over.
            await senders.progress(20, meanwhile=faults.revive)
            await senders.settle()
        await asyncio.to_thread(faults.restart)
        await asyncio.to_thread(gateway.wait_until_ready)

        assert book.refused == []
        async with Database(url_of(layout), min_size=1, max_size=2) as database:
            stored = await assert_stored_once(database, book)
            await assert_sums_are_right(database, stored)
            await assert_answers_are_right(gateway.url, headers, stored)
            await asyncio.to_thread(verify_rollups, **settings)
            before = await fingerprint(database)
            acknowledged = list(book.acknowledged().values())
            random.shuffle(acknowledged)
            receipts = await replay(gateway.url, headers, acknowledged)
            assert receipts["duplicates"] == receipts["received"] == len(acknowledged)
            assert await fingerprint(database) == before
        assert await asyncio.to_thread(gateway.terminate) == 0
    assert processes_of(layout) == []
    printed = (short_folder / "gateway.log").read_text(errors="replace")
    assert "Traceback" not in printed, printed[printed.index("Traceback") :][:4000]
    record_property(
        COUNTED,
        f"seed {seed}; {kills} kills ({', '.join(f'{kind} {number}' for kind, number in sorted(inflicted.items()))}); "
        f"{len(book.batches)} batches, {sum(batch.abandoned for batch in book.batches)} of them given up, {book.counts['retries']} retries; "
        f"{len(stored)} records stored, {len(acknowledged)} acknowledged, 0 lost, 0 doubled; answers {dict(sorted(book.statuses.items()))}, "
        f"{dict(sorted(book.counts.items()))}; {len(faults.ended)} gateways ended by themselves while they started; "
        f"longest until the next receipt {', '.join(f'{kind} {seconds:.1f} s' for kind, seconds in sorted(longest.items()))}; {time.monotonic() - started:.0f} s",
    )
