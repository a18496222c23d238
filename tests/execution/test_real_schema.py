"""Compiled code against the stock executor on the product's own schema, over data of two tenants, as every kind of caller.

DIFFERENTIAL_EXAMPLES=10000 runs it at length, with `--timeout=0 -s`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from graphql import GraphQLArgument, GraphQLEnumType, get_named_type
from hypothesis import given, settings
from hypothesis import strategies as st

from app.auth.quota import CallerLimits, RankingsQuota
from app.domain.principal import Principal
from app.request.context import RequestContext, Services
from app.resolvers import loaders
from app.resolvers.engine import DIALECT, build_engine
from app.resolvers.schema import build_schema
from tests.clock import NOW
from tests.execution.differential import Pair, count_completions, examples
from tests.execution.documents import Document, Plan, documents
from tests.factories import make_record
from tests.gateway import Gateway
from tests.integration.test_scope_walk import FOREIGN, OWN, ROOTS, fill

SCHEMA = build_schema()

CALLERS = ["anonymous", "unknown", "ingest", "gateway", FOREIGN, *[OWN] * 6, *["admin"] * 15]

_BY_TYPE: dict[str, list[Any]] = {
    "Boolean": [True, False],
    "Int": [1, 2, 30, 100, 0, -1, 2**31],
    "String": ["", "no-such-thing", "2026-06-25"],
    "ID": ["no-such-thing", 7],
    "Date": ["2026-06-01", "2026-06-25", "2026-06-26T01:02:03Z", "2025-01-01", "2024-12-31", "2026-13-40", 5],
    "DateTime": ["2026-06-26T12:00:00Z", "2026-06-26", "never"],
    "Decimal": ["0.5", 1, "x"],
    "TimeRange": [
        {"dates": {"from": "2026-06-01", "to": "2026-06-26"}},
        {"last": {"count": 30, "unit": "DAY"}},
        {"dates": {"from": "2026-06-26", "to": "2026-06-01"}},
    ],
    "Comparison": [{"previous": "WEEK"}, {"range": {"last": {"count": 1, "unit": "DAY"}}}, {}],
    "UsageFilter": [{}, {"outcome": {"eq": "SUCCESS"}}, {"user": {"startsWith": "user"}, "not": {"model": {"eq": "shared/model"}}}],
    "Top": [{"count": 2, "orderBy": "REQUESTS"}, {"count": 0}],
    "MetricCondition": [{"metric": "REQUESTS", "gt": 1}, {"metric": "COST", "lt": "x"}],
    "UsageOrder": [{"metric": "REQUESTS"}, {"bucket": True}, {}],
}
"""Values of arguments by the name of their type."""

_RECORD = {"requestId": f"{OWN}-request-1", "occurredAt": "2026-06-25T10:30:00Z", "tenantId": f"{OWN}-tenant"}
UNCHANGING: dict[str, list[Any]] = {
    "input": [{"role": "TENANT"}, {"role": "GATEWAY", "tenantId": f"{OWN}-tenant"}, {"role": "ADMIN", "expiresAt": "never"}],
    "entries": [[], [{"modelId": "shared/model"}], [{"modelId": "no/slash/", "costPerInputToken": "-1"}]],
    "validFrom": ["never", "2019-01-01T00:00:00Z"],
    "pattern": ["", "nothing/*", "shared/model"],
    "recordIds": [[], ["no-such-id"], [f"{0:032x}"]],
    "changes": [None, {"tenantId": "x"}],
    "records": [[], [_RECORD], [{"requestId": "", "occurredAt": "never"}], [_RECORD, {**_RECORD, "promptTokens": -1}]],
    "keyId": ["no-such-id", ""],
    "userId": ["no-such-id", ""],
}
"""What mutations may be asked for as often as one likes: what is refused, and what is so already."""


def _values(field: str, argument: str, declared: GraphQLArgument) -> tuple[Sequence[Any], Sequence[Any]]:
    kind = get_named_type(declared.type)
    if isinstance(kind, GraphQLEnumType):
        return list(kind.values), ["NO_SUCH_VALUE"]
    walked = [given[argument] for given in ROOTS.get(field, []) if given.get(argument) is not None]
    walked = walked or [given[argument] for variations in ROOTS.values() for given in variations if given.get(argument) is not None]
    walked = [value for value in walked if value != "no-such-thing"]
    if argument == "after":
        return [None, None, *walked], ["", "no cursor", *_BY_TYPE["String"]]
    if kind.name == "Boolean":
        return [True, False], [None]
    # What is there already and what is asked most: another tenant's names, cursors and dates are among it.
    return walked or _BY_TYPE[kind.name], [*_BY_TYPE[kind.name], None]


def _unchanging(field: str, argument: str, declared: GraphQLArgument) -> tuple[Sequence[Any], Sequence[Any]]:
    schema = SCHEMA._schema
    assert schema.mutation_type is not None
    return (UNCHANGING[argument], []) if field in schema.mutation_type.fields else _values(field, argument, declared)


class Unlimited(RankingsQuota):
    """No limit on the rankings: a difference is not to be that one of two runs was counted first."""

    async def consume(self, principal: Principal, now: Any) -> None:
        """Let everybody read."""


@dataclass
class Callers:
    """Contexts as each kind of caller has them."""

    services: Services
    keys: dict[str, str | None]

    def context(self, caller: str) -> RequestContext:
        """Return the context of a request."""
        return RequestContext(self.services, authorization=self.keys[caller], api_key=None, request_id="the-request", address="192.0.2.1")


@pytest.fixture
async def callers(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Callers:
    """A filled database, and a key of every kind."""
    # Which of many lists are one too many is for the database's speed to decide, and it is asked faster by compiled code.
    monkeypatch.setattr(loaders, "MAX_OBJECTS", 10**9)
    await fill(gateway)
    await gateway.store(
        make_record(
            request_id=f"many-{number}",
            tenant_id=f"{OWN}-tenant",
            occurred_at=NOW - timedelta(days=number % 25, hours=1),
            model_id=f"lab/model-{number:02}" if number % 7 else "shared/model",
            project_id=f"project-{number % 40}",
            user_id=f"user-{number % 9}",
            status_code=200 if number % 3 else 500,
            cost_usd=Decimal(number) / 7 if number % 5 else None,
            latency_ms=Decimal(number) if number % 4 else None,
            prompt_tokens=2**40 + number,
        )
        for number in range(80)
    )
    await gateway.catalog(*({"model_id": f"lab/model-{number:02}", "public": True} for number in range(0, 80, 2)))
    await gateway.snapshot()
    services: Services = gateway.app.state.services
    limits = CallerLimits(services.limits.counts, None, None, None)
    services = dataclasses.replace(services, limits=limits, rankings_quota=Unlimited(services.limits.counts))
    keys: dict[str, str | None] = {"anonymous": None, "unknown": "Bearer tg_wrong"}
    for name, role, tenant in (
        (OWN, "tenant", f"{OWN}-tenant"),
        (FOREIGN, "tenant", f"{FOREIGN}-tenant"),
        ("ingest", "ingest", f"{OWN}-tenant"),
        ("gateway", "gateway", None),
        ("admin", "admin", None),
    ):
        keys[name] = (await gateway.key(role, tenant))["Authorization"]
    return Callers(services, keys)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """The two engines."""
    made = Pair(build_engine(SCHEMA), build_engine(SCHEMA, compiled=False))
    count_completions(made.compiled, made.tally)
    yield made
    print(made.tally)  # noqa: T201 - what a run at length has shown
    assert made.tally.unmatched <= 2 + made.tally.runs / 100
    assert made.tally.valid >= 0.5 * made.tally.documents > 0


@pytest.fixture
async def busy_pair(pair: Pair) -> AsyncIterator[Pair]:
    """The two engines; at the end, compiled code must have run for a good part of the documents."""
    yield pair
    assert pair.tally.compiled >= 0.06 * pair.tally.documents


def test_the_dialect_is_that_of_the_scalars() -> None:
    assert set(DIALECT.unchanged) | set(DIALECT.remembered) <= set(SCHEMA._schema.type_map)


@settings(max_examples=examples(80))
@given(document=documents(Plan(SCHEMA._schema, _values, fields=60, roots=(1, 1, 2))), caller=st.sampled_from(CALLERS))
async def test_generated_queries(callers: Callers, busy_pair: Pair, document: Document, caller: str) -> None:
    await busy_pair.compare(document, lambda: callers.context(caller), is_ordered=False)


@settings(max_examples=examples(20))
@given(document=documents(Plan(SCHEMA._schema, _unchanging, root="mutation", depth=4, roots=(1, 1, 2))), caller=st.sampled_from(CALLERS))
async def test_generated_mutations_that_change_nothing(callers: Callers, pair: Pair, document: Document, caller: str) -> None:
    await pair.compare(document, lambda: callers.context(caller), is_ordered=False)
