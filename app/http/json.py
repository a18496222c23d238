"""JSON bodies and their validators."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

import orjson

_MADE_AT = re.compile(rb'"as_of":"[^"]*"')


def encode_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON; integers of any size, and any text."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson cannot write integers over 64 bits and lone surrogates.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def etag_of(body: bytes) -> str:
    """Return a validator of a body: weak, because it is the same for all content codings."""
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def data_etag_of(body: bytes) -> str:
    """Return a weak validator of a body's data without `as_of`: the same at any time and from any worker."""
    return etag_of(_MADE_AT.sub(b"", body))


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Tell whether an `If-None-Match` header has the validator, by weak comparison."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().lstrip("W/") for candidate in if_none_match.split(",")]
    return "*" in candidates or etag.removeprefix("W/") in candidates
