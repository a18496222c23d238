"""A database that restarts, or is away for some seconds: senders are told to come again, and it goes on by itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import pytest

from app.db.engine import Database
from app.embedded.layout import Layout
from app.embedded.server import EmbeddedServer
from tests.faults.checks import assert_answers_are_right, assert_stored_once, assert_sums_are_right
from tests.faults.conftest import COUNTED
from tests.faults.processes import GatewayProcess, postmaster, send, wait_until_gone
from tests.faults.traffic import PATH, Habits, Senders, admin_headers, as_json, make_traffic

MEMORY = 512 * 2**20
FAST = {"fsync": "off"}


def crash_server(layout: Layout, server: EmbeddedServer, number: signal.Signals) -> None:
    """Stop the server with SIGINT (pg_ctl's fast) or SIGQUIT (immediate) and start it again, as `pg_ctl restart` does."""
    pid = postmaster(layout)
    assert pid
    send(pid, number)
    wait_until_gone(layout)
    assert server.ensure_running()


@pytest.mark.slow
async def test_a_database_that_restarts_or_is_away_costs_time_and_nothing_else(
    layout: Layout, short_folder: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    with EmbeddedServer(layout.data_dir, memory_bytes=MEMORY, extra_settings=FAST) as server:
        settings = {"TOKENGRAPH_DATABASE_URL": server.url}
        with GatewayProcess(settings, short_folder / "gateway.log") as gateway:
            await asyncio.to_thread(gateway.wait_until_ready)
            headers = await admin_headers(server.url)
            async with Senders(gateway.url, headers, Random(seed), Habits(longest_pause=0.02)) as senders:
                for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT):
                    await senders.progress(30)
                    await asyncio.to_thread(crash_server, layout, server, number)
                await senders.progress(30)
                await asyncio.to_thread(server.stop)
                await assert_told_to_come_again(gateway.url, headers)
                await asyncio.to_thread(server.start)
                await senders.progress(30)
                await senders.settle()
            book = senders.book
            assert book.refused == []
            assert book.statuses[503] > 0
            async with Database(server.url, min_size=1, max_size=2) as database:
                stored = await assert_stored_once(database, book)
                await assert_sums_are_right(database, stored)
            await assert_answers_are_right(gateway.url, headers, stored)
            assert gateway.is_alive()
            record_property(COUNTED, f"answers {dict(book.statuses)}, {len(stored)} records stored")


async def assert_told_to_come_again(url: str, headers: dict[str, str]) -> None:
    """Fail unless writes and reads are answered 503 with Retry-After, while the database is still away, by a gateway that says of itself that it lives."""
    record = as_json(make_traffic(Random(0), datetime.now(UTC), ["not-written"])[0])
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        *answers, graph = await asyncio.gather(
            client.post(PATH, json=[record]),
            client.get("/v1/analytics"),
            client.get("/readyz"),
            client.get("/healthz"),
            client.post("/graphql", json={"query": "{ gatewayStats { requests } }"}),
        )
    assert [answer.status_code for answer in answers] == [503, 503, 503, 200]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers[:3])
    assert answers[0].json()["error"]["code"] == "unavailable"
    assert [error["extensions"]["code"] for error in graph.json()["errors"]] == ["UNAVAILABLE"]
