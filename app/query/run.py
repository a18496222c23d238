"""Runs bound questions: those of one request together, all of one instant of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.cube.usage_metrics import FRACTIONS, UsageMetric
from app.db.engine import Connection, Database
from app.domain.errors import BadInputError
from app.domain.fields import Unit
from app.domain.time_range import format_seconds
from app.query.limits import TooManyFilledError, fillable_groups
from app.query.order import SortKey, label, position_of, sort_keys
from app.query.plan import Asked, Planned, plan
from app.query.question import Grouping
from app.query.sql import Compared, Statement, select_previous_rest, select_rest, select_rows, select_totals
from app.query.state import SELECT_CLOSING, Closing, State, select_counts

STATEMENT_SECONDS: Final = 30
"""Seconds that one statement of a question may take."""

Numbers = dict[str, Any]
"""By metric name: int for counts, tokens and credits, Decimal for US dollars, float for rates and milliseconds, datetime for instants."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a row's dimension is: text, or a number; None: there is none. `tenant_key`: of names that are a tenant's."""

    value: str | int | None
    tenant_key: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One group. `bucket`: position in the grouping's buckets, None if it has none; `labels`: in the order of its dimensions."""

    bucket: int | None
    is_other: bool
    labels: tuple[Label, ...]
    numbers: Numbers
    previous: Numbers | None = None
    """Of the same group in the compared range."""
    place: int = 0
    """Among the rows of all pages, from 1 on."""
    position: tuple[Any, ...] = ()
    """What it is ordered by: the next page begins behind it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a question without grouping: `totals`. Of one with it: a page of rows, and how many there are; the rests that were asked for.

    `planned`: how it was answered, or would be.
    """

    planned: Planned | None = None
    totals: Numbers | None = None
    rows: tuple[Row, ...] = ()
    row_count: int = 0
    rest: Numbers | None = None
    previous_rest: Numbers | None = None


async def plan_questions(database: Database, asked: Sequence[Asked]) -> list[Planned]:
    """Return how each question is to be answered, in the order in which they are asked."""
    async with database.read_connection() as connection:
        closing = await _read_closing(connection)
        return [await _plan(connection, one, closing) for one in asked]


async def run_questions(database: Database, planned: Sequence[Planned]) -> list[Answer | BadInputError]:
    """Return the answers; in place of one, why it is refused: it needs records that are no longer kept, or more rows than may be made.

    What was closed, or reopened, since a question was planned is planned anew: all are answered of one instant.
    """
    async with database.consistent_reads() as connection:
        await connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
        closing = await _read_closing(connection)
        return [
            await _answer(connection, one if one.closing == closing else await _plan(connection, one.asked, closing)) for one in planned
        ]


async def answer_on(connection: Connection, asked: Sequence[Asked]) -> list[Answer]:
    """Plan and answer questions on a connection that the caller holds, in a transaction of one instant. BadInputError: one is refused."""
    closing = await _read_closing(connection)
    return [await _run(connection, await _plan(connection, one, closing)) for one in asked]


async def _read_closing(connection: Connection) -> Closing:
    (row,) = await (await connection.execute(SELECT_CLOSING)).fetchall()
    return Closing.of(row)


async def _plan(connection: Connection, asked: Asked, closing: Closing) -> Planned:
    states = []
    for bound in asked.bounds:
        statement, values = select_counts(bound.question.range, bound.tenant_key)
        (row,) = await (await connection.execute(statement, values)).fetchall()
        states.append(State.of(closing, row))
    return plan(asked, states)


async def _answer(connection: Connection, planned: Planned) -> Answer | BadInputError:
    try:
        return await _run(connection, planned)
    except BadInputError as refusal:
        return refusal


async def _run(connection: Connection, planned: Planned) -> Answer:
    asked, scans = planned.asked, planned.scans
    bound, grouping = asked.bound, asked.bound.grouping
    _refuse_dropped(planned)
    metrics = bound.question.metrics
    if grouping is None:
        return Answer(planned, totals=await _one(connection, metrics, select_totals(bound, scans)))
    compared = None if asked.compared is None else Compared(asked.compared, planned.compared_scans)
    if grouping.buckets == ():
        rest = await _one(connection, metrics, select_totals(bound, scans)) if asked.with_rest else None
        return Answer(planned, rest=rest, previous_rest=await _all_of(connection, compared) if asked.with_previous_rest else None)
    rows = await _fetch(connection, select_rows(bound, grouping, scans, compared))
    rest = await _one(connection, metrics, select_rest(bound, grouping, scans)) if asked.with_rest else None
    row_count, group_count = rows[0][:2]
    if group_count is not None and group_count > fillable_groups(grouping):
        raise TooManyFilledError(group_count)
    previous_rest = None
    if asked.with_previous_rest and compared is not None:
        previous_rest = await _one(connection, metrics, select_previous_rest(bound, grouping, scans, compared))
    shape = _RowShape(grouping, metrics, sort_keys(grouping, label(bound, grouping), metrics + grouping.metrics()), compared is not None)
    shaped = tuple(shape.row(*row[2:]) for row in rows if row[2] is not None)
    return Answer(planned, rows=shaped, row_count=row_count, rest=rest, previous_rest=previous_rest)


async def _all_of(connection: Connection, compared: Compared | None) -> Numbers | None:
    if compared is None:
        return None
    return await _one(connection, compared.bound.question.metrics, select_totals(compared.bound, compared.scans))


def _refuse_dropped(planned: Planned) -> None:
    since = planned.closing.records_since
    starts = [scan.spans[0].start for scan in (*planned.scans, *planned.compared_scans) if scan.rollup is None]
    if since is not None and starts and min(starts) < since:
        raise BadInputError(f"this question needs single records, which are retained from {format_seconds(since)} on: ask from then on")


async def _one(connection: Connection, metrics: Sequence[UsageMetric], statement: Statement) -> Numbers:
    if not metrics:
        return {}
    (row,) = await _fetch(connection, statement)
    return _numbers(metrics, row)


async def _fetch(connection: Connection, statement: Statement) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement.sql, statement.values, prepare=False)
    return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class _RowShape:
    """What the columns of `select_rows` are."""

    grouping: Grouping
    metrics: tuple[UsageMetric, ...]
    order: Sequence[SortKey]
    has_previous: bool

    def row(self, place: int, number: int, is_other: bool, *cells: Any) -> Row:
        bucket = None if self.grouping.buckets is None else number - 1
        labels, width = 2 * len(self.grouping.by), len(self.metrics)
        return Row(
            bucket,
            is_other,
            tuple(Label(None) if is_other else Label(cells[at], cells[at + 1]) for at in range(0, labels, 2)),
            _numbers(self.metrics, cells[labels : labels + width]),
            _numbers(self.metrics, cells[labels + width : labels + 2 * width]) if self.has_previous else None,
            place,
            position_of(self.grouping, self.order, cells[labels + width * (1 + self.has_previous) :]),
        )


def _numbers(metrics: Sequence[UsageMetric], cells: Sequence[Any]) -> Numbers:
    return {metric.name: _shape(metric.unit, cell) for metric, cell in zip(metrics, cells, strict=True)}


def _shape(unit: Unit, cell: Any) -> Any:
    if cell is None or unit is Unit.INSTANT:
        return cell
    if unit is Unit.USD:
        return Decimal(cell)
    return float(cell) if unit in FRACTIONS else int(cell)
