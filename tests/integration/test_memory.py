"""Twenty hostile bodies at once take no more memory of a worker than is stated: measured in a process of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from app.ingest.weight import MAX_WEIGHT
from tests.adversary.bodies import HOSTILE_BODIES, HostileBody, content_of
from tests.adversary.gateway import peak_of
from tests.faults.processes import GatewayProcess
from tests.gateway import Gateway

MEGABYTE = 2**20
INGEST_MEGABYTES = 128
BUDGET = INGEST_MEGABYTES + MAX_WEIGHT // MEGABYTE + 64 + 64
"""Bodies, one heavy decoding and two light ones, and a good deal for what the allocator keeps."""


async def test_hostile_bodies_stay_within_the_budget(gateway: Gateway, database_url: str, tmp_path: Path) -> None:
    headers = await gateway.key("ingest")
    settings = {"TOKENGRAPH_DATABASE_URL": database_url, "TOKENGRAPH_INGEST_MEMORY": str(INGEST_MEGABYTES * MEGABYTE)}
    with GatewayProcess(settings, tmp_path / "log") as process:
        process.wait_until_ready()
        before = peak_of(process.pid)
        sent = HOSTILE_BODIES + HOSTILE_BODIES[:2]
        assert len(sent) == 20
        contents = [content_of(body) for body in sent]

        def send(body: HostileBody, content: bytes) -> int:
            return httpx.post(process.url + body.path, content=content, headers=body.headers | headers, timeout=300).status_code

        with ThreadPoolExecutor(len(sent)) as pool:
            statuses = list(pool.map(send, sent, contents))
        wrong = [(body.name, status) for body, status in zip(sent, statuses, strict=True) if status not in body.statuses]
        assert not wrong, process.said()
        assert before > 0
        assert peak_of(process.pid) - before <= BUDGET
