"""Records the SQL statements that run, so that a test can say how many an operation takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from app.db import pipeline

_NAME = re.compile(r"/\* app:(\w+) \*/")


class Statements(list[str]):
    """The texts of the statements, in order, apart from those that set up a connection or begin a transaction."""

    def names(self) -> list[str]:
        """Return the plan name that each statement carries, sorted; its text where it carries none."""
        return sorted(found[1] if (found := _NAME.match(text)) else text for text in self)


@contextmanager
def recorded() -> Iterator[Statements]:
    """Give the list to which every statement of this process is added."""
    statements = Statements()
    execute = psycopg.AsyncCursor.execute

    async def record(self: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        text = query if isinstance(query, str) else str(query)
        if not text.startswith(("SET timezone", "b'BEGIN")):
            statements.append(text)
        return await execute(self, query, *arguments, **more)

    encode = pipeline._encode

    def note(session: Any, question: pipeline.Select) -> Any:
        statements.append(question.sql)
        return encode(session, question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_encode", note)
        patch.setattr(psycopg.AsyncCursor, "execute", record)
        yield statements
