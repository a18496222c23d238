"""What a sender is told of its batch, after the commit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from app.domain.principal import Principal, Role
from app.domain.usage import Reject

MAX_LISTED = 1000
"""Errors, and private models, that a receipt lists at most; `rejected` counts all errors."""


@dataclass(slots=True)
class Receipt:
    """What became of a batch. `received` = `inserted` + `duplicates` + `rejected` + `quarantined`."""

    received: int
    inserted: int
    duplicates: int
    rejected: int
    quarantined: int = 0
    errors: list[Reject] = field(default_factory=list)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    private_models: list[str] = field(default_factory=list)
    """Permaslugs that this batch was the first to mention and that stay private until the catalog publishes them.

    Only for operators: what is not in it tells which private names the catalog, or another tenant, has already.
    """

    def shown_to(self, principal: Principal) -> Receipt:
        """Return what a sender may see of it: `private_models` is for an admin who belongs to no tenant."""
        is_operator = principal.role is Role.ADMIN and principal.tenant_id is None
        return self if is_operator else replace(self, private_models=[])

    def as_json(self) -> dict[str, Any]:
        """Return the documented object, with the first MAX_LISTED of each list; what is not always there only if there is any of it."""
        answer: dict[str, Any] = {
            "received": self.received,
            "inserted": self.inserted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "errors": [{"index": error.index, "field": error.field, "message": error.message} for error in self.errors[:MAX_LISTED]],
        }
        if self.quarantined:
            answer["quarantined"] = self.quarantined
        if self.unknown_fields:
            answer["unknown_fields"] = sorted(self.unknown_fields)
        if self.private_models:
            answer["private_models"] = self.private_models[:MAX_LISTED]
        return answer
