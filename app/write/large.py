"""The write of many records: claims their keys, encodes them meanwhile, stores those whose keys were new.

In the caller's transaction, at READ COMMITTED: what the second statement sees is newer than what the first one locked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import psycopg

from app.db.engine import Connection
from app.domain.usage import UsageRecord
from app.write.claim import claim_all, claim_new, find_stored
from app.write.columns import CopyText, Identities, Keys, encode_copy, encode_keys, has_display_names
from app.write.rollup import CREATE_STAGE, EMPTY_STAGE, copy_stage, store_all, store_some
from app.write.state import StaleWriterError, WriteState

_BOTH = (False, True)
_COPY = {(names, parts): copy_stage(with_names=names, with_parts=parts) for names in _BOTH for parts in _BOTH}
_STORE_SOME = {(names, shares): store_some(with_names=names, with_shares=shares) for names in _BOTH for shares in _BOTH}
_STORE_ALL = {(names, narrow): store_all(with_names=names, is_narrow=narrow) for names in _BOTH for narrow in _BOTH}

_MOSTLY = 0.5
_MAX_PENALTY = 256


class NotNewError(Exception):
    """Records that were taken for new are not all: roll back, and write without that expectation."""


@dataclass(slots=True)
class Expectation:
    """What the large deliveries of late were like, and so what the next is taken for. It decides how fast a write is, never what it does.

    `repeats`: mostly known records, not worth encoding before it is known which are new.
    """

    repeats: bool = False
    _wary_for: int = 0
    _penalty: int = 0

    @property
    def all_new(self) -> bool:
        """Whether nothing but new records is expected."""
        return not self.repeats and self._wary_for == 0

    def be_disappointed(self) -> None:
        """Expect known records for a while: the longer the more often that was wrong."""
        self._penalty = min(2 * self._penalty + 1, _MAX_PENALTY)
        self._wary_for = self._penalty

    def learn(self, records: int, inserted: int) -> None:
        """Take note of what became of a delivery."""
        self.repeats = inserted < records * _MOSTLY
        if inserted < records:
            return
        if self._wary_for:
            self._wary_for -= 1
        elif self._penalty:
            self._penalty -= 1


Introduce = Callable[[Sequence[int]], Awaitable[None]]
"""Registers the names of records at some positions, and puts their phrases into the load's identities."""


@dataclass(frozen=True)
class Load:
    """Records to write, each (tenant, request id) once. `parts[i]`: which of the `part_count` deliveries `records[i]` came with.

    The identities of the first `settled` are complete, and those of `unresolved`, which come after them, once `introduce` has run; their
    tenants are there in any case.
    """

    records: Sequence[UsageRecord]
    parts: Sequence[int]
    part_count: int
    identities: Identities
    settled: int
    introduce: Introduce

    @cached_property
    def has_names(self) -> bool:
        """Whether any record carries a display name to remember."""
        return has_display_names(self.records)

    def encode(self, span: slice) -> CopyText:
        """Return the lines of a COPY of some records."""
        parts = self.parts[span] if self.part_count > 1 else None
        return encode_copy(self.records[span], parts, self.identities.span(span), with_names=self.has_names)

    def count_parts(self) -> list[int]:
        """Return the number of records of each part."""
        if self.part_count == 1:
            return [len(self.records)]
        counts = Counter(self.parts)
        return [counts[part] for part in range(self.part_count)]

    def only(self, positions: Sequence[int]) -> Load:
        """Return the same with the records at some positions only, all of them settled by now."""
        wanted = bytearray(len(self.records))
        for position in positions:
            wanted[position] = 1
        records = list(compress(self.records, wanted))
        parts = list(compress(self.parts, wanted))
        return replace(self, records=records, parts=parts, identities=self.identities.only(wanted), settled=len(records))


async def write_load(connection: Connection, load: Load, state: WriteState, *, all_new: bool, ahead: bool) -> list[int]:
    """Write a load and return how many records went in of each part.

    `all_new`: it is expected to be; NotNewError if it is not. `ahead`: encode what is settled before it is known what is new.
    StaleWriterError: the state is another by now.
    """
    keys = await asyncio.to_thread(encode_keys, load.records, load.identities.tenants)
    ready = slice(0, load.settled)
    encoding = asyncio.create_task(asyncio.to_thread(load.encode, ready)) if ahead and load.settled else None
    try:
        if all_new:
            return await _write_all(connection, load, state, keys, encoding)
        return await _write_some(connection, load, state, keys, encoding)
    finally:
        if encoding is not None and not encoding.cancel():
            encoding.exception()  # if nobody waited for it, nobody has to know


async def _finish(load: Load, encoding: asyncio.Task[CopyText] | None) -> CopyText:
    """The lines of all records: what was encoded ahead, and the rest."""
    if encoding is None:
        return await asyncio.to_thread(load.encode, slice(0, len(load.records)))
    text = await encoding
    if load.settled == len(load.records):
        return text
    rest = await asyncio.to_thread(load.encode, slice(load.settled, len(load.records)))
    return CopyText([*text.slices, *rest.slices], text.is_narrow and rest.is_narrow)


async def _write_all(
    connection: Connection, load: Load, state: WriteState, keys: Keys, encoding: asyncio.Task[CopyText] | None
) -> list[int]:
    try:
        if not await claim_all(connection, keys, len(load.records)):
            raise NotNewError
        await load.introduce(range(load.settled, len(load.records)))
        text = await _finish(load, encoding)
        await _stage(connection, load, text)
        stored = await connection.execute(_STORE_ALL[load.has_names, text.is_narrow])
    except psycopg.errors.UniqueViolation as error:
        raise NotNewError from error
    if await stored.fetchone() != (state.epoch,):
        raise StaleWriterError
    return load.count_parts()


async def _write_some(
    connection: Connection, load: Load, state: WriteState, keys: Keys, encoding: asyncio.Task[CopyText] | None
) -> list[int]:
    new = await claim_new(connection, keys, len(load.records), state)
    unresolved = [position for position in new if position >= load.settled]
    tenants = [int.from_bytes(load.identities.tenants[position] or b"") for position in unresolved]
    stored = await find_stored(connection, load.records, unresolved, tenants)
    if stored:
        new = [position for position in new if position not in stored]
    if not new:
        return [0] * load.part_count
    await load.introduce([position for position in unresolved if position not in stored])
    if len(new) < len(load.records):
        load, encoding = load.only(new), None
    text = await _finish(load, encoding)
    await _stage(connection, load, text)
    told = await (await connection.execute(_STORE_SOME[load.has_names, load.part_count > 1])).fetchone()
    if told is None:
        raise AssertionError("the statement always gives a row")
    total, epoch, shares = told
    if epoch != state.epoch:
        raise StaleWriterError
    if load.part_count == 1:
        return [int(total)]
    return [int((shares or {}).get(str(part), 0)) for part in range(load.part_count)]


async def _stage(connection: Connection, load: Load, text: CopyText) -> None:
    await connection.execute(CREATE_STAGE)
    await connection.execute(EMPTY_STAGE)
    async with connection.cursor().copy(_COPY[load.has_names, load.part_count > 1]) as copy:
        for lines in text.slices:
            await copy.write(lines)
