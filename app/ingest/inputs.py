"""Where files of records come from: names, directories and standard input, opened, decompressed and cut into lines.

What is in them is read elsewhere.
"""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from app.domain.errors import BadInputError
from app.ingest.decompress import FILE_WINDOW, stream_decoder
from app.ingest.parse import MAX_LINE_BYTES, UTF8_BOM
from app.ingest.sources.mapping import MAX_MAP_BYTES, ColumnMap, parse_map

FileFormat = Literal["ndjson", "csv", "parquet", "json"]

STDIN: Final = "-"
PLAIN_CHUNK: Final = 256 * 1024
_FORMATS: Final[dict[str, FileFormat]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
_ENCODINGS: Final = {".gz": "gzip", ".zst": "zstd"}
# What a slice of compressed bytes decodes to is held at once, and zstd can make 32,000 times as much of it.
_COMPRESSED_CHUNK: Final = 4 * 1024
_MAX_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Found:
    """Files to read, in order, each with its format; and those in directories whose name says no format."""

    files: list[tuple[Path, FileFormat]]
    left_out: list[Path]


def printable(path: Path | str) -> str:
    """Return a path as it may be shown on a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(path))


def shown(path: Path | str) -> str:
    """Return a path as it may be shown in a message, cut to its last 80 characters."""
    text = printable(path)
    return text if len(text) <= _MAX_SHOWN else f"...{text[-_MAX_SHOWN:]}"


def is_standard_input(path: Path | str) -> bool:
    """Tell whether a path stands for standard input."""
    return str(path) == STDIN


def is_compressed(path: Path | str) -> bool:
    """Tell whether a file is decompressed while it is read, by its extension."""
    return Path(path).suffix.lower() in _ENCODINGS


def detect_format(path: Path | str) -> FileFormat:
    """Tell a file's format by the end of its name; all but Parquet may also end in .gz or .zst. Raises BadInputError."""
    if is_standard_input(path):
        raise BadInputError("standard input has no name: say which format it has, ndjson, csv or json")
    found = _format_of(Path(path))
    if found is None:
        known = ", ".join(_FORMATS)
        raise BadInputError(f"{shown(path)}: the name must end in one of {known} (also .gz or .zst but for .parquet)")
    return found


def _format_of(name: Path) -> FileFormat | None:
    encoded = is_compressed(name)
    found = _FORMATS.get((name.with_suffix("") if encoded else name).suffix.lower())
    return None if encoded and found == "parquet" else found


def find_files(paths: Sequence[Path], file_format: FileFormat | None) -> Found:
    """Return the files that are meant: those named, and those in directories below, by path, whose name says a format.

    `file_format`: of the files named, None: by their names, and NDJSON for standard input. Directories that are symbolic links are
    followed only where they are named. Raises BadInputError: no format can be told, or a directory cannot be read or holds no such file.
    """
    found = Found([], [])
    for path in paths:
        if is_standard_input(path):
            found.files.append((path, file_format or "ndjson"))
        elif _is_directory(path):
            if file_format is not None:
                raise BadInputError(f"{shown(path)}: in a directory the names say the format: leave --format out")
            _add_directory(path, found)
        else:
            found.files.append((path, file_format or detect_format(path)))
    return found


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _add_directory(folder: Path, found: Found) -> None:
    def fail(error: OSError) -> None:
        raise BadInputError(f"{shown(error.filename or folder)}: {(error.strerror or 'cannot be read').lower()}")

    inside = [Path(parent, name) for parent, _, names in os.walk(folder, onerror=fail) for name in names]
    before = len(found.files)
    for path in sorted(inside, key=lambda path: path.parts):
        file_format = _format_of(path)
        if file_format is not None and _is_file(path):
            found.files.append((path, file_format))
        else:
            found.left_out.append(path)
    if len(found.files) == before:
        raise BadInputError(f"{shown(folder)}: has no file with one of the extensions {', '.join(_FORMATS)}")


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None if it is not known, as of standard input."""
    return path.stat().st_size if _is_file(path) else None


def read_map(path: Path) -> ColumnMap:
    """Read a column map. BadInputError: the file, the path of the key and the rule."""
    try:
        with path.open("rb") as file:
            return parse_map(file.read(MAX_MAP_BYTES + 1))
    except BadInputError as error:
        raise BadInputError(f"{shown(path)}: {error.message}") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{shown(path)}: {(getattr(error, 'strerror', None) or 'cannot be read').lower()}") from None


class SourceFile(io.RawIOBase):
    """A file's bytes, decompressed, and how many of its own were read."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        super().__init__()
        self.file = file
        self.bytes_read = 0
        self._encoding = encoding
        self._chunk = _COMPRESSED_CHUNK if encoding else PLAIN_CHUNK
        # A pipe gives what it has; waiting for a whole chunk would hold back what was written.
        self._read_some = getattr(file, "read1", file.read)
        self._start = file.tell() if file.seekable() else None
        self._pieces: deque[bytes] = deque()
        self._decoder = stream_decoder(encoding, self._pieces.append, window=FILE_WINDOW)
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._pieces:
            if self._at_end:
                return 0
            chunk = self._read_some(self._chunk)
            self.bytes_read += len(chunk)
            if chunk:
                self._decoder.feed(chunk)
            else:
                self._at_end = True
                self._decoder.finish()
        piece = self._pieces.popleft()
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        return count

    @property
    def can_begin_again(self) -> bool:
        """Whether it can be read a second time: not what comes through a pipe."""
        return self._start is not None

    def from_the_beginning(self) -> SourceFile:
        """Return the same file, to be read from where this reading began."""
        self.file.seek(self._start or 0)
        return SourceFile(self.file, self._encoding)


@contextmanager
def opened(path: Path | str) -> Iterator[SourceFile]:
    """Open a file, or standard input for the path `-`. Raises OSError, and BadInputError if the path cannot be a file's."""
    if is_standard_input(path):
        yield SourceFile(sys.stdin.buffer, "")
        return
    name = Path(path)
    try:
        file = name.open("rb")
    except ValueError:
        raise BadInputError("is not a file name") from None
    with file:
        yield SourceFile(file, _ENCODINGS.get(name.suffix.lower(), ""))


def read_lines(source: SourceFile) -> Iterator[bytes]:
    """Yield lines with their ends; one that is longer than any record may be is cut right after that length."""
    reader = io.BufferedReader(source, PLAIN_CHUNK)
    line = reader.readline(MAX_LINE_BYTES + 1).removeprefix(UTF8_BOM)
    while line:
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = reader.readline(MAX_LINE_BYTES + 1)
        yield line
        line = reader.readline(MAX_LINE_BYTES + 1)
