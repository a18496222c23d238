"""What the ingest endpoints share: permission, a bounded body, decompression while it arrives, parsing off the event loop, the write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request

from app.domain.errors import BadInputError, ForbiddenError
from app.domain.usage import ParsedBatch
from app.ingest.fields import ID_PATTERN, ID_RULE
from app.ingest.sources.genai import TENANT_HEADER
from app.ingest.weight import Weigh, weigh_json
from app.request.context import RequestContext, Services
from app.web.bodies import BodyBudget, BodyReader
from app.web.metrics import Metrics
from app.write.receipt import Receipt

Parse = Callable[[bytes, datetime, str | None], ParsedBatch]
"""Maps a body, its time of arrival and the tenant of the sender's key (if it is bound to one) to a batch. May raise BadInputError."""

_RECORD_BYTES = 1024
"""Memory of a record until it is written."""
_QUARANTINED_BYTES = 2048
"""Memory of a quarantined record with the values that were sent."""
_REJECT_BYTES = 128


@dataclass(frozen=True, slots=True)
class Parser:
    """How a body is parsed. `weigh`: estimates the memory that decoding takes."""

    parse: Parse
    weigh: Weigh = weigh_json


@dataclass(frozen=True, slots=True)
class IngestEndpoint:
    """`body_limit`: bytes of a body, as sent and as decompressed; `budget`: bytes of all bodies in progress and their records."""

    services: Services
    metrics: Metrics
    body_limit: int
    budget: BodyBudget
    reader: BodyReader = field(default_factory=BodyReader)

    async def admit(self, request: Request) -> RequestContext:
        """Return the context of a request that may write. Errors as `RequestContext.principal`, or ForbiddenError."""
        context = RequestContext.of(request, self.services)
        principal = await context.principal()
        if not principal.may_ingest:
            raise ForbiddenError("a key of role ingest or admin is needed to write")
        return context

    async def take(self, request: Request, parser: Parser) -> Receipt:
        """Write the records of the body and return the receipt after the commit. The body is read only if the caller may write.

        OverloadedError: the budget is used up by other bodies.
        """
        context = await self.admit(request)
        principal = await context.principal()
        with self.budget.hold(context.subject) as held:
            body = await self.reader.read(request, self.body_limit, held)
            batch = await self.reader.decoding.run(body, parser.weigh, lambda body: parser.parse(body, context.now, principal.tenant_id))
            del body
            held.grow_to(
                len(batch.records) * _RECORD_BYTES + len(batch.quarantined) * _QUARANTINED_BYTES + len(batch.rejects) * _REJECT_BYTES
            )
            receipt = await self.services.ingestor.ingest(batch, principal.key_id)
        self.metrics.observe_receipt(receipt)
        return receipt.shown_to(principal)


def named_tenant(request: Request) -> str | None:
    """Return the tenant of the header, for records that name none; None without the header. BadInputError: it is no valid tenant id."""
    tenant = request.headers.get(TENANT_HEADER, "").strip()
    if tenant and not ID_PATTERN.fullmatch(tenant):
        raise BadInputError(f"the header {TENANT_HEADER} {ID_RULE}")
    return tenant or None
