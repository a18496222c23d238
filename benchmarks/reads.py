"""The database that is read over HTTP, the two questions that are asked of it, and the product's SQL for them, noted as it is sent.

*big*: 30 days of rankings, 51 rows a day, 3 fields. *small*: 30 days of usage analytics with 10 models: 30 × 4 and 10 × 6 fields.
The peers' tables (`peer.*`) hold the finished rows, so that a peer need not aggregate: what is compared stands before the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from typing import Any

import uvloop

from app.analytics import fetch
from app.analytics.fetch import fetch_rankings
from app.analytics.snapshot import take_snapshot
from app.analytics.usage import UsageQuestion, fetch_usage
from app.auth.keys import NewKey, generate_key
from app.db.engine import Database
from app.db.pipeline import Rows, Select
from app.domain.principal import Role, Scope
from app.domain.time_range import DateWindow, system_clock
from app.domain.usage import UsageRecord
from app.summaries.closing import close_days
from app.write.batch import Ingestor
from benchmarks.databases import LARGE, BenchmarkServer
from benchmarks.load import encode_graphql, encode_request
from benchmarks.peers.bare import BarePlan, Statement
from benchmarks.population import list_models
from benchmarks.timing import BenchmarkError
from benchmarks.traffic import generate_traffic, make_batch, split

WINDOWS = 48
"""Windows that take turns, so that no two requests under way are the same and nothing answers one with the other's rows."""

_DAYS = 30


def _slide(first: date) -> tuple[DateWindow, ...]:
    starts = [first + timedelta(days=number) for number in range(WINDOWS)]
    return tuple(DateWindow(start, start + timedelta(days=_DAYS - 1)) for start in starts)


BIG = _slide(date(2025, 3, 1))
SMALL = _slide(date(2025, 7, 1))
BIG_ROWS = 30 * 51
SMALL_MODELS = 10
EVERYTHING = Scope(tenant_key=None, identities=True)
KEYS = 4_000
"""Keys that take turns: rankings are limited to 30 reads a minute of each and 500 a day of its account, and no limit is lifted."""

BIG_DOCUMENT = """query Big($start: Date!, $end: Date!) {
  rankingsDaily(startDate: $start, endDate: $end) { data { date modelPermaslug totalTokens } }
}"""
SMALL_DOCUMENT = """query Small($start: Date!, $end: Date!) {
  usageAnalytics(dateFrom: $start, dateTo: $end) {
    timeSeries { period promptTokens completionTokens costUsd }
    byModel { modelId providerId promptTokens completionTokens costUsd requests }
  }
}"""
Variables = Callable[[DateWindow], dict[str, Any]]
NETWORK_PATH = "/api/v1/analytics/network"


def variables_of(window: DateWindow) -> dict[str, str]:
    """Return the variables of the two documents."""
    return {"start": window.start_date.isoformat(), "end": window.end_date.isoformat()}


@dataclass(frozen=True, slots=True)
class Reads:
    """The database, what opens it, and the product's statements for both questions in every window."""

    url: str
    keys: tuple[str, ...]
    admin_key: str
    plan: BarePlan


def all_days(windows: Sequence[DateWindow]) -> list[date]:
    """Return every date of sliding windows."""
    return DateWindow(windows[0].start_date, windows[-1].end_date).dates()


def _records() -> list[UsageRecord]:
    """Every model on every day of the big window, ten on those of the small one, and what the network snapshot shows."""
    models = list_models()
    drawn = iter(generate_traffic("reads", (_DAYS + WINDOWS) * (len(models) + SMALL_MODELS) + 60))
    records = []

    def add(at: datetime, model: Any, *, is_anonymous: bool = False) -> None:
        record = next(drawn)
        changed = replace_record(record, at, model)
        records.append(changed._replace(user_id=None) if is_anonymous else changed)

    for day in all_days(BIG):
        for model in models:
            add(datetime(day.year, day.month, day.day, 12, tzinfo=UTC), model)
    for day in all_days(SMALL):
        for model in models[:SMALL_MODELS]:
            add(datetime(day.year, day.month, day.day, 12, tzinfo=UTC), model, is_anonymous=True)
    for number in range(60):
        add(system_clock() - timedelta(hours=3 * number + 1), models[number % 40])
    return records


def replace_record(record: UsageRecord, at: datetime, model: Any) -> UsageRecord:
    """Return a record of another instant and model, of which no day is without tokens."""
    return record._replace(
        occurred_at=at,
        model_id=model.model_id,
        model_permaslug=model.permaslug,
        provider=model.provider,
        completion_tokens=max(record.completion_tokens, 1),
        cost_usd=Decimal(record.prompt_tokens) / 10**6,
    )


@contextmanager
def open_reads(server: BenchmarkServer) -> Iterator[Reads]:
    """Yield a fresh database with everything in it."""
    with server.fresh_database() as url:
        yield uvloop.run(_fill(url))


async def _fill(url: str) -> Reads:
    records = _records()
    async with Database(url, min_size=1, max_size=4) as database:
        ingestor = Ingestor(database)
        for part in [*split(records, LARGE), records[len(records) // LARGE * LARGE :]]:
            await ingestor.ingest(make_batch(part))
        await close_days(database, system_clock())
        await take_snapshot(database, system_clock())
        async with database.read_connection() as connection:
            await connection.execute("VACUUM (ANALYZE)")
        keys = await _make_keys(database)
        statements = {}
        for number in range(WINDOWS):
            statements[f"/big/{number}"] = await capture(partial(ask_big, database, BIG[number]))
            statements[f"/small/{number}"] = await capture(partial(ask_small, database, SMALL[number], with_users=True))
        await _make_peer_tables(database)
    return Reads(url, tuple(keys[:-1]), keys[-1], BarePlan(url, statements))


async def ask_big(database: Database, window: DateWindow) -> list[tuple[Any, ...]]:
    """Return the rows of the big question."""
    return await fetch_rankings(database, window)


async def ask_small(database: Database, window: DateWindow, *, with_users: bool = False) -> dict[str, list[tuple[Any, ...]]]:
    """Return the sections of the small question; the documented answer has the users too, of whom there are none in the windows."""
    sections = ("time_series", "by_model", "top_users") if with_users else ("time_series", "by_model")
    return await fetch_usage(database, UsageQuestion(window, sections), EVERYTHING)


async def _make_keys(database: Database) -> list[str]:
    """Store keys as `keys create` does, many at a time; the last one is an administrator's."""
    keys: list[NewKey] = [generate_key() for _ in range(KEYS + 1)]
    now = system_clock()
    async with database.transaction() as connection, connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO api_keys (id, key_hash, prefix, name, role, created_at) VALUES (%s, %s, %s, 'bench', %s, %s)",
            [
                (key.id, key.hash, key.prefix, (Role.ADMIN if number == KEYS else Role.GATEWAY).value, now)
                for number, key in enumerate(keys)
            ],
        )
    return [key.secret for key in keys]


@contextmanager
def noting_statements() -> Iterator[list[Statement]]:
    """Note what this process asks of the rollups while the block runs."""
    noted: list[Statement] = []
    original = fetch.ask  # type: ignore[attr-defined]

    async def ask(connection: Any, questions: Sequence[Select]) -> list[Rows]:
        noted.extend(
            Statement(question.sql.removeprefix("/* app:").partition(" */")[0], question.sql, question.values) for question in questions
        )
        return await original(connection, questions)

    fetch.ask = ask  # type: ignore[attr-defined]
    try:
        yield noted
    finally:
        fetch.ask = original  # type: ignore[attr-defined]


async def capture(ask: Callable[[], Awaitable[object]]) -> list[Statement]:
    """Return the statements that a question sends, in order."""
    with noting_statements() as noted:
        await ask()
    if not noted:
        raise BenchmarkError("the question sent no statement that names itself")
    return noted


async def _make_peer_tables(database: Database) -> None:
    days: dict[date, list[tuple[Any, ...]]] = {}
    points, models = [], []
    for big, small in zip(BIG, SMALL, strict=True):
        rankings = await ask_big(database, big)
        if len(rankings) != BIG_ROWS:
            raise BenchmarkError(f"{len(rankings)} rows of rankings instead of {BIG_ROWS}")
        for day in big.dates():
            days[day] = [(day, place, slug, tokens) for place, (at, slug, tokens, *_) in enumerate(rankings) if at == day]
        sections = await ask_small(database, small)
        start = small.start_date
        points += [(start, place, at.isoformat(), *row[:4]) for place, (at, *row) in enumerate(sections["time_series"])]
        models += [(start, place, *row[:6]) for place, row in enumerate(sections["by_model"])]
    usage = "prompt_tokens bigint NOT NULL, completion_tokens bigint NOT NULL, cost_usd float8 NOT NULL, requests bigint NOT NULL"
    tables: tuple[tuple[str, str, list[tuple[Any, ...]]], ...] = (
        (
            "rankings",
            "date date, place integer, model_permaslug text NOT NULL, total_tokens text NOT NULL, PRIMARY KEY (date, place)",
            [row for rows in days.values() for row in rows],
        ),
        ("usage_points", f"window_start date, place integer, period text NOT NULL, {usage}, PRIMARY KEY (window_start, place)", points),
        (
            "usage_models",
            "window_start date, place integer, model_id text NOT NULL, provider_id text NOT NULL,"
            f" {usage}, PRIMARY KEY (window_start, place)",
            models,
        ),
    )
    async with database.transaction() as connection:
        await connection.execute("CREATE SCHEMA peer", prepare=False)
        for table, columns, rows in tables:
            await connection.execute(f"CREATE TABLE peer.{table} ({columns})", prepare=False)
            await _insert(connection, table, rows)
        await connection.execute(
            "CREATE FUNCTION peer.rankings_between(start_date date, end_date date) RETURNS SETOF peer.rankings LANGUAGE sql STABLE AS"
            " 'SELECT * FROM peer.rankings WHERE date BETWEEN start_date AND end_date ORDER BY date, place'",
            prepare=False,
        )
    async with database.read_connection() as connection:
        await connection.execute("VACUUM (ANALYZE) peer.rankings, peer.usage_points, peer.usage_models", prepare=False)


async def _insert(connection: Any, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    places = ", ".join(["%s"] * len(rows[0]))
    async with connection.cursor() as cursor:
        await cursor.executemany(f"INSERT INTO peer.{table} VALUES ({places})", rows)


def with_key(key: str) -> dict[str, str]:
    """Return the header that presents a key."""
    return {"Authorization": f"Bearer {key}"}


def rest_big(reads: Reads) -> list[bytes]:
    """Return the documented request for rankings: with each key once, the windows in turn."""
    return [
        encode_request("GET", f"/api/v1/datasets/rankings-daily?start_date={w.start_date}&end_date={w.end_date}", with_key(key))
        for key, w in zip(reads.keys, cycle(BIG), strict=False)
    ]


def rest_small(reads: Reads) -> list[bytes]:
    """Return the documented request for usage analytics, of each window."""
    return [
        encode_request("GET", f"/api/usage/analytics?date_from={w.start_date}&date_to={w.end_date}", with_key(reads.admin_key))
        for w in SMALL
    ]


def graphql_big(reads: Reads, document: str, variables: Variables) -> list[bytes]:
    """Return a GraphQL request for rankings: with each key once, the windows in turn."""
    return [
        encode_graphql("/graphql", with_key(key), document, variables(window)) for key, window in zip(reads.keys, cycle(BIG), strict=False)
    ]


def graphql_of_windows(key: str | None, document: str, windows: Sequence[DateWindow], variables: Variables) -> list[bytes]:
    """Return a GraphQL request of each window; `key` None: without one."""
    return [encode_graphql("/graphql", {} if key is None else with_key(key), document, variables(window)) for window in windows]


def bare_requests(name: str) -> list[bytes]:
    """Return the bare application's request of each window: `big` or `small`."""
    return [encode_request("GET", f"/{name}/{number}", {}) for number in range(WINDOWS)]
