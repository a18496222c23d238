"""A cached HTTP answer: sent uncompressed, compressed, or as 304."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Send

from app.http.compression import LEAST_BYTES, CodedBody, coded_headers, is_compressible
from app.http.json import etag_matches

_VALIDATED: Final = frozenset({b"cache-control", b"etag", b"vary"})


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A cached HTTP answer. `etag` empty: it must not be cached by clients. `asked_by`: id of the request that it was made for."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: CodedBody
    etag: str
    asked_by: str

    @property
    def size(self) -> int:
        """Bytes of the body, its compressed forms and the headers."""
        return self.body.size + sum(len(name) + len(value) for name, value in self.headers)

    def unchanged_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of a 304."""
        return [header for header in self.headers if header[0] in _VALIDATED]

    def is_compressible(self) -> bool:
        """Tell whether it may be compressed."""
        return len(self.body.plain) >= LEAST_BYTES and is_compressible(self.status, self.headers)

    async def send(self, send: Send, if_none_match: str | None, coding: str | None = None) -> None:
        """Send it, compressed if allowed, or 304 if the client has it."""
        if self.etag and etag_matches(if_none_match, self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": self.unchanged_headers()})
            await send({"type": "http.response.body", "body": b""})
            return
        headers, body = self.headers, self.body.plain
        if coding is not None and self.is_compressible():
            body = await self.body.compress_in_thread(coding)
            headers = coded_headers(headers, coding, len(body))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def read_if_none_match(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the `If-None-Match` header, its lines joined; None: there is none."""
    lines = [value for name, value in headers if name == b"if-none-match"]
    return b",".join(lines).decode("latin-1") if lines else None
