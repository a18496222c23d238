"""The tables as SQLModel: catalog, identities, keys, snapshot. `record_table` derives that of records, `rollup_tables` those of rollups.

Migrations create them (a test holds both equal). Keys of a tenant's table begin with or contain the tenant, no triggers, and no
foreign key on the facts, so that the schema can be distributed by tenant.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata


def _instant() -> Any:
    return Field(sa_type=DateTime(timezone=True))


def _name() -> Any:
    """Text, sorted by code point."""
    return Field(sa_type=Text(collation="C"))


def _surrogate() -> Any:
    return Field(default=None, sa_column=Column(Integer, Identity(always=True), primary_key=True))


class Provider(SQLModel, table=True):
    """A company that serves models. `slug` is its name in records, `name` its display name."""

    __tablename__ = "providers"
    __table_args__: ClassVar[Any] = (UniqueConstraint("slug"),)
    id: int | None = _surrogate()
    slug: str = _name()
    name: str = Field(sa_type=Text)


class Model(SQLModel, table=True):
    """One served model: a public id and the dated permaslug and variant under it.

    `entry_id` is the catalog entry with its prices, name and visibility: itself if it is listed, else the entry of its public id, null if
    the catalog has neither. `is_public` is a copy of the entry's; `ranked_public` is its value when the closed days were ranked. If they
    differ, those rankings must not be used.
    """

    __tablename__ = "models"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("public_id", "permaslug"),
        Index("models_permaslug", "permaslug"),
        Index("models_ranking_stale", "id", postgresql_where="is_ranking_stale"),
        # Models of one catalog entry: many unlisted models may have the same public id.
        Index("models_listed_public_id", "public_id", postgresql_where="is_listed"),
        Index("models_listed_permaslug", "permaslug", postgresql_where="is_listed"),
    )
    id: int | None = _surrogate()
    public_id: str = _name()
    permaslug: str = _name()
    name: str = Field(sa_type=Text)
    provider_id: int = Field(sa_column=Column(Integer, ForeignKey("providers.id"), nullable=False, index=True))
    entry_id: int | None = Field(sa_column=Column(Integer, ForeignKey("models.id"), nullable=True))
    is_listed: bool
    is_public: bool
    ranked_public: bool
    # A generated column has statistics, so the planner knows that few rows have it and uses the index.
    is_ranking_stale: bool | None = Field(sa_column=Column(Boolean, Computed("is_public <> ranked_public", persisted=True)))


class ModelPrice(SQLModel, table=True):
    """The price of a catalog entry in `[valid_from, valid_to)`. A null component contributes 0, and the request counts as unpriced."""

    __tablename__ = "model_prices"
    __table_args__: ClassVar[Any] = (CheckConstraint("valid_from < valid_to", name="model_prices_period"),)
    model_id: int = Field(sa_column=Column(Integer, ForeignKey("models.id"), primary_key=True))
    valid_from: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    valid_to: datetime = _instant()
    cost_per_input_token: Decimal | None = Field(sa_type=Numeric)
    cost_per_output_token: Decimal | None = Field(sa_type=Numeric)


class Tenant(SQLModel, table=True):
    """A customer of the router."""

    __tablename__ = "tenants"
    __table_args__: ClassVar[Any] = (UniqueConstraint("external_id"),)
    id: int | None = _surrogate()
    external_id: str = _name()


class Project(SQLModel, table=True):
    """A project of one tenant."""

    __tablename__ = "projects"
    __table_args__: ClassVar[Any] = (
        PrimaryKeyConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "external_id"),
        Index("projects_external_id", "external_id"),
    )
    tenant_id: int = Field(sa_column=Column(Integer, ForeignKey("tenants.id"), nullable=False))
    id: int | None = Field(default=None, sa_column=Column(Integer, Identity(always=True), nullable=False))
    external_id: str = _name()


class CallerKey(SQLModel, table=True):
    """A tenant's API key at the router, as named in records: a dimension, not a credential of this gateway."""

    __tablename__ = "caller_keys"
    __table_args__: ClassVar[Any] = (PrimaryKeyConstraint("tenant_id", "id"), UniqueConstraint("tenant_id", "external_id"))
    tenant_id: int = Field(sa_column=Column(Integer, ForeignKey("tenants.id"), nullable=False))
    id: int | None = Field(default=None, sa_column=Column(Integer, Identity(always=True), nullable=False))
    external_id: str = _name()


class User(SQLModel, table=True):
    """An end user, with one id for all tenants."""

    __tablename__ = "users"
    __table_args__: ClassVar[Any] = (UniqueConstraint("external_id"),)
    id: int | None = _surrogate()
    external_id: str = _name()


class TenantUser(SQLModel, table=True):
    """A user of one tenant. `username` is the newest one in the tenant's records, of `username_at`."""

    __tablename__ = "tenant_users"
    __table_args__: ClassVar[Any] = (Index("tenant_users_user", "user_id"),)
    tenant_id: int = Field(sa_column=Column(Integer, ForeignKey("tenants.id"), primary_key=True, autoincrement=False))
    user_id: int = Field(sa_column=Column(Integer, ForeignKey("users.id"), primary_key=True, autoincrement=False))
    username: str | None = Field(sa_type=Text)
    username_at: datetime | None = _instant()


class ApiKey(SQLModel, table=True):
    """An API key of this gateway. Only its SHA-256 is stored; `prefix` identifies it in lists."""

    __tablename__ = "api_keys"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key_hash"),
        CheckConstraint("role IN ('admin', 'gateway', 'tenant', 'ingest')", name="api_keys_role"),
        CheckConstraint("role <> 'tenant' OR tenant_id IS NOT NULL", name="api_keys_tenant"),
    )
    id: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    key_hash: bytes = Field(sa_type=LargeBinary)
    prefix: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    tenant_id: int | None = Field(sa_column=Column(Integer, ForeignKey("tenants.id"), nullable=True))
    created_at: datetime = _instant()
    expires_at: datetime | None = _instant()
    disabled_at: datetime | None = _instant()
    revoked_at: datetime | None = _instant()


class RecentRequest(SQLModel, table=True):
    """Ids of the records since the last rotation: they make a retry with another timestamp a duplicate.

    `digest` is the 128-bit BLAKE2b of the request id. New ids go to `recent_requests`; a rotation renames it to `previous_requests`.
    """

    __tablename__ = "recent_requests"
    tenant_id: int = Field(sa_column=Column(Integer, primary_key=True))
    digest: UUID = Field(sa_column=Column(Uuid, primary_key=True))


class PreviousRequest(SQLModel, table=True):
    """The ids before those of `recent_requests`."""

    __tablename__ = "previous_requests"
    tenant_id: int = Field(sa_column=Column(Integer, primary_key=True))
    digest: UUID = Field(sa_column=Column(Uuid, primary_key=True))


class RequestRotation(SQLModel, table=True):
    """When the two generations of request ids were last rotated: one row."""

    __tablename__ = "request_rotation"
    __table_args__: ClassVar[Any] = (CheckConstraint("id = 1", name="request_rotation_single"),)
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    rotated_at: datetime = _instant()


class WriteState(SQLModel, table=True):
    """State that every writer checks: one row. `epoch` is incremented when caches of writers may be stale.

    `records_since`: the first retained instant (null: all records are retained); older records were dropped and are refused.
    """

    __tablename__ = "write_state"
    __table_args__: ClassVar[Any] = (CheckConstraint("id = 1", name="write_state_single"),)
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    epoch: int = Field(sa_type=BigInteger)
    records_since: datetime | None = _instant()


class ClosingState(SQLModel, table=True):
    """The closed days: one row. Days before `closed_until` are closed, except those in `reopened_days`.

    Summaries also contain the records of that day before `partly_until`, which is the start of the day if there are none. The
    counts are as of when that was derived, and only decide which way is shorter: `partly_cube_rows`, the cube's rows of the day, and
    `partly_hour_records`, the records before `partly_until` of its hour.
    """

    __tablename__ = "closing_state"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("id = 1", name="closing_state_single"),
        CheckConstraint(
            "partly_until >= closed_until::timestamp AT TIME ZONE 'UTC'"
            " AND partly_until < (closed_until + 1)::timestamp AT TIME ZONE 'UTC'",
            name="closing_state_partly",
        ),
    )
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    closed_until: date = Field(sa_type=Date)
    partly_until: datetime = _instant()
    partly_cube_rows: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    partly_hour_records: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class ReopenedDay(SQLModel, table=True):
    """A closed day with outdated summaries, which must be closed again. `marks`: number of writes that marked it."""

    __tablename__ = "reopened_days"
    day: date = Field(sa_column=Column(Date, primary_key=True))
    marks: int = Field(sa_type=BigInteger)


class DayRanking(SQLModel, table=True):
    """A closed day's ranking: its top public models by tokens, and after them the sum of all others, without a permaslug."""

    __tablename__ = "rankings_by_day"
    day: date = Field(sa_column=Column(Date, primary_key=True))
    place: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    permaslug: str | None = Field(sa_type=Text(collation="C"))
    tokens: Decimal = Field(sa_type=Numeric)


class QuarantinedRecord(SQLModel, table=True):
    """A record that contradicts itself or breaks a rule, from a source that cannot correct it. It counts in no sum until it is released.

    `id` is a digest of its content, so that a repeated record is stored once. `sender_tenant_id`: the tenant that the sender's key was
    bound to. `resolution` null: it waits.
    """

    __tablename__ = "quarantined_records"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("resolution IN ('released', 'dropped')", name="quarantined_records_resolution"),
        CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="quarantined_records_resolved"),
        Index("quarantined_records_waiting", "received_at", "id", postgresql_where="resolution IS NULL"),
    )
    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    source: str = _name()
    sender_tenant_id: str | None = _name()
    tenant_id: str | None = _name()
    request_id: str | None = _name()
    received_at: datetime = _instant()
    reasons: list[dict[str, Any]] = Field(sa_type=JSONB)
    record: dict[str, Any] = Field(sa_type=JSONB)
    resolution: str | None = Field(sa_type=Text)
    resolved_at: datetime | None = _instant()


class NetworkSnapshot(SQLModel, table=True):
    """A stored answer of the network root."""

    __tablename__ = "network_snapshots"
    generated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    body: dict[str, Any] = Field(sa_type=JSONB)
