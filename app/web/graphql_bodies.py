"""Size limits and memory budgets of `/graphql` bodies: for callers without a key, readers and writers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.domain.errors import TokengraphError
from app.request.context import RequestContext
from app.web.bodies import BodyBudget, BodyReader, Held

ANONYMOUS_BYTES: Final = 64 * 1024
"""Without a valid key."""

READER_BYTES: Final = 256 * 1024
"""With a read-only key: the longest document and variables that are allowed, with JSON's overhead."""

WRITER_BYTES: Final = 8 * 2**20
"""With a writing key: a mutation of 1,000 usage records."""

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
        """Return the size limit of the body and its share of a budget, to be released with the answer. OverloadedError."""
        limit, budget = await self._allowance(context)
        return limit, budget.hold(context.subject)

    async def _allowance(self, context: RequestContext) -> tuple[int, BodyBudget]:
        try:
            principal = await context.principal()
        except TokengraphError:  # fields that need a key raise it again
            return ANONYMOUS_BYTES, self.anonymous
        if principal.may_ingest:
            return WRITER_BYTES, self.writers
        return READER_BYTES, self.readers
