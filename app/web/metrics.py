"""Prometheus metrics of one process, or of all workers where `PROMETHEUS_MULTIPROC_DIR` is set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.surfaces.network import NETWORK
from app.write.receipt import Receipt

CONTENT_TYPE = CONTENT_TYPE_LATEST

_QUICK = 0.001
_TOGETHER = 1.0
"""What is answered from memory is counted together, once a second: one by one would cost as much as the answers."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Metrics:
    """What is counted. One per application, each with its own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tokengraph_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "tokengraph_http_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self._registry,
        )
        self._records = Counter(
            "tokengraph_ingest_records", "Usage records received, by what became of them.", ("result",), registry=self._registry
        )

        self._limit_store = Gauge(
            "tokengraph_rate_limit_store_up",
            "1: rate limits are counted where they should be; 0: Redis cannot be reached, and a worker counts by itself.",
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self._limit_store.set(1)
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._hits = {200: 0, 304: 0}
        self._hit_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route`: the route's template, so that there are few series."""
        key = method if method in _METHODS else "other", route, status
        found = self._series.get(key)
        if found is None:
            # Looked up once: by its labels, a series takes as long to find as the rest of this.
            found = self._series[key] = self._requests.labels(key[0], route, str(status)), self._seconds.labels(route)
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def observe_hit(self, status: int, seconds: float) -> None:
        """Count one GET of the network that was answered from memory: 200 or 304."""
        if seconds > _QUICK:  # the caller reads slowly
            self.observe_request("GET", NETWORK.path, status, seconds)
            return
        self._hits[status] += 1
        self._hit_seconds += seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TOGETHER, self.flush)

    def flush(self) -> None:
        """Count what was put off."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for status, hits in self._hits.items():
            if hits:
                self._requests.labels("GET", NETWORK.path, str(status)).inc(hits)
        seconds: Any = self._seconds.labels(NETWORK.path)  # the fast path observes one sample at a time
        seconds._buckets[0].inc(sum(self._hits.values()))
        seconds._sum.inc(self._hit_seconds)
        self._hits = {200: 0, 304: 0}
        self._hit_seconds = 0.0

    def observe_receipt(self, receipt: Receipt) -> None:
        """Count the records of one batch."""
        for result in ("inserted", "duplicates", "rejected", "quarantined"):
            self._records.labels(result).inc(getattr(receipt, result))

    def observe_limit_store(self, up: bool) -> None:
        """Note whether the store that workers share counts the rate limits."""
        self._limit_store.set(int(up))

    def render(self, quarantined: Mapping[str, int] | None = None) -> bytes:
        """Return the exposition text. `quarantined`: records that wait, by source; None: that is not known now, and left out."""
        self.flush()
        counted = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        # Not in the registry: workers share one database, so there is nothing to merge.
        asked = CollectorRegistry()
        if quarantined is not None:
            asked.register(_Quarantined(quarantined))
        return generate_latest(counted) + generate_latest(asked)


class _Quarantined(Collector):
    """Counts of the quarantine, from the database."""

    def __init__(self, waiting: Mapping[str, int]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric family."""
        family = GaugeMetricFamily(
            "tokengraph_quarantined_records", "Quarantined records that wait to be released or dropped.", labels=["source"]
        )
        for source, waiting in sorted(self._waiting.items()):
            family.add_metric([source], waiting)
        yield family
