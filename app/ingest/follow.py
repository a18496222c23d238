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
    """A file, read on from where it was read to."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        status = os.fstat(file.fileno())
        self.identity = (status.st_dev, status.st_ino)
        self.cutter = LineCutter()
        self.quiet_since = time.monotonic()
        self._position = 0
        self._beginning = b""

    def read(self) -> bytes:
        """Return what came since, a chunk of it; empty: nothing."""
        chunk = self.file.read(_CHUNK)
        if chunk:
            self._beginning += chunk[: _BEGINNING - len(self._beginning)]
            self._position += len(chunk)
            self.quiet_since = time.monotonic()
        return chunk

    def begin_again_if_cut_off(self) -> None:
        """Read it anew if it is shorter than what was read of it, or begins otherwise. What was half written then is gone."""
        descriptor = self.file.fileno()
        if os.fstat(descriptor).st_size < self._position or os.pread(descriptor, len(self._beginning), 0) != self._beginning:
            self.file.seek(0)
            self._position = 0
            self._beginning = b""
            self.cutter = LineCutter()


class FileTail:
    """A file that is appended to. It may be renamed and made anew (its end is still read), cut off, or not be there yet."""

    has_ended = False

    def __init__(self, path: Path) -> None:
        self.name = shown(path)
        self._path = path
        self._files: list[_OpenFile] = []  # the last one is the path's, those before it were renamed

    def read(self) -> list[bytes] | None:
        """Return the lines that the next chunk completes, the oldest file's first; None: there is nothing new.

        Raises BadInputError if the path cannot be read.
        """
        identity = self._identity()
        if self._files and self._files[-1].identity == identity:
            self._files[-1].begin_again_if_cut_off()
        for file in self._files:
            if chunk := file.read():
                return file.cutter.feed(chunk)
        if identity is not None and (not self._files or self._files[-1].identity != identity) and self._open():
            return self.read()
        if len(self._files) > 1 and time.monotonic() - self._files[0].quiet_since > _LEAVING_SECONDS:
            left = self._files.pop(0)
            left.file.close()
            return left.cutter.finish()
        return None

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

    def _open(self) -> bool:
        try:
            opened = _OpenFile(self._path.open("rb", buffering=0))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unreadable(error) from None
        for left in self._files[-1:]:
            left.quiet_since = opened.quiet_since
        self._files.append(opened)
        return True

    def _unreadable(self, error: OSError) -> BadInputError:
        return BadInputError(f"{self.name}: {(error.strerror or 'cannot be read').lower()}")

    def is_there(self) -> bool:
        """Whether there is such a file by now."""
        return bool(self._files) or self._identity() is not None

    def close(self) -> None:
        """Let go of the files. What is half written stays unread: its rest is not there yet."""
        for file in self._files:
            file.file.close()


class PipeTail:
    """What comes through standard input, as it comes."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = STDIN
        self.has_ended = False
        self._descriptor = file.fileno()
        self._cutter = LineCutter()

    def read(self) -> list[bytes] | None:
        """Return the lines that the next chunk completes, at its end also one that has no newline; None: there is nothing new."""
        if self.has_ended or not select.select([self._descriptor], [], [], 0)[0]:
            return None
        chunk = os.read(self._descriptor, _CHUNK)
        self.has_ended = not chunk
        return self._cutter.finish() if self.has_ended else self._cutter.feed(chunk)

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
                if lines is None:
                    continue
                is_quiet = False
                for start in range(0, len(lines), MAX_LINES):
                    batch = watch.parser.parse(iter(lines[start : start + MAX_LINES]), self.clock())
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
