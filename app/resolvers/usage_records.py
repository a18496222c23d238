"""The `ingestUsage` mutation: records and receipt as on `POST /v1/ingest/usage`, by the same rules and the same write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, cast

import strawberry
from strawberry.types.arguments import InputContext
from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from app.domain.errors import BadInputError
from app.domain.usage import UsageRecord
from app.ingest.parse import parse_values
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import reads
from app.resolvers.permissions import UsageWriter
from app.resolvers.record_inputs import SPELLING, UsageRecordInput
from app.write.receipt import MAX_LISTED, Receipt

MAX_RECORDS = 1_000
_INLINE_RECORDS = 50

_record_names = {to_camel_case(name): name for name in UsageRecord._fields}


def read_record(_: type, given: Mapping[str, Any], __: InputContext) -> dict[str, object]:
    """Return the fields of a record input that were given, by the record's own names, as the parser takes them."""
    return {_record_names[name]: value for name, value in given.items() if value is not None}


# Building an object of each record first, as strawberry would, holds the event loop for a third of a second a thousand records.
get_object_definition(UsageRecordInput, strict=True).from_input = read_record


@strawberry.type(description="Why a record was rejected.")
class IngestError:
    index: int = strawberry.field(description="Position in the request, from 0.")
    field: str | None = strawberry.field(description="The invalid field; null: the whole record.")
    message: str = strawberry.field(description="The rule that is broken.")


@strawberry.type(
    description="Receipt of a batch, after the commit. `received` is `inserted` plus `duplicates` plus `rejected` plus `quarantined`."
)
class IngestReceipt:
    received: int = strawberry.field(description="Records in the request.")
    inserted: int = strawberry.field(description="Records written.")
    duplicates: int = strawberry.field(description="Records that were stored already; nothing was changed.")
    rejected: int = strawberry.field(description="Invalid records; the others were written.")
    quarantined: int = strawberry.field(description="Records that exceed the limits of one request, and wait for an administrator.")
    errors: list[IngestError] = strawberry.field(description=f"By position, the first {MAX_LISTED}.")
    unknown_fields: list[str] = strawberry.field(description="Unknown fields; empty in GraphQL, which refuses them.")
    private_models: list[str] = strawberry.field(
        description=f"New permaslugs of this batch, at most {MAX_LISTED}, which are private until they are published. Only for admin "
        "keys without a tenant; else empty."
    )


def shape_receipt(receipt: Receipt) -> IngestReceipt:
    """Return the GraphQL object of a receipt, with fields by their names in GraphQL."""
    return IngestReceipt(
        received=receipt.received,
        inserted=receipt.inserted,
        duplicates=receipt.duplicates,
        rejected=receipt.rejected,
        quarantined=receipt.quarantined,
        errors=[
            IngestError(
                index=error.index,
                field=None if error.field is None else SPELLING.name(error.field),
                message=SPELLING.sentence(error.message),
            )
            for error in receipt.errors[:MAX_LISTED]
        ],
        unknown_fields=sorted(receipt.unknown_fields),
        private_models=receipt.private_models[:MAX_LISTED],
    )


Records = Annotated[list[UsageRecordInput], strawberry.argument(description=f"1 to {MAX_RECORDS} records, written in one transaction.")]


async def resolve_ingest_usage(info: ResolverInfo, records: Records) -> IngestReceipt:
    """Write a batch by the one write, and return its receipt after the commit."""
    if not 1 <= len(records) <= MAX_RECORDS:
        raise BadInputError(f"records must be 1 to {MAX_RECORDS}", "records")
    context = info.context
    principal = await context.principal()
    values = cast(list[object], records)  # as `read_record` made them
    if len(values) <= _INLINE_RECORDS:
        batch = parse_values(values, now=context.now, tenant_id=principal.tenant_id)
    else:
        batch = await asyncio.to_thread(parse_values, values, now=context.now, tenant_id=principal.tenant_id)
    receipt = await context.services.ingestor.ingest(batch, principal.key_id)
    context.services.observe_receipt(receipt)
    context.loaded.clear()
    return shape_receipt(receipt.shown_to(principal))


@strawberry.type
class UsageMutation:
    """The mutation that writes usage."""

    ingest_usage: IngestReceipt | None = strawberry.mutation(
        resolver=resolve_ingest_usage,
        metadata=reads(MAX_RECORDS),
        permission_classes=[UsageWriter],
        description="Write usage records. Invalid records are rejected and the others written; a record that is stored already is a "
        "duplicate and changes nothing. Requires role admin or ingest; a key that is bound to a tenant writes records of "
        "that tenant only.",
    )
