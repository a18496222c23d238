"""Names are registered for records that go in, and for no other; many of them at once take work in proportion."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.db.engine import Database
from app.domain.usage import Quarantined, Reason, UsageRecord
from app.ingest.release import release_quarantined
from app.write.batch import ARRAYS_UP_TO, Ingestor
from app.write.catalog import load_catalog, parse_catalog
from app.write.erase import erase_user
from app.write.rotation import RETRY_WINDOW, rotate_request_ids
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, make_record, unpriced
from tests.recorder import recorded

TABLES = ("tenants", "users", "projects", "caller_keys", "providers", "models", "tenant_users")
FEW, MANY = 3, ARRAYS_UP_TO + 100
sizes = pytest.mark.parametrize("size", [FEW, MANY])


async def fetch(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.read_connection() as connection:
        return await (await connection.execute(statement)).fetchall()


async def registered(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of names."""
    return {table: await fetch(database, f"SELECT t.* FROM {table} t ORDER BY t::text") for table in TABLES}


def make_many(size: int, **given: Any) -> list[UsageRecord]:
    return [make_record(user_id="u", username="n", project_id="p", api_key_id="k", provider="v", **given) for _ in range(size)]


def renamed(records: list[UsageRecord], mark: str = "other") -> list[UsageRecord]:
    """The same requests with other names in everything but the tenant, which is part of their key."""
    return [
        record._replace(
            project_id=f"{mark}-{number}",
            api_key_id=f"{mark}-{number}",
            user_id=f"{mark}-{number}",
            username=f"{mark}-{number}",
            provider=f"{mark}-{number}",
            model_id=f"{mark}/{number}",
            model_permaslug=f"{mark}/{number}",
        )
        for number, record in enumerate(records)
    ]


@sizes
@pytest.mark.parametrize("knows", [True, False], ids=["the same writer", "another writer"])
async def test_a_replay_with_other_names_registers_nothing(database: Database, size: int, knows: bool) -> None:
    records = make_many(size)
    ingestor = Ingestor(database)
    await ingestor.ingest(make_batch(records))
    before = await registered(database)
    replayer = ingestor if knows else Ingestor(database)
    receipt = await replayer.ingest(make_batch(renamed(records)))
    assert (receipt.inserted, receipt.duplicates, receipt.private_models) == (0, size, [])
    assert await registered(database) == before
    await assert_rollups_equal(database, unpriced(records))


@sizes
async def test_a_replay_from_before_the_retry_window_registers_nothing(database: Database, size: int) -> None:
    """Its keys are forgotten, so that they are claimed as if new; the record is there."""
    ingestor = Ingestor(database)
    records = make_many(size)
    assert await rotate_request_ids(database, NOW)
    await ingestor.ingest(make_batch(records))
    for number in (1, 2):
        assert await rotate_request_ids(database, NOW + number * RETRY_WINDOW)
    before = await registered(database)
    fresh = make_record(tenant_id="new", user_id="fresh")
    receipt = await ingestor.ingest(make_batch([*renamed(records), fresh]))
    assert (receipt.inserted, receipt.duplicates) == (1, size)
    after = await registered(database)
    assert {table: len(after[table]) - len(before[table]) for table in TABLES} == {
        **dict.fromkeys(TABLES, 0),
        **dict.fromkeys(("tenants", "users", "tenant_users"), 1),
    }
    await assert_rollups_equal(database, unpriced([*records, fresh]))


@sizes
@pytest.mark.parametrize("share", [2, 3])
async def test_of_a_batch_only_the_names_of_what_goes_in_are_registered(database: Database, size: int, share: int) -> None:
    ingestor = Ingestor(database)
    known = make_many(size)[::share]
    await ingestor.ingest(make_batch(known))
    new = renamed([make_record(tenant_id=f"t{number % 4}") for number in range(size)], "new")
    mixed = [record for pair in zip(renamed(known, "old"), new, strict=False) for record in pair] + new[len(known) :]
    receipt = await ingestor.ingest(make_batch(mixed))
    assert (receipt.inserted, receipt.duplicates) == (size, len(known))
    assert len(receipt.private_models) == size
    everything = str(await registered(database))
    assert "old-" not in everything
    assert "old/" not in everything
    assert all(f"'new-{number}'" in everything for number in (0, size - 1))
    await assert_rollups_equal(database, unpriced([*known, *new]))


@sizes
async def test_a_replay_does_not_bring_an_erased_user_back(database: Database, size: int) -> None:
    records = make_many(size)
    ingestor, other = Ingestor(database), Ingestor(database)
    for writer in (ingestor, other):
        await writer.ingest(make_batch(records))
    await erase_user(database, "u")
    before = await registered(database)
    for writer in (ingestor, other, Ingestor(database)):
        receipt = await writer.ingest(make_batch(records))
        assert (receipt.inserted, receipt.duplicates) == (0, size)
    assert await registered(database) == before
    assert await fetch(database, "SELECT username FROM tenant_users") == [(None,)]
    assert not await fetch(database, "SELECT FROM users WHERE external_id = 'u'")
    # A request that is really new makes a new user, whose name is its own.
    await ingestor.ingest(make_batch([make_record(user_id="u", username="again")]))
    assert sorted(await fetch(database, "SELECT username FROM tenant_users"), key=str) == [("again",), (None,)]


@sizes
async def test_of_two_writers_at_once_the_names_of_the_first_stay(database: Database, size: int) -> None:
    records = make_many(size)
    versions = [renamed(records, mark) for mark in ("left", "right")]
    writers = [Ingestor(database) for _ in versions]
    receipts = await asyncio.gather(*(writer.ingest(make_batch(version)) for writer, version in zip(writers, versions, strict=True)))
    assert sorted(receipt.inserted for receipt in receipts) == [0, size]
    winner, loser = ("left", "right") if receipts[0].inserted else ("right", "left")
    everything = str(await registered(database))
    assert f"{loser}-" not in everything
    assert everything.count(f"{winner}-") >= size
    assert await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    await assert_rollups_equal(database, unpriced(versions[0] if winner == "left" else versions[1]))


async def test_many_writers_of_new_names_never_wait_in_a_circle(database: Database) -> None:
    records = [
        record._replace(request_id=f"{writer}-{number}")
        for writer in range(6)
        for number, record in enumerate(renamed(make_many(40), "shared"))
    ]
    batches = [records[first : first + 40][:: 1 if first % 80 else -1] for first in range(0, len(records), 40)]
    receipts = await asyncio.gather(*(Ingestor(database).ingest(make_batch(batch)) for batch in batches))
    assert [receipt.inserted for receipt in receipts] == [40] * 6
    assert await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    await assert_rollups_equal(database, unpriced(records))


async def test_a_released_record_that_is_a_duplicate_registers_nothing(database: Database, ingestor: Ingestor) -> None:
    (record,) = make_many(1, request_id="r", occurred_at=NOW - timedelta(hours=1))
    await ingestor.ingest(make_batch([record]))
    values = {
        "request_id": "r",
        "tenant_id": "acme",
        "occurred_at": record.occurred_at.isoformat(),
        "model_id": "other/model",
        "user_id": "erin",
        "username": "Erin",
        "project_id": "other",
    }
    batch = make_batch([])
    batch.quarantined.append(Quarantined(0, "test", NOW, None, values, (Reason(None, "is wrong"),)))
    batch.received = 1
    await ingestor.ingest(batch)
    before = await registered(database)
    ((key,),) = await fetch(database, "SELECT id::text FROM quarantined_records")
    receipt = await release_quarantined(database, [key], {}, NOW)
    assert (receipt.released, receipt.duplicates) == (0, 1)
    assert await registered(database) == before


KINDS: dict[str, Any] = {
    "models": lambda name: {"model_id": f"lab/{name}", "model_permaslug": f"lab/{name}"},
    "variants": lambda name: {"model_id": "lab/m", "model_permaslug": f"lab/{name}"},
    "projects": lambda name: {"project_id": name},
    "users": lambda name: {"user_id": name},
    "usernames": lambda name: {"user_id": name, "username": name},
    "keys": lambda name: {"api_key_id": name},
    "tenants": lambda name: {"tenant_id": name},
    "providers": lambda name: {"provider": name},
}


async def rows_read(database: Database) -> int:
    """Return how many rows of the tables of names, and entries of their indexes, were read so far."""
    async with database.read_connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    names = ", ".join(f"'{table}'" for table in TABLES)
    ((seq, by_index),) = await fetch(
        database,
        "SELECT (SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables"
        f" WHERE relname IN ({names})), (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname IN ({names}))",
    )
    return int(seq + by_index)


@pytest.mark.parametrize("kind", KINDS)
async def test_new_names_take_work_in_proportion(database_url: str, kind: str) -> None:
    """As many statements however many there are, and at most some rows read for each."""
    statements = []
    async with Database(database_url, min_size=1, max_size=1) as database:
        await load_catalog(database, parse_catalog([{"model_id": "lab/m"}, {"model_id": "lab/n"}]), NOW)
        ingestor = Ingestor(database)
        await ingestor.ingest(make_batch(make_many(1, model_id="lab/n")))
        for size in (600, 1_800):
            records = [make_record(**{"model_id": "lab/n", **KINDS[kind](f"{size}-{number}")}) for number in range(size)]
            before = await rows_read(database)
            with recorded() as asked:
                assert (await ingestor.ingest(make_batch(records))).inserted == size
            statements.append(asked.names())
            assert await rows_read(database) - before <= 12 * size
    assert statements[0] == statements[1]
