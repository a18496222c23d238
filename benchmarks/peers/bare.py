"""The limit of reads: a bare ASGI application over psycopg's pool that runs the product's own SQL and writes its rows with orjson.

No framework, no GraphQL, no keys, no limits, no transaction around several statements. `python -m benchmarks.peers.bare PORT PLAN`, where
PLAN is a file that `reads.py` wrote; it runs in uvicorn with the gateway's settings.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL as the product sends it, by the name that its comment gives."""

    name: str
    sql: str
    parameters: Any


@dataclass(frozen=True, slots=True)
class BarePlan:
    """The database and, by path, the statements that answer it."""

    url: str
    statements: dict[str, list[Statement]]


Rows = list[tuple[Any, ...]]


def _day(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def shape_rankings(rows: dict[str, Rows]) -> dict[str, Any]:
    """Return the documented body, but for its `meta`."""
    return {
        "data": [
            {"date": _day(day), "model_permaslug": slug, "total_tokens": str(tokens)} for day, slug, tokens, *_ in rows["rankings_daily"]
        ]
    }


def shape_usage(rows: dict[str, Rows]) -> dict[str, Any]:
    """Return the documented body of a window without users."""
    return {
        "time_series": [
            {"period": _day(start), "input_tokens": int(tin), "output_tokens": int(out), "cost": float(cost), "request_count": int(count)}
            for start, tin, out, cost, count, *_ in rows["usage_time_series"]
        ],
        "by_model": [
            {
                "model_id": model,
                "provider": provider,
                "input_tokens": int(tin),
                "output_tokens": int(out),
                "cost": float(cost),
                "request_count": int(count),
            }
            for model, provider, tin, out, cost, count, *_ in rows["usage_by_model"]
        ],
        "top_users": [],
    }


SHAPES: dict[str, Callable[[dict[str, Rows]], dict[str, Any]]] = {"big": shape_rankings, "small": shape_usage}
_HEADERS = [(b"content-type", b"application/json")]
_HELLO = b"hello"


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    await connection.set_autocommit(True)
    connection.prepare_threshold = 1


class BareApplication:
    """Answers `/big/N` and `/small/N` from the database and everything else with `hello`."""

    def __init__(self, plan: BarePlan) -> None:
        self._plan = plan
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; open and close the pool."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        statements = self._plan.statements.get(scope["path"])
        body = _HELLO if statements is None else await self._answer(scope["path"], statements)
        headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        if self._plan.url:
            self._pool = AsyncConnectionPool(self._plan.url, min_size=2, max_size=10, open=False, configure=_configure)
            await self._pool.open(wait=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._pool is not None:
            await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, path: str, statements: list[Statement]) -> bytes:
        assert self._pool is not None
        rows = {}
        async with self._pool.connection() as connection:
            for statement in statements:
                cursor = await connection.execute(statement.sql, statement.parameters, prepare=True, binary=True)
                rows[statement.name] = await cursor.fetchall()
        return orjson.dumps(SHAPES[path.split("/")[1]](rows))


def hello() -> BareApplication:
    """Return the application without a database."""
    return BareApplication(BarePlan("", {}))


def main() -> None:
    """Serve until a signal."""
    port, plan = int(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes())
    uvicorn.run(BareApplication(plan), port=port, log_level="warning", access_log=False, loop="uvloop", http="httptools")


if __name__ == "__main__":
    from benchmarks.peers import bare  # the plan's classes are that module's, not __main__'s

    bare.main()
