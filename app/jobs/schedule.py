"""The jobs: network snapshot, partitions of the months ahead, rotation of request ids."""

from __future__ import annotations

from datetime import timedelta

from app.analytics.snapshot import fetch_snapshot, take_snapshot_if_due
from app.db.engine import Database
from app.db.partitions import ensure_partitions, months_ahead
from app.domain.time_range import Clock
from app.ingest.rotation import rotate_request_ids
from app.jobs.loop import Job

_MONTHS_AHEAD = 2


def build_jobs(database: Database, clock: Clock, snapshot_every: timedelta) -> tuple[Job, ...]:
    """Return the jobs of one process. Any number of processes may run them; each thing is done once."""

    async def snapshot() -> timedelta:
        await take_snapshot_if_due(database, clock(), snapshot_every)
        newest = await fetch_snapshot(database)
        if newest is None:
            return timedelta(seconds=1)
        return min(max(newest.generated_at + snapshot_every - clock(), timedelta(milliseconds=200)), snapshot_every)

    async def partitions() -> timedelta:
        await ensure_partitions(database, months_ahead(clock(), _MONTHS_AHEAD))
        return timedelta(hours=6)

    async def rotation() -> timedelta:
        await rotate_request_ids(database, clock())
        return timedelta(hours=1)

    return (Job("snapshot", snapshot), Job("partitions", partitions), Job("rotation", rotation))
