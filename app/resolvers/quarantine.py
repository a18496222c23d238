"""The quarantine for operators: the `quarantinedRecords` root, and the mutations that release and drop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.domain.principal import Role
from app.domain.time_range import format_instant
from app.domain.usage import Reason
from app.graph.quarantine import (
    QuarantinedRow,
    QuarantineFilter,
    Span,
    count_waiting,
    decode_position,
    encode_position,
    fetch_quarantined,
)
from app.ingest.release import MAX_IDS, drop_quarantined, release_quarantined
from app.resolvers.arguments import given_fields, given_text
from app.resolvers.connections import After, Before, First, Last, PageArguments, PageInfo, looks_back, page_rows, read_count
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.cost import reads
from app.resolvers.global_ids import Node, named_id
from app.resolvers.permissions import AdminOnly
from app.resolvers.record_inputs import SPELLING, UsageRecordChangesInput
from app.resolvers.scalars import Instant
from app.write.quarantine import QUARANTINE_LIMIT, RESOLVED_KEPT


@strawberry.enum(description="Decision on a quarantined record.")
class QuarantineResolution(Enum):
    RELEASED = strawberry.enum_value("released", description="It was written, or its request was stored already.")
    DROPPED = strawberry.enum_value("dropped", description="It was dropped and counts in no sum.")


@strawberry.type(description="An error of a quarantined record.")
class QuarantineReason:
    field: str | None = strawberry.field(description="The field; null: the whole record.")
    message: str = strawberry.field(description="The broken rule, or the contradiction.")


@strawberry.type(
    description="A record that contradicts itself or breaks a rule, from a source that cannot correct it. It counts in no sum until it "
    "is released."
)
class QuarantinedRecord(Node):
    id: strawberry.ID = named_id("QuarantinedRecord", "record_id")
    record_id: str = strawberry.field(description="Id, a digest of the content: a record that is sent again has the same id.")
    source: str = strawberry.field(description="The source format, such as `otlp`.")
    sender_tenant_id: str | None = strawberry.field(
        description="The tenant of the sender's key, if it is bound to one: the record is released for that tenant unless the changes "
        "name another."
    )
    tenant_id: str | None = strawberry.field(description="`senderTenantId`, else the tenant that the record names.")
    request_id: str | None = strawberry.field(description="Id of the request, if the record has one.")
    received_at: Instant = strawberry.field(description="Time of the first arrival.")
    reasons: list[QuarantineReason] = strawberry.field(description="Errors at arrival.")
    record: JSON = strawberry.field(
        description="The values that were read, by the names of `UsageRecordInput`. U+FFFD replaces characters that cannot be stored; "
        "very long texts are truncated."
    )
    resolution: QuarantineResolution | None = strawberry.field(description="Decision; null: waiting.")
    resolved_at: Instant | None = strawberry.field(
        description=f"Time of the decision; the record is deleted {RESOLVED_KEPT.days} days later. Null: waiting."
    )


@strawberry.type(description="A quarantined record and its cursor.")
class QuarantinedRecordEdge:
    cursor: str = strawberry.field(description="Cursor, for `after`.")
    node: QuarantinedRecord = strawberry.field(description="The record.")


async def resolve_waiting_count(root: QuarantinedRecordConnection, info: ResolverInfo) -> int:
    """Count what waits."""
    return await count_waiting(info.context.services.database, root.wanted)


@strawberry.type(description="A page of quarantined records by time of arrival, oldest first.")
class QuarantinedRecordConnection:
    wanted: strawberry.Private[QuarantineFilter]
    edges: list[QuarantinedRecordEdge] = strawberry.field(description="The records with their cursors.")
    nodes: list[QuarantinedRecord] = strawberry.field(description="The records.")
    page_info: PageInfo = strawberry.field(description="Position of the page.")
    total_count: int = strawberry.field(
        resolver=resolve_waiting_count,
        description=f"Number of waiting records of the requested source and tenant, on all pages; at most about {QUARANTINE_LIMIT}.",
    )


@strawberry.type(description="A record that could not be released.")
class RecordStillQuarantined:
    record_id: str = strawberry.field(description="`recordId` of the record.")
    reasons: list[QuarantineReason] = strawberry.field(description="Errors after the changes.")


@strawberry.type(description="Result by id, after the commit; a repeated id counts once.")
class ReleaseReceipt:
    released: int = strawberry.field(description="Records written by this request.")
    duplicates: int = strawberry.field(description="Records marked as released although their requests were stored already.")
    released_before: int = strawberry.field(description="Records that were released earlier.")
    dropped_before: int = strawberry.field(description="Records that were dropped earlier; unchanged.")
    still_quarantined: list[RecordStillQuarantined] = strawberry.field(description="Records that break a rule, and still wait.")
    not_found: list[str] = strawberry.field(description="Arguments that are not the `recordId` of a quarantined record.")


@strawberry.type(description="Result by id, after the commit; a repeated id counts once.")
class DropReceipt:
    dropped: int = strawberry.field(description="Records dropped by this request.")
    dropped_before: int = strawberry.field(description="Records that were dropped earlier.")
    released_before: int = strawberry.field(description="Records that were released earlier; unchanged.")
    not_found: list[str] = strawberry.field(description="Arguments that are not the `recordId` of a quarantined record.")


# In Python it has another name: strawberry's permissions pass a `source` of their own.
Source = Annotated[str | None, strawberry.argument(name="source", description="Only records of this source, such as `otlp`.")]
OfTenant = Annotated[str | None, strawberry.argument(description="Only records with this `tenantId`.")]
IncludeResolved = Annotated[
    bool, strawberry.argument(description="Whether to include released and dropped records that are not deleted yet.")
]
RecordIds = Annotated[
    list[str],
    strawberry.argument(description=f"1 to {MAX_IDS} `recordId` values of `quarantinedRecords`, with or without hyphens."),
]
Changes = Annotated[UsageRecordChangesInput | None, strawberry.argument(description="Changes, applied to all of them; default: none.")]


def _shape_reasons(reasons: Iterable[Reason]) -> list[QuarantineReason]:
    return [
        QuarantineReason(
            field=None if reason.field is None else SPELLING.name(reason.field),
            message=SPELLING.sentence(reason.message),
        )
        for reason in reasons
    ]


def shape_quarantined(row: QuarantinedRow) -> QuarantinedRecord:
    return QuarantinedRecord(
        record_id=str(row.id),
        source=row.source,
        sender_tenant_id=row.sender_tenant_id,
        tenant_id=row.tenant_id,
        request_id=row.request_id,
        received_at=Instant(format_instant(row.received_at)),
        reasons=_shape_reasons(Reason(reason["field"], reason["message"]) for reason in row.reasons),
        record=JSON({SPELLING.name(name): value for name, value in row.record.items()}),
        resolution=None if row.resolution is None else QuarantineResolution[row.resolution.upper()],
        resolved_at=None if row.resolved_at is None else Instant(format_instant(row.resolved_at)),
    )


async def load_quarantined(info: ResolverInfo, record_id: UUID) -> QuarantinedRecord | None:
    """Return a record by its id, decided on or not; None if the caller is no admin, or sees none of that id."""
    principal = await info.context.principal()
    if principal.role is not Role.ADMIN:
        return None
    row = await loaders_of(info.context).quarantined.load((principal.tenant_id, record_id))
    return None if row is None else shape_quarantined(row)


def quarantine_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that a page may read; all that waits is counted for it, in an index."""
    return page_rows(arguments, now) + QUARANTINE_LIMIT // 100


async def resolve_quarantined_records(
    info: ResolverInfo,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    way_in: Source = None,
    tenant_id: OfTenant = None,
    include_resolved: IncludeResolved = False,
) -> QuarantinedRecordConnection:
    """Return one page; one row more is read to know whether more follow."""
    given = PageArguments(first, after, last, before)
    count, backward = read_count(given), last is not None
    wanted = QuarantineFilter(given_text(way_in), await info.context.tenant_named(given_text(tenant_id)), include_resolved)
    after, before = given_text(after), given_text(before)
    span = Span(
        None if after is None else decode_position(after, "after"), None if before is None else decode_position(before, "before"), backward
    )
    database = info.context.services.database
    rows = await fetch_quarantined(database, wanted, count + 1, span)
    behind = span.before if backward else span.after
    beyond = False
    if behind is not None and looks_back(info, backward=backward):
        other = Span(after=behind, inclusive=True) if backward else Span(before=behind, backward=True, inclusive=True)
        beyond = bool(await fetch_quarantined(database, wanted, 1, other))
    page = rows[-count:] if backward else rows[:count]
    edges = [QuarantinedRecordEdge(cursor=encode_position(row.position), node=shape_quarantined(row)) for row in page]
    loaders_of(info.context).count(len(edges))
    return QuarantinedRecordConnection(
        wanted=wanted,
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=beyond if backward else len(rows) > count,
            has_previous_page=len(rows) > count if backward else beyond,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


async def resolve_release(info: ResolverInfo, record_ids: RecordIds, changes: Changes = None) -> ReleaseReceipt:
    """Release records, with changes. Errors as `release_quarantined`."""
    given = {} if changes is None else given_fields(changes)
    bound = await info.context.tenant_named(None)
    receipt = await release_quarantined(info.context.services.database, record_ids, given, info.context.now, tenant_id=bound)
    info.context.loaded.clear()
    return ReleaseReceipt(
        released=receipt.released,
        duplicates=receipt.duplicates,
        released_before=receipt.released_before,
        dropped_before=receipt.dropped_before,
        still_quarantined=[
            RecordStillQuarantined(record_id=item.id, reasons=_shape_reasons(item.reasons)) for item in receipt.still_quarantined
        ],
        not_found=receipt.not_found,
    )


async def resolve_drop(info: ResolverInfo, record_ids: RecordIds) -> DropReceipt:
    """Drop records."""
    bound = await info.context.tenant_named(None)
    receipt = await drop_quarantined(info.context.services.database, record_ids, info.context.now, tenant_id=bound)
    return DropReceipt(
        dropped=receipt.dropped,
        dropped_before=receipt.dropped_before,
        released_before=receipt.released_before,
        not_found=receipt.not_found,
    )


@strawberry.type
class QuarantineQuery:
    """The root that lists what is quarantined."""

    quarantined_records: QuarantinedRecordConnection | None = strawberry.field(
        resolver=resolve_quarantined_records,
        metadata=reads(quarantine_rows),
        permission_classes=[AdminOnly],
        description="Quarantined records, oldest first. Requires role admin.",
    )


@strawberry.type
class QuarantineMutation:
    """The mutations that decide on what is quarantined."""

    release_quarantined_records: ReleaseReceipt | None = strawberry.mutation(
        resolver=resolve_release,
        metadata=reads(MAX_IDS),
        permission_classes=[AdminOnly],
        description="Write quarantined records, with changes to their stored values, and mark them as released, in one transaction. "
        "Contradictions are accepted; a record that breaks a rule of its fields stays. Idempotent. Requires role admin.",
    )
    drop_quarantined_records: DropReceipt | None = strawberry.mutation(
        resolver=resolve_drop,
        metadata=reads(MAX_IDS),
        permission_classes=[AdminOnly],
        description="Drop quarantined records permanently; they count in no sum. Idempotent. Requires role admin.",
    )
