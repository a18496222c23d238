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


@strawberry.enum(description="What was decided on a quarantined record.")
class QuarantineResolution(Enum):
    RELEASED = strawberry.enum_value("released", description="It went into the sums, or its request was in them already.")
    DROPPED = strawberry.enum_value("dropped", description="It is in no sum, ever.")


@strawberry.type(description="What is wrong with a quarantined record.")
class QuarantineReason:
    field: str | None = strawberry.field(description="The field; null: the whole record.")
    message: str = strawberry.field(description="The rule that it breaks, or the contradiction.")


@strawberry.type(
    description="A record that contradicts itself or breaks a rule, from a source that cannot mend it. In no sum until released."
)
class QuarantinedRecord(Node):
    id: strawberry.ID = named_id("QuarantinedRecord", "record_id")
    record_id: str = strawberry.field(description="Id, a digest of its content: what is sent again is the same record.")
    source: str = strawberry.field(description="The way in that read it, such as `otlp`.")
    sender_tenant_id: str | None = strawberry.field(
        description="The tenant that the sender's key is bound to, if any: it is released for that one unless the changes name another."
    )
    tenant_id: str | None = strawberry.field(description="`senderTenantId`, or else the tenant that the record names.")
    request_id: str | None = strawberry.field(description="Id of the request, if the record has one.")
    received_at: Instant = strawberry.field(description="When it first came in.")
    reasons: list[QuarantineReason] = strawberry.field(description="What was wrong when it came in.")
    record: JSON = strawberry.field(
        description="The values that were read, by the names of `UsageRecordInput`. What cannot be stored is replaced by U+FFFD, what is"
        " very long is cut."
    )
    resolution: QuarantineResolution | None = strawberry.field(description="What was decided; null: it waits.")
    resolved_at: Instant | None = strawberry.field(
        description=f"When that was decided; it is forgotten {RESOLVED_KEPT.days} days later. Null: it waits."
    )


@strawberry.type(description="A quarantined record and its place in the list.")
class QuarantinedRecordEdge:
    cursor: str = strawberry.field(description="Its place: give it as `after` for the page behind it.")
    node: QuarantinedRecord = strawberry.field(description="The record.")


async def resolve_waiting_count(root: QuarantinedRecordConnection, info: ResolverInfo) -> int:
    """Count what waits."""
    return await count_waiting(info.context.services.database, root.wanted)


@strawberry.type(description="A page of quarantined records, by the time they came in, oldest first: new ones come behind.")
class QuarantinedRecordConnection:
    wanted: strawberry.Private[QuarantineFilter]
    edges: list[QuarantinedRecordEdge] = strawberry.field(description="The records with their places.")
    nodes: list[QuarantinedRecord] = strawberry.field(description="The records alone.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")
    total_count: int = strawberry.field(
        resolver=resolve_waiting_count,
        description=f"Records that wait on all pages, of the source and tenant asked for; at most about {QUARANTINE_LIMIT} wait at once.",
    )


@strawberry.type(description="A record that could not be released, and waits as before.")
class RecordStillQuarantined:
    record_id: str = strawberry.field(description="Its `recordId`.")
    reasons: list[QuarantineReason] = strawberry.field(description="What is wrong with it, the changes applied.")


@strawberry.type(description="What became of each id, after the commit; one that was given twice counts once.")
class ReleaseReceipt:
    released: int = strawberry.field(description="Records written, now.")
    duplicates: int = strawberry.field(description="Records that count as released now, but whose requests were there already.")
    released_before: int = strawberry.field(description="Records that had been released already.")
    dropped_before: int = strawberry.field(description="Records that had been dropped, and stay so.")
    still_quarantined: list[RecordStillQuarantined] = strawberry.field(description="Records that break a rule, and wait as before.")
    not_found: list[str] = strawberry.field(description="What was given and is the `recordId` of no quarantined record.")


@strawberry.type(description="What became of each id, after the commit; one that was given twice counts once.")
class DropReceipt:
    dropped: int = strawberry.field(description="Records dropped, now.")
    dropped_before: int = strawberry.field(description="Records that had been dropped already.")
    released_before: int = strawberry.field(description="Records that had been released, and stay so.")
    not_found: list[str] = strawberry.field(description="What was given and is the `recordId` of no quarantined record.")


# In Python it has another name: strawberry's permissions pass a `source` of their own.
Source = Annotated[str | None, strawberry.argument(name="source", description="Only what came in by this way, such as `otlp`.")]
OfTenant = Annotated[str | None, strawberry.argument(description="Only with this `tenantId`.")]
IncludeResolved = Annotated[bool, strawberry.argument(description="Also what was released or dropped, and is not yet forgotten.")]
RecordIds = Annotated[
    list[str],
    strawberry.argument(description=f"1 to {MAX_IDS} of the `recordId` that `quarantinedRecords` lists, with or without hyphens."),
]
Changes = Annotated[UsageRecordChangesInput | None, strawberry.argument(description="The same for all of them; none if not given.")]


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
        description="Records kept aside until a person releases or drops them, oldest first. A key of role admin.",
    )


@strawberry.type
class QuarantineMutation:
    """The mutations that decide on what is quarantined."""

    release_quarantined_records: ReleaseReceipt | None = strawberry.mutation(
        resolver=resolve_release,
        metadata=reads(MAX_IDS),
        permission_classes=[AdminOnly],
        description="Write quarantined records, with the changes over what was kept, and mark them released, both or neither. What"
        " their source contradicted itself in is decided by that; a record that breaks a rule of its fields stays. The same again changes"
        " nothing. A key of role admin.",
    )
    drop_quarantined_records: DropReceipt | None = strawberry.mutation(
        resolver=resolve_drop,
        metadata=reads(MAX_IDS),
        permission_classes=[AdminOnly],
        description="Drop quarantined records: they are in no sum, and there is no way back. The same again changes nothing. A key of role"
        " admin.",
    )
