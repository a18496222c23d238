"""Migrations keep what is stored: a database goes back and forth, and says the same, days closed before or not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DataError

from alembic import command
from app.analytics.fetch import fetch_rankings
from app.analytics.usage import UsageQuestion, fetch_usage
from app.db.engine import Database
from app.db.migrate import HEAD_REVISION, alembic_config, current_revision, sqlalchemy_url, upgrade
from app.domain.fields import MAX_COUNT
from app.domain.principal import Scope
from app.domain.time_range import DateWindow
from app.summaries.closing import close_days
from app.summaries.verify import chunks_of, find_differences, find_extent
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog, publish_models
from tests.clock import NOW
from tests.factories import make_batch, make_record


def _downgrade(url: str, revision: str) -> None:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
    finally:
        engine.dispose()


async def _answers(database: Database) -> object:
    window = DateWindow((NOW - timedelta(days=60)).date(), NOW.date())
    sections = ("time_series", "by_model", "top_users")
    usage = await fetch_usage(database, UsageQuestion(window, sections), Scope(tenant_key=None, identities=True))
    return usage, await fetch_rankings(database, window)


@pytest.mark.parametrize("revision", ["0002", "0003", "0004", "0005"])
@pytest.mark.parametrize("is_stale", [False, True])
async def test_back_and_forth(database_url: str, database: Database, ingestor: Ingestor, revision: str, is_stale: bool) -> None:
    await load_catalog(database, parse_catalog([{"model_id": f"lab/{name}", "public": name == "a"} for name in "abc"]), NOW)
    records = [
        make_record(
            occurred_at=NOW - timedelta(days=day, hours=day % 5),
            model_id=f"lab/{'abcd'[number]}",
            user_id=f"user-{number}",
            prompt_tokens=100 + number,
            cost_usd=Decimal(number + 1),
        )
        for day in range(50)
        for number in range(4)
    ]
    await ingestor.ingest(make_batch(records))
    assert await close_days(database, NOW) is not None
    if is_stale:
        await publish_models(database, "lab/b")
    before = await _answers(database)

    await asyncio.to_thread(_downgrade, database_url, revision)
    assert current_revision(database_url) == revision
    assert await asyncio.to_thread(upgrade, database_url)

    async with Database(database_url, min_size=1, max_size=2) as upgraded:  # its statements are of the new tables
        assert await _answers(upgraded) == before
        assert await close_days(upgraded, NOW) is not None
        assert await _answers(upgraded) == before
        async with upgraded.read_connection() as connection:
            row = await (await connection.execute("SELECT count(*) FROM models WHERE is_ranking_stale")).fetchone()
        assert row == (0,)
        whole = await find_extent(upgraded)
        assert whole is not None
        for chunk in chunks_of(whole):
            assert await find_differences(upgraded, chunk) == []


async def test_sums_that_the_older_schema_cannot_hold_are_not_cut(database_url: str, database: Database, ingestor: Ingestor) -> None:
    records = [make_record(occurred_at=NOW, prompt_tokens=MAX_COUNT, completion_tokens=0) for _ in range(1_025)]
    assert (await ingestor.ingest(make_batch(records))).inserted == 1_025
    before = await _answers(database)
    with pytest.raises(DataError, match="out of range"):
        await asyncio.to_thread(_downgrade, database_url, "0005")
    assert current_revision(database_url) == HEAD_REVISION
    assert await _answers(database) == before
