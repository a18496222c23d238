"""Fields that are a pure function of stored attributes: computed where they are selected, by compiled code too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

_KEY: Final = "derivation"


@dataclass(frozen=True, slots=True)
class Derivation:
    """`compute`, of the values of the attributes `names`: without side effects, and of a value that is neither awaitable nor null."""

    compute: Callable[..., Any]
    names: tuple[str, ...]

    def of(self, source: Any) -> Any:
        """Return the value for an object."""
        return self.compute(*[getattr(source, name) for name in self.names])


def derived_id(compute: Callable[..., str], *names: str, description: str) -> Any:
    """Declare a field of type ID that is computed from attributes of its object."""
    derivation = Derivation(compute, names)

    def resolve(root: Any) -> strawberry.ID:
        return strawberry.ID(derivation.of(root))

    return strawberry.field(resolver=resolve, description=description, metadata={_KEY: derivation})


def derivation_of(field: StrawberryField) -> Derivation | None:
    """Return how a field is derived; None: it is not, or more than that happens when it is asked for."""
    found = field.metadata.get(_KEY)
    return found if isinstance(found, Derivation) and not (field.extensions or field.permission_classes) else None
