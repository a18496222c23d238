"""What all ways in over HTTP share: who may write, a bounded body, decompressed as it arrives, parsed off the event loop, written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from app.domain.errors import BadInputError, BodyTooLargeError, ForbiddenError, SlowSenderError
from app.domain.usage import ParsedBatch
from app.ingest.decompress import BodyDecoder
from app.ingest.fields import ID_PATTERN, ID_RULE
from app.ingest.receipt import Receipt
from app.ingest.sources.genai import TENANT_HEADER
from app.resolvers.context import RequestContext, Services
from app.web.backpressure import BodyBudget, Held
from app.web.metrics import Metrics

Parser = Callable[[bytes, datetime, str | None], ParsedBatch]
"""From a body, the time of arrival and the tenant that the sender's key is bound to, to a batch. May raise BadInputError."""

_INLINE_BYTES = 64 * 1024
_SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WaysIn:
    """`body_limit`: bytes, of a body as sent and as decompressed; `budget`: of all bodies that are being taken in."""

    services: Services
    metrics: Metrics
    body_limit: int
    budget: BodyBudget

    async def admit(self, request: Request) -> RequestContext:
        """Return the context of a request that may write. Errors as `RequestContext.principal`, or ForbiddenError."""
        context = RequestContext.of(request, self.services)
        principal = await context.principal()
        if not principal.may_ingest:
            raise ForbiddenError("a key of role ingest or admin is needed to write")
        return context

    async def take(self, request: Request, parse: Parser) -> Receipt:
        """Write the body's records by the one write and return the receipt, after the commit. Nothing is read of who may not write.

        OverloadedError: too much is being taken in already.
        """
        context = await self.admit(request)
        with self.budget.hold() as held:
            body = await read_body(request, self.body_limit, held)
            principal = await context.principal()
            tenant = principal.tenant_id
            if len(body) <= _INLINE_BYTES:
                batch = parse(body, context.now, tenant)
            else:
                batch = await asyncio.to_thread(parse, body, context.now, tenant)
            del body
            receipt = await self.services.ingestor.ingest(batch, principal.key_id)
        self.metrics.observe_receipt(receipt)
        return receipt.shown_to(principal)


def named_tenant(request: Request) -> str | None:
    """Return the tenant that the sender names for what names none itself. BadInputError: it cannot be one."""
    tenant = request.headers.get(TENANT_HEADER, "").strip()
    if tenant and not ID_PATTERN.fullmatch(tenant):
        raise BadInputError(f"the header {TENANT_HEADER} {ID_RULE}")
    return tenant or None


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    """Give the chunks of a body. SlowSenderError: none came for so long that the sender may be gone, while it holds its share of memory."""
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SlowSenderError from None
        yield chunk


async def read_body(request: Request, limit: int, held: Held) -> bytes:
    """Return the decompressed body. BodyTooLargeError as soon as more than `limit` bytes came, compressed or not; OverloadedError."""
    decoder = BodyDecoder(request.headers.get("content-encoding", ""), limit)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLargeError(f"the body is larger than {limit} bytes")
    arrived = 0
    async for chunk in _arriving(request):
        arrived += len(chunk)
        if arrived > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
        if chunk:
            decoder.feed(chunk)
            held.grow_to(max(arrived, decoder.size))
    return decoder.finish()
