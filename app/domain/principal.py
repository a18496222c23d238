"""Who asks: roles, what each may do, and the scope that bounds what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a key may do. Any valid key reads the rankings."""

    ADMIN = "admin"
    GATEWAY = "gateway"
    TENANT = "tenant"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a valid key. `tenant_id` and `tenant_key`: external id and surrogate of the tenant it is bound to, if any.

    A key that is bound to a tenant reads and writes what is that tenant's, whatever its role.
    """

    key_id: str
    role: Role
    tenant_id: str | None = None
    tenant_key: int | None = None

    @property
    def account(self) -> str:
        """Whom daily limits count for: the tenant, or the key itself where it belongs to none."""
        return f"key:{self.key_id}" if self.tenant_id is None else f"tenant:{self.tenant_id}"

    @property
    def may_ingest(self) -> bool:
        """Whether it may write usage records."""
        return self.role in (Role.ADMIN, Role.INGEST)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader's question may see. `tenant_key` None: all traffic; `identities`: whether it may group by who asked."""

    tenant_key: int | None
    identities: bool


PUBLIC_SCOPE = Scope(tenant_key=None, identities=False)
"""All traffic, as public aggregates only."""


def traffic_scope(principal: Principal) -> Scope:
    """Return whose traffic an operator reads who may read a surface of operators: all, or its tenant's if its key is bound to one."""
    return Scope(tenant_key=principal.tenant_key, identities=True)


def scope_of(principal: Principal) -> Scope | None:
    """Return what the principal may read beyond the public surfaces; None: nothing."""
    match principal.role:
        case Role.ADMIN:
            return traffic_scope(principal)
        case Role.TENANT if principal.tenant_key is not None:
            return Scope(tenant_key=principal.tenant_key, identities=True)
        case _:
            return None
