"""Compressed bytes into plain ones, a small step at a time, so that a small body cannot fill the memory.

Knows gzip and zstd, each of one or several parts in a row. It does no I/O: the caller feeds it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import zstandard

from app.domain.errors import BadInputError, BodyTooLargeError, UnsupportedEncodingError

BODY_WINDOW: Final = 8 * 2**20
"""RFC 9659: the memory that a sender of `Content-Encoding: zstd` may ask of the receiver."""

FILE_WINDOW: Final = 128 * 2**20
"""What the zstd command reads without being told to."""

_GZIP_STEP: Final = 64 * 1024
# A block of zstd is at most this long, and a step that holds one leaves nothing behind in the decoder.
_ZSTD_STEP: Final = zstandard.DECOMPRESSION_RECOMMENDED_OUTPUT_SIZE
_GZIP_SLICE: Final = 4 * 1024
# A part costs some microseconds however little it holds, and an empty one takes 20 bytes.
MAX_GZIP_MEMBERS: Final = 1_000_000
# How much longer than its content a compressed body may be: honest encoders add some bytes a block.
_OVERHEAD: Final = 64 * 1024
_MAX_SHOWN: Final = 80
MAX_RATIO: Final = 100
"""How many times longer than it was sent a body may become, beyond FREE_BYTES. Usage records become 10 to 30 times longer."""
FREE_BYTES: Final = 2**20

Sink = Callable[[bytes], object]


class StreamDecoder(Protocol):
    """Gives what it decodes to the sink that it was made with, at most 128 KiB at once."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises BadInputError if they are damaged, and whatever the sink raises."""

    def finish(self) -> None:
        """Raise BadInputError if the stream is not at an end."""


class _Plain:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def feed(self, chunk: bytes) -> None:
        self._sink(chunk)

    def finish(self) -> None:
        pass


class _Gzip:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._members = 1

    def feed(self, chunk: bytes) -> None:
        # In slices, because what a step leaves over is copied for the next one.
        for start in range(0, len(chunk), _GZIP_SLICE):
            self._feed_slice(chunk[start : start + _GZIP_SLICE])

    def _feed_slice(self, data: bytes) -> None:
        while data:
            if self._member.eof:
                self._start_member()
            try:
                piece = self._member.decompress(data, _GZIP_STEP)
            except zlib.error:
                raise BadInputError("the gzip data is damaged, or something else follows it") from None
            if piece:
                self._sink(piece)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _start_member(self) -> None:
        self._members += 1
        if self._members > MAX_GZIP_MEMBERS:
            raise BadInputError(f"the gzip data has more than {MAX_GZIP_MEMBERS} parts")
        self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def finish(self) -> None:
        if not self._member.eof:
            raise BadInputError("the gzip data ends too early")


class _SinkFile:
    """What zstandard needs of a file to write to, over a sink that can be changed."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def write(self, data: bytes) -> int:
        self.sink(data)
        return len(data)


class _Zstd:
    # zstandard does not tell whether the last frame is complete. A whole frame that follows comes out unchanged exactly then:
    # otherwise its bytes are taken for the missing part of the last frame.
    _END: Final = b"end of the last frame"
    _END_FRAME: Final = zstandard.ZstdCompressor().compress(_END)

    def __init__(self, sink: Sink, window: int) -> None:
        self._window = window
        self._is_empty = True
        self._file = _SinkFile(sink)
        self._writer = zstandard.ZstdDecompressor(max_window_size=window).stream_writer(
            self._file,  # type: ignore[arg-type]  # of a file, only write() is called
            write_size=_ZSTD_STEP,
            closefd=False,
        )

    def feed(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._is_empty = False
        try:
            self._writer.write(chunk)
        except zstandard.ZstdError as error:
            if "too much memory" in str(error):
                raise BadInputError(f"the zstd data needs a window of more than {self._window // 2**20} MiB") from None
            raise BadInputError("the zstd data is damaged, or something else follows it") from None

    def finish(self) -> None:
        tail: list[bytes] = []
        self._file.sink = tail.append
        try:
            # Byte by byte: a frame that libzstd is given whole, it decodes even in the middle of another's header.
            for byte in self._END_FRAME:
                self._writer.write(bytes((byte,)))
        except zstandard.ZstdError:
            tail.clear()
        if self._is_empty or b"".join(tail) != self._END:
            raise BadInputError("the zstd data ends too early")


def stream_decoder(encoding: str, sink: Sink, *, window: int) -> StreamDecoder:
    """Make the decoder of a `Content-Encoding`; `window` is the memory in bytes that zstd data may ask for.

    Raises UnsupportedEncodingError for anything but gzip, zstd and identity, and for several encodings in a row.
    """
    name = encoding.strip().lower()
    if name in ("gzip", "x-gzip"):
        return _Gzip(sink)
    if name == "zstd":
        return _Zstd(sink, window)
    if name in ("", "identity"):
        return _Plain(sink)
    shown = "".join(character if character.isprintable() else "\ufffd" for character in encoding[:_MAX_SHOWN])
    raise UnsupportedEncodingError(f'Content-Encoding "{shown}" is not supported: send gzip, zstd or identity')


class _LimitedBody:
    """A body up to its limit. It knows nothing of the decoder: zstandard's objects would leak in a reference cycle."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.content = bytearray()
        self.sent = 0

    def take(self, piece: bytes) -> None:
        if len(self.content) + len(piece) > FREE_BYTES + MAX_RATIO * self.sent:
            self.content = bytearray()
            raise BodyTooLargeError(f"the body becomes more than {MAX_RATIO} times longer by decompression")
        if len(self.content) + len(piece) > self.limit:
            self.content = bytearray()
            raise BodyTooLargeError(f"the body is larger than {self.limit} bytes after decompression")
        self.content += piece


class BodyDecoder:
    """Decodes a request body as it arrives: feed the chunks, then `finish` gives the whole of it.

    `encoding` is the value of Content-Encoding, `limit` the bytes allowed after decompression. After an error it is of no more use.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._body = _LimitedBody(limit)
        self._decoder = stream_decoder(encoding, self._body.take, window=BODY_WINDOW)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises BodyTooLargeError, at most 128 KiB past the limit, and BadInputError if they are damaged."""
        self._body.sent += len(chunk)
        if self._body.sent > self._body.limit + _OVERHEAD:
            # Empty parts decode to nothing, however many: only this stops them.
            raise BodyTooLargeError(f"the body is larger than {self._body.limit} bytes")
        self._decoder.feed(chunk)

    @property
    def size(self) -> int:
        """Bytes decoded so far."""
        return len(self._body.content)

    def finish(self) -> bytes:
        """Give the whole body. Raises BadInputError if it ends too early."""
        self._decoder.finish()
        return bytes(self._body.content)
