"""Rules that a reader of the code would have to remember, held by machine."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path

from strawberry.types.base import StrawberryObjectDefinition

import app
from app.db.engine import Database
from app.execution.derived import derivation_of
from app.resolvers.schema import build_schema

COMPUTED = {("UsageMetrics", "share"), ("UsageMetrics", "change")}
"""Fields with an argument that are computed from their object."""

SOURCES = sorted(Path(app.__file__).parent.rglob("*.py"))


def test_every_resolver_is_async() -> None:
    """A plain function runs on the event loop, and what it waits for would stall every request: it may only compute from its object."""
    checked = 0
    for definition in build_schema().schema_converter.type_map.values():
        kind = definition.definition
        if not isinstance(kind, StrawberryObjectDefinition):
            continue
        for field in kind.fields:
            if field.base_resolver is not None and derivation_of(field) is None and (kind.name, field.name) not in COMPUTED:
                checked += 1
                assert inspect.iscoroutinefunction(field.base_resolver.wrapped_func), f"{kind.name}.{field.name}"
    assert checked >= 2


def test_time_comes_from_the_clock_only() -> None:
    """`now()` in SQL or in Python would escape the injected clock."""
    escapes = re.compile(
        r"\bnow\(\)|CURRENT_TIMESTAMP|CURRENT_DATE|clock_timestamp|datetime\.now\(|utcnow|date\.today|time\.time\(", re.IGNORECASE
    )
    allowed = {"app/domain/time_range.py"}
    found = [
        f"{path.relative_to(path.parents[len(path.parts) - 3])}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if escapes.search(line) and not any(str(path).endswith(name) for name in allowed)
    ]
    assert found == []


def test_modules_are_small() -> None:
    long = {path.name: count for path in SOURCES if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400}
    assert long == {}


def test_every_module_says_what_it_owns() -> None:
    assert [path.name for path in SOURCES if not path.read_text(encoding="utf-8").lstrip().startswith('"""')] == []


async def test_reads_do_not_stall_the_loop(database: Database) -> None:
    """The loop goes on while a question waits for the database."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    async with database.read_connection() as connection:
        before = ticks
        await connection.execute("SELECT pg_sleep(0.2)")
    assert ticks - before > 10
    ticking.cancel()
