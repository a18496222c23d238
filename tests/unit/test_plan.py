"""Plans: the smallest rollup that can answer, and the scope that no question gets around."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from inline_snapshot import snapshot

from app.analytics.parts import split_range
from app.analytics.plan import PlanError, Question, plan_question, whole_months
from app.analytics.select import select_shape
from app.cube.dimensions import CALLER_KEY, DIMENSIONS, MODEL, PROJECT, PROVIDER, TENANT, USER, Bucket, Dimension
from app.cube.metrics import COST_USD, MEASURES, METRICS, REQUESTS, TOKENS, Metric, as_metric
from app.cube.rollups import (
    BY_DAY_ALL,
    BY_DAY_MODEL,
    BY_HOUR_MODEL,
    CONDENSED,
    MODELS,
    PROJECTS,
    ROLLUPS,
    SPENDERS,
    TENANTS,
)
from app.cube.rollups import (
    DAYS as CLOSED_DAYS,
)
from app.domain.fields import Unit
from app.domain.principal import PUBLIC_SCOPE, Scope
from app.domain.time_range import TimeRange

DAYS = TimeRange.of_dates(date(2026, 6, 1), date(2026, 6, 30))
EVERYTHING = Scope(tenant_key=None, identities=True)


def ask(*metrics: Metric, by: tuple[Dimension, ...] = (), bucket: Bucket | None = None, window: TimeRange = DAYS) -> Question:
    return Question("test", metrics or (TOKENS,), window, by, bucket)


def test_the_smallest_rollup_answers() -> None:
    assert plan_question(ask(by=(MODEL, PROVIDER)), PUBLIC_SCOPE).shape.rollup is BY_DAY_MODEL
    assert plan_question(ask(bucket=Bucket.HOUR), PUBLIC_SCOPE).shape.rollup is BY_HOUR_MODEL
    assert plan_question(ask(by=(USER,)), EVERYTHING).shape.rollup is BY_DAY_ALL
    assert plan_question(ask(), Scope(tenant_key=7, identities=True)).shape.rollup is BY_DAY_ALL
    ragged = TimeRange(datetime(2026, 6, 1, 5, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC))
    assert plan_question(ask(window=ragged), PUBLIC_SCOPE).shape.rollup is BY_HOUR_MODEL


@pytest.mark.parametrize("dimension", [TENANT, PROJECT, USER, CALLER_KEY])
def test_a_public_answer_tells_nothing_of_who_asked(dimension: Dimension) -> None:
    with pytest.raises(PlanError, match="public answer"):
        plan_question(ask(by=(dimension,)), PUBLIC_SCOPE)
    with pytest.raises(PlanError, match="public answer"):
        plan_question(Question("test", (TOKENS,), DAYS, filters=((dimension, "x"),)), PUBLIC_SCOPE)


def test_a_public_answer_by_model_is_of_public_models() -> None:
    assert plan_question(ask(by=(MODEL,)), PUBLIC_SCOPE).shape.only_public
    assert plan_question(ask(by=(PROVIDER,)), PUBLIC_SCOPE).shape.only_public
    assert not plan_question(ask(), PUBLIC_SCOPE).shape.only_public
    assert not plan_question(ask(by=(MODEL,)), EVERYTHING).shape.only_public


def test_a_tenants_scope_is_in_every_plan() -> None:
    plan = plan_question(ask(by=(MODEL,)), Scope(tenant_key=7, identities=True))
    assert plan.shape.in_tenant
    assert plan.parameters()["tenant"] == 7
    assert "tenant_id = " in select_shape(plan.shape).sql


def test_what_no_rollup_has_is_said() -> None:
    with pytest.raises(PlanError, match="no rollup"):
        plan_question(ask(by=(USER,), bucket=Bucket.HOUR), EVERYTHING)


def test_what_is_closed_is_answered_from_fewer_rows() -> None:
    spans = TimeRange.of_dates(date(2026, 5, 20), date(2026, 7, 2))
    days = plan_question(ask(bucket=Bucket.WEEK, window=spans), EVERYTHING).shape
    assert (days.rollup, days.condensed, days.with_months) == (BY_DAY_MODEL, CLOSED_DAYS, False)
    models = plan_question(ask(by=(MODEL, PROVIDER), window=spans), EVERYTHING)
    assert (models.shape.condensed, models.shape.with_months) == (MODELS, True)
    assert models.parameters() == {
        "start": date(2026, 5, 20),
        "end": date(2026, 7, 3),
        "first_month": date(2026, 6, 1),
        "last_month": date(2026, 7, 1),
    }
    assert plan_question(ask(by=(MODEL,), bucket=Bucket.DAY, window=spans), EVERYTHING).shape.condensed is None
    assert plan_question(ask(bucket=Bucket.HOUR, window=spans), EVERYTHING).shape.condensed is None
    projects = plan_question(ask(REQUESTS, by=(PROJECT,), window=TimeRange.of_dates(date(2020, 1, 1), date(2026, 7, 2))), EVERYTHING)
    assert (projects.shape.condensed, projects.shape.with_months, projects.shape.with_ever) == (PROJECTS, True, True)
    tenant = plan_question(ask(bucket=Bucket.DAY), Scope(tenant_key=7, identities=True)).shape
    assert (tenant.rollup, tenant.condensed, tenant.in_tenant) == (BY_DAY_ALL, TENANTS, True)


def test_what_leaves_out_records_answers_only_for_those_that_it_has() -> None:
    """The days of users hold no record without a user, so no total may come from them."""
    assert plan_question(ask(as_metric(COST_USD), REQUESTS, by=(USER,)), EVERYTHING).shape.condensed is SPENDERS
    filtered = Question("test", (as_metric(COST_USD),), DAYS, filters=((USER, "u"),))
    assert plan_question(filtered, EVERYTHING).shape.condensed is not SPENDERS


@pytest.mark.parametrize("scope", [PUBLIC_SCOPE, Scope(tenant_key=7, identities=True)])
def test_the_scope_is_in_every_part_of_a_plan(scope: Scope) -> None:
    question = ask(REQUESTS, by=(MODEL,), window=TimeRange.of_dates(date(2020, 1, 1), date(2026, 7, 2)))
    if scope.tenant_key is not None:
        question = replace(question, dimensions=(PROJECT,))
    shape = plan_question(question, scope).shape
    assert shape.condensed is not None
    sql = select_shape(shape).sql
    parts = split_range(shape)
    assert len(parts) >= 4
    assert sql.count(".tenant_id = %(tenant)s" if shape.in_tenant else "WHERE models.is_public") == len(parts)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (date(2026, 6, 1), date(2026, 6, 30), date(2026, 6, 1), date(2026, 7, 1)),
        (date(2026, 6, 2), date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 1)),
        (date(2025, 12, 31), date(2026, 2, 27), date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 6, 2), date(2026, 6, 3), date(2026, 6, 1), date(2026, 6, 1)),
        (date(2026, 6, 1), date(2026, 5, 1), date(2026, 5, 1), date(2026, 5, 1)),
        (date(9999, 12, 2), date(9999, 12, 30), date(9999, 12, 1), date(9999, 12, 1)),
    ],
)
def test_whole_months(start: date, end: date, first: date, last: date) -> None:
    assert whole_months(TimeRange.of_dates(start, end)) == (first, last)


def test_the_sql_of_a_plan() -> None:
    week = TimeRange.of_dates(date(2026, 6, 1), date(2026, 6, 7))
    plan = plan_question(Question("top", (TOKENS, REQUESTS), week, (MODEL,), greatest=(TOKENS,), limit=15, nonzero=True), PUBLIC_SCOPE)
    compiled = select_shape(plan.shape)
    assert compiled.sql == snapshot("""\
/* app:top */ SELECT model.public_id, coalesce(sum(sums.prompt_tokens) + sum(sums.completion_tokens), %(coalesce_1)s::INTEGER) AS tokens, coalesce(sum(sums.request_count), %(coalesce_2)s::INTEGER) AS request_count \n\
FROM (SELECT usage_by_day_model.model_id AS model_id, sum(usage_by_day_model.prompt_tokens) AS prompt_tokens, sum(usage_by_day_model.completion_tokens) AS completion_tokens, sum(usage_by_day_model.request_count) AS request_count \n\
FROM usage_by_day_model \n\
WHERE usage_by_day_model.day >= %(start)s::DATE AND usage_by_day_model.day < %(end)s::DATE AND usage_by_day_model.model_id IN (SELECT models.id \n\
FROM models \n\
WHERE models.is_public) GROUP BY usage_by_day_model.model_id) AS sums JOIN models AS model ON model.id = sums.model_id GROUP BY model.public_id \n\
HAVING coalesce(sum(sums.prompt_tokens) + sum(sums.completion_tokens), %(coalesce_1)s::INTEGER) > %(coalesce_3)s::INTEGER ORDER BY coalesce(sum(sums.prompt_tokens) + sum(sums.completion_tokens), %(coalesce_4)s::INTEGER) DESC, model.public_id \n\
 LIMIT %(param_1)s::INTEGER\
""")
    assert dict(compiled.constants) == snapshot({"coalesce_1": 0, "coalesce_2": 0, "coalesce_3": 0, "coalesce_4": 0, "param_1": 15})
    assert plan.parameters() == {"start": date(2026, 6, 1), "end": date(2026, 6, 8)}


def test_the_cube_is_declared_once_and_well() -> None:
    for items in (MEASURES, METRICS, DIMENSIONS, ROLLUPS):
        names = [item.name for item in items]
        assert len(names) == len(set(names))
    condensed = [rollup for kept in CONDENSED for rollup in kept.rollups]
    assert len({rollup.name for rollup in (*ROLLUPS, *condensed)}) == len(ROLLUPS) + len(condensed)
    for kept in CONDENSED:
        assert kept.source in ROLLUPS
        for rollup in kept.rollups:
            assert rollup.is_condensed
            assert set(rollup.measures) <= set(kept.source.measures)
            assert REQUESTS.plus[0] in rollup.measures, "by which it is known whether there is anything"
    for rollup in ROLLUPS:
        assert set(rollup.key) == {rollup.grain.value, *(dimension.key for dimension in rollup.dimensions)}
    sizes = [len(rollup.dimensions) for rollup in ROLLUPS]
    assert all(larger >= smaller for larger, smaller in pairwise(sizes)), "the planner takes the last that fits"
    assert COST_USD.unit is Unit.USD
    assert {measure.name for measure in MEASURES if measure.column_type == "bigint"} == {
        measure.name for measure in MEASURES if measure.name.endswith("_count")
    }
    assert all(metric.description.endswith(".") for metric in METRICS)
