"""Growing files of NDJSON: the lines that are complete so far, through rotation and truncation, and the loop that writes them.

Nothing of a position is kept: records are written exactly once, so reading again from the beginning loses and doubles nothing.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from app.domain.errors import BadInputError, UnavailableError
from app.domain.time_range import Clock
from app.domain.usage import ParsedBatch
from app.ingest.files import LineParser
from app.ingest.inputs import STDIN, shown
from app.ingest.parse import MAX_LINE_BYTES, UTF8_BOM
from app.write.receipt import Receipt

POLL_SECONDS: Final = 0.5
MAX_LINES: Final = 1_000
"""Lines of one batch."""

_CHUNK: Final = 256 * 1024
# Between two rounds a signal is seen, however little of what is read is lines.
_MAX_CHUNKS: Final = 64
# How long a writer may take to let go of a file that was renamed: until then what it still writes there is read.
_LEAVING_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
# A file that was cut off and has grown past the old position is known by its other beginning.
_BEGINNING: Final = 256


class LineCutter:
    """Cuts what arrives into lines. What has no end yet waits; of a line that is longer than any record may be, the rest is let go."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._is_overlong = False
        self._is_first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete by now, with their ends."""
        if self._is_overlong:
            _, newline, chunk = chunk.partition(b"\n")
            if not newline:
                return []
            self._is_overlong = False
        pieces = chunk.split(b"\n")
        lines = []
        for piece in pieces[:-1]:
            lines.append(self._line(bytes(self._pending) + piece + b"\n"))
            self._pending.clear()
        self._pending += pieces[-1]
        if len(self._pending) > MAX_LINE_BYTES:
            lines.append(self._line(bytes(self._pending[: MAX_LINE_BYTES + 1])))
            self._pending.clear()
            self._is_overlong = True
        return lines

    def finish(self) -> list[bytes]:
        """Return what is left, as a line: nothing more will come."""
        left = bytes(self._pending)
        self._pending.clear()
        return [self._line(left)] if left else []

    def _line(self, line: bytes) -> bytes:
        if self._is_first:
            self._is_first = False
            return line.removeprefix(UTF8_BOM)
        return line


class _OpenFile:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        status = os.fstat(file.fileno())
        self.identity = (status.st_dev, status.st_ino)
        self.position = 0
        self.cutter = LineCutter()
        self.beginning = b""
        self.is_at_end = False
        self.quiet_since = time.monotonic()

    def read(self, limit: int) -> list[bytes]:
        """Return the lines that came since, until there are `limit` or no more; or none after 16 MiB without an end of line."""
        lines: list[bytes] = []
        for _ in range(_MAX_CHUNKS):
            if len(lines) >= limit:
                break
            chunk = self.file.read(_CHUNK)
            self.is_at_end = not chunk
            if self.is_at_end:
                break
            if len(self.beginning) < _BEGINNING:
                self.beginning += chunk[: _BEGINNING - len(self.beginning)]
            self.position += len(chunk)
            self.quiet_since = time.monotonic()
            lines += self.cutter.feed(chunk)
        return lines

    def was_cut_off(self) -> bool:
        """Whether it is shorter than what was read of it, or begins otherwise."""
        descriptor = self.file.fileno()
        return os.fstat(descriptor).st_size < self.position or os.pread(descriptor, len(self.beginning), 0) != self.beginning

    def begin_again(self) -> None:
        """Read it anew. What was half written when it was cut off is gone."""
        self.file.seek(0)
        self.position = 0
        self.cutter = LineCutter()
        self.beginning = b""


class FileTail:
    """A file that is appended to. It may be renamed and made anew (its end is still read), cut off, or not be there yet."""

    has_ended = False

    def __init__(self, path: Path) -> None:
        self.name = shown(path)
        self.bytes_read = 0
        self._path = path
        self._current: _OpenFile | None = None
        self._leaving: list[_OpenFile] = []
        self._waiting: list[bytes] = []

    def read(self) -> list[bytes]:
        """Return complete lines, the older file's first. Raises BadInputError if the path cannot be read."""
        lines, self._waiting = self._waiting, []
        for left in self._leaving.copy():
            lines += self._read_from(left, lines)
            if len(lines) < MAX_LINES and left.is_at_end and time.monotonic() - left.quiet_since > _LEAVING_SECONDS:
                lines += left.cutter.finish()
                left.file.close()
                self._leaving.remove(left)
        if len(lines) < MAX_LINES:
            lines += self._read_current(lines)
        # What one chunk held beyond the limit is given next time.
        self._waiting = lines[MAX_LINES:]
        return lines[:MAX_LINES]

    def _read_from(self, file: _OpenFile, lines: list[bytes]) -> list[bytes]:
        before = file.position
        new = file.read(MAX_LINES - len(lines)) if len(lines) < MAX_LINES else []
        self.bytes_read += file.position - before
        return new

    def _read_current(self, lines: list[bytes]) -> list[bytes]:
        identity = self._identity()
        current = self._current
        if current is None:
            current = self._current = None if identity is None else self._open()
        elif identity == current.identity and current.was_cut_off():
            current.begin_again()
        if current is None:
            return []
        new = self._read_from(current, lines)
        if identity not in (None, current.identity) and current.is_at_end:
            # It was renamed and another one is there: this one was read to its end first, and is watched on for late writes.
            current.quiet_since = time.monotonic()
            self._leaving.append(current)
            self._current = self._open()
            if self._current is not None:
                new += self._read_from(self._current, [*lines, *new])
        return new

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from None
        except ValueError:
            raise BadInputError(f"{self.name}: is not a file name") from None
        if not stat.S_ISREG(status.st_mode):
            raise BadInputError(f"{self.name}: is no regular file, and only those can be followed")
        return status.st_dev, status.st_ino

    def _open(self) -> _OpenFile | None:
        try:
            return _OpenFile(self._path.open("rb", buffering=0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> BadInputError:
        return BadInputError(f"{self.name}: {(error.strerror or 'cannot be read').lower()}")

    def is_there(self) -> bool:
        """Whether there is such a file by now."""
        return self._current is not None or self._identity() is not None

    def close(self) -> None:
        """Let go of the files. What is half written stays unread: its rest is not there yet."""
        for file in (*self._leaving, *([] if self._current is None else [self._current])):
            file.file.close()


class PipeTail:
    """What comes through standard input, as it comes."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = STDIN
        self.bytes_read = 0
        self._descriptor = file.fileno()
        self._cutter = LineCutter()
        self._waiting: list[bytes] = []
        self._is_at_end = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._is_at_end and not self._waiting

    def read(self) -> list[bytes]:
        """Return complete lines; at its end also one that has no newline."""
        lines, self._waiting = self._waiting, []
        for _ in range(_MAX_CHUNKS):
            if len(lines) >= MAX_LINES or self._is_at_end or not select.select([self._descriptor], [], [], 0)[0]:
                break
            chunk = os.read(self._descriptor, _CHUNK)
            self.bytes_read += len(chunk)
            lines += self._cutter.feed(chunk) if chunk else self._cutter.finish()
            self._is_at_end = not chunk
        self._waiting = lines[MAX_LINES:]
        return lines[:MAX_LINES]

    def close(self) -> None:
        """Leave standard input open: it is the process's."""


Tail = FileTail | PipeTail


@dataclass(frozen=True, slots=True)
class Watch:
    """A tail, and what reads its lines."""

    tail: Tail
    parser: LineParser


@dataclass(frozen=True, slots=True)
class Follower:
    """Writes what is watched as it comes.

    `write` raises UnavailableError where nothing is known to be written; `report_batch` is called after each commit, `report_waiting` with
    the error when the database cannot be reached, and with None when it is back.
    """

    watches: Sequence[Watch]
    write: Callable[[ParsedBatch], Awaitable[Receipt]]
    report_batch: Callable[[Tail, ParsedBatch, Receipt], None]
    report_waiting: Callable[[UnavailableError | None], None]
    clock: Clock

    async def run(self, stop: asyncio.Event) -> int:
        """Write in batches of at most 1,000 lines and half a second, until `stop` is set or every tail has ended.

        A database that cannot be reached is waited for. Returns how many records were read and not written before `stop`. Raises
        BadInputError for what can no longer be read.
        """
        while not stop.is_set():
            is_quiet = True
            for watch in self.watches:
                lines = watch.tail.read()
                if not lines:
                    continue
                is_quiet = False
                batch = watch.parser.parse(iter(lines), self.clock())
                receipt = await self._write_patiently(batch, stop)
                if receipt is None:
                    return batch.received
                self.report_batch(watch.tail, batch, receipt)
                if stop.is_set():
                    return 0
            if is_quiet:
                if all(watch.tail.has_ended for watch in self.watches):
                    return 0
                await pause(stop, POLL_SECONDS)
        return 0

    async def _write_patiently(self, batch: ParsedBatch, stop: asyncio.Event) -> Receipt | None:
        """Write a batch, however often that must be tried; None: `stop` was set before it was written."""
        seconds = 0.0
        while True:
            try:
                receipt = await self.write(batch)
            except UnavailableError as error:
                if not seconds:
                    self.report_waiting(error)
                seconds = min(max(seconds * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                if await pause(stop, seconds):
                    return None
            else:
                if seconds:
                    self.report_waiting(None)
                return receipt


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, but no longer than until `stop` is set; return whether it is."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
