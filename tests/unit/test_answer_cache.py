"""The cache of answers without a database: what is trusted for how long, what is shared, what is kept, under which key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from graphql import OperationDefinitionNode as Operation
from graphql import parse
from hypothesis import given
from hypothesis import strategies as st

from app.auth.windows import Check, Limit, LocalWindows
from app.domain.errors import MissingCredentialsError, UnauthenticatedError, UnavailableError
from app.domain.principal import Principal, Role
from app.execution.cache import OVERHEAD, AnswerMemory, Made, Version, Versions
from app.execution.engine import Answer, Demand, DocumentEngine, Prepared
from app.request.context import RequestContext
from app.resolvers.caching import cacheable_roots
from app.resolvers.schema import build_schema
from app.web.answer_cache import AnswerCache, CachedEngine, WatchedDatabase, scope_of_caller
from app.web.metrics import Metrics

GRAPH = build_schema()._schema


class Seconds:
    """A clock of seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Data:
    """A state of data that can be read; a read takes until the test lets it go on, if it says so."""

    def __init__(self) -> None:
        self.state: Hashable | None = "a"
        self.reads = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> Hashable | None:
        self.reads += 1
        seen = self.state
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return seen


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def data() -> Data:
    return Data()


def making(value: Any, size: int | None = 10, gate: asyncio.Event | None = None) -> Callable[[], Awaitable[Made[Any]]]:
    async def make() -> Made[Any]:
        if gate is not None:
            await gate.wait()
        if isinstance(value, Exception):
            raise value
        return Made(value, size)

    return make


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_an_age_every_question_is_confirmed_by_a_read_that_began_after_it(data: Data, seconds: Seconds) -> None:
    versions = Versions(data.read, 0, seconds)
    first = await versions.confirm()
    assert await versions.confirm() is first
    assert data.reads == 2
    data.gate.clear()
    early = asyncio.create_task(versions.confirm())
    await settle()
    data.state = "b"  # committed while the read for `early` is under way
    late = [asyncio.create_task(versions.confirm()) for _ in range(20)]
    await settle()
    data.gate.set()
    assert await early is first
    found = await asyncio.gather(*late)
    assert len(set(map(id, found))) == 1
    assert found[0] is not first
    assert data.reads == 4, "one read for all who waited"


async def test_a_state_is_trusted_for_its_age_and_not_an_instant_longer(data: Data, seconds: Seconds) -> None:
    versions, memory = Versions(data.read, 1.0, seconds), AnswerMemory(10_000)
    assert await memory.obtain("q", await versions.confirm(), making("old")) == "old"
    data.state = "b"
    seconds.now += 0.49
    assert memory.find("q", versions, seconds.now) == "old"
    assert await versions.confirm() is versions.current
    assert data.reads == 1
    data.gate.clear()  # the read ahead hangs
    seconds.now += 0.5
    assert memory.find("q", versions, seconds.now) == "old"
    await settle()
    assert data.reads == 2, "begun by half of the age"
    seconds.now += 0.01
    assert memory.find("q", versions, seconds.now) is None
    question = asyncio.create_task(versions.confirm())
    await settle()
    assert not question.done()
    data.gate.set()
    assert await memory.obtain("q", await question, making("new")) == "new"
    assert memory.find("q", versions, seconds.now) == "new"


async def test_what_was_read_before_a_commit_of_our_own_is_not_trusted(data: Data, seconds: Seconds) -> None:
    versions, memory = Versions(data.read, 60.0, seconds), AnswerMemory(10_000)
    before = await versions.confirm()
    await memory.obtain("q", before, making("old"))
    versions.invalidate()
    assert memory.find("q", versions, seconds.now) is None
    data.gate.clear()
    reading = asyncio.create_task(versions.confirm())
    await settle()
    data.state = "b"
    versions.invalidate()  # during that read, which has seen the state before
    asked = asyncio.create_task(versions.confirm())
    await settle()
    data.gate.set()
    assert await reading is before
    after = await asked
    assert after is not before
    assert await memory.obtain("q", after, making("new")) == "new"


async def test_a_commit_that_changed_nothing_of_it_costs_a_read_and_no_answer(data: Data, seconds: Seconds) -> None:
    versions, memory = Versions(data.read, 60.0, seconds), AnswerMemory(10_000)
    await memory.obtain("q", await versions.confirm(), making("kept"))
    versions.invalidate()
    assert await memory.obtain("q", await versions.confirm(), making(AssertionError())) == "kept"


async def test_a_state_that_cannot_be_told_or_read_is_nobodys_and_it_recovers(data: Data, seconds: Seconds) -> None:
    versions, memory = Versions(data.read, 1.0, seconds), AnswerMemory(10_000)
    await memory.obtain("q", await versions.confirm(), making("kept"))
    seconds.now += 2
    data.error = UnavailableError()
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await versions.confirm()
    assert memory.find("q", versions, seconds.now) is None
    data.error, data.state = None, None
    assert await versions.confirm() is None
    assert await memory.obtain("q", None, making("alone")) == "alone"
    data.state = "a"
    again = await versions.confirm()
    assert await memory.obtain("q", again, making("fresh")) == "fresh", "the states before are not taken for this one"


async def test_a_caller_that_goes_away_takes_no_read_from_the_others(data: Data, seconds: Seconds) -> None:
    versions = Versions(data.read, 1.0, seconds)
    data.gate.clear()
    asking = [asyncio.create_task(versions.confirm()) for _ in range(3)]
    await settle()
    asking[0].cancel()
    data.gate.set()
    assert await asking[1] is await asking[2]
    assert data.reads == 1


async def test_equal_questions_at_once_run_once_even_if_who_asked_first_goes_away() -> None:
    memory, version, gate = AnswerMemory(10_000), Version("a", 1), asyncio.Event()
    runs = 0

    async def make() -> Made[str]:
        nonlocal runs
        runs += 1
        await gate.wait()
        return Made("answer", 10)

    asking = [asyncio.create_task(memory.obtain("q", version, make)) for _ in range(50)]
    await settle()
    asking[0].cancel()
    gate.set()
    assert await asyncio.gather(*asking[1:]) == ["answer"] * 49
    assert await memory.obtain("q", version, make) == "answer"
    assert runs == 1


async def test_an_error_is_told_to_all_who_wait_and_to_nobody_later() -> None:
    memory, version, gate = AnswerMemory(10_000), Version("a", 1), asyncio.Event()
    error = making(ValueError("broken"), gate=gate)
    asking = [asyncio.create_task(memory.obtain("q", version, error)) for _ in range(3)]
    refused = [asyncio.create_task(memory.obtain("r", version, making("refusal", None, gate))) for _ in range(3)]
    await settle()
    gate.set()
    assert [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == ["broken"] * 3
    assert await asyncio.gather(*refused) == ["refusal"] * 3
    assert await memory.obtain("q", version, making("works")) == "works"
    assert await memory.obtain("r", version, making("allowed")) == "allowed"


async def test_who_comes_after_a_commit_joins_no_older_run_and_the_older_one_replaces_nothing() -> None:
    memory, gate = AnswerMemory(10_000), asyncio.Event()
    old, new = Version("a", 1), Version("b", 2)
    early = asyncio.create_task(memory.obtain("q", old, making("old", gate=gate)))
    await settle()
    assert await memory.obtain("q", new, making("new")) == "new"
    gate.set()
    assert await early == "old"
    assert await memory.obtain("q", new, making(AssertionError())) == "new"


async def test_what_nobody_waits_for_is_given_up_at_the_end(data: Data, seconds: Seconds) -> None:
    memory, versions = AnswerMemory(10_000), Versions(data.read, 1.0, seconds)
    data.gate.clear()
    waiting = [
        asyncio.create_task(memory.obtain("q", Version("a", 1), making("never", gate=asyncio.Event()))),
        asyncio.create_task(versions.confirm()),
    ]
    await settle()
    async with asyncio.timeout(5):
        await memory.close()
        await versions.close()
        assert [type(gone) for gone in await asyncio.gather(*waiting, return_exceptions=True)] == [asyncio.CancelledError] * 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4_000)), max_size=60))
def test_memory_is_bounded_and_forgets_what_was_asked_for_least_recently(kept: list[tuple[int, int]]) -> None:
    limit = 20_000

    async def run() -> None:
        memory, model = AnswerMemory(limit), dict[int, int]()
        for number, (key, size) in enumerate(kept):
            await memory.obtain(key, Version(number, number), making(key, size))
            model.pop(key, None)
            if size + OVERHEAD <= limit // 8:
                model[key] = size + OVERHEAD
                while sum(model.values()) > limit:
                    del model[next(iter(model))]
            assert memory.used == sum(model.values()) <= limit
            assert len(memory) == len(model)

    asyncio.run(run())


async def test_nothing_is_kept_or_shared_where_there_is_no_memory() -> None:
    memory, version = AnswerMemory(0), Version("a", 1)
    assert [await memory.obtain("q", version, making(number)) for number in range(3)] == [0, 1, 2]
    assert (len(memory), memory.used) == (0, 0)


LIMITS = st.builds(Limit, st.just("address"), st.sampled_from([1, 3, 100, 101, 150, 1000]), st.sampled_from([1, 60]))


@given(LIMITS, st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3), st.integers(1, 40), st.booleans()), max_size=40))
def test_quick_counting_admits_what_the_plain_one_does(limit: Limit, steps: list[tuple[str, float, int, bool]]) -> None:
    seconds = Seconds()
    hot, plain = LocalWindows(seconds), LocalWindows(seconds)
    admit = hot.admitter(limit)
    for subject, pause, times, blocked in steps:
        seconds.now += pause
        check = Check(limit, subject)
        if blocked:
            hot.block(check, 0.5)
            plain.block(check, 0.5)
        for _ in range(times):
            assert admit(subject, seconds.now) == (not plain.take((check,)).refused)
        assert hot.standing(check) == plain.standing(check)


async def test_hits_are_counted_as_if_one_by_one() -> None:
    together, single = Metrics(), Metrics()
    for status, took in ((200, 0.0001), (304, 0.0002), (200, 0.0003), (200, 0.02)):
        together.observe_hit(status, took)
        single.observe_request("GET", "/api/v1/analytics/network", status, took)

    def counted(metrics: Metrics) -> dict[str, float]:
        lines = [line.rpartition(" ") for line in metrics.render().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines if "_created" not in name}

    expected = counted(single)
    assert counted(together) == pytest.approx(expected)
    assert expected['tokengraph_http_requests_total{method="GET",route="/api/v1/analytics/network",status="200"}'] == 3
    assert counted(together) == pytest.approx(expected), "and once"


@pytest.mark.parametrize(
    ("document", "roots"),
    [
        ("{ network { totals { totalTokens } trend { h24 { bucket } } } }", {"network"}),
        ("{ __typename network { __typename } }", {"network", "__typename"}),
        ("query A { a: gatewayStats { daily { date } } } query B { network { generatedAt } }", {"gatewayStats", "network"}),
        ("query A { ...F } fragment F on Query { usageAnalytics { byModel { modelId priced } topUsers { userId } } }", {"usageAnalytics"}),
        ("{ ... on Query { tenantAnalytics { period { startDate } summary { spend } timeSeries { date } } } }", {"tenantAnalytics"}),
        ('{ tenantUsage(date: "2026-01-01") { modelId } }', {"tenantUsage"}),
        ("{ usageAnalytics { byModel { model { name } } } }", None),
        ("{ usageAnalytics { byModel { provider { name } } } }", None),
        ("{ usageAnalytics { topUsers { user { username } } } }", None),
        ("{ network { generatedAt } viewer { keyId } }", None),
        ("{ rankingsDaily { meta { asOf } } }", None),
        ("{ tenantRequests { nodes { id } } }", None),
        ("{ apiKeys { nodes { keyId } } }", None),
        ("{ __schema { queryType { name } } }", None),
        ("query A { network { generatedAt } } query B { viewer { keyId } }", None),
        ('mutation { revokeApiKey(keyId: "x") { keyId } }', None),
    ],
)
def test_which_documents_are_cached(document: str, roots: set[str] | None) -> None:
    found = cacheable_roots(GRAPH, parse(document))
    assert (None if found is None else set(found)) == roots


class RecordingEngine:
    """An engine of documents that only says how often it was asked, and for what."""

    schema = GRAPH

    def __init__(self) -> None:
        self.asked: list[str] = []

    def prepare(self, query: str) -> Prepared:
        document = parse(query)
        return Prepared(document, (), {None: document.definitions[0].operation} if isinstance(document.definitions[0], Operation) else {})

    async def obtain(self, query: str) -> Prepared:
        return self.prepare(query)

    async def answer(self, prepared: Prepared, demand: Demand, context: Any) -> Answer:
        self.asked.append(demand.query)
        return Answer({"asked": len(self.asked)})


async def test_a_cached_engine_asks_the_one_that_it_wraps_once_for_what_may_be_cached(data: Data, seconds: Seconds) -> None:
    wrapped = RecordingEngine()
    answers = AnswerCache(WatchedDatabase("postgresql://nowhere"), memory=100_000, age=1.0, clock=seconds)
    answers.data = Versions(data.read, 1.0, seconds)
    engine: DocumentEngine = CachedEngine(wrapped, answers)

    async def who() -> Principal:
        return Principal(key_id="k", role=Role.ADMIN)

    context = cast(RequestContext, SimpleNamespace(principal=who, now=datetime(2026, 1, 1, tzinfo=UTC)))

    async def asked(query: str, **variables: Any) -> int:
        answer = await engine.answer(await engine.obtain(query), Demand(query, variables), context)
        assert answer.data is not None
        return int(answer.data["asked"])

    cacheable, never = "{ gatewayStats { daily { date } } }", "{ viewer { keyId } }"
    assert [await asked(cacheable), await asked(cacheable), await asked(cacheable, days=1), await asked(cacheable)] == [1, 1, 2, 1]
    assert [await asked(never), await asked(never)] == [3, 4]
    data.state = "b"
    seconds.now += 2
    assert [await asked(cacheable), await asked(cacheable)] == [5, 5]
    data.error = UnavailableError()
    seconds.now += 2
    assert await asked(cacheable) == 6, "the state of the data is not known: the wrapped engine says what is wrong"
    assert wrapped.asked.count(never) == 2


PRINCIPALS = st.builds(
    Principal,
    key_id=st.text(min_size=1, max_size=8),
    role=st.sampled_from(Role),
    tenant_id=st.none() | st.sampled_from(["a", "b", "admin", "('a', 1)"]),
    tenant_key=st.none() | st.integers(1, 3),
)


@given(PRINCIPALS, PRINCIPALS)
def test_callers_share_answers_only_if_role_and_tenant_are_the_same(one: Principal, other: Principal) -> None:
    async def scope(principal: Principal) -> Any:
        async def who() -> Principal:
            return principal

        return await scope_of_caller(cast(RequestContext, SimpleNamespace(principal=who)))

    async def both() -> tuple[Any, Any]:
        return await scope(one), await scope(other)

    first, second = asyncio.run(both())
    same = (one.role, one.tenant_id, one.tenant_key) == (other.role, other.tenant_id, other.tenant_key)
    assert (first == second) == same
    assert len(first) == 3, "what is in the key: role, tenant and its surrogate, no key of the caller's"


@pytest.mark.parametrize(
    ("error", "scope"), [(MissingCredentialsError(), ()), (UnauthenticatedError(), ()), (UnavailableError(), None), (OSError(), None)]
)
async def test_a_caller_who_is_not_known_is_nobody(error: Exception, scope: Any) -> None:
    async def who() -> Principal:
        raise error

    assert await scope_of_caller(cast(RequestContext, SimpleNamespace(principal=who))) == scope
