"""An answer as it goes over the wire, to be sent many times: whole, compressed, or as 304."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Send

from app.http.compression import LEAST_BYTES, CodedBody, coded_headers, is_compressible
from app.http.json import etag_matches

_VALIDATED: Final = frozenset({b"cache-control", b"etag", b"vary"})


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer as it goes over the wire. `etag` empty: it is not to be cached. `asked_by`: the request that it was made for."""

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
        """Tell whether callers may be sent a compressed form."""
        return len(self.body.plain) >= LEAST_BYTES and is_compressible(self.status, self.headers)

    async def send(self, send: Send, if_none_match: str | None, coding: str | None = None) -> None:
        """Send it, in a content coding if it may be, or 304 if the caller has it."""
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
    """Return the header `If-None-Match`, all of its lines; None: there is none."""
    lines = [value for name, value in headers if name == b"if-none-match"]
    return b",".join(lines).decode("latin-1") if lines else None
