"""How much of what is sent may be in the process at once. More is refused at once, so that a slow database never fills the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import OverloadedError

LEAST = 4 * 1024
"""Bytes that any request counts for, however short its body."""


class Held:
    """What one request holds of a budget."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def grow_to(self, size: int) -> None:
        """Hold `size` bytes from here on, if that is more than so far. OverloadedError: there is no room."""
        more = size - self.size
        if more > 0:
            self._budget.take(more)
            self.size = size


class BodyBudget:
    """Bytes of bodies, as decompressed, from their arrival to the end of their answer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Take some. OverloadedError: there is not so much left."""
        if self.taken + size > self._limit:
            raise OverloadedError
        self.taken += size

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Lend a share that is given back at the end."""
        held = Held(self)
        try:
            held.grow_to(LEAST)
            yield held
        finally:
            self.taken -= held.size
