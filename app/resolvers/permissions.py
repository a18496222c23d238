"""Who may read a field, declared on the field."""

from __future__ import annotations

from typing import Any, ClassVar

from strawberry.permission import BasePermission

from app.domain.errors import ForbiddenError
from app.domain.principal import Role
from app.request.context import RequestContext
from app.resolvers.context import ResolverInfo


class ContextPermission(BasePermission):
    """A permission that depends on who asks alone, so that it can be judged before anything else of a request."""

    async def check(self, context: RequestContext) -> None:
        """Raise what the caller is to be told if it may not; return if it may."""
        raise NotImplementedError

    async def has_permission(self, source: Any, info: ResolverInfo, **_: Any) -> bool:
        """Pass whom `check` does not refuse."""
        await self.check(info.context)
        return True


class AnyKey(ContextPermission):
    """Any valid API key, whatever its role."""

    async def check(self, context: RequestContext) -> None:
        """Pass every holder of a valid key. UnauthenticatedError: another."""
        await context.principal()


class _HasRole(ContextPermission):
    """A key of one of some roles. `message` is what holders of other keys are told."""

    roles: ClassVar[frozenset[Role]]

    async def check(self, context: RequestContext) -> None:
        """Pass the holders of such a role. UnauthenticatedError: no valid key; ForbiddenError: another role."""
        if (await context.principal()).role not in self.roles:
            raise ForbiddenError(self.message)


class AdminOnly(_HasRole):
    """A key of role admin."""

    message = "Admin access required"
    roles = frozenset({Role.ADMIN})


class OperatorOnly(AdminOnly):
    """A key of role admin that is bound to no tenant: what it changes is everybody's."""

    async def check(self, context: RequestContext) -> None:
        """Pass such keys. UnauthenticatedError: no valid key; ForbiddenError: another."""
        await super().check(context)
        if (await context.principal()).tenant_key is not None:
            raise ForbiddenError("An admin key that is bound to a tenant may not change what all tenants share")


class GatewayReader(_HasRole):
    """The gateway's secret, or a key of role gateway or admin."""

    message = "Gateway access required"
    roles = frozenset({Role.GATEWAY, Role.ADMIN})


class TenantReader(_HasRole):
    """A key of role tenant; or of role admin, which names the tenant if its key is bound to none."""

    message = "A tenant's key is required"
    roles = frozenset({Role.TENANT, Role.ADMIN})


class QuestionReader(_HasRole):
    """A key of role admin or tenant, or one that reads the gateway's statistics."""

    message = "A key of role admin, gateway or tenant is required"
    roles = frozenset({Role.ADMIN, Role.GATEWAY, Role.TENANT})


class IdentityReader(_HasRole):
    """A key of role admin, which sees everything, or of role tenant, which sees its own; a bound one sees its tenant's."""

    message = "A key of role admin or tenant is required"
    roles = frozenset({Role.ADMIN, Role.TENANT})


class UsageWriter(_HasRole):
    """A key of role ingest or admin."""

    message = "a key of role ingest or admin is needed to write"
    roles = frozenset({Role.INGEST, Role.ADMIN})
