"""When PostgreSQL plans what is asked: once for what is read by keys, each time for what a range's length decides."""

from __future__ import annotations

from datetime import date

import pytest

from app.analytics.fetch import _first_question
from app.analytics.plan import Question, plan_question
from app.analytics.usage import TENANT_METRICS
from app.cube.dimensions import CALLER_KEY, MODEL, PROJECT, Bucket
from app.db.pipeline import Planning
from app.domain.principal import Scope
from app.domain.time_range import DateWindow

RANGE = DateWindow(date(2026, 5, 1), date(2026, 5, 7)).range
ALL = Scope(tenant_key=None, identities=True)
OF_TENANT = Scope(tenant_key=7, identities=True)


@pytest.mark.parametrize(
    ("question", "scope", "planning"),
    [
        (Question("days", TENANT_METRICS, RANGE, bucket=Bucket.DAY), OF_TENANT, Planning.GENERIC),
        (Question("groups", TENANT_METRICS, RANGE, (MODEL, CALLER_KEY)), OF_TENANT, Planning.AUTO),
        (Question("groups", TENANT_METRICS, RANGE, (MODEL, CALLER_KEY)), ALL, Planning.CUSTOM),
        (Question("project", TENANT_METRICS[:1], RANGE, filters=((PROJECT, "p"),)), ALL, Planning.GENERIC),
        (Question("total", TENANT_METRICS[:1], RANGE), ALL, Planning.AUTO),
    ],
)
def test_planning(question: Question, scope: Scope, planning: Planning) -> None:
    assert _first_question(plan_question(question, scope)).planning is planning
