"""How a plan finds its rows, and by what: which decides when PostgreSQL plans what is asked."""

from __future__ import annotations

from datetime import date

import pytest

from app.analytics.plan import Access, Question, Strategy, plan_question
from app.analytics.usage import COST, TENANT_METRICS
from app.cube.dimensions import CALLER_KEY, MODEL, PROJECT, USER, Bucket
from app.cube.metrics import REQUESTS
from app.domain.principal import Scope
from app.domain.time_range import DateWindow

RANGE = DateWindow(date(2026, 5, 1), date(2026, 5, 7)).range
ALL = Scope(tenant_key=None, identities=True)
OF_TENANT = Scope(tenant_key=7, identities=True)


@pytest.mark.parametrize(
    ("question", "scope", "access"),
    [
        (Question("days", TENANT_METRICS, RANGE, bucket=Bucket.DAY), OF_TENANT, Access.KEYS),
        (Question("groups", TENANT_METRICS, RANGE, (MODEL, CALLER_KEY)), OF_TENANT, Access.ANY),
        (Question("groups", TENANT_METRICS, RANGE, (MODEL, CALLER_KEY)), ALL, Access.RANGE),
        (Question("project", TENANT_METRICS[:1], RANGE, filters=((PROJECT, "p"),)), ALL, Access.KEYS),
        (Question("total", TENANT_METRICS[:1], RANGE), ALL, Access.ANY),
    ],
)
def test_access(question: Question, scope: Scope, access: Access) -> None:
    shape = plan_question(question, scope).shape
    assert (shape.strategy, shape.access) == (Strategy.SUM, access)


@pytest.mark.parametrize(("limit", "scope"), [(10, ALL), (None, ALL), (10, OF_TENANT)])
def test_the_first_users_of_all_tenants_are_proven(limit: int | None, scope: Scope) -> None:
    ranked = (COST, REQUESTS)
    shape = plan_question(Question("users", ranked, RANGE, (USER,), greatest=ranked, limit=limit), scope).shape
    is_proven = limit is not None and scope is ALL
    assert shape.strategy is (Strategy.THRESHOLD if is_proven else Strategy.SUM)
    assert (shape.access is Access.KEYS) is is_proven
