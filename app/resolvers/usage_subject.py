"""What a usage report is about and for whom, and the questions that its parts ask together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.cube.usage_metrics import UsageMetric
from app.domain.time_range import TimeRange
from app.query.bind import Reader, bind
from app.query.filters import Condition
from app.query.plan import Asked
from app.query.question import Question
from app.query.run import Answer, Numbers
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.usage_range import ReportRanges, TimeRangeInput
from app.resolvers.usage_selection import SelectedMetrics


@dataclass(frozen=True, slots=True)
class Subject:
    """The arguments of a report, read, and its caller."""

    given: TimeRangeInput
    ranges: ReportRanges
    zone: str
    where: Condition
    reader: Reader

    def question(self, selected: SelectedMetrics, window: TimeRange | None = None) -> Question:
        """Return the question of the report's range, or of another one."""
        return Question(window or self.ranges.range, selected.metrics, self.where, selected.shares, selected.changes)

    def totals(self, metrics: tuple[UsageMetric, ...], window: TimeRange | None = None) -> Asked:
        """Return the question of everything in the report's range, or in another one."""
        return Asked(bind(self.question(SelectedMetrics(metrics), window), None, self.reader))


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of all requests of a report, and of its compared range; empty where none were asked for."""

    own: Numbers
    previous: Numbers


async def load(info: ResolverInfo, *asked: Asked | None) -> list[Answer]:
    """Return the answers to questions, all of one state of the database; an empty one for None."""
    questions = loaders_of(info.context).questions
    found = await asyncio.gather(*(questions.load(one) for one in asked if one is not None))
    answers = iter(found)
    return [Answer() if one is None else next(answers) for one in asked]
