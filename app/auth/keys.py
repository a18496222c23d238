"""Making, taking over and recognising API keys. Pure.

A key made here is 256 random bits and one taken over is refused if it may be guessed, so a plain SHA-256 of it is all that need be kept.
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
"""At most one in so many characters of a key that was taken over is shown."""

MIN_KEY_LENGTH: Final = 20
MAX_KEY_LENGTH: Final = 512
MIN_KEY_BITS: Final = 64
"""What a key of another system must have: characters, and bits of entropy as estimated from the key itself."""

_SENDABLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as made or taken over: `secret` is shown once, if at all, and never stored."""

    id: str
    secret: str
    hash: bytes
    prefix: str


def generate_key() -> NewKey:
    """Make a key with its public id."""
    return _named(_PREFIX + secrets.token_urlsafe(32), _SHOWN)


def take_over_key(secret: str) -> NewKey:
    """Give a key of another system a public id. BadInputError: it cannot be sent in a header, or may be guessed; the key is not in it."""
    if _SENDABLE.fullmatch(secret) is None:
        raise BadInputError("a key holds visible ASCII characters only, and no spaces")
    if not MIN_KEY_LENGTH <= len(secret) <= MAX_KEY_LENGTH:
        raise BadInputError(f"a key has {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} characters, not {len(secret)}")
    if estimate_bits(secret) < MIN_KEY_BITS:
        raise BadInputError(f"a key must not be guessable: this one looks like less than {MIN_KEY_BITS} random bits")
    return _named(secret, min(_SHOWN, len(secret) // _SHOWN_PART))


def estimate_bits(secret: str) -> float:
    """Return how many random bits a text seems to hold: the entropy of its characters, less what repeats in it. 0 for fewer than three."""
    triples = [secret[start : start + 3] for start in range(len(secret) - 2)]
    if not triples:
        return 0.0
    each = sum(count * math.log2(len(secret) / count) for count in Counter(secret).values())
    return each * len(set(triples)) / len(triples)


def _named(secret: str, shown: int) -> NewKey:
    return NewKey(id="key_" + secrets.token_hex(8), secret=secret, hash=hash_key(secret), prefix=secret[:shown])


def hash_key(secret: str) -> bytes:
    """Return what is stored of a key: 32 bytes. Any text is accepted, whatever its prefix."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in a time that tells nothing about where they differ."""
    return hmac.compare_digest(hash_key(given), hash_key(expected))
