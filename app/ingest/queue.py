"""Group commit: batches that wait at the same time are written together, each answered after the one commit. Bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from app.db.shares import INGEST, asker
from app.domain.errors import OverloadedError, UnavailableError
from app.domain.usage import ParsedBatch
from app.ingest.batch import Ingestor
from app.ingest.receipt import Receipt

GROUP_RECORDS = 2_000
"""A group is closed when it holds this many records; a batch is never split."""

MAX_WRITERS = 2
"""Transactions at once. One suffices for small batches, which share it; a second one keeps both cores of the way busy."""

MAX_WAITING_RECORDS = 200_000
"""Records that may wait for a transaction, those of the running ones included."""


@dataclass(slots=True)
class _Waiting:
    batch: ParsedBatch
    weight: int
    receipt: asyncio.Future[Receipt]


class IngestQueue:
    """Takes batches in order and writes them by groups. One per process and event loop."""

    def __init__(self, ingestor: Ingestor, *, max_waiting_records: int = MAX_WAITING_RECORDS) -> None:
        self._ingestor = ingestor
        self._limit = max_waiting_records
        self._waiting: deque[_Waiting] = deque()
        self._waiting_records = 0
        self._held_records = 0
        self._writers: set[asyncio.Task[None]] = set()

    @property
    def held_records(self) -> int:
        """Records that wait or are being written."""
        return self._held_records

    async def ingest(self, batch: ParsedBatch) -> Receipt:
        """Return the batch's receipt, after the commit that it shared. Errors as `Ingestor.ingest`; OverloadedError: too many wait.

        A caller that goes away meanwhile changes nothing: its batch is written.
        """
        weight = max(1, len(batch.records) + len(batch.quarantined))
        if self._held_records and self._held_records + weight > self._limit:
            raise OverloadedError
        entry = _Waiting(batch, weight, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._waiting_records += weight
        self._held_records += weight
        # One writer lets those who come meanwhile gather; another only for what one transaction would not take anyway.
        if not self._writers or (len(self._writers) < MAX_WRITERS and self._waiting_records >= GROUP_RECORDS):
            writer = asyncio.create_task(self._write_groups())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await entry.receipt

    async def drain(self) -> None:
        """Wait until nothing waits."""
        while self._writers:
            await asyncio.gather(*self._writers, return_exceptions=True)

    async def _write_groups(self) -> None:
        asker.set(INGEST)  # a task of its own, for all whose batches wait
        while self._waiting:
            group = self._next_group()
            try:
                await self._write(group)
            finally:
                self._held_records -= sum(entry.weight for entry in group)
        # Here and not in a callback, which runs a moment later: whoever comes in that moment would wait for a writer that has ended.
        writer = asyncio.current_task()
        if writer is not None:
            self._writers.discard(writer)

    def _next_group(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        records = group[0].weight
        while self._waiting and records + self._waiting[0].weight <= GROUP_RECORDS:
            group.append(self._waiting.popleft())
            records += group[-1].weight
        self._waiting_records -= records
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            receipts = await self._ingestor.ingest_all([entry.batch for entry in group])
        except UnavailableError as error:
            for entry in group:
                _fail(entry, error)
        except Exception as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            # One of them is at fault; the others are not to suffer for it.
            for entry in group:
                await self._write([entry])
        except BaseException as error:
            for entry in group:
                _fail(entry, UnavailableError())
            raise error
        else:
            for entry, receipt in zip(group, receipts, strict=True):
                if not entry.receipt.done():
                    entry.receipt.set_result(receipt)


def _fail(entry: _Waiting, error: Exception) -> None:
    if not entry.receipt.done():
        entry.receipt.set_exception(error)
        # Who waits may be gone; an exception that nobody takes would be reported when the future goes.
        entry.receipt.exception()
