"""Clocks and samples: how long something took, how much of it there was, and percentiles of many runs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil

from app.domain.errors import TokengraphError


class BenchmarkError(TokengraphError):
    """The measurement cannot be made, or what was measured gave a wrong result"""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many rows (or requests) in so many seconds."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate."""
        return self.count / self.seconds


def percentile(samples: Sequence[float], part: float) -> float:
    """Return the nearest-rank percentile, `part` being 0..1, of at least one sample."""
    ordered = sorted(samples)
    return ordered[max(ceil(part * len(ordered)), 1) - 1]


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to repeat something: up to `seconds`, at least `at_least` and at most `at_most` times."""

    seconds: float
    at_least: int
    at_most: int


async def sample_milliseconds(work: Callable[[], Awaitable[object]], budget: Budget) -> list[float]:
    """Run `work` once unmeasured, then within the budget; return what each run took."""
    await work()
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < budget.at_least or (len(samples) < budget.at_most and time.perf_counter() - started < budget.seconds):
        before = time.perf_counter()
        await work()
        samples.append((time.perf_counter() - before) * 1000)
    return samples
