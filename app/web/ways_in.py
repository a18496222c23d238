"""What all ways in over HTTP share: who may write, a bounded body, decompressed as it arrives, parsed off the event loop, written."""

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
"""From a body, the time of arrival and the tenant that the sender's key is bound to, to a batch. May raise BadInputError."""

_RECORD_BYTES = 1024
"""Of memory that a record takes until it is written."""
_KEPT_BYTES = 2048
"""Of memory that a quarantined record takes, with what was sent."""
_REJECT_BYTES = 128


@dataclass(frozen=True, slots=True)
class Parser:
    """How a body is read. `weigh`: how much memory its decoding may take."""

    parse: Parse
    weigh: Weigh = weigh_json


@dataclass(frozen=True, slots=True)
class WaysIn:
    """`body_limit`: bytes, of a body as sent and as decompressed; `budget`: of all bodies that are being taken in, and their records."""

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
        """Write the body's records by the one write and return the receipt, after the commit. Nothing is read of who may not write.

        OverloadedError: too much is being taken in already.
        """
        context = await self.admit(request)
        principal = await context.principal()
        with self.budget.hold(context.subject) as held:
            body = await self.reader.read(request, self.body_limit, held)
            batch = await self.reader.decoding.run(body, parser.weigh, lambda body: parser.parse(body, context.now, principal.tenant_id))
            del body
            held.grow_to(len(batch.records) * _RECORD_BYTES + len(batch.quarantined) * _KEPT_BYTES + len(batch.rejects) * _REJECT_BYTES)
            receipt = await self.services.ingestor.ingest(batch, principal.key_id)
        self.metrics.observe_receipt(receipt)
        return receipt.shown_to(principal)


def named_tenant(request: Request) -> str | None:
    """Return the tenant that the sender names for what names none itself. BadInputError: it cannot be one."""
    tenant = request.headers.get(TENANT_HEADER, "").strip()
    if tenant and not ID_PATTERN.fullmatch(tenant):
        raise BadInputError(f"the header {TENANT_HEADER} {ID_RULE}")
    return tenant or None
