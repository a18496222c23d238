"""From a SELECT to rows: runs it on the pool, as tuples. The only reader of facts and rollups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

from app.analytics.plan import Access, Plan, Strategy
from app.analytics.select import CompiledSelect, select_model_cards, select_rankings, select_shape
from app.analytics.top_users import try_top_users
from app.db.engine import Connection, Database
from app.db.pipeline import Planning, Rows, Select, ask
from app.domain.errors import ConnectionLostError
from app.domain.fields import Unit
from app.domain.time_range import DateWindow

_PLANNING: Final = {Access.KEYS: Planning.GENERIC, Access.RANGE: Planning.CUSTOM, Access.ANY: Planning.AUTO}


async def fetch_rows(database: Database, statement: CompiledSelect, parameters: Mapping[str, Any]) -> Rows:
    """Run one SELECT. A connection that a restart has cut is replaced and the question asked once more."""
    (rows,) = await _ask(database, [_asked(statement, parameters)])
    return rows


async def fetch_rows_on(connection: Connection, statement: CompiledSelect, parameters: Mapping[str, Any]) -> Rows:
    """Run one SELECT on a connection that the caller holds, in its transaction."""
    return await _ask_in_transaction(connection, _asked(statement, parameters))


async def fetch_plans(database: Database, plans: Sequence[Plan]) -> list[Rows]:
    """Return the rows of several plans, all of one instant of the database, in one round trip where that can be.

    A row: bucket if any, names of dimensions, metrics (Decimal where they have fractions, else int of any size).
    """
    found = await _ask(database, [_first_question(plan) for plan in plans])
    shaped = [_shape(plan, rows) for plan, rows in zip(plans, found, strict=True)]
    if None not in shaped:
        return cast(list[Rows], shaped)
    async with database.consistent_reads() as connection:
        return [await fetch_plan(connection, plan) for plan in plans]


async def fetch_plan(connection: Connection, plan: Plan) -> Rows:
    """Return the rows of one plan, on a connection that the caller holds. As `fetch_plans`."""
    questions = _top_users(plan) if plan.shape.strategy is Strategy.THRESHOLD else (_first_question(plan),)
    for question in questions:
        rows = _shape(plan, await _ask_in_transaction(connection, question))
        if rows is not None:
            return rows
    raise AssertionError("the last statement is always proven")


def _asked(statement: CompiledSelect, parameters: Mapping[str, Any], planning: Planning = Planning.AUTO) -> Select:
    return Select(statement.sql, {**statement.constants, **parameters}, planning)


async def _ask_in_transaction(connection: Connection, question: Select) -> Rows:
    cursor = await connection.execute(question.sql, question.values, prepare=question.planning is not Planning.CUSTOM, binary=True)
    return await cursor.fetchall()


async def _ask(database: Database, questions: Sequence[Select]) -> list[Rows]:
    try:
        async with database.read_connection() as connection:
            return await ask(connection, questions)
    except ConnectionLostError:
        async with database.read_connection() as connection:
            return await ask(connection, questions)


def _first_question(plan: Plan) -> Select:
    shape = plan.shape
    if shape.strategy is Strategy.THRESHOLD:
        return next(_top_users(plan))
    return _asked(select_shape(shape), plan.parameters(), _PLANNING[shape.access])


def _top_users(plan: Plan) -> Iterator[Select]:
    return (_asked(statement, values, _PLANNING[plan.shape.access]) for statement, values in try_top_users(plan))


def _shape(plan: Plan, rows: Rows) -> Rows | None:
    """Return the rows as they are asked for; None: those of the top users are not proven."""
    if not rows:
        return rows
    shape = plan.shape
    if shape.strategy is Strategy.THRESHOLD:
        if not rows[0][0]:
            return None
        rows = [row[1:] for row in rows if row[1] is not None]
        if not rows:
            return rows
    labels = len(shape.dimensions) + (shape.bucket is not None)
    # Sums come as numeric, because they may pass 2^63.
    columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
    for position, metric in enumerate(shape.metrics, labels):
        columns[position] = map(Decimal if metric.unit in (Unit.USD, Unit.MILLISECONDS) else int, columns[position])
    return list(zip(*columns, strict=False))


async def fetch_rankings(database: Database, window: DateWindow) -> Rows:
    """Return (date, permaslug, tokens as decimal text) in answer order; permaslug `other` is the rest of the day."""
    bounds = window.range
    return await fetch_rows(database, select_rankings(), {"start": bounds.start.date(), "end": bounds.end.date()})


async def fetch_model_cards(connection: Connection, public_ids: list[str]) -> dict[str, tuple[str, str]]:
    """Return display name and provider's display name of public models, by public id."""
    rows = await fetch_rows_on(connection, select_model_cards(), {"ids": public_ids})
    return {public_id: (name, provider) for public_id, name, provider in rows}
