"""Who may read a documented surface, by role; and what others are told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.principal import Role


@dataclass(frozen=True, slots=True)
class Readers:
    """Holders of a valid key of one of some roles. `message`: what holders of other keys are told."""

    roles: frozenset[Role]
    message: str


ANY_KEY: Final = Readers(frozenset(Role), "A valid API key is required")
ADMINS: Final = Readers(frozenset({Role.ADMIN}), "Admin access required")
GATEWAY_READERS: Final = Readers(frozenset({Role.GATEWAY, Role.ADMIN}), "Gateway access required")
TENANT_READERS: Final = Readers(frozenset({Role.TENANT, Role.ADMIN}), "A tenant's key is required")
