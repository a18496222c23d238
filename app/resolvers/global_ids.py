"""Global ids of objects, unique over all types: for caches of clients and for `node`. Opaque to clients."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import strawberry
from strawberry.relay import GlobalID, GlobalIDValueError, to_base64

from app.db.engine import NOT_STORABLE
from app.execution.derived import derived_id

GLOBAL_ID: Final = "Global id, unique over all types. Opaque; an argument of `node`."

_SEPARATOR: Final = "\n"
"""Between the names of an object that is named by several: no name holds it, since names are printable."""

_MAX_ID: Final = 4_000


@strawberry.interface(description="An object with a global id, for `node`.")
class Node:
    id: strawberry.ID = strawberry.field(description=GLOBAL_ID)


def join_names(*names: str) -> str:
    """Return what a node is known by among its type, for one that takes several names to tell."""
    return _SEPARATOR.join(names)


def split_names(key: str) -> list[str]:
    """Return the names that `join_names` joined."""
    return key.split(_SEPARATOR)


def encode_id(type_name: str, *names: str) -> str:
    """Return the global id of the object that has these names among its type."""
    return to_base64(type_name, join_names(*names))


def named_id(type_name: str, attribute: str) -> Any:
    """Declare the id of a type whose objects are told by one attribute."""
    return derived_id(partial(to_base64, type_name), attribute, description=GLOBAL_ID)


def decode_id(text: str) -> tuple[str, str] | None:
    """Return the type and the key within it that an id holds; None: it is no id that `encode_id` gave."""
    if len(text) > _MAX_ID:
        return None
    try:
        found = GlobalID.from_id(text)
    except GlobalIDValueError:
        return None
    if str(found) != text or NOT_STORABLE.search(found.node_id):
        return None  # what base64 reads leniently would be a second id of the same object
    return found.type_name, found.node_id
