"""Records that come late: they correct exactly the closed hours and days that they fall in, by exactly what they bring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from app.cube.rollups import ROLLUPS
from app.db.engine import Database
from app.domain.usage import UsageRecord
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import NaiveRollup, make_batch, make_record, naive_rollup, stored_rollup, unpriced
from tests.faults.traffic import make_traffic


def added(before: NaiveRollup, after: NaiveRollup) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return what the rows that changed have more than before, by key."""
    assert not before.keys() - after.keys(), "rows are gone"
    nothing = dict.fromkeys(next(iter(after.values())), 0)
    return {
        key: {name: amount - before.get(key, nothing)[name] for name, amount in row.items()}
        for key, row in after.items()
        if row != before.get(key)
    }


def late_records(known: UsageRecord) -> list[UsageRecord]:
    """Return records of closed hours: at the edges of hours, days and months, of keys that are there and of new ones."""
    edge = datetime(2026, 5, 1, tzinfo=UTC)
    instants = [
        known.occurred_at,
        edge,
        edge - timedelta(microseconds=1),
        edge + timedelta(hours=1) - timedelta(microseconds=1),
        datetime(2026, 4, 30, 23, 30, tzinfo=timezone(timedelta(hours=-5))).astimezone(UTC),  # the 1st of May in UTC
        datetime(2025, 1, 1, tzinfo=UTC),  # a month that has no partition yet
    ]
    late = [known._replace(request_id=f"late-{number}", occurred_at=instant) for number, instant in enumerate(instants)]
    return [*late, make_record(request_id="late-new", model_id="late/model", user_id="late-user", occurred_at=edge, status_code=500)]


async def test_late_records_change_the_rows_that_they_fall_in_and_no_other(database: Database, ingestor: Ingestor) -> None:
    records = make_traffic(Random(8), NOW, (f"r{number}" for number in range(1500)))
    await ingestor.ingest(make_batch(records))
    before = {rollup.name: await stored_rollup(database, rollup) for rollup in ROLLUPS}
    late = late_records(next(record for record in records if record.occurred_at < NOW - timedelta(days=30)))

    receipt = await ingestor.ingest(make_batch([*late, *records[:100], *late]))
    assert (receipt.inserted, receipt.duplicates) == (len(late), 100 + len(late))

    for rollup in ROLLUPS:
        changed = added(before[rollup.name], await stored_rollup(database, rollup))
        assert changed == naive_rollup(rollup, unpriced(late)), rollup.name
    assert {len(naive_rollup(rollup, unpriced(late))) for rollup in ROLLUPS} >= {5}, "several rows, and not one for each record"


async def test_each_late_record_changes_one_row_of_each_rollup(database: Database, ingestor: Ingestor) -> None:
    records = make_traffic(Random(9), NOW, (f"r{number}" for number in range(300)))
    await ingestor.ingest(make_batch(records))
    for record in late_records(records[0]):
        before = {rollup.name: await stored_rollup(database, rollup) for rollup in ROLLUPS}
        await ingestor.ingest(make_batch([record]))
        for rollup in ROLLUPS:
            changed = added(before[rollup.name], await stored_rollup(database, rollup))
            assert changed == naive_rollup(rollup, unpriced([record])), rollup.name
            assert len(changed) == 1
