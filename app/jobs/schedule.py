"""The jobs: network snapshot, partitions, rotation of request ids, retention, removal of decided quarantine records, closing of days."""

from __future__ import annotations

import logging
from datetime import timedelta

from app.analytics.snapshot import fetch_snapshot, take_snapshot_if_due
from app.db.engine import Database
from app.db.partitions import ensure_partitions, months_ahead
from app.domain.errors import DatabaseBusyError
from app.domain.time_range import Clock, format_instant
from app.jobs.loop import Job
from app.summaries.closing import close_days
from app.summaries.retention import retain_records
from app.write.quarantine import forget_resolved
from app.write.rotation import rotate_request_ids

log = logging.getLogger(__name__)

_MONTHS_AHEAD = 2


def build_jobs(database: Database, clock: Clock, snapshot_every: timedelta, record_retention: timedelta | None = None) -> tuple[Job, ...]:
    """Return the jobs of one process. Any number of processes may run them; each piece of work is done once.

    `record_retention`: the age at which records are dropped; None: no limit.
    """

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

    async def retention() -> timedelta:
        try:
            retained = await retain_records(database, clock(), record_retention)
        except DatabaseBusyError:
            log.warning("old records are dropped later: a long transaction or a rebuild blocks it")
            return timedelta(minutes=5)
        if retained is not None and retained.records_since is not None and retained.dropped:
            months = ", ".join(f"{year:04d}-{month:02d}" for year, month in retained.dropped)
            log.info("dropped the records of %s; records are retained from %s on", months, format_instant(retained.records_since))
        return timedelta(hours=3)

    async def quarantine() -> timedelta:
        await forget_resolved(database, clock())
        return timedelta(hours=1)

    async def closing() -> timedelta:
        try:
            await close_days(database, clock())
        except DatabaseBusyError:
            log.warning("days are closed later: long writes block it")
        return timedelta(minutes=1)

    return (
        Job("snapshot", snapshot),
        Job("partitions", partitions),
        Job("rotation", rotation),
        Job("retention", retention),
        Job("quarantine", quarantine),
        Job("closing", closing),
    )
