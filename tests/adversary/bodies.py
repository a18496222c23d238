"""Bodies that are small to send and large to take in."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

_JSON = {"Content-Type": "application/json"}
_LINES = {"Content-Type": "application/x-ndjson"}
_PROTOBUF = {"Content-Type": "application/x-protobuf"}
_GZIP = {"Content-Encoding": "gzip"}
_ZSTD = {"Content-Encoding": "zstd"}
_MEGABYTE = 2**20

TAKEN_OR_NOT = frozenset({200, 413, 429})
"""Taken with each record rejected, or refused for its size or because there is too much at once."""
REFUSED = frozenset({400, 413, 429})
_LITELLM = frozenset({200, 400, 413, 503})
"""LiteLLM sends again after a 503 only."""


@dataclass(frozen=True, slots=True)
class HostileBody:
    """`make` returns the bytes. They are sent with a key that may write."""

    name: str
    path: str
    headers: dict[str, str]
    make: Callable[[], bytes]
    statuses: frozenset[int]


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of protobuf."""
    length, written = len(content), bytearray([number << 3 | 2])
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(written) + bytes((length,)) + content


def _spans(piece: bytes, count: int) -> bytes:
    return field(1, field(2, piece * count))


def _attributes() -> bytes:
    return field(1, field(2, field(2, b"\x4a\x00" * (8 * _MEGABYTE))))


def _objects() -> bytes:
    return b"[" + b"{}," * (20 * _MEGABYTE) + b"{}]"


def _pairs() -> bytes:
    return b"[" + b'{"a":0},' * (7 * _MEGABYTE) + b"{}]"


def _one_record() -> bytes:
    return b'{"request_id":"x","more":[' + b'{"a":{"a":{}}},' * (4 * _MEGABYTE) + b"0]}"


def _rejected() -> bytes:
    return (
        b"["
        + b",".join([b'{"request_id":1,"occurred_at":2,"tenant_id":3,"model_id":4,"status_code":"x","latency_ms":"y"}'] * 99_000)
        + b"]"
    )


def _wide() -> bytes:
    return b'["' + b"a" * (60 * _MEGABYTE) + '\U0001f600"]'.encode()


def _variables() -> bytes:
    return b'{"query":"{ network { generatedAt } }","variables":{"a":[' + b"[]," * (2 * _MEGABYTE) + b"0]}}"


HOSTILE_BODIES = (
    HostileBody("60 MB of empty objects", "/v1/ingest/usage", _JSON, _objects, REFUSED),
    HostileBody("56 MB of small objects", "/v1/ingest/usage", _JSON, _pairs, REFUSED),
    HostileBody("one record of 60 MB", "/v1/ingest/usage", _JSON, _one_record, REFUSED),
    HostileBody("99,000 wrong records", "/v1/ingest/usage", _JSON, _rejected, TAKEN_OR_NOT),
    HostileBody("60 MB of text, one character of it wide", "/v1/ingest/usage", _JSON, _wide, TAKEN_OR_NOT | REFUSED),
    HostileBody("one line of 60 MB", "/v1/ingest/usage", _LINES, _one_record, TAKEN_OR_NOT),
    HostileBody("60 million empty lines", "/v1/ingest/usage", _LINES, lambda: b"\n" * (60 * _MEGABYTE), REFUSED),
    HostileBody("empty objects for LiteLLM", "/v1/ingest/litellm", _JSON, _objects, _LITELLM),
    HostileBody("empty objects for OTLP", "/v1/traces", _JSON, _objects, REFUSED),
    HostileBody("16 million empty spans", "/v1/traces", _PROTOBUF, lambda: _spans(b"\x12\x00", 16 * _MEGABYTE), REFUSED),
    HostileBody("8 million empty attributes", "/v1/traces", _PROTOBUF, _attributes, REFUSED),
    HostileBody("variables of 2 million lists", "/graphql", _JSON, _variables, REFUSED),
    HostileBody("60 MB of objects in gzip", "/v1/ingest/usage", _JSON | _GZIP, lambda: gzip.compress(_objects()), REFUSED),
    HostileBody("60 MB of objects in zstd", "/v1/ingest/usage", _JSON | _ZSTD, lambda: zstandard.compress(_objects()), REFUSED),
    HostileBody("lines in gzip", "/v1/ingest/usage", _LINES | _GZIP, lambda: gzip.compress(b"{}\n" * (20 * _MEGABYTE)), REFUSED),
    HostileBody("spans in gzip", "/v1/traces", _PROTOBUF | _GZIP, lambda: gzip.compress(_spans(b"\x12\x00", 16 * _MEGABYTE)), REFUSED),
    HostileBody("a query in gzip", "/graphql", _JSON | _GZIP, lambda: gzip.compress(_variables()), REFUSED),
    HostileBody("800,000 empty parts of gzip", "/v1/ingest/usage", _JSON | _GZIP, lambda: gzip.compress(b"") * 800_000, REFUSED),
)


_made: dict[str, bytes] = {}


def content_of(body: HostileBody) -> bytes:
    """Return the bytes of a body, made once."""
    if body.name not in _made:
        _made[body.name] = body.make()
    return _made[body.name]
