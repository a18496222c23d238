"""JSON bodies and their validators."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

import orjson

_MADE_AT = re.compile(rb'"as_of":"[^"]*"')


def encode_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON; whole numbers of any size, and any text."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson writes no integer past 64 bits, and no lone surrogate, which is escaped as JSON does it.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def etag_of(body: bytes) -> str:
    """Return a validator of a body: weak, since the body has the same one whether it is compressed or not."""
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def data_etag_of(body: bytes) -> str:
    """Return a weak validator of a body's data: the same whenever, and by whichever worker, the body was made, which `as_of` says."""
    return etag_of(_MADE_AT.sub(b"", body))


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Tell whether an `If-None-Match` header names the validator, weakly compared as GET asks."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().lstrip("W/") for candidate in if_none_match.split(",")]
    return "*" in candidates or etag.removeprefix("W/") in candidates
