"""How much memory decoding a body may take, told from its bytes without decoding it. Pure.

Each value, and each message of protobuf, begins with or follows one of few bytes. They are counted, wherever they stand, and weighed by the
most that such a value was seen to take; so the weight is an upper bound, a few times what an honest body takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.domain.errors import BodyTooLargeError

MAX_WEIGHT: Final = 256 * 2**20
"""Bytes that decoding one body, or what of it is decoded at once, may take."""

LIGHT_BYTES: Final = 64 * 1024
"""A body that is no longer is not weighed: it cannot be heavy."""

_STEP: Final = 2**20
"""Bytes that are looked through at once: other threads wait meanwhile."""

_JSON: Final = {b"{": 100, b"[": 72, b",": 64, b":": 40, b'"': 24}

# By the first byte of a field: resources, keys, lists; spans, values; attributes of scopes and events, of links, of spans; events; links.
_PROTOBUF_FIELDS: Final = {0x0A: 72, 0x12: 180, 0x1A: 64, 0x22: 64, 0x4A: 60, 0x5A: 72, 0x6A: 96}
# The same number may be written in more bytes than it needs: then the first has its highest bit set.
_PROTOBUF: Final = {bytes((first | more,)): weight for first, weight in _PROTOBUF_FIELDS.items() for more in (0, 0x80)}

Weigh = Callable[[bytes], int]


def _count(body: bytes, weights: dict[bytes, int]) -> int:
    return sum(weight * body.count(mark, start, start + _STEP) for start in range(0, len(body), _STEP) for mark, weight in weights.items())


def weigh_json(body: bytes) -> int:
    """Return the bytes that the decoded value may take."""
    return _count(body, _JSON) + _text_width(body) * len(body)


def _text_width(body: bytes) -> int:
    """Bytes that a character may take: one rare character makes all of a text wide. One more is for the text while it is made."""
    if body.isascii():
        return 1 if b"\\u" not in body else 5 if b"\\ud" in body or b"\\uD" in body else 3
    return 5 if any(bytes((first,)) in body for first in range(0xF0, 0xF5)) or b"\\u" in body else 3


def weigh_protobuf(body: bytes) -> int:
    """Return the bytes that the messages of an ExportTraceServiceRequest may take."""
    return _count(body, _PROTOBUF) + 2 * len(body)


def refuse_heavy(body: bytes, weigh: Weigh) -> None:
    """BodyTooLargeError: decoding the body might take more than MAX_WEIGHT."""
    if len(body) > LIGHT_BYTES and weigh(body) > MAX_WEIGHT:
        raise BodyTooLargeError("the body holds too many values to be decoded at once: send several")
