"""What must hold after any fault: nothing acknowledged is lost, nothing is there twice, no batch is half there, every sum is right."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from app.cube.rollups import ROLLUPS
from app.db.engine import Database
from app.domain.usage import UsageRecord
from tests.factories import assert_rollups_equal, unpriced
from tests.faults.processes import CHECKOUT, environment, tokengraph
from tests.faults.traffic import PATH, Book, as_json

_SHOWN = 5
_STORED = """SELECT t.external_id, r.request_id, r.occurred_at, r.prompt_tokens, r.completion_tokens, r.status_code, m.permaslug
FROM usage_records r JOIN tenants t ON t.id = r.tenant_id JOIN models m ON m.id = r.model_id"""
_BY_MODEL = "{ usageAnalytics { byModel { modelId promptTokens completionTokens requests } } gatewayStats { requests } }"


async def fetch_stored(database: Database) -> list[tuple[Any, ...]]:
    """Return every record that is stored: tenant, request id, instant, prompt and completion tokens, status, model."""
    async with database.read_connection() as connection:
        return await (await connection.execute(_STORED)).fetchall()


async def assert_stored_once(database: Database, book: Book) -> list[UsageRecord]:
    """Fail unless the records are those of the book, each once and as it was sent first; return what is stored."""
    rows = await fetch_stored(database)
    found = Counter((row[0], row[1]) for row in rows)
    doubled = [key for key, number in found.items() if number > 1]
    assert not doubled, f"{len(doubled)} records are stored twice, such as {doubled[:_SHOWN]}"
    acknowledged, known = book.acknowledged(), book.known()
    lost = [key for key in acknowledged if key not in found]
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged records are lost, such as {lost[:_SHOWN]}"
    strange = [key for key in found if key not in known]
    assert not strange, f"{len(strange)} records were never sent, such as {strange[:_SHOWN]}"
    half = book.half_written(set(found))
    assert not half, f"{len(half)} batches are half written: {half[0]}"
    changed = [row for row in rows if tuple(row[2:]) != _as_stored(known[row[0], row[1]])]
    assert not changed, f"{len(changed)} records are not as they were sent first, such as {changed[:_SHOWN]}"
    return [known[key] for key in found]


def _as_stored(record: UsageRecord) -> tuple[Any, ...]:
    return record.occurred_at, record.prompt_tokens, record.completion_tokens, record.status_code, record.model_permaslug


async def assert_sums_are_right(database: Database, stored: Sequence[UsageRecord]) -> None:
    """Fail unless every rollup is the plain aggregation of the records."""
    await assert_rollups_equal(database, unpriced(stored))


async def assert_answers_are_right(url: str, headers: Mapping[str, str], stored: Iterable[UsageRecord]) -> None:
    """Fail unless GraphQL's totals are the plain sums of the records."""
    expected: dict[str, list[int]] = {}
    for record in stored:
        sums = expected.setdefault(record.model_id, [0, 0, 0])
        for position, amount in enumerate((record.prompt_tokens, record.completion_tokens, 1)):
            sums[position] += amount
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.post(f"{url}/graphql", json={"query": _BY_MODEL}, headers=dict(headers))
    data = response.json()["data"]
    told = {row["modelId"]: [row["promptTokens"], row["completionTokens"], row["requests"]] for row in data["usageAnalytics"]["byModel"]}
    assert told == expected, "by model, the answer is not what the records give"
    total = data["gatewayStats"]["requests"]
    assert total == sum(sums[2] for sums in expected.values()), f"{total} requests in all"


async def fingerprint(database: Database) -> dict[str, tuple[Any, ...]]:
    """Return rows and a digest of each table that a write changes: equal if nothing changed."""
    tables = ["usage_records", *(rollup.name for rollup in ROLLUPS)]
    async with database.read_connection() as connection:
        prints = {}
        for table in tables:
            cursor = await connection.execute(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} t")
            row = await cursor.fetchone()
            assert row is not None
            prints[table] = row
    return prints


async def replay(url: str, headers: Mapping[str, str], records: Sequence[UsageRecord], size: int = 1000) -> Counter[str]:
    """Send records again by batches of `size`; return the sums of the receipts."""
    sums: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, headers=dict(headers), timeout=120) as client:
        for start in range(0, len(records), size):
            response = await client.post(PATH, json=[as_json(record) for record in records[start : start + size]])
            assert response.status_code == 200, response.text
            receipt = response.json()
            sums.update({name: receipt[name] for name in ("received", "inserted", "duplicates", "rejected")})
    return sums


def verify_rollups(**settings: str) -> None:
    """Fail unless `tokengraph rollups verify` finds nothing."""
    done = subprocess.run(
        tokengraph("rollups", "verify"), cwd=CHECKOUT, env=environment(**settings), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == os.EX_OK, done.stdout + done.stderr
    assert "the rollups equal the records" in done.stdout
