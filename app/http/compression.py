"""Compression of answers by `Accept-Encoding`: whole bodies at once, downloads in parts. Large bodies are compressed off the event loop.

Nothing here is open to guessing a secret by the length of an answer (BREACH): an answer holds no secret that outlives it, and no
browser sends a key by itself.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Protocol

import brotli
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from zstandard import ZstdCompressor

from app.http.answer_headers import Header

CODINGS: Final = ("zstd", "br", "gzip")
"""Content codings, the best compression first: 430 kB of rankings take 39, 43 and 40 kB, and 3, 2 and 2.5 ms."""

LEAST_BYTES: Final = 1024
"""Shorter bodies fit into one packet uncompressed."""

_INLINE_BYTES: Final = 32 * 1024
"""Compressing this takes about a millisecond at most."""

_LONGEST_HEADER: Final = 512
_ZSTD_LEVEL: Final = 6
_BROTLI_QUALITY: Final = 4
_BROTLI_WINDOW: Final = 18
"""256 KiB: with its default of 4 MiB, brotli holds back more than a megabyte of a download."""
_GZIP_LEVEL: Final = 5
_GZIP_WINDOW: Final = 31


def choose_coding(accept_encoding: str, available: tuple[str, ...] = CODINGS) -> str | None:
    """Return the available coding with the highest weight in an `Accept-Encoding` header, the first of equals; None: do not compress."""
    return _choose_coding(accept_encoding, available) if len(accept_encoding) <= _LONGEST_HEADER else None


@lru_cache(maxsize=256)
def _choose_coding(accept_encoding: str, available: tuple[str, ...]) -> str | None:
    weights: dict[str, float] = {}
    for choice in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        weights[name.removeprefix("x-")] = _weight_of(parameters)
    others = weights.get("*", 0.0)
    best = max(available, key=lambda coding: weights.get(coding, others), default=None)
    if best is None:
        return None
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _weight_of(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0


class Encoder(Protocol):
    """Compresses a body in parts."""

    def add(self, piece: bytes) -> bytes:
        """Return the bytes to send after this part; may be empty."""

    def end(self) -> bytes:
        """Return the rest."""


class _Zstd:
    def __init__(self) -> None:
        encoder = ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        self.add = encoder.compress
        self.end = encoder.flush


class _Brotli:
    def __init__(self) -> None:
        encoder = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW)
        self.add = encoder.process
        self.end = encoder.finish


class _Gzip:
    def __init__(self) -> None:
        encoder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self.add = encoder.compress
        self.end = encoder.flush


_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {"zstd": _Zstd, "br": _Brotli, "gzip": _Gzip}


def compress(body: bytes, coding: str) -> bytes:
    """Return a whole body in one of CODINGS."""
    encoder = _ENCODERS[coding]()
    return encoder.add(body) + encoder.end()


async def compress_apart(size: int, work: Callable[[], bytes]) -> bytes:
    """Run work that compresses this many bytes, in a thread if they are many."""
    return work() if size <= _INLINE_BYTES else await asyncio.to_thread(work)


class CodedBody:
    """A body that is sent often. Each of its compressed forms is made once and cached, while all together are not larger than the body."""

    __slots__ = ("_forms", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._forms: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Maximum bytes of the body and its forms."""
        return len(self.plain) * (2 if len(self.plain) >= LEAST_BYTES else 1)

    def take(self, coding: str) -> bytes:
        """Return the body in a coding."""
        form = self._forms.get(coding)
        if form is None:
            form = compress(self.plain, coding)
            if sum(map(len, self._forms.values())) + len(form) <= len(self.plain):
                self._forms[coding] = form
        return form

    async def compress_in_thread(self, coding: str) -> bytes:
        """Return the body in a coding, compressed off the event loop if it is large."""
        return self.take(coding) if coding in self._forms else await compress_apart(len(self.plain), lambda: self.take(coding))


def read_accept_encoding(headers: Iterable[Header]) -> str:
    """Return the `Accept-Encoding` header of a request, its lines joined."""
    return ",".join(value.decode("latin-1") for name, value in headers if name == b"accept-encoding")


def is_compressible(status: int, headers: Iterable[Header]) -> bool:
    """Tell whether an answer may be compressed: a complete text body, not compressed yet and without `no-transform`."""
    if status < 200 or status in (204, 205, 206, 304):
        return False
    compressible = False
    for name, value in headers:
        if name == b"content-encoding" or (name == b"cache-control" and (b"no-transform" in value or b"immutable" in value)):
            return False  # what never changes is a built file, which the build compressed if that gains anything
        if name == b"content-type":
            kind = value.partition(b";")[0].strip()
            compressible = kind.startswith(b"text/") or kind.endswith((b"/json", b"+json", b"+xml"))
    return compressible


def coded_headers(headers: Iterable[Header], coding: str, length: int | None) -> list[Header]:
    """Return the headers of an answer in a coding. `length`: bytes; None: not known yet.

    A validator becomes weak: a strong one would identify the bytes of the uncompressed body.
    """
    kept: list[Header] = []
    for name, value in headers:
        if name == b"etag" and not value.startswith(b"W/"):
            kept.append((name, b"W/" + value))
        elif name != b"content-length":
            kept.append((name, value))
    kept.append((b"content-encoding", coding.encode("ascii")))
    if length is not None:
        kept.append((b"content-length", b"%d" % length))
    return kept


class CompressionMiddleware:
    """Compresses every answer that may be compressed, if the caller accepts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        coding = choose_coding(read_accept_encoding(scope["headers"])) if scope["type"] == "http" else None
        await self._app(scope, receive, send if coding is None else _CompressedAnswer(coding, send).send)


class _CompressedAnswer:
    """One answer. Its headers are sent with the first part of the body, which tells whether there are more."""

    def __init__(self, coding: str, send: Send) -> None:
        self._coding = coding
        self._send = send
        self._start: Message | None = None
        self._encoder: Encoder | None = None
        self._begun = False

    async def send(self, message: Message) -> None:
        """Send a message of the answer."""
        if message["type"] == "http.response.start" and is_compressible(message["status"], message["headers"]):
            self._start = message
        elif message["type"] != "http.response.body":
            await self._send(message)
        elif self._encoder is not None:
            await self._send_piece(self._encoder, message)
        elif self._start is None:
            await self._send(message)
        elif message.get("more_body"):
            self._encoder = _ENCODERS[self._coding]()
            await self._send({**self._start, "headers": coded_headers(self._start["headers"], self._coding, None)})
            await self._send_piece(self._encoder, message)
        else:
            await self._send_whole(self._start, message.get("body", b""))

    async def _send_whole(self, start: Message, body: bytes) -> None:
        if len(body) >= LEAST_BYTES:
            body = await compress_apart(len(body), lambda: compress(body, self._coding))
            start = {**start, "headers": coded_headers(start["headers"], self._coding, len(body))}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def _send_piece(self, encoder: Encoder, message: Message) -> None:
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        made = await compress_apart(len(piece), lambda: encoder.add(piece) + (b"" if more else encoder.end()))
        if made or not more or not self._begun:  # the first part is sent even if empty: a HEAD ends there
            self._begun = True
            await self._send({"type": "http.response.body", "body": made, "more_body": more})
