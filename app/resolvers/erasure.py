"""The `eraseUser` mutation: takes a user's id and names away and keeps the sums."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.resolvers.context import ResolverInfo
from app.resolvers.cost import reads
from app.resolvers.permissions import OperatorOnly
from app.write.erase import erase_user


@strawberry.type(description="What was erased of a user.")
class ErasedUser:
    user_id: str | None = strawberry.field(
        description="The anonymous id that the user's records count under from now on; null if none were ever stored."
    )
    tenants: int = strawberry.field(description="Tenants that knew the user.")
    quarantined_records: int = strawberry.field(description="Quarantined records that lost the user's id and name.")


UserId = Annotated[str, strawberry.argument(description="The user's id, as records carry it.")]


async def resolve_erase_user(info: ResolverInfo, user_id: UserId) -> ErasedUser:
    """Erase a user. NotFoundError: no such id; BadInputError: it is an anonymous one."""
    erased = await erase_user(info.context.services.database, user_id)
    info.context.loaded.clear()
    return ErasedUser(user_id=erased.anonymous_id, tenants=erased.tenants, quarantined_records=erased.quarantined_records)


@strawberry.type
class ErasureMutation:
    """The mutation that erases."""

    erase_user: ErasedUser | None = strawberry.mutation(
        resolver=resolve_erase_user,
        metadata=reads(1_000),
        permission_classes=[OperatorOnly],
        description=(
            "Erase a user's id and usernames, for good; sums stay, under an anonymous id. A record of the same id that comes later makes a"
            " new user. A key of role admin that is bound to no tenant."
        ),
    )
