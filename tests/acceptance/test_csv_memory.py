"""The CSV downloads stream: a long one takes no more memory than a short one."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import httpx

from app.db.engine import Database
from app.embedded.server import EmbeddedServer
from app.write.batch import Ingestor
from tests.acceptance.test_main_job import YESTERDAY, make_key, serving
from tests.factories import make_batch, make_record

ROWS = int(os.environ.get("TOKENGRAPH_TEST_CSV_ROWS", "40000"))
MONTH = (YESTERDAY - timedelta(days=40)).replace(day=1)


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def fill(url: str) -> None:
    async with Database(url) as database:
        ingestor = Ingestor(database)
        for start in range(0, ROWS, 10_000):
            numbers = range(start, min(start + 10_000, ROWS))
            await ingestor.ingest(
                make_batch(
                    make_record(request_id=f"r{number}", occurred_at=MONTH + timedelta(seconds=number), shared_model_spend=1)
                    for number in numbers
                )
            )


def test_a_long_statement_takes_little_memory(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir) as (url, process):
        with EmbeddedServer(data_dir) as server:
            asyncio.run(fill(server.url))
        headers = {"Authorization": f"Bearer {make_key(data_dir, '--role', 'tenant', '--tenant', 'acme')}"}
        statement = f"{url}/v1/customer/billing/usage-statement.csv"
        assert httpx.get(statement, params={"month": "2021-01"}, headers=headers, timeout=60).status_code == 200
        before = rss_bytes(process.pid)
        lines, last, peak = 0, "", before
        with httpx.stream("GET", statement, params={"month": MONTH.strftime("%Y-%m")}, headers=headers, timeout=900) as response:
            assert response.status_code == 200
            for number, line in enumerate(response.iter_lines()):
                lines, last = lines + 1, line
                if number % 5000 == 0:
                    peak = max(peak, rss_bytes(process.pid))
        assert lines == ROWS + 2
        assert last.startswith(f"total,{ROWS} requests")
        assert peak - before < 100 * 2**20
        print(f"{ROWS} rows, {(peak - before) / 2**20:.1f} MiB more")  # noqa: T201
