"""The dimensions of rows as SQL: their keys in what is scanned, their labels, and what orders them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from app.cube.usage_dimensions import UsageDimension

_OTHER_KEY: Final = "-1"
_OTHER_TEXT: Final = "''"


class KeyKind(Enum):
    """What a value that rows are ordered by is."""

    BUCKET = "bucket"
    """A position in the buckets, from 1 on; carried as the bucket's first instant."""
    FLAG = "flag"
    NUMBER = "number"
    INSTANT = "instant"
    TEXT = "text"
    INTEGER = "integer"

    @property
    def type(self) -> str:
        """The type in PostgreSQL."""
        return _TYPES[self]


_TYPES: Final = {
    KeyKind.BUCKET: "numeric",
    KeyKind.FLAG: "boolean",
    KeyKind.NUMBER: "numeric",
    KeyKind.INSTANT: "timestamptz",
    KeyKind.TEXT: "text",
    KeyKind.INTEGER: "bigint",
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A dimension of the rows: the names of its keys in `src`, and how its label is found. `shows_tenants`: its reader may see tenants."""

    dimension: UsageDimension
    place: int
    shows_tenants: bool = True

    @property
    def expressions(self) -> list[str]:
        """SQL over a scanned table `s` (and `m`, its model) giving the keys."""
        stored = self.dimension.stored
        if stored is None:
            return [self.dimension.of_record]
        if self.dimension.is_labelled_by_row:
            return [f"m.{stored.label}"]
        return ["s.tenant_id", f"s.{stored.key}"] if stored.in_tenant else [f"s.{stored.key}"]

    @property
    def keys(self) -> list[str]:
        """Names of the keys."""
        return [f"k{self.place}_{number}" for number in range(len(self.expressions))]

    @property
    def label(self) -> str:
        """SQL over a group `g` and the joins, giving the label: text, or a number; null: there is none."""
        stored = self.dimension.stored
        if stored is None or stored.table is None:
            return f"g.{self.keys[0]}"
        return f"nullif(g.{self.keys[0]}, '')" if self.dimension.is_labelled_by_row else f"l{self.place}.{stored.label}"

    @property
    def joins(self) -> str:
        """SQL that brings the label's table beside a group `g`, and the tenant's where names are a tenant's."""
        stored = self.dimension.stored
        if stored is None or stored.table is None or self.dimension.is_labelled_by_row:
            return ""
        if not stored.in_tenant:
            return f" LEFT JOIN {stored.table} l{self.place} ON l{self.place}.id = g.{self.keys[0]}"
        return (
            f" LEFT JOIN {stored.table} l{self.place} ON l{self.place}.tenant_id = g.{self.keys[0]} AND l{self.place}.id = g.{self.keys[1]}"
            f" LEFT JOIN tenants t{self.place} ON t{self.place}.id = g.{self.keys[0]}"
        )

    @property
    def sort_keys(self) -> list[tuple[str, KeyKind]]:
        """SQL over a group and the joins: what orders its labels, by code point, and what it is.

        Names of several tenants are told apart by the tenant: by its name, or its surrogate where the name may not be seen.
        """
        stored = self.dimension.stored
        if stored is None or stored.table is None:
            return [(self.label, KeyKind.INTEGER)]
        keys = [(f'{self.label} COLLATE "C"', KeyKind.TEXT)]
        if not stored.in_tenant:
            return keys
        tenant = (f't{self.place}.external_id COLLATE "C"', KeyKind.TEXT) if self.shows_tenants else (f"g.{self.keys[0]}", KeyKind.INTEGER)
        return [*keys, tenant]

    @property
    def other(self) -> list[str]:
        """Values of the keys in the group that holds all others."""
        return [_OTHER_TEXT if self.dimension.is_labelled_by_row else _OTHER_KEY for _ in self.expressions]
