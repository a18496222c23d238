"""Making and recognising API keys. Pure: a key is 256 random bits, so a plain SHA-256 of it is all that need be kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

_PREFIX = "tg_"
_SHOWN = 11


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as made: `secret` is shown once and never stored."""

    id: str
    secret: str
    hash: bytes
    prefix: str


def generate_key() -> NewKey:
    """Make a key with its public id."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    return NewKey(id="key_" + secrets.token_hex(8), secret=secret, hash=hash_key(secret), prefix=secret[:_SHOWN])


def hash_key(secret: str) -> bytes:
    """Return what is stored of a key: 32 bytes. Any text is accepted, whatever its prefix."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in a time that tells nothing about where they differ."""
    return hmac.compare_digest(hash_key(given), hash_key(expected))
