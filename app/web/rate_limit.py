"""The limiter: slowapi's, whose storage every limit of the product shares."""

from __future__ import annotations

from limits.storage import Storage
from slowapi import Limiter
from slowapi.util import get_remote_address


def build_limiter(redis_url: str | None) -> Limiter:
    """Return the limiter: over Redis if a URL is given, else in this process's memory."""
    return Limiter(key_func=get_remote_address, storage_uri=redis_url or "memory://", strategy="moving-window")


def storage_of(limiter: Limiter) -> Storage:
    """Return the storage that the limiter counts in."""
    storage: Storage = limiter.limiter.storage
    return storage
