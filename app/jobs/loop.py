"""Runs the jobs while the process serves. A job that fails is logged and retried; it does not stop the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from app.domain.errors import UnavailableError

log = logging.getLogger(__name__)

_RETRY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Job:
    """`run` does the work that is due and returns the time until the next call."""

    name: str
    run: Callable[[], Awaitable[timedelta]]


async def run_jobs(jobs: tuple[Job, ...]) -> None:
    """Run every job until cancelled."""
    await asyncio.gather(*(_run(job) for job in jobs))


async def _run(job: Job) -> None:
    while True:
        try:
            pause = await job.run()
        except UnavailableError as error:
            log.warning("job %s waits: %s", job.name, error)
            pause = _RETRY
        except Exception:
            log.exception("job %s failed", job.name)
            pause = 15 * _RETRY
        await asyncio.sleep(max(pause.total_seconds(), 0.05))
