"""Who may read a field, declared on the field."""

from __future__ import annotations

from typing import Any

from strawberry.permission import BasePermission

from app.resolvers.context import ResolverInfo


class AnyKey(BasePermission):
    """Any valid API key, whatever its role."""

    message = "Any valid API key"

    async def has_permission(self, source: Any, info: ResolverInfo, **_: Any) -> bool:
        """Pass every holder of a valid key; the context raises for others."""
        await info.context.principal()
        return True
