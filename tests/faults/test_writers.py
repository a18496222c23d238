"""Several writers of the same records: gateways that are sent the same batches at once, and replays in another order and by other batches."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import pytest

from app.db.engine import Database
from app.domain.usage import UsageRecord
from app.write.batch import Ingestor
from app.write.queue import IngestQueue
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, unpriced
from tests.faults.checks import assert_answers_are_right, fetch_stored, fingerprint
from tests.faults.processes import GatewayProcess
from tests.faults.traffic import PATH, admin_headers, encode, make_traffic


def cut(records: Sequence[UsageRecord], random: Random, largest: int) -> list[list[UsageRecord]]:
    """Cut records into batches of random sizes."""
    rest = list(records)
    batches = []
    while rest:
        size = random.randint(1, largest)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


@pytest.mark.slow
async def test_two_gateways_that_get_the_same_batches_at_once_write_each_record_once(
    database: Database, database_url: str, short_folder: Path, seed: int
) -> None:
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    random = Random(seed)
    headers = await admin_headers(database_url)
    records = make_traffic(random, datetime.now(UTC), (f"r{number}" for number in range(6000)))
    inserted: Counter[str] = Counter()
    with ExitStack() as processes:
        settings = {"TOKENGRAPH_DATABASE_URL": database_url}
        gateways = [processes.enter_context(GatewayProcess(settings, short_folder / f"gateway-{number}.log")) for number in range(2)]
        for gateway in gateways:
            await asyncio.to_thread(gateway.wait_until_ready)

        async def send_all(url: str, lane: int, lanes: int) -> None:
            # The same records at about the same time to both, cut and ordered differently, so that every lock is fought for.
            own = Random(f"{seed} {url} {lane}")
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
                for start in range(lane * 500, len(records), lanes * 500):
                    part = records[start : start + 500]
                    own.shuffle(part)
                    for batch in cut(part, own, 60):
                        body, kind = encode(batch, own)
                        answer = await client.post(PATH, content=body, headers=kind)
                        assert answer.status_code == 200, answer.text
                        receipt = answer.json()
                        assert receipt["inserted"] + receipt["duplicates"] == receipt["received"] == len(batch)
                        inserted[url] += receipt["inserted"]

        await asyncio.gather(*(send_all(gateway.url, lane, 3) for gateway in gateways for lane in range(3)))
        assert sum(inserted.values()) == len(records) == len(await fetch_stored(database))
        assert len(inserted) == 2, "both gateways wrote"
        await assert_rollups_equal(database, unpriced(records))
        await assert_answers_are_right(gateways[0].url, headers, records)


async def test_a_replay_of_everything_in_another_order_by_two_writers_changes_nothing(database: Database, seed: int) -> None:
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    random = Random(seed)
    records = make_traffic(random, NOW, (f"r{number}" for number in range(4000)))
    queue = IngestQueue(Ingestor(database))
    for batch in cut(records, random, 700):
        await queue.ingest(make_batch(batch))
    await assert_rollups_equal(database, unpriced(records))
    before = await fingerprint(database)

    async def write_again(largest: int) -> int:
        # A writer that has seen nothing yet, as after a restart.
        own = Random(largest)
        writer = IngestQueue(Ingestor(database))
        again = own.sample(records, len(records))
        receipts = await asyncio.gather(*(writer.ingest(make_batch(batch)) for batch in cut(again, own, largest)))
        assert sum(receipt.inserted for receipt in receipts) == 0
        return sum(receipt.duplicates for receipt in receipts)

    assert list(await asyncio.gather(write_again(20), write_again(1500))) == [len(records), len(records)]
    assert await fingerprint(database) == before
