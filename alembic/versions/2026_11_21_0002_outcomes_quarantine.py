"""Attempts, cache hits and interrupted streams on the record and in the rollups; the quarantine; what writers must know.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

ROLLUPS = ("usage_by_day_all", "usage_by_hour_model", "usage_by_day_model")
COUNTS = ("retry_count", "cache_hit_count", "interrupted_count")


def _add(table: str, column: sa.Column, default: str) -> None:
    """Add a column that is not null; what is stored already gets the default, without a rewrite of the table."""
    column.server_default = sa.DefaultClause(sa.text(default))
    op.add_column(table, column)
    op.alter_column(table, column.name, server_default=None)


def upgrade() -> None:
    _add("usage_records", sa.Column("attempt", sa.SmallInteger(), nullable=False), "1")
    _add("usage_records", sa.Column("cache_hit", sa.Boolean(), nullable=False), "false")
    _add("usage_records", sa.Column("interrupted", sa.Boolean(), nullable=False), "false")
    op.create_check_constraint("usage_records_attempt", "usage_records", "attempt >= 1")
    for rollup in ROLLUPS:
        for count in COUNTS:
            _add(rollup, sa.Column(count, sa.BigInteger(), nullable=False), "0")
    op.create_table(
        "quarantined_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("sender_tenant_id", sa.Text(collation="C"), nullable=True),
        sa.Column("tenant_id", sa.Text(collation="C"), nullable=True),
        sa.Column("request_id", sa.Text(collation="C"), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("record", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("resolution IN ('released', 'dropped')", name="quarantined_records_resolution"),
        sa.CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="quarantined_records_resolved"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "quarantined_records_waiting",
        "quarantined_records",
        ["received_at", "id"],
        postgresql_where=sa.text("resolution IS NULL"),
    )
    op.create_table(
        "write_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("records_since", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1", name="write_state_single"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO write_state (id, epoch) VALUES (1, 1)")
