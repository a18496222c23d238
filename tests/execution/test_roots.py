"""Root fields that are prepared: which are, that they are asked as the standard asks them, and that what denies them still does."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission, PermissionExtension

from app.execution.compiled import Dialect
from app.execution.engine import Demand, Engine
from app.execution.limits import Limits
from app.execution.roots import PreparedField
from app.resolvers.schema import build_schema
from tests.execution.differential import outcome


@strawberry.enum
class Size(Enum):
    SMALL = "small"


class Odd(BasePermission):
    """Passes who asks for an odd number, by the name that the resolver has for it."""

    message = "odd numbers only"

    async def has_permission(self, source: Any, info: Any, **given: Any) -> bool:
        return bool(given["number"] % 2)


class Noting(FieldExtension):
    """Takes part in what is resolved."""

    async def resolve_async(self, next_: Any, source: Any, info: Any, **given: Any) -> Any:
        return f"noted {await next_(source, info, **given)}"


@strawberry.type
class Query:
    @strawberry.field(permission_classes=[Odd])  # type: ignore[untyped-decorator]
    async def odd(self, info: strawberry.Info, number: int = 1, is_big: bool | None = None, size: Size = Size.SMALL) -> str | None:
        if number == 3:
            raise ValueError("three")
        return f"{info.field_name} {info.python_name} {number!r} {is_big!r} {size!r}"

    @strawberry.field(permission_classes=[Odd])  # type: ignore[untyped-decorator]
    async def required(self, number: int) -> str:
        return str(number)

    @strawberry.field(extensions=[PermissionExtension([Odd()], use_directives=False, fail_silently=True)])  # type: ignore[untyped-decorator]
    async def silent(self, number: int = 1) -> str | None:
        return str(number)

    @strawberry.field
    async def nothing_needed(self) -> int:
        return 1

    @strawberry.field(extensions=[Noting()])  # type: ignore[untyped-decorator]
    async def noted(self) -> str:
        return "x"

    @strawberry.field
    def at_once(self) -> int:
        return 1

    @strawberry.field
    async def listed(self, many: list[int] | None = None) -> str:
        return repr(many)

    @strawberry.field
    async def told_apart(self, text: strawberry.Maybe[str]) -> str:
        return repr(text)


SCHEMA = strawberry.Schema(query=Query)


def is_prepared(schema: strawberry.Schema, text: str) -> bool:
    """Tell whether the one root field of a document is prepared."""
    operation = parse(text).definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    node: Any = operation.selection_set.selections[0]
    query = schema._schema.query_type
    assert query is not None
    try:
        PreparedField(query.fields[node.name.value], node, schema.config)
    except LookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ odd }", True),
        ("{ odd(number: 5, isBig: null, size: SMALL) }", True),
        ("query ($n: Int!) { odd(number: $n) }", True),
        ("{ silent }", True),
        ("{ nothingNeeded }", True),
        ("{ listed }", True),
        ("{ listed(many: [1]) }", False),
        ("query ($m: [Int!]) { listed(many: $m) }", False),
        ("{ noted }", False),
        ("{ atOnce }", False),
        ("{ toldApart }", False),
    ],
)
def test_what_is_plain_is_prepared_and_nothing_else(text: str, expected: bool) -> None:
    assert is_prepared(SCHEMA, text) is expected


def test_the_documented_roots_are_prepared() -> None:
    schema = build_schema()
    for text in (
        "query ($d: Date) { usageAnalytics(dateFrom: $d, aggregation: WEEK) { __typename } }",
        "query ($d: Date) { rankingsDaily(startDate: $d) { __typename } }",
        "query ($n: Int) { gatewayStats(days: $n) { __typename } }",
        "query ($d: Date) { tenantAnalytics(startDate: $d) { __typename } }",
        "{ network { __typename } }",
    ):
        assert is_prepared(schema, text), text


@pytest.mark.parametrize("document", [
    "{ odd a: odd(number: 5, isBig: true) b: odd(number: 2) c: odd(number: 3) }",
    "{ silent a: silent(number: 2) }",
    "{ nothingNeeded noted atOnce listed a: listed(many: [1]) toldApart b: toldApart(text: null) }",
    "query ($n: Int = 7, $b: Boolean) { odd(number: $n, isBig: $b) }",
    "query ($n: Int! = 7) { required(number: $n) }",
    "query ($n: Int!) { odd required(number: $n) }",
])  # fmt: skip
async def test_prepared_fields_are_answered_as_by_the_standard(document: str) -> None:
    stock, compiled = (Engine(SCHEMA, Limits(), Dialect(), lambda error, _: error, compiled=kept) for kept in (False, True))
    for inputs in ({}, {"n": 1}, {"n": 2}, {"n": 3, "b": True}, {"n": None, "b": None}, {"n": "x"}, {"n": 9, "b": False}):
        demand = Demand(document, inputs)
        wanted = outcome(await stock.run(demand, None))
        for _ in range(2):
            assert outcome(await compiled.run(demand, None)) == wanted, inputs
