"""Creating, importing and hashing API keys. Pure.

A created key has 256 random bits, and a guessable imported key is refused, so a plain SHA-256 is sufficient for storage.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Final

from app.domain.errors import BadInputError

_PREFIX = "tg_"
_SHOWN = 11
_SHOWN_PART: Final = 4
"""At most one in this many characters of an imported key is shown."""

MIN_KEY_LENGTH: Final = 20
MAX_KEY_LENGTH: Final = 512
MIN_KEY_BITS: Final = 64
"""Minimum of an imported key: characters, and bits of entropy, estimated from the key itself."""

_SENDABLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A created or imported key: `secret` is shown at most once, and never stored."""

    id: str
    secret: str
    hash: bytes
    prefix: str


def generate_key() -> NewKey:
    """Create a key with its public id."""
    return _named(_PREFIX + secrets.token_urlsafe(32), _SHOWN)


def import_key(secret: str) -> NewKey:
    """Give a key of another system a public id. BadInputError, without the key: it cannot be sent in a header, or is guessable."""
    if _SENDABLE.fullmatch(secret) is None:
        raise BadInputError("a key must consist of visible ASCII characters without spaces")
    if not MIN_KEY_LENGTH <= len(secret) <= MAX_KEY_LENGTH:
        raise BadInputError(f"a key must have {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} characters, not {len(secret)}")
    if estimate_bits(secret) < MIN_KEY_BITS:
        raise BadInputError(f"a key must not be guessable: this one looks like less than {MIN_KEY_BITS} random bits")
    return _named(secret, min(_SHOWN, len(secret) // _SHOWN_PART))


def estimate_bits(secret: str) -> float:
    """Estimate the random bits of a text: the entropy of its characters, reduced by repetitions; 0 for fewer than three characters."""
    triples = [secret[start : start + 3] for start in range(len(secret) - 2)]
    if not triples:
        return 0.0
    each = sum(count * math.log2(len(secret) / count) for count in Counter(secret).values())
    return each * len(set(triples)) / len(triples)


def _named(secret: str, shown: int) -> NewKey:
    return NewKey(id="key_" + secrets.token_hex(8), secret=secret, hash=hash_key(secret), prefix=secret[:shown])


def hash_key(secret: str) -> bytes:
    """Return the stored form of a key: 32 bytes. Any text is accepted."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(hash_key(given), hash_key(expected))
