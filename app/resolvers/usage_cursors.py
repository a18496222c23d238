"""Cursors of rows of `usage`: the position of a row in the order of its question, and a digest of that question."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import orjson

from app.db.engine import NOT_STORABLE
from app.domain.errors import BadInputError
from app.query.labels import KeyKind

_MAX_CURSOR: Final = 20_000
_MAX_DIGITS: Final = 400
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class Cursors:
    """The cursors of one list. `decisive`: what decides which rows it has and in which order; `kinds`: what they are ordered by."""

    decisive: tuple[Any, ...]
    kinds: Sequence[KeyKind]

    @cached_property
    def _name(self) -> str:
        return hashlib.blake2b(repr(self.decisive).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()

    def encode(self, position: Sequence[Any]) -> str:
        """Return a position as URL-safe text."""
        return base64.urlsafe_b64encode(orjson.dumps([self._name, *map(_encode, position)])).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[Any, ...]:
        """Return the position that a cursor names. BadInputError: it is of another question."""
        try:
            if len(cursor) > _MAX_CURSOR:
                raise ValueError
            name, *position = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
            if name != self._name:
                raise ValueError
            return tuple(_decode(kind, value) for kind, value in zip(self.kinds, position, strict=True))
        except (ValueError, TypeError, OverflowError, binascii.Error):
            raise BadInputError("the cursor is not one that the same question gave", "after") from None


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value


def _decode(kind: KeyKind, value: Any) -> Any:
    """Return a value as the database takes it; ValueError or TypeError: it is none of its kind."""
    match kind:
        case KeyKind.FLAG if isinstance(value, bool):
            return value
        case KeyKind.BUCKET | KeyKind.INSTANT if isinstance(value, str):
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                raise ValueError
            return instant.astimezone(UTC)
        case KeyKind.FLAG | KeyKind.BUCKET:
            raise TypeError
        case _ if value is None:
            return None
        case KeyKind.TEXT if isinstance(value, str) and NOT_STORABLE.search(value) is None:
            return value
        case KeyKind.INTEGER if type(value) is int and abs(value) < 2**63:
            return value
        case KeyKind.NUMBER if type(value) is int or isinstance(value, str):
            if len(str(value)) > _MAX_DIGITS or _NUMBER.fullmatch(str(value)) is None:
                raise ValueError
            return Decimal(value)
        case _:
            raise TypeError
