"""Several questions in one round trip: their values, their one instant, and what is left when one fails, is cancelled or cut off."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from app.db import pipeline
from app.db.engine import Database
from app.db.pipeline import Planning, Select, ask, number_placeholders
from app.domain.errors import BadInputError, ConnectionLostError, DatabaseBusyError

ONE = Select("SELECT 1", {})


async def rows_of(database: Database, *questions: Select) -> list[list[tuple[Any, ...]]]:
    async with database.read_connection() as connection:
        return await ask(connection, questions)


async def backend_of(database: Database) -> int:
    (((pid,),),) = await rows_of(database, Select("SELECT pg_backend_pid()", {}))
    return int(pid)


async def until_asked(database: Database, text: str) -> None:
    async with asyncio.timeout(60):
        while True:
            question = Select("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %(text)s", {"text": text})
            (((count,),),) = await rows_of(database, question)
            if count:
                return
            await asyncio.sleep(0.02)


def test_placeholders_are_numbered() -> None:
    assert number_placeholders("SELECT %(b)s, %(a)s, %(b)s LIKE '100%%'") == (b"SELECT $1, $2, $1 LIKE '100%'", ("b", "a"))


async def test_decimals_are_the_same_whenever_they_are_asked(database: Database) -> None:
    numbers = [
        Decimal(text) for text in ("0", "-0.10", "1.000000", "123456789.5", "1E+2", "9" * 90, "0." + "0" * 40 + "1", "NaN", "Infinity")
    ]
    asked = Select(
        "SELECT place::int, number, number::text, day FROM unnest(%(numbers)s::numeric[]) WITH ORDINALITY AS given(number, place),"
        " LATERAL (SELECT date '2024-02-29' AS day) AS days ORDER BY place",
        {"numbers": numbers},
    )
    for planning in Planning:
        found = []
        for _ in range(3):  # its rows are read in another form when it is known what they are
            (rows,) = await rows_of(database, Select(asked.sql, asked.values, planning))
            found.append([(place, type(number), str(number), text, day) for place, number, text, day in rows])
        assert found[0] == found[1] == found[2]
        assert [text for *_, text, _ in found[0]] == [f"{number:f}" for number in numbers]


async def test_values_come_and_go_as_they_are(database: Database) -> None:
    values = {
        "whole": 2**53 + 1,
        "exact": Decimal("0.1") + 2**70,
        "text": "naïve 🛰 100%",
        "nothing": None,
        "day": date(2024, 2, 29),
        "at": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        "many": [1, 2, 3],
        "truth": True,
    }
    casts = ("bigint", "numeric", "text", "text", "date", "timestamptz", "int[]", "boolean")
    columns = ", ".join(f"%({name})s::{kind}" for name, kind in zip(values, casts, strict=True))
    for _ in range(3):  # the first time it is prepared
        ((row,), ((one,),), empty) = await rows_of(database, Select(f"SELECT {columns}", values), ONE, Select("SELECT 1 WHERE false", {}))
        assert row == tuple(values.values())
        assert (one, empty) == (1, [])
    ((planned_anew,),) = await rows_of(database, Select(f"SELECT {columns}", values, Planning.CUSTOM))
    assert planned_anew == tuple(values.values())


async def test_one_statement_takes_values_of_other_types(database: Database) -> None:
    for value in (1, 2**20, 2**40, None, 7):
        assert await rows_of(database, Select("SELECT coalesce(%(value)s::bigint, 0)", {"value": value})) == [[(value or 0,)]]


async def test_all_questions_see_one_instant(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE seen (number integer)")
    slow = Select("SELECT count(*) FROM seen, pg_sleep(1.5)", {})
    count = Select("SELECT count(*) FROM seen", {})
    asking = asyncio.create_task(rows_of(database, count, slow, count))
    await until_asked(database, "SELECT count(*) FROM seen, pg_sleep%")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO seen VALUES (1)")
    assert not asking.done(), "the row was committed between two questions"
    assert await asking == [[(0,)], [(0,)], [(0,)]]
    assert await rows_of(database, count) == [[(1,)]]


async def test_questions_change_nothing(database: Database) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await rows_of(database, ONE, Select("INSERT INTO models (public_id) VALUES ('x')", {}))


async def test_one_that_fails_takes_the_others_with_it_and_not_the_connection(database_url: str) -> None:
    async with Database(database_url, min_size=1, max_size=1) as database:
        before = await backend_of(database)
        zero, two = Select("SELECT 1 / %(by)s::int", {"by": 0}), Select("SELECT 2", {})
        for questions in ((zero,), (ONE, zero, two), (zero, ONE)):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await rows_of(database, *questions)
        # Prepared with one that failed, or after it: asked again, they must be there.
        assert await rows_of(database, ONE, Select("SELECT 1 / %(by)s::int", {"by": 1}), two) == [[(1,)], [(1,)], [(2,)]]
        with pytest.raises(psycopg.errors.UndefinedTable):
            await rows_of(database, Select("SELECT * FROM nowhere", {}), ONE)
        assert await rows_of(database, two) == [[(2,)]]
        assert await backend_of(database) == before


async def test_what_cannot_be_sent_is_the_callers_mistake(database_url: str) -> None:
    async with Database(database_url, min_size=1, max_size=1) as database:
        before = await backend_of(database)
        for value in ("a\0b", "\ud800"):
            with pytest.raises(BadInputError):
                await rows_of(database, ONE, Select("SELECT %(value)s::text", {"value": value}))
        assert await backend_of(database) == before


async def test_who_goes_away_leaves_no_work_behind(database: Database) -> None:
    asking = asyncio.create_task(rows_of(database, ONE, Select("SELECT 'left', pg_sleep(600)", {})))
    await until_asked(database, "SELECT 'left'%")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    left = Select("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT ''left''%%' AND state <> 'idle'", {})
    async with asyncio.timeout(60):
        while await rows_of(database, left) != [[(0,)]]:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    for _ in range(20):
        assert await rows_of(database, ONE, ONE) == [[(1,)], [(1,)]]


async def test_a_connection_that_is_cut_is_said_to_be(database: Database) -> None:
    asking = asyncio.create_task(rows_of(database, ONE, Select("SELECT 'cut', pg_sleep(600)", {})))
    await until_asked(database, "SELECT 'cut'%")
    await rows_of(database, Select("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT ''cut''%%'", {}))
    with pytest.raises(ConnectionLostError):
        await asking
    assert await rows_of(database, ONE) == [[(1,)]]


async def test_one_that_takes_too_long_is_ended(database_url: str) -> None:
    async with Database(database_url, min_size=1, max_size=1) as database:
        async with database.read_connection() as connection:
            await connection.execute("SET statement_timeout = '50ms'")
        with pytest.raises(DatabaseBusyError):
            await rows_of(database, ONE, Select("SELECT pg_sleep(600)", {}))
        assert await rows_of(database, ONE) == [[(1,)]]


async def test_what_was_deallocated_is_prepared_again(database_url: str) -> None:
    async with Database(database_url, min_size=1, max_size=1) as database:
        assert await rows_of(database, ONE, ONE) == [[(1,)], [(1,)]]
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with database.transaction() as connection:
                await connection.execute("SELECT 1 / 0")
        async with database.read_connection() as connection:
            await connection.execute("DEALLOCATE ALL")  # as psycopg does after a rollback
            assert await ask(connection, [ONE, ONE]) == [[(1,)], [(1,)]]
            assert await ask(connection, [ONE]) == [[(1,)]]


async def test_no_more_is_prepared_than_is_bounded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_PREPARED", 5)
    async with Database(database_url, min_size=1, max_size=1) as database:
        for number in [*range(20), *range(20)]:
            assert await rows_of(database, Select(f"SELECT {number}", {})) == [[(number,)]]
        counted = Select("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '_tokengraph%%'", {})
        assert await rows_of(database, counted) == [[(5,)]]


async def test_what_is_to_be_planned_once_is_and_the_session_is_as_before(database_url: str) -> None:
    async with Database(database_url, min_size=1, max_size=1) as database:
        once, divided = (
            Select("SELECT 10 / %(by)s::int", {"by": 5}, Planning.GENERIC),
            Select("SELECT 1 / %(by)s::int", {"by": 0}, Planning.GENERIC),
        )
        for questions in ((once,), (ONE, once, once), (once, ONE)):
            assert await rows_of(database, *questions) == [[(1,)] if one is ONE else [(2,)] for one in questions]
        plans = Select("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT 10 /%%'", {})
        assert await rows_of(database, plans) == [[(4, 0)]]
        for questions in ((divided,), (ONE, divided, once)):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await rows_of(database, *questions)
            assert await rows_of(database, Select("SHOW plan_cache_mode", {})) == [[("auto",)]]
        assert await rows_of(database, once, Select("SHOW plan_cache_mode", {})) == [[(2,)], [("auto",)]]


async def test_long_questions_and_long_answers_do_not_wait_for_each_other(database: Database) -> None:
    """Neither fits what the two sides hold for each other: answers come while the rest of the questions is on its way."""
    text = "x" * 6_000_000
    long = Select("SELECT %(text)s::text, length(%(text)s::text)", {"text": text}, Planning.CUSTOM)
    async with asyncio.timeout(120):
        for questions in ((long,), (long, ONE), (long, long, ONE, long)):
            assert await rows_of(database, *questions) == [[(1,)] if one is ONE else [(text, len(text))] for one in questions]
