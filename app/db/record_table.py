"""The table of records, derived from the fields of the usage record. Migrations create it (a test holds both equal)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from app.db.models import metadata
from app.domain import fields
from app.domain.usage import FIELDS, names_of

_TYPES: Final[dict[str, Any]] = {
    "bigint": BigInteger(),
    "boolean": Boolean(),
    "integer": Integer(),
    "numeric": Numeric(),
    "smallint": SmallInteger(),
    # Text that sorts by code point.
    "text": Text(collation="C"),
    "timestamptz": DateTime(timezone=True),
}

_COUNTS: Final = fields.kinds_of(FIELDS, fields.Count)
_KEY: Final = names_of(lambda record: (record.tenant_id, record.occurred_at, record.request_id))


def _columns() -> dict[str, Column[Any]]:
    """The columns by name; both names of a model share one."""
    return {
        field.column: Column(field.column, _TYPES[field.kind.sql_type], nullable=field.is_nullable, autoincrement=False)
        for field in FIELDS
        if field.column is not None
    }


def _checks() -> list[CheckConstraint]:
    parts = [f"{name} <= {kind.part_of}" for name, kind in _COUNTS.items() if kind.part_of is not None]
    bounded = fields.kinds_of(FIELDS, fields.SmallNumber)
    return [
        CheckConstraint(" AND ".join(parts), name="usage_records_token_parts"),
        CheckConstraint(" AND ".join(f"{name} >= 0" for name in _COUNTS), name="usage_records_counts"),
        *(CheckConstraint(f"{name} >= {kind.minimum}", name=f"usage_records_{name}") for name, kind in bounded.items() if kind.minimum > 0),
    ]


# One request at the router. Identity columns are surrogates, 0 where the record names none; one partition a month.
USAGE_RECORDS: Final = Table(
    "usage_records",
    metadata,
    *_columns().values(),
    Column("is_priced", Boolean(), nullable=False),
    PrimaryKeyConstraint(*_KEY),
    *_checks(),
    # The last minutes of all tenants. Records come in nearly by time, so a few bytes for many of them tell where those are.
    Index(
        "usage_records_occurred_at",
        "occurred_at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 16, "autosummarize": "on"},
    ),
    postgresql_partition_by="RANGE (occurred_at)",
)
