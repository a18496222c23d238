"""Runs the same request by compiled code and by the stock executor, and compares the answers to the last bit.

Also counts for how many documents compiled code completed something: where it never runs, equal answers prove nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import strawberry
from graphql import DocumentNode, GraphQLError

from app.domain.errors import UnavailableError
from app.execution.compiled import Completer, Dialect
from app.execution.engine import Answer, Demand, Engine, Show
from app.execution.executor import MAX_SELECTIONS, CompiledSelections
from app.execution.limits import Limits
from tests.execution.documents import Document

_RETRIES = 10
_ROUNDS = 3


def examples(of_every_day: int) -> int:
    """Return how many examples to try: DIFFERENTIAL_EXAMPLES, for a run at length, or as many as every run can afford."""
    return int(os.environ.get("DIFFERENTIAL_EXAMPLES", of_every_day))


def typed(value: Any) -> Any:
    """Return an answer's value so that equality sees types, the order of keys, NaN and the sign of zero."""
    if isinstance(value, dict):
        return (type(value).__name__, [(name, typed(one)) for name, one in value.items()])
    if isinstance(value, list):
        return (type(value).__name__, [typed(one) for one in value])
    return (type(value).__name__, repr(value))


def _error(error: GraphQLError) -> Any:
    cause = error.original_error
    return (error.message, error.path, error.locations, typed(error.extensions), type(cause).__name__, str(cause))


def outcome(answer: Answer) -> dict[str, Any]:
    """Return all that a caller could tell one answer from another by."""
    return {
        "data": typed(answer.data),
        "errors": [_error(error) for error in answer.errors],
        "has_run": answer.has_run,
        "is_forbidden": answer.is_forbidden,
    }


def unordered(found: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome without the order of its errors, which the speed of a database may decide."""
    return {**found, "errors": sorted(found["errors"], key=repr)}


@dataclass(slots=True)
class Tally:
    """`documents` that were compared; `valid`: that could run; `compiled`: for which compiled code completed something that was answered;
    `completions`: lists and objects that it completed; `unsteady`: answers that the stock executor gives sometimes, to a question to which it
    has several; `unmatched`: answers to such a question that it did not happen to give again."""

    documents: int = 0
    runs: int = 0
    valid: int = 0
    compiled: int = 0
    completions: int = 0
    fallbacks: int = 0
    unsteady: int = 0
    unmatched: int = 0


LOOSE = Limits(
    characters=10**6,
    tokens=100_000,
    depth=10**6,
    nesting=190,
    root_fields=10**6,
    aliases=10**6,
    alias_characters=10**6,
    selections=10**6,
    comparisons=500_000,
    errors=100,
)
"""What generated documents are never beyond."""


@dataclass(slots=True)
class Pair:
    """The two engines of one schema."""

    compiled: Engine
    stock: Engine
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, schema: strawberry.Schema, limits: Limits, dialect: Dialect, show: Show) -> Pair:
        """Return a pair with nothing in its caches."""
        pair = cls(Engine(schema, limits, dialect, show), Engine(schema, limits, dialect, show, compiled=False))
        count_completions(pair.compiled, pair.tally)
        return pair

    async def compare(self, document: Document, make_context: Callable[[], Any], *, is_ordered: bool = True) -> None:
        """Run every operation with every assignment, in turn and three times: first seen, compiled, and found again among others."""
        completions = self.tally.completions
        valid = False
        for operation in document.operations:
            demands = [Demand(document.text, variables, operation) for variables in document.variables]
            expected = [await _run(self.stock, demand, make_context()) for demand in demands]
            valid = valid or any(one["has_run"] for one, _ in expected)
            for position in [*range(len(demands))] * _ROUNDS:
                found = await _run(self.compiled, demands[position], make_context())
                self.tally.runs += 1
                if found != expected[position]:
                    assert not is_ordered, explain(demands[position], expected[position], found)
                    await self._stock_may_say(demands[position], make_context, (expected[position], found))
        self.tally.documents += 1
        self.tally.valid += valid
        self.tally.compiled += self.tally.completions > completions

    async def _stock_may_say(self, demand: Demand, make_context: Callable[[], Any], outcomes: tuple[Any, Any]) -> None:
        """Fields that wait for the database may fail in any order: then the stock executor's answer is one of several."""
        expected, found = outcomes
        seen = [unordered(expected[0])]
        for _ in range(_RETRIES):
            seen.append(unordered((await _run(self.stock, demand, make_context()))[0]))
            if seen[-1] == unordered(found[0]) or _ended_early(seen[-1], found[0]):
                self.tally.unsteady += 1
                return
        # What a limit on the whole request leaves of many lists are more answers than can be tried.
        assert any(one != seen[0] for one in seen), explain(demand, expected, found)
        self.tally.unmatched += 1


def _ended_early(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two outcomes without data differ by how many fields had failed when the one that may not be null ended both."""
    if one["data"] != other["data"] or one["data"] != typed(None):
        return False
    fewer, more = sorted(({repr(error) for error in outcome["errors"]} for outcome in (one, other)), key=len)
    return bool(fewer) and fewer < more


async def _run(engine: Engine, demand: Demand, context: Any) -> tuple[dict[str, Any], Any]:
    for _ in range(_RETRIES):
        answer = await engine.run(demand, context)
        if not any(isinstance(error.original_error, UnavailableError) for error in answer.errors):
            break
        await asyncio.sleep(1)  # the machine is too busy
    return outcome(answer), list(getattr(context, "log", ()))


def explain(demand: Demand, expected: Any, found: Any) -> str:
    """Return what an engineer needs to see of a difference."""
    head = f"{demand.query}\noperation {demand.operation_name}, variables {demand.variables}"
    return f"{head}\nfirst difference: {first_difference(expected, found)}"


def first_difference(expected: Any, found: Any, place: str = "answer") -> str:
    """Return where two outcomes part, and what each has there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        expected, found = list(expected.items()), list(found.items())
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        for position, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return first_difference(one, other, f"{place}.{position}")
    return f"{place}\nstock:    {str(expected)[:2000]}\ncompiled: {str(found)[:2000]}"


def count_completions(engine: Engine, tally: Tally) -> None:
    """Let an engine count what compiled code completes, and what it hands back."""
    assert engine._selections is not None
    engine._selections = Counting(engine._selections.dialect, tally)


class Counting(CompiledSelections):
    """Compiled selections whose completers are counted when they complete something."""

    def __init__(self, dialect: Dialect, tally: Tally, limit: int = MAX_SELECTIONS) -> None:
        super().__init__(dialect, limit)
        self._tally = tally

    def put(self, key: Any, value: Any, document: DocumentNode) -> None:
        """Keep a completer that counts."""
        super().put(key, self._counted(value) if callable(value) else value, document)

    def _counted(self, completer: Completer) -> Completer:
        def counted(value: Any) -> Any:
            try:
                completed = completer(value)
            except Exception:
                self._tally.fallbacks += 1
                raise
            self._tally.completions += 1
            return completed

        return counted
