"""The `eraseUser` mutation: takes a user's id and names away and keeps the sums."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.resolvers.context import ResolverInfo
from app.resolvers.cost import reads
from app.resolvers.permissions import OperatorOnly
from app.write.erase import erase_user


@strawberry.type(description="Result of erasing a user.")
class ErasedUser:
    user_id: str | None = strawberry.field(description="The anonymous id of the user's records; null if there are none.")
    tenants: int = strawberry.field(description="Number of tenants with records of the user.")
    quarantined_records: int = strawberry.field(description="Number of quarantined records from which the user's id and name were removed.")


UserId = Annotated[str, strawberry.argument(description="Id of the user in records.")]


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
            "Erase a user's id and usernames permanently. Sums stay, under an anonymous id. A later record with the same id creates a "
            "new user. Requires role admin and a key that is not bound to a tenant."
        ),
    )
