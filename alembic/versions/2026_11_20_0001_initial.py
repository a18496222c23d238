"""Catalog, identity, keys, records by month, the first three rollups, snapshots.

Revision: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "network_snapshots",
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("generated_at"),
    )
    op.create_table(
        "previous_requests",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest"),
    )
    op.create_table(
        "providers",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("slug", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("slug"),
    )
    op.create_table(
        "recent_requests",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest"),
    )
    op.create_table(
        "request_rotation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name="request_rotation_single"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("external_id"),
    )
    op.create_table(
        "usage_by_day_all",
        sa.Column("tenant_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("caller_key_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("traffic_mode", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("request_count", sa.BigInteger(), nullable=False),
        sa.Column("successful_count", sa.BigInteger(), nullable=False),
        sa.Column("priced_count", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.Column("shared_model_spend", sa.BigInteger(), nullable=False),
        sa.Column("byok_platform_fee", sa.BigInteger(), nullable=False),
        sa.Column("managed_tool_fee", sa.BigInteger(), nullable=False),
        sa.Column("agent_runtime_fee", sa.BigInteger(), nullable=False),
        sa.Column("search_requests", sa.BigInteger(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum_ms", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "day", "project_id", "user_id", "caller_key_id", "model_id", "provider_id", "traffic_mode"
        ),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "usage_by_day_model",
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_count", sa.BigInteger(), nullable=False),
        sa.Column("successful_count", sa.BigInteger(), nullable=False),
        sa.Column("priced_count", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("day", "model_id", "provider_id"),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "usage_by_hour_model",
        sa.Column("hour", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_count", sa.BigInteger(), nullable=False),
        sa.Column("successful_count", sa.BigInteger(), nullable=False),
        sa.Column("priced_count", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "model_id", "provider_id"),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "usage_records",
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("shared_model_spend", sa.BigInteger(), nullable=False),
        sa.Column("byok_platform_fee", sa.BigInteger(), nullable=False),
        sa.Column("managed_tool_fee", sa.BigInteger(), nullable=False),
        sa.Column("agent_runtime_fee", sa.BigInteger(), nullable=False),
        sa.Column("search_requests", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("caller_key_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        sa.Column("traffic_mode", sa.SmallInteger(), nullable=False),
        sa.Column("is_priced", sa.Boolean(), nullable=False),
        sa.Column("request_id", sa.Text(collation="C"), nullable=False),
        sa.Column("cost_usd", sa.Numeric(), nullable=False),
        sa.Column("latency_ms", sa.Numeric(), nullable=True),
        sa.Column("ttft_ms", sa.Numeric(), nullable=True),
        sa.CheckConstraint(
            "cached_tokens <= prompt_tokens AND reasoning_tokens <= completion_tokens", name="usage_records_token_parts"
        ),
        sa.CheckConstraint(
            "prompt_tokens >= 0 AND completion_tokens >= 0 AND cached_tokens >= 0 AND reasoning_tokens >= 0 AND shared_model_spend >= 0 AND byok_platform_fee >= 0 AND managed_tool_fee >= 0 AND agent_runtime_fee >= 0 AND search_requests >= 0",
            name="usage_records_counts",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "occurred_at", "request_id"),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("external_id"),
    )
    op.create_table(
        "tenant_users",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("username_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("tenant_id", "user_id"),
    )
    op.create_index("tenant_users_user", "tenant_users", ["user_id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role <> 'tenant' OR tenant_id IS NOT NULL", name="api_keys_tenant"),
        sa.CheckConstraint("role IN ('admin', 'gateway', 'tenant', 'ingest')", name="api_keys_role"),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_hash"),
    )
    op.create_table(
        "caller_keys",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
        sa.UniqueConstraint("tenant_id", "external_id"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("public_id", sa.Text(collation="C"), nullable=False),
        sa.Column("permaslug", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("entry_id", sa.Integer(), nullable=True),
        sa.Column("is_listed", sa.Boolean(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"],
            ["models.id"],
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id", "permaslug"),
    )
    op.create_index(op.f("ix_models_provider_id"), "models", ["provider_id"], unique=False)
    op.create_index("models_permaslug", "models", ["permaslug"], unique=False)
    op.create_table(
        "projects",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
        sa.UniqueConstraint("tenant_id", "external_id"),
    )
    op.create_index("projects_external_id", "projects", ["external_id"], unique=False)
    op.create_table(
        "model_prices",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cost_per_input_token", sa.Numeric(), nullable=True),
        sa.Column("cost_per_output_token", sa.Numeric(), nullable=True),
        sa.CheckConstraint("valid_from < valid_to", name="model_prices_period"),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
        ),
        sa.PrimaryKeyConstraint("model_id", "valid_from"),
    )
    op.execute("INSERT INTO request_rotation (id, rotated_at) VALUES (1, '2000-01-01T00:00:00Z')")


def downgrade() -> None:
    op.drop_table("model_prices")
    op.drop_index("projects_external_id", table_name="projects")
    op.drop_table("projects")
    op.drop_index("models_permaslug", table_name="models")
    op.drop_index(op.f("ix_models_provider_id"), table_name="models")
    op.drop_table("models")
    op.drop_table("caller_keys")
    op.drop_table("api_keys")
    op.drop_index("tenant_users_user", table_name="tenant_users")
    op.drop_table("tenant_users")
    op.drop_table("users")
    op.drop_table("usage_records")
    op.drop_table("usage_by_hour_model")
    op.drop_table("usage_by_day_model")
    op.drop_table("usage_by_day_all")
    op.drop_table("tenants")
    op.drop_table("request_rotation")
    op.drop_table("recent_requests")
    op.drop_table("providers")
    op.drop_table("previous_requests")
    op.drop_table("network_snapshots")
