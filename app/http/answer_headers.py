"""Cache and security headers of every answer, decided in one place. By default an answer is private."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

Header = tuple[bytes, bytes]

KEY_HEADERS: Final = frozenset({b"authorization", b"x-api-key"})
"""Request headers that may contain a key: the answer to such a request may be private."""

PRIVATE: Final = b"private, no-store"

_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_CALLER: Final = ("Authorization", "X-API-Key")
_ENCODING: Final = "Accept-Encoding"


def complete_headers(status: int, headers: Iterable[Header], *, keyed: bool, varies: tuple[str, ...] = ()) -> list[Header]:
    """Return the headers of an answer, completed by Cache-Control, Vary and X-Content-Type-Options.

    An answer is public if it is declared so and is no error, private with a validator if it is declared so and has one, else not stored.
    `keyed`: whether the request had one of KEY_HEADERS. `varies`: other request headers that the answer depends on. Names of the
    answer's headers are lower-case.
    """
    kept: list[Header] = []
    control = b""
    vary: list[bytes] = []
    validated = False
    for header in headers:
        name = header[0]
        if name == b"cache-control":
            control = header[1]
        elif name == b"vary":
            vary.append(header[1])
        elif name != _NOSNIFF[0]:
            validated = validated or name == b"etag"
            kept.append(header)
    public = status < 400 and control.startswith(b"public")
    if not (public or (validated and control.startswith(b"private")) or (control == b"no-store" and not keyed)):
        control = PRIVATE
    kept.append((b"cache-control", control))
    kept.append((b"vary", _join_vary(() if public else _CALLER, tuple(vary), (_ENCODING, *varies))))
    kept.append(_NOSNIFF)
    return kept


@lru_cache(maxsize=256)
def _join_vary(caller: tuple[str, ...], declared: tuple[bytes, ...], others: tuple[str, ...]) -> bytes:
    """Return one `Vary` header with all names, each once."""
    names = [name.strip() for line in declared for name in line.decode("latin-1").split(",")]
    return ", ".join({name.lower(): name for name in (*caller, *names, *others) if name}.values()).encode("latin-1")
