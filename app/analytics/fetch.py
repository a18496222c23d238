"""From a SELECT to rows: runs it on the pool, as tuples. The only reader of facts and rollups."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from app.analytics.plan import Plan
from app.analytics.select import CompiledSelect, select_model_cards, select_rankings, select_shape
from app.analytics.top_users import asks_for_top_users, try_top_users
from app.cube.metrics import Unit
from app.cube.rollups import BY_DAY_ALL
from app.db.engine import Connection, Database
from app.domain.errors import ConnectionLostError
from app.domain.time_range import DateWindow

Rows = list[tuple[Any, ...]]


async def fetch_rows(database: Database, statement: CompiledSelect, parameters: Mapping[str, Any]) -> Rows:
    """Run one SELECT. A connection that a restart has cut is replaced and the question asked once more."""
    try:
        async with database.read_connection() as connection:
            return await fetch_rows_on(connection, statement, parameters)
    except ConnectionLostError:
        async with database.read_connection() as connection:
            return await fetch_rows_on(connection, statement, parameters)


async def fetch_rows_on(
    connection: Connection, statement: CompiledSelect, parameters: Mapping[str, Any], *, reuse_plan: bool = True
) -> Rows:
    """Run one SELECT on a connection that the caller holds. `reuse_plan`: PostgreSQL may plan it once for all values."""
    cursor = await connection.execute(statement.sql, {**statement.constants, **parameters}, prepare=reuse_plan, binary=True)
    return await cursor.fetchall()


async def fetch_plan(connection: Connection, plan: Plan) -> Rows:
    """Return the plan's rows: bucket if any, names of dimensions, metrics (Decimal where they have fractions, else int of any size)."""
    shape = plan.shape
    if asks_for_top_users(shape):
        rows = await _fetch_top_users(connection, plan)
    else:
        # How much of the cube a range holds decides how to read it, and a plan for all values takes every range for a short one.
        sums_cube = shape.rollup is BY_DAY_ALL and shape.condensed is None and not shape.in_tenant
        rows = await fetch_rows_on(connection, select_shape(shape), plan.parameters(), reuse_plan=not sums_cube)
    labels = len(shape.dimensions) + (shape.bucket is not None)
    whole = tuple(metric.unit not in (Unit.USD, Unit.MILLISECONDS) for metric in shape.metrics)
    # Sums of bigint come as numeric, because they may pass 2^63.
    return [
        row[:labels] + tuple(int(number) if is_whole else Decimal(number) for number, is_whole in zip(row[labels:], whole, strict=True))
        for row in rows
    ]


async def _fetch_top_users(connection: Connection, plan: Plan) -> Rows:
    for statement, values in try_top_users(plan):
        rows = await fetch_rows_on(connection, statement, values)
        if not rows or rows[0][0]:
            return [row[1:] for row in rows if row[1] is not None]
    raise AssertionError("the last statement is always proven")


async def fetch_rankings(database: Database, window: DateWindow) -> Rows:
    """Return (date, permaslug, tokens as decimal text) in answer order; permaslug None is the rest of the day."""
    bounds = window.range
    return await fetch_rows(database, select_rankings(), {"start": bounds.start.date(), "end": bounds.end.date()})


async def fetch_model_cards(connection: Connection, public_ids: list[str]) -> dict[str, tuple[str, str]]:
    """Return display name and provider's display name of public models, by public id."""
    rows = await fetch_rows_on(connection, select_model_cards(), {"ids": public_ids})
    return {public_id: (name, provider) for public_id, name, provider in rows}
