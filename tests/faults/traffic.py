"""Senders that behave as routers do, and the book of what they sent: what must be stored, what may be, and what came back."""

from __future__ import annotations

import asyncio
import gzip
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any

import httpx
import orjson

from app.auth.store import KeyRequest, create_key
from app.db.engine import Database
from app.domain.principal import Role
from app.domain.usage import UsageRecord
from tests.factories import make_record

PATH = "/v1/ingest/usage"
TENANTS = ("acme", "globex", "initech", "umbrella")
MODELS = ("openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4", "google/gemini-2.5-pro", "meta/llama-4")
_ANSWER_SECONDS = 60.0

Key = tuple[str, str]
"""Tenant and request id."""


def key_of(record: UsageRecord) -> Key:
    """Return what a record is known by."""
    return record.tenant_id, record.request_id


def as_json(record: UsageRecord) -> dict[str, Any]:
    """Return a record as a sender writes it."""
    fields = {name: value for name, value in record._asdict().items() if value is not None}
    fields["occurred_at"] = record.occurred_at.isoformat()
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


def make_traffic(random: Random, now: datetime, request_ids: Iterable[str]) -> list[UsageRecord]:
    """Return records of several tenants, models and months; most of today, some late, now and then of a name never seen."""
    return [_make_traffic_record(random, now, request_id) for request_id in request_ids]


def _make_traffic_record(random: Random, now: datetime, request_id: str) -> UsageRecord:
    days = random.choice((0, 0, 0, 0, 1, 1, 3, 20, 40, 75))
    prompt, completion = random.randrange(5000), random.randrange(800)
    new_name = random.random() < 0.01
    return make_record(
        request_id=request_id,
        tenant_id=random.choice(TENANTS),
        occurred_at=(now - timedelta(days=days, seconds=random.randrange(7200))).replace(microsecond=random.randrange(1000) * 1000),
        model_id=f"new/{request_id}" if new_name else random.choice(MODELS),
        project_id=random.choice((None, "chat", "search", f"project-{request_id}" if new_name else "batch")),
        api_key_id=random.choice((None, "key-1", "key-2")),
        user_id=random.choice((None, "ada", "grace", f"user-{random.randrange(500)}")),
        status_code=random.choice((200, 200, 200, 201, 429, 500, 0)),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=random.randrange(prompt + 1),
        reasoning_tokens=random.randrange(completion + 1),
        traffic_mode=random.choice(("shared", "byok")),
        shared_model_spend=random.randrange(100),
        search_requests=random.randrange(2),
        latency_ms=random.choice((None, Decimal(random.randrange(40_000)) / 4)),
    )


async def admin_headers(url: str) -> dict[str, str]:
    """Return the headers of a new admin's key."""
    async with Database(url, min_size=1, max_size=1) as database:
        made = await create_key(database, KeyRequest(Role.ADMIN), datetime.now(UTC))
    return {"Authorization": f"Bearer {made.secret}"}


@dataclass(slots=True, eq=False)
class SentBatch:
    """A batch and what became of it. `abandoned`: its sender gave up without an answer; it was written as a whole or not at all."""

    records: list[UsageRecord]
    is_replay: bool = False
    tries: int = 0
    acknowledged: bool = False
    abandoned: bool = False
    may_be_written: bool = False


@dataclass(slots=True)
class Book:
    """What was sent by all senders. `refused`: answers that no sender should ever get, in words."""

    batches: list[SentBatch] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    acknowledged_batches: int = 0

    def acknowledged(self) -> dict[Key, UsageRecord]:
        """Return the records that must be stored, as they were sent first."""
        return {key_of(record): record for batch in self.batches if batch.acknowledged and not batch.is_replay for record in batch.records}

    def known(self) -> dict[Key, UsageRecord]:
        """Return every record that may be stored."""
        sent = (batch for batch in self.batches if batch.may_be_written and not batch.is_replay)
        return {key_of(record): record for batch in sent for record in batch.records}

    def half_written(self, stored: set[Key]) -> list[str]:
        """Return the abandoned batches of which a part is stored, in words. What another batch brought too tells nothing of this one."""
        brought = Counter(
            key_of(record) for batch in self.batches if batch.may_be_written and not batch.is_replay for record in batch.records
        )
        found = []
        for batch in self.batches:
            if not batch.abandoned or batch.is_replay:
                continue
            keys = [key_of(record) for record in batch.records]
            own = [key for key in keys if brought[key] == 1]
            present = [key for key in own if key in stored]
            if present and (len(present) < len(own) or any(key not in stored for key in keys)):
                found.append(f"{len(present)} of {len(own)} records of a batch are stored")
        return found


@dataclass(frozen=True, slots=True)
class Habits:
    """How senders behave: shares of batches, and the seconds between two of a sender."""

    senders: int = 12
    longest_pause: float = 0.03
    given_up: float = 0.4
    impatient: float = 0.03
    replayed: float = 0.05
    overlapping: float = 0.1


class Senders:
    """Senders of one gateway, running until `settle`. Deterministic in what they send, not in when."""

    def __init__(self, url: str, headers: dict[str, str], random: Random, habits: Habits | None = None) -> None:
        self.book = Book()
        self._random = random
        self._habits = habits or Habits()
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=_ANSWER_SECONDS, limits=httpx.Limits(max_connections=200, max_keepalive_connections=20)
        )
        self._numbers = count()
        self._due: list[tuple[float, int, SentBatch]] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Senders:
        self._tasks = [asyncio.create_task(self._send_on()) for _ in range(self._habits.senders)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def settle(self, seconds: float = 180) -> None:
        """Send nothing new, and go on until every batch is acknowledged or given up."""
        self._stopping = True
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    async def progress(self, batches: int, seconds: float = 120, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until so many more batches are acknowledged, and call `meanwhile` now and then."""
        wanted = self.book.acknowledged_batches + batches
        deadline = time.monotonic() + seconds
        while self.book.acknowledged_batches < wanted:
            for task in self._tasks:
                if task.done():
                    task.result()
            meanwhile()
            assert time.monotonic() < deadline, f"no progress in {seconds:.0f} s; answers so far: {dict(self.book.statuses)}"
            await asyncio.sleep(0.01)

    async def _send_on(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                if self._stopping and not self._due and not self._in_flight():
                    return
                await asyncio.sleep(0.01)
                continue
            answered = await self._send(batch)
            await asyncio.sleep(self._random.uniform(0, self._habits.longest_pause) if answered else self._random.uniform(0.02, 0.2))

    def _in_flight(self) -> bool:
        return any(not (batch.acknowledged or batch.abandoned) for batch in self.book.batches)

    def _next(self) -> SentBatch | None:
        if self._due and self._due[0][0] <= time.monotonic():
            return heapq.heappop(self._due)[2]
        if self._stopping:
            return None
        batch = self._make()
        self.book.batches.append(batch)
        return batch

    def _make(self) -> SentBatch:
        random, batches = self._random, self.book.batches
        now = datetime.now(UTC)
        if batches and random.random() < self._habits.replayed:
            older = random.choice(batches)
            if older.acknowledged and not older.is_replay:
                # As a client does that stamps a retry anew; whatever else it says, the record is there.
                altered = [
                    record._replace(occurred_at=record.occurred_at + timedelta(seconds=random.randrange(1, 5)), prompt_tokens=4_999)
                    for record in older.records
                    if record.cached_tokens <= 4_999
                ]
                self.book.counts["replays"] += 1
                return SentBatch(random.sample(altered, len(altered)), is_replay=True)
        size = random.choices((1, random.randrange(2, 20), random.randrange(20, 201)), (50, 35, 15))[0]
        records = make_traffic(random, now, (f"r{next(self._numbers)}" for _ in range(size)))
        if batches and random.random() < self._habits.overlapping:
            other = random.choice(batches[-50:])
            if not other.is_replay:
                records += random.sample(other.records, min(len(other.records), 5))
                random.shuffle(records)
                self.book.counts["overlapping"] += 1
        return SentBatch(records)

    async def _send(self, batch: SentBatch) -> bool:
        """Send a batch once; whether it was acknowledged. Otherwise it waits to be sent again, or is given up."""
        random, book = self._random, self.book
        body, headers = encode(batch.records, random)
        impatient = random.random() < self._habits.impatient
        timeout = random.uniform(0.001, 0.05) if impatient else _ANSWER_SECONDS
        batch.tries += 1
        batch.may_be_written = True
        book.counts["retries"] += batch.tries > 1
        try:
            response = await self._client.post(PATH, content=body, headers=headers, timeout=timeout)
        except httpx.ConnectError:
            book.counts["not connected"] += 1
            return self._put_off(batch, may_give_up=False)
        except httpx.TransportError as error:
            book.counts["hung up" if impatient else "broken"] += 1
            if isinstance(error, httpx.ReadTimeout) and not impatient:
                book.refused.append(f"no answer in {_ANSWER_SECONDS:.0f} s")
        else:
            book.statuses[response.status_code] += 1
            if response.status_code == 200:
                self._take_receipt(batch, response.json())
                return True
            if response.status_code not in (429, 503) or not response.headers.get("retry-after", "").isdigit():
                book.refused.append(f"{response.status_code} {response.headers.get('retry-after')} {response.text[:200]}")
        return self._put_off(batch, may_give_up=True)

    def _put_off(self, batch: SentBatch, *, may_give_up: bool) -> bool:
        if may_give_up and self._random.random() < self._habits.given_up:
            batch.abandoned = True
        else:
            heapq.heappush(self._due, (time.monotonic() + self._random.uniform(0.05, 0.5), next(self._numbers), batch))
        return False

    def _take_receipt(self, batch: SentBatch, receipt: dict[str, Any]) -> None:
        size, inserted = len(batch.records), receipt["inserted"]
        if receipt["received"] != size or receipt["rejected"] or inserted + receipt["duplicates"] != size:
            self.book.refused.append(f"a receipt of {size} records: {receipt}")
        if batch.is_replay and inserted:
            self.book.refused.append(f"{inserted} records of an acknowledged batch were taken for new")
        if batch.tries > 1 and not inserted and not batch.is_replay:
            self.book.counts["written though not answered"] += 1
        batch.acknowledged = True
        self.book.acknowledged_batches += 1


def encode(records: Sequence[UsageRecord], random: Random) -> tuple[bytes, dict[str, str]]:
    """Return a body and its headers: a JSON array, an object or NDJSON, sometimes gzip."""
    rows = [as_json(record) for record in records]
    form = random.randrange(3)
    if form == 0:
        body = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    else:
        body = orjson.dumps(rows if form == 1 else {"records": rows})
    headers = {"Content-Type": "application/json" if form else "application/x-ndjson"}
    if random.random() < 0.3:
        return gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
    return body, headers
