"""The engine: what it keeps and for how long, what it refuses, and that it says what the library would."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from app.execution import engine as engine_module
from app.execution.engine import Answer, Demand, Engine
from tests.execution.differential import LOOSE
from tests.execution.synthetic import DIALECT, World, build_synthetic

SCHEMA = build_synthetic()


def _show(error: GraphQLError, context: Any) -> GraphQLError:
    shown = GraphQLError(error.message, error.nodes, error.source, error.positions, error.path, error.original_error)
    shown.extensions = {**(error.extensions or {}), "shown": True}
    return shown


def new_engine(*, compiled: bool = True, max_tokens: int = 1_000, schema: strawberry.Schema = SCHEMA) -> Engine:
    return Engine(schema, replace(LOOSE, tokens=max_tokens), DIALECT, _show, compiled=compiled)


async def ask(engine: Engine, query: str, context: World | None = None, **given: Any) -> Answer:
    return await engine.run(Demand(query, **given), context or World(1, 0))


def kept(engine: Engine) -> list[str]:
    return list(engine._documents)


async def test_a_document_is_prepared_once() -> None:
    engine = new_engine()
    assert engine.prepare("{ words }") is engine.prepare("{ words }")
    assert engine.prepare("{ words}") is not engine.prepare("{ words }")


async def test_the_least_recently_used_document_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_DOCUMENTS", 3)
    engine = new_engine()
    texts = [f"{{ a{number}: words }}" for number in range(3)]
    for text in texts:
        engine.prepare(text)
    engine.prepare(texts[0])
    engine.prepare("{ words }")
    assert kept(engine) == [texts[2], texts[0], "{ words }"]


async def test_documents_together_are_no_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_CACHED_TOGETHER", 1_000)
    engine = new_engine()
    for number in range(100):
        engine.prepare(f"{{ a{number}: words }}" + " " * number)
        assert sum(map(len, kept(engine))) <= 1_000
        assert engine._characters == sum(map(len, kept(engine)))
    assert 5 < len(kept(engine)) < 30


async def test_long_documents_run_and_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_CACHED_LENGTH", 100)
    engine, stock = new_engine(), new_engine(compiled=False)
    text = "{ things(size: 40) { title parts { code amount price } } }" + " " * 100
    for _ in range(3):
        answer = await ask(engine, text)
        assert answer.as_json() == (await ask(stock, text)).as_json()
        assert answer.data
    assert kept(engine) == []
    assert engine._selections is not None
    assert len(engine._selections) == 0


async def test_documents_that_cannot_run_are_not_kept() -> None:
    engine = new_engine()
    for text in ("{", "{ nothing }", "{ " + "words " * 2_000 + "}"):
        assert (await ask(engine, text)).errors
    assert kept(engine) == []


async def test_what_was_compiled_goes_with_its_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_DOCUMENTS", 2)
    engine = new_engine()
    assert engine._selections is not None
    sizes = []
    for number in range(20):
        text = f"{{ a{number}: many {{ code }} things(size: 40) {{ parts {{ code }} maybePart {{ code }} }} }}"
        for _ in range(3):
            await ask(engine, text)
        sizes.append(len(engine._selections))
    assert 0 < max(sizes) <= 3 * sizes[0]


async def test_documents_that_are_gone_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_DOCUMENTS", 2)
    engine = new_engine()

    async def nodes_after(rounds: int) -> int:
        for number in range(rounds):
            text = f"query A{rounds}x{number}($b: Boolean!) {{ cells(size: 40) {{ code @skip(if: $b) price }} many {{ code }} }}"
            for b in (True, False, True, False):
                await ask(engine, text, variables={"b": b})
        gc.collect()
        return sum(type(one).__name__.endswith("Node") for one in gc.get_objects())

    assert await nodes_after(5) >= await nodes_after(50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Syntax Error: Unexpected <EOF>."),
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("{ words \x00 }", "Syntax Error"),
        ("{ nothing }", "Cannot query field 'nothing' on type 'Query'."),
        ("{ things }", "must have a selection of subfields"),
        ("query ($a: Int) { words }", "is never used"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "Cannot spread fragment"),
        ("{ words " + "a: words " * 500 + "}", "tokens"),
        ("{ a" * 1_300, "nested"),
        ("{ things { " + "child { " * 1_300 + "title" + " }" * 1_302, "nested"),
        ("{ things(size: " + "[" * 600 + "]" * 600 + ") { title } }", "nested"),
    ],
)
async def test_what_cannot_run_is_refused(text: str, message: str) -> None:
    for compiled in (True, False):
        answer = await ask(new_engine(compiled=compiled), text)
        assert answer.data is None
        assert not answer.has_run
        assert message in answer.errors[0].message
        assert all((error.extensions or {})["shown"] for error in answer.errors)


async def test_documents_that_are_too_deep_for_the_stack_are_refused() -> None:
    engine = new_engine(max_tokens=100_000)
    for text in ("{ things" + " { child" * 1_300 + " }" * 1_301, "{ things { child " + "{ ... " * 1_300 + "}" * 1_302):
        answer = await ask(engine, text)
        assert answer.data is None
        assert not answer.has_run
        assert "deep" in answer.errors[0].message or "nested" in answer.errors[0].message


async def test_validation_that_goes_too_deep_is_refused() -> None:
    engine = new_engine(max_tokens=100_000)
    text = "{ things { " + "child { " * 190 + "title" + " }" * 192
    for _ in range(3):
        answer = await ask(engine, text)
        assert answer.errors or answer.data


TWO = "query One { words } query Two($size: Int!) { things(size: $size) { title } } mutation Three { add { code } }"


@pytest.mark.parametrize(
    ("name", "variables", "message"),
    [
        (None, None, "Must provide operation name"),
        ("Four", None, "Unknown operation named 'Four'."),
        ("", None, "Unknown operation named ''."),
        ("Two", None, "Expected a value of non-null type 'Int!' to be provided."),
        ("Two", {"size": None}, "Expected value of non-null type 'Int!' not to be None."),
        ("Two", {"size": "x"}, "Int cannot represent"),
        ("Two", {"size": 2**31}, "Int cannot represent"),
        ("Two", {"size": True}, "Int cannot represent"),
    ],
)
async def test_requests_that_name_or_give_the_wrong_things(name: str | None, variables: Any, message: str) -> None:
    answers = [await ask(new_engine(compiled=compiled), TWO, operation_name=name, variables=variables) for compiled in (True, False)]
    assert answers[0].as_json() == answers[1].as_json()
    assert answers[0].data is None
    assert not answers[0].has_run
    assert message in answers[0].errors[0].message


async def test_variables_that_nobody_asked_for_are_no_error_and_are_not_changed() -> None:
    variables = {"size": 1, "other": [1]}
    answer = await ask(new_engine(), TWO, operation_name="Two", variables=variables)
    assert answer.errors == []
    assert variables == {"size": 1, "other": [1]}


@pytest.mark.parametrize(("text", "name"), [("mutation { add { code } }", None), (TWO, "Three"), ("mutation A { add { code } }", "A")])
async def test_a_mutation_does_not_run_where_only_queries_may(text: str, name: str | None) -> None:
    engine = new_engine()
    context = World(1, 0)
    answer = await ask(engine, text, context, operation_name=name, only_queries=True)
    assert answer.is_forbidden
    assert not answer.has_run
    assert answer.data is None
    assert context.log == []
    allowed = await ask(engine, text, context, operation_name=name)
    assert not allowed.is_forbidden
    assert context.log == ["add"]


@pytest.mark.parametrize(
    ("text", "name"), [("mutation A { add { code } }", ""), ("mutation A { add { code } }", "B"), (TWO, None), (TWO, "")]
)
async def test_no_name_makes_a_mutation_run_where_only_queries_may(text: str, name: str | None) -> None:
    context = World(1, 0)
    answer = await ask(new_engine(), text, context, operation_name=name, only_queries=True)
    assert context.log == []
    assert answer.data is None


async def test_queries_run_where_only_queries_may() -> None:
    answer = await ask(new_engine(), TWO, operation_name="One", only_queries=True)
    assert answer.data is not None
    assert not answer.is_forbidden


async def test_errors_of_fields_have_run() -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        def sure(self) -> int:
            raise LookupError("an inner matter")

    answer = await ask(new_engine(schema=strawberry.Schema(query=Query)), "{ sure }")
    assert answer.data is None
    assert answer.has_run
    assert answer.errors[0].path == ["sure"]
    assert isinstance(answer.errors[0].original_error, LookupError)
    assert answer.as_json()["errors"][0]["extensions"] == {"shown": True}


@strawberry.type
class Sharing:
    """A field that fails cancels its siblings, and with them what they share with fields elsewhere."""

    @strawberry.field
    async def shared(self, info: strawberry.Info[asyncio.Future[int], None]) -> int:
        return await info.context

    @strawberry.field
    async def failing(self) -> int:
        await asyncio.sleep(0.01)
        raise LookupError("fails a little later")


@strawberry.type
class SharingQuery:
    one: Sharing = strawberry.field(resolver=Sharing)
    other: Sharing | None = strawberry.field(resolver=Sharing)


async def test_a_field_that_is_cancelled_with_another_is_an_error() -> None:
    engine = new_engine(schema=strawberry.Schema(query=SharingQuery))
    demand = Demand("{ one { shared } other { shared failing } }")
    answer = await engine.run(demand, asyncio.get_running_loop().create_future())
    assert answer.data is None
    assert [error.message for error in answer.errors] == ["a field was cancelled"]


async def test_a_request_that_is_cancelled_ends() -> None:
    engine = new_engine(schema=strawberry.Schema(query=SharingQuery))
    task = asyncio.create_task(engine.run(Demand("{ one { shared } }"), asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_request_leaves_nothing_for_the_next() -> None:
    """Errors, data and contexts are of one request, however often its document runs."""
    engine = new_engine()
    text = "{ things(size: 40) { title count deniedLater } }"
    answers = [await ask(engine, text, World(seed, 0)) for seed in (1, 2, 1)]
    assert answers[0].as_json() == answers[2].as_json() != answers[1].as_json()
    assert answers[0].data is not answers[2].data
    assert answers[0].errors[0] is not answers[2].errors[0]


@strawberry.type
class Begun:
    @strawberry.field
    async def first(self) -> int:
        return 1

    @strawberry.field
    async def second(self) -> int:
        return 2


@strawberry.type
class RacingQuery:
    @strawberry.field
    async def fails(self) -> int:
        raise ValueError

    @strawberry.field
    async def begins(self) -> Begun:
        await asyncio.sleep(0)
        return Begun()


async def run_and_collect(engine: Engine, text: str) -> None:
    assert (await ask(engine, text)).data is None
    for _ in range(10):  # what was cancelled ends
        await asyncio.sleep(0)
    gc.collect()


async def test_the_library_itself_leaves_unawaited_what_a_failure_cancels() -> None:
    """Where this ends, so can the filter of that warning in pyproject.toml."""
    with pytest.warns(RuntimeWarning, match="_async_resolver' was never awaited"):
        await run_and_collect(new_engine(compiled=False, schema=strawberry.Schema(RacingQuery)), "{ fails begins { first second } }")
