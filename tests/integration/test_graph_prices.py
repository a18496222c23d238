"""Prices valid from an instant: whatever order they come in, the stored periods are the step function that a plain dictionary gives."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.engine import Database
from app.domain.errors import BadInputError
from app.write.batch import Ingestor
from app.write.catalog import CatalogEntry, check_valid_from, load_catalog, parse_catalog
from tests.clock import NOW
from tests.factories import make_batch, make_record

START = datetime(2026, 6, 1, tzinfo=UTC)
SINCE_EVER = datetime.min.replace(tzinfo=UTC)
Price = tuple[Decimal | None, Decimal | None]


class NaivePrices:
    """When each price begins."""

    def __init__(self) -> None:
        self.begins: dict[datetime, Price] = {}

    def at(self, instant: datetime) -> Price | None:
        begun = [begin for begin in self.begins if begin <= instant]
        return self.begins[max(begun)] if begun else None

    def store(self, price: Price, now: datetime, valid_from: datetime | None) -> bool:
        at = valid_from or now
        if not self.begins and valid_from is None:
            at = SINCE_EVER
        if self.at(at) == price:
            return False
        self.begins[at] = price
        return True


def entry_of(price: Price) -> list[CatalogEntry]:
    return parse_catalog([{"model_id": "m/x", "cost_per_input_token": price[0], "cost_per_output_token": price[1]}])


async def periods(database: Database) -> list[tuple[Any, ...]]:
    """The stored periods; None where one is not bounded."""
    async with database.read_connection() as connection:
        cursor = await connection.execute(
            "SELECT nullif(valid_from, '-infinity'), nullif(valid_to, 'infinity'), cost_per_input_token, cost_per_output_token"
            " FROM model_prices ORDER BY valid_from"
        )
        return await cursor.fetchall()


_hours = st.integers(-50, 50)
_prices = st.tuples(st.sampled_from([None, Decimal(1), Decimal(2)]), st.sampled_from([None, Decimal(3)]))
_changes = st.lists(st.tuples(_prices, st.none() | _hours, _hours), min_size=1, max_size=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes=_changes, asked=st.lists(_hours, min_size=1, max_size=6))
async def test_periods_never_overlap_and_have_no_gaps(
    database: Database, changes: list[tuple[Price, int | None, int]], asked: list[int]
) -> None:
    async with database.transaction() as connection:
        await connection.execute("TRUNCATE models, model_prices, usage_records, recent_requests CASCADE")
    naive = NaivePrices()
    for price, valid_hour, now_hour in changes:
        now = START + timedelta(hours=now_hour)
        valid_from = None if valid_hour is None else START + timedelta(hours=valid_hour)
        changed = naive.store(price, now, valid_from)
        assert (await load_catalog(database, entry_of(price), now, valid_from)).repriced == int(changed)
        stored = await periods(database)
        assert (await load_catalog(database, entry_of(price), now, valid_from)).repriced == 0
        assert await periods(database) == stored
        assert all(before[1] is not None and before[1] == after[0] for before, after in itertools.pairwise(stored))
        assert stored[-1][1] is None
        assert [(period[0] or SINCE_EVER, period[2:]) for period in stored] == sorted(naive.begins.items())
    records = [
        make_record(
            request_id=f"r{position}", model_id="m/x", occurred_at=START + timedelta(hours=hour), prompt_tokens=1, completion_tokens=1
        )
        for position, hour in enumerate(asked)
    ]
    await Ingestor(database).ingest(make_batch(records))
    async with database.read_connection() as connection:
        cursor = await connection.execute("SELECT request_id, cost_usd, is_priced FROM usage_records")
        costs = {request_id: (cost, priced) for request_id, cost, priced in await cursor.fetchall()}
    for record in records:
        per_input, per_output = naive.at(record.occurred_at) or (None, None)
        expected = (per_input or 0) + (per_output or 0), per_input is not None and per_output is not None
        assert costs[record.request_id] == expected


@pytest.mark.parametrize(
    ("instant", "accepted"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), True),
        (datetime(2019, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), False),
        (NOW + timedelta(days=366), True),
        (NOW + timedelta(days=366, microseconds=1), False),
    ],
)
def test_when_a_price_may_begin(instant: datetime, accepted: bool) -> None:
    with nullcontext() if accepted else pytest.raises(BadInputError):
        check_valid_from(instant, NOW)


async def test_prices_begin_at_the_millisecond_that_answers_show(database: Database) -> None:
    first, second = (Decimal(1), Decimal(1)), (Decimal(2), Decimal(2))
    await load_catalog(database, entry_of(first), NOW)
    await load_catalog(database, entry_of(second), NOW.replace(microsecond=123_999))
    await load_catalog(database, entry_of(first), NOW, NOW.replace(microsecond=123_001))
    begins = NOW.replace(microsecond=123_000)
    assert await periods(database) == [(None, begins, *first), (begins, None, *first)]
