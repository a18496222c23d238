"""Group commit: batches that wait at the same time are written together, each answered after the one commit. Bounded, fair to senders."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from app.db.shares import INGEST, current_workload
from app.domain.errors import OverloadedError, UnavailableError
from app.domain.usage import ParsedBatch
from app.write.batch import Ingestor
from app.write.receipt import Receipt

GROUP_RECORDS = 2_000
"""A group is closed when it holds this many records; a batch is never split."""

MAX_WRITERS = 2
"""Transactions at once. One suffices for small batches, which share it; a second one keeps both cores of the way busy."""

MAX_WAITING_RECORDS = 200_000
"""Records that may wait for a transaction, those of the running ones included."""


@dataclass(slots=True)
class _Waiting:
    batch: ParsedBatch
    sender: Hashable
    weight: int
    receipt: asyncio.Future[Receipt]


class IngestQueue:
    """Takes batches and writes them by groups: one batch of each sender in turn, those of one sender in order. One per process and loop.

    A sender may hold as many records as there is still room for: one alone half of all, two a third each, and so on. So there is room for
    another sender's first batches, whatever the others send.
    """

    def __init__(self, ingestor: Ingestor, *, max_waiting_records: int = MAX_WAITING_RECORDS) -> None:
        self._ingestor = ingestor
        self._limit = max_waiting_records
        self._waiting: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._waiting_records = 0
        self._held_records = 0
        self._held_by: Counter[Hashable] = Counter()
        self._writers: set[asyncio.Task[None]] = set()

    @property
    def held_records(self) -> int:
        """Records that wait or are being written."""
        return self._held_records

    async def ingest(self, batch: ParsedBatch, sender: Hashable = None) -> Receipt:
        """Return the batch's receipt, after the commit that it shared. Errors as `Ingestor.ingest`; OverloadedError: too many wait.

        `sender`: by whose key it came.

        A caller that goes away meanwhile changes nothing: its batch is written.
        """
        weight = max(1, len(batch.records) + len(batch.quarantined))
        self._check_room(sender, weight)
        entry = _Waiting(batch, sender, weight, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(sender, deque()).append(entry)
        self._waiting_records += weight
        self._hold(entry, weight)
        # One writer lets those who come meanwhile gather; another only for what one transaction would not take anyway.
        if not self._writers or (len(self._writers) < MAX_WRITERS and self._waiting_records >= GROUP_RECORDS):
            writer = asyncio.create_task(self._write_groups())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await entry.receipt

    def _check_room(self, sender: Hashable, weight: int) -> None:
        room = self._limit - self._held_records
        if sender in self._held_by:
            if self._held_by[sender] + weight > room:
                raise OverloadedError("Too many of this key's records wait to be written; try again")
        elif self._held_records and weight > room:
            raise OverloadedError

    def _hold(self, entry: _Waiting, weight: int) -> None:
        self._held_records += weight
        self._held_by[entry.sender] += weight
        if not self._held_by[entry.sender]:
            del self._held_by[entry.sender]

    async def drain(self) -> None:
        """Wait until nothing waits."""
        while self._writers:
            await asyncio.gather(*self._writers, return_exceptions=True)

    async def _write_groups(self) -> None:
        current_workload.set(INGEST)  # a task of its own, for all whose batches wait
        while self._waiting:
            group = self._next_group()
            try:
                await self._write(group)
            finally:
                for entry in group:
                    self._hold(entry, -entry.weight)
        # Here and not in a callback, which runs a moment later: whoever comes in that moment would wait for a writer that has ended.
        writer = asyncio.current_task()
        if writer is not None:
            self._writers.discard(writer)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        records = 0
        while self._waiting:
            sender, batches = next(iter(self._waiting.items()))
            if group and records + batches[0].weight > GROUP_RECORDS:
                break
            group.append(batches.popleft())
            records += group[-1].weight
            if batches:
                self._waiting.move_to_end(sender)
            else:
                del self._waiting[sender]
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
