"""Filters of documented questions: by names, by the name of what records lack, by a choice; and what public answers leave out."""

from __future__ import annotations

from datetime import UTC, datetime

from app.analytics.fetch import fetch_plan
from app.analytics.plan import Question, plan_question
from app.cube.dimensions import CALLER_KEY, PROJECT, PROVIDER, TRAFFIC_MODE
from app.cube.metrics import REQUESTS
from app.db.engine import Database
from app.domain.principal import PUBLIC_SCOPE, Scope
from app.domain.time_range import TimeRange
from app.write.batch import Ingestor
from app.write.catalog import load_catalog, parse_catalog
from tests.factories import make_batch, make_record

ALL = Scope(tenant_key=None, identities=True)
EXPECTED = [
    (CALLER_KEY, "", 4),
    (CALLER_KEY, "k", 2),
    (CALLER_KEY, "nobody's", 0),
    (PROJECT, "unknown", 5),
    (PROJECT, "p", 1),
    (TRAFFIC_MODE, "shared", 2),
    (TRAFFIC_MODE, "byok", 4),
    (TRAFFIC_MODE, "nothing", 0),
]


async def test_a_filter_finds_what_has_the_name_or_lacks_one(database: Database, ingestor: Ingestor) -> None:
    records = [
        make_record(
            tenant_id="t",
            traffic_mode="shared" if number < 2 else "byok",
            api_key_id="k" if number % 3 == 0 else None,
            project_id="p" if number == 0 else None,
        )
        for number in range(6)
    ]
    await ingestor.ingest(make_batch(records))
    window = TimeRange.of_dates(records[0].occurred_at.date(), records[0].occurred_at.date())
    async with database.read_connection() as connection:
        for scope in (ALL, Scope(tenant_key=1, identities=True)):
            for dimension, value, requests in EXPECTED:
                plan = plan_question(Question("filtered", (REQUESTS,), window, filters=((dimension, value),)), scope)
                assert await fetch_plan(connection, plan) == [(requests,)], (dimension.name, value, scope)


async def test_a_public_answer_by_provider_is_of_public_models(database: Database, ingestor: Ingestor) -> None:
    entries = [{"model_id": "a/open", "public": True}, {"model_id": "a/secret"}, {"model_id": "b/secret"}]
    await load_catalog(database, parse_catalog(entries), datetime(2026, 6, 1, tzinfo=UTC))
    records = [make_record(model_id=model) for model in ("a/open", "a/open", "a/secret", "b/secret")]
    await ingestor.ingest(make_batch(records))
    window = TimeRange.of_dates(records[0].occurred_at.date(), records[0].occurred_at.date())
    async with database.read_connection() as connection:
        by_provider = Question("public_providers", (REQUESTS,), window, (PROVIDER,))
        assert await fetch_plan(connection, plan_question(by_provider, PUBLIC_SCOPE)) == [("a", 2)]
        of_one = Question("public_provider", (REQUESTS,), window, filters=((PROVIDER, "b"),))
        assert await fetch_plan(connection, plan_question(of_one, PUBLIC_SCOPE)) == [(0,)]
        assert await fetch_plan(connection, plan_question(by_provider, ALL)) == [("a", 3), ("b", 1)]
