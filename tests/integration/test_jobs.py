"""The jobs: done once, done again when due, and none stopped by another's failure."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from app.analytics.snapshot import fetch_snapshot
from app.db.engine import Database
from app.domain.errors import UnavailableError
from app.jobs.loop import Job, run_jobs
from app.jobs.schedule import build_jobs
from tests.clock import FakeClock


async def test_the_first_snapshot_is_taken_at_start_and_the_next_when_due(database: Database, clock: FakeClock) -> None:
    every = timedelta(minutes=10)
    snapshot, partitions, rotation, _, quarantine, closing = build_jobs(database, clock, every)
    assert await snapshot.run() == every
    first = await fetch_snapshot(database)
    assert first is not None
    clock.advance(timedelta(minutes=4))
    assert await snapshot.run() == timedelta(minutes=6)
    assert await fetch_snapshot(database) == first
    clock.advance(timedelta(minutes=6))
    await snapshot.run()
    second = await fetch_snapshot(database)
    assert second is not None
    assert second.generated_at == clock.now
    await rotation.run()
    await quarantine.run()
    assert await closing.run() == timedelta(minutes=1)
    await partitions.run()
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_records'::regclass ORDER BY 1"
        )
        assert await cursor.fetchall() == [("usage_records_2026_06",), ("usage_records_2026_07",), ("usage_records_2026_08",)]


async def test_a_job_that_fails_is_tried_again_and_stops_no_other() -> None:
    calls = {"bad": 0, "down": 0, "good": 0}
    enough = asyncio.Event()

    async def bad() -> timedelta:
        calls["bad"] += 1
        raise ValueError("broken")

    async def down() -> timedelta:
        calls["down"] += 1
        raise UnavailableError

    async def good() -> timedelta:
        calls["good"] += 1
        if calls["good"] == 3:
            enough.set()
        return timedelta(0)

    running = asyncio.create_task(run_jobs((Job("bad", bad), Job("down", down), Job("good", good))))
    await asyncio.wait_for(enough.wait(), 5)
    running.cancel()
    assert calls["bad"] == calls["down"] == 1
