"""How long a body of `/graphql` may be and whose memory it takes: that of callers without a key, of readers, or of writers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.domain.errors import TokengraphError
from app.request.context import RequestContext
from app.web.bodies import BodyBudget, BodyReader, Held

ANONYMOUS_BYTES: Final = 64 * 1024
"""Without a valid key."""

READER_BYTES: Final = 256 * 1024
"""With a key that may not write: room for the longest document and variables that are allowed, and what JSON adds to them."""

WRITER_BYTES: Final = 8 * 2**20
"""With a key that may write: room for a mutation of 1,000 usage records."""

ANONYMOUS_MEMORY: Final = 8 * 2**20
READERS_MEMORY: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class GraphQLBodies:
    """`writers`: the budget that all ingest endpoints share."""

    reader: BodyReader
    writers: BodyBudget
    readers: BodyBudget = field(default_factory=lambda: BodyBudget(READERS_MEMORY))
    anonymous: BodyBudget = field(default_factory=lambda: BodyBudget(ANONYMOUS_MEMORY))

    async def hold(self, context: RequestContext) -> tuple[int, Held]:
        """Return how many bytes the body may have, and what is held for it, to be released with its answer. OverloadedError."""
        limit, budget = await self._allowance(context)
        return limit, budget.hold(context.subject)

    async def _allowance(self, context: RequestContext) -> tuple[int, BodyBudget]:
        try:
            principal = await context.principal()
        except TokengraphError:  # which the fields that need a key raise again
            return ANONYMOUS_BYTES, self.anonymous
        if principal.may_ingest:
            return WRITER_BYTES, self.writers
        return READER_BYTES, self.readers
