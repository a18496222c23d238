"""Who may read a field, declared on the field."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from strawberry.permission import BasePermission

from app.domain.errors import ForbiddenError
from app.domain.principal import Role
from app.request.context import RequestContext
from app.resolvers.context import ResolverInfo
from app.surfaces.readers import ADMINS, ANY_KEY, Readers


class ContextPermission(BasePermission):
    """A permission that depends on who asks alone, so that it can be judged before anything else of a request."""

    async def check(self, context: RequestContext) -> None:
        """Raise what the caller is to be told if it may not; return if it may."""
        raise NotImplementedError

    async def has_permission(self, source: Any, info: ResolverInfo, **_: Any) -> bool:
        """Pass whom `check` does not refuse."""
        await self.check(info.context)
        return True


class _HasRole(ContextPermission):
    """A key of one of some roles."""

    readers: ClassVar[Readers]

    async def check(self, context: RequestContext) -> None:
        """Pass the holders of such a role. UnauthenticatedError: no valid key; ForbiddenError: another role."""
        if (await context.principal()).role not in self.readers.roles:
            raise ForbiddenError(self.readers.message)


@cache
def permission_of(readers: Readers) -> type[ContextPermission]:
    """Return the permission that passes just these readers."""
    return type("Reading", (_HasRole,), {"readers": readers, "__doc__": readers.message})


class AnyKey(_HasRole):
    """Any valid API key, whatever its role."""

    readers = ANY_KEY


class AdminOnly(_HasRole):
    """A key of role admin."""

    readers = ADMINS


class OperatorOnly(AdminOnly):
    """A key of role admin that is bound to no tenant: what it changes is everybody's."""

    async def check(self, context: RequestContext) -> None:
        """Pass such keys. UnauthenticatedError: no valid key; ForbiddenError: another."""
        await super().check(context)
        if (await context.principal()).tenant_key is not None:
            raise ForbiddenError("An admin key that is bound to a tenant may not change what all tenants share")


class QuestionReader(_HasRole):
    """A key of role admin or tenant, or one that reads the gateway's statistics."""

    readers = Readers(frozenset({Role.ADMIN, Role.GATEWAY, Role.TENANT}), "A key of role admin, gateway or tenant is required")


class IdentityReader(_HasRole):
    """A key of role admin, which sees everything, or of role tenant, which sees its own; a bound one sees its tenant's."""

    readers = Readers(frozenset({Role.ADMIN, Role.TENANT}), "A key of role admin or tenant is required")


class UsageWriter(_HasRole):
    """A key of role ingest or admin."""

    readers = Readers(frozenset({Role.INGEST, Role.ADMIN}), "a key of role ingest or admin is needed to write")
