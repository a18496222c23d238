"""Run in a copy of the tree whose declarations have grown: writes records by every form, and prints what came of the new fields, as JSON.

Its argument is the database's URL. Everything here is told by name, so that no line of it has to know which fields are new.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from app.cube.rollups import CONDENSED, ROLLUPS
from app.cube.usage_metrics import METRICS_BY_NAME
from app.db.engine import Database
from app.db.migrate import include_object, sqlalchemy_url, upgrade
from app.db.rollup_tables import metadata
from app.domain.describe import describe
from app.domain.usage import FIELDS, ParsedBatch
from app.ingest.parse import parse_json, parse_rows
from app.resolvers.schema import print_schema
from app.rest.usage_record import record_schema
from app.summaries.closing import close_days
from app.summaries.verify import chunks_of, find_differences, find_extent
from app.write.batch import Ingestor
from app.write.rollup import copy_stage
from app.write.stage import STAGE

NOW = datetime(2026, 6, 25, 12, tzinfo=UTC)


def differences_of(url: str) -> list[str]:
    """Return what the migrated tables have otherwise than the declared ones."""
    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": include_object})
        found = [str(difference) for difference in compare_metadata(context, metadata)]
    engine.dispose()
    return found


def sent(number: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON has it, of a month that is over."""
    instant = NOW - timedelta(days=40)
    return {
        "request_id": f"r{number}",
        "occurred_at": instant.isoformat(),
        "tenant_id": "acme",
        "model_id": "lab/a",
        "prompt_tokens": 100,
        "cost_usd": 1,
        **more,
    }


def parsed(records: list[dict[str, Any]]) -> ParsedBatch:
    """Read records as a body of JSON."""
    return parse_json(json.dumps(records).encode(), now=NOW, tenant_id=None)


async def main(url: str, given: dict[str, Any], wrong: dict[str, Any], huge: dict[str, Any]) -> dict[str, Any]:
    """Write a few records, many, and rows of text; each has what is given."""
    migrated = await asyncio.to_thread(upgrade, url)
    cells = {name: str(value) for name, value in sent(10_000, given).items()}
    batches = [parsed([sent(0, given)]), parsed([sent(number, given) for number in range(1, 1000)])]
    batches.append(parse_rows([cells], now=NOW, tenant_id=None))
    # One of today, without the new fields: what is before it can be closed.
    batches.append(parsed([sent(10_001, {"occurred_at": NOW.isoformat()})]))
    async with Database(url) as database:
        ingestor = Ingestor(database)
        receipts = [await ingestor.ingest(batch) for batch in batches]
        await close_days(database, NOW)
        whole = await find_extent(database)
        assert whole is not None
        unequal = [str(found) for chunk in chunks_of(whole) for found in await find_differences(database, chunk)]
        async with database.read_connection() as connection:

            async def values(sql: str) -> list[Any]:
                rows = await (await connection.execute(sql)).fetchall()
                return [[str(cell) for cell in row] for row in rows]

            stored = {
                name: await values(f"SELECT {name}, count(*) FROM usage_records GROUP BY 1 ORDER BY 2 DESC")
                for name in given
                if name in {field.column for field in FIELDS}
            }
            shown = await values("SELECT * FROM tenants")
            rollups = [*ROLLUPS, *(rollup for condensed in CONDENSED for rollup in condensed.rollups)]
            sums = {
                rollup.name: await values(
                    f"SELECT {', '.join(f'sum({measure.name})' for measure in rollup.measures if measure.name in given)} FROM {rollup.name}"
                )
                for rollup in rollups
                if any(measure.name in given for measure in rollup.measures)
            }
    refused = parsed([sent(0, {name: value}) for name, value in wrong.items()])
    schema = record_schema()["properties"]
    return {
        "migrated": migrated,
        "differences": differences_of(url),
        "unequal": unequal,
        "inserted": [receipt.inserted for receipt in receipts],
        "stored": stored,
        "shown": shown,
        "sums": sums,
        "rejects": {reject.field: reject.message for reject in refused.rejects},
        "quarantined": [reason.field for kept in parsed([sent(0, huge)]).quarantined for reason in kept.reasons],
        "staged": [column.name for column in STAGE if column.name in given],
        "copied": [name for name in given if name in copy_stage(with_names=True, with_parts=False)],
        "openapi": {name: schema[name] for name in given},
        "described": [describe(field) for field in FIELDS if field.name in given],
        "metrics": [name for name in METRICS_BY_NAME if name in given],
        "schema": print_schema(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1], *map(json.loads, sys.argv[2:])))))
