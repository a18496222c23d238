"""The elements of a large JSON array, decoded some at a time: neither memory nor the interpreter is taken for all of them at once. Pure.

An array is cut where one object ends and the next one begins as the first did. What stands before a cut is decoded as an array of its own;
that succeeds only if the cut is between two elements, because JSON is read in one way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import orjson

RUN_BYTES: Final = 256 * 1024
"""What is decoded at once, about."""

_TRIES: Final = 4
"""Places at which a run is tried to be cut before all that is left is decoded at once."""

_OPENING: Final = re.compile(rb'\s*(\{\s*"records"\s*:\s*)?\[\s*(\{\s*"[^"\\]{0,80}")')

Decode = Callable[[bytes], object]
"""Decodes JSON text. Raises orjson.JSONDecodeError."""


class Elements:
    """A body, cut. Iterating gives the elements before the last cut; then `rest` is a body of the same form with those that are left.

    `skipped` is where in the body they begin. A body that cannot be cut is all rest.
    """

    def __init__(self, body: bytes, decode: Decode) -> None:
        self._body = body
        self._decode = decode
        self._opening = _OPENING.match(body) if len(body) > 2 * RUN_BYTES else None
        if self._opening is not None and self._opening[1] is not None and body.count(b'"records"') > 1:
            self._opening = None  # it may be given twice, of which the last counts
        self.skipped = 0

    def __iter__(self) -> Iterator[object]:
        """Give the elements that come before the rest."""
        if self._opening is None:
            return
        cut = re.compile(rb"\}\s*,(?=\s*" + re.escape(self._opening[2]) + rb")")
        start = self._opening.start(2)
        tries, look = _TRIES, start + RUN_BYTES
        while tries and (found := cut.search(self._body, look, start + 2 * RUN_BYTES)):
            try:
                values = self._decode(b"[" + self._body[start : found.start() + 1] + b"]")
            except orjson.JSONDecodeError:  # within an element that has such objects in it; or malformed, which is told of the rest
                tries, look = tries - 1, found.end()
                continue
            if isinstance(values, list):
                values.reverse()
                while values:
                    yield values.pop()
            start = self.skipped = found.end()
            tries, look = _TRIES, start + RUN_BYTES

    @property
    def rest(self) -> bytes:
        """The body without the elements that were given."""
        if self._opening is None or not self.skipped:
            return self._body
        return self._body[: self._opening.start(2)] + self._body[self.skipped :]

    def place_of(self, error: orjson.JSONDecodeError) -> tuple[int, int]:
        """Return line and column in the body of an error in the rest."""
        if self._opening is None or not self.skipped:
            return error.lineno, error.colno
        kept = self._body[: self._opening.start(2)].decode(errors="replace")
        before = self._body[: self.skipped].decode(errors="replace")
        line = before.count("\n") - kept.count("\n") + error.lineno
        if error.lineno > kept.count("\n") + 1:
            return line, error.colno
        return line, error.colno - _last_line(kept) + _last_line(before)


def _last_line(text: str) -> int:
    return len(text) - text.rfind("\n") - 1
