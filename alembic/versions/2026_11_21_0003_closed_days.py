"""What is kept of closed days: sums of few rows for long windows, the days' rankings, and which days are closed.

The tables begin empty and no day is closed: a job fills them, and until then every answer comes from the rollups as before.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None

OUTCOMES = ("request_count", "successful_count", "retry_count", "cache_hit_count", "interrupted_count")
COUNTS = (*OUTCOMES, "priced_count", "latency_count")
TRAFFIC = (
    "request_count",
    "successful_count",
    "priced_count",
    "retry_count",
    "cache_hit_count",
    "interrupted_count",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
)
BILLING = (
    "shared_model_spend",
    "byok_platform_fee",
    "managed_tool_fee",
    "agent_runtime_fee",
    "search_requests",
    "latency_count",
    "latency_sum_ms",
)
SPENDING = ("cost_usd", "request_count")

TABLES = (
    ("usage_by_day", ("day",), TRAFFIC),
    ("usage_by_month_model", ("month", "model_id", "provider_id"), TRAFFIC),
    ("usage_by_day_tenant", ("tenant_id", "day"), TRAFFIC + BILLING),
    ("usage_by_day_project", ("tenant_id", "project_id", "day"), OUTCOMES),
    ("usage_by_month_project", ("tenant_id", "project_id", "month"), OUTCOMES),
    ("usage_by_project", ("tenant_id", "project_id"), OUTCOMES),
    ("usage_by_day_user", ("user_id", "day"), SPENDING),
    ("usage_by_month_user", ("user_id", "month"), SPENDING),
    ("usage_by_user", ("user_id",), SPENDING),
)


def _key_type(column: str) -> sa.types.TypeEngine:
    return sa.Date() if column in ("day", "month") else sa.Integer()


def _create(table: str, key: tuple[str, ...], measures: tuple[str, ...]) -> None:
    is_ranked = key[0] == "user_id"
    include = {"postgresql_include": list(measures)} if is_ranked else {}
    op.create_table(
        table,
        *(sa.Column(column, _key_type(column), autoincrement=False, nullable=False) for column in key),
        *(sa.Column(name, sa.BigInteger() if name in COUNTS else sa.Numeric(), nullable=False) for name in measures),
        sa.PrimaryKeyConstraint(*key, **include),
        postgresql_with={"fillfactor": 80},
    )
    if is_ranked:
        ranks = [sa.text(f"{name} DESC") for name in measures]
        op.create_index(f"{table}_greatest", table, [*key[1:], *ranks], postgresql_include=["user_id"])


def upgrade() -> None:
    for table, key, measures in TABLES:
        _create(table, key, measures)
    op.create_index("usage_by_day_tenant_day", "usage_by_day_tenant", ["day"])
    op.create_index("usage_by_day_project_day", "usage_by_day_project", ["day"])
    op.create_index("usage_by_day_all_day", "usage_by_day_all", ["day"])
    op.create_index("usage_by_day_model_model", "usage_by_day_model", ["model_id", "day"])
    op.create_table(
        "rankings_by_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("place", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("permaslug", sa.Text(collation="C"), nullable=True),
        sa.Column("tokens", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("day", "place"),
    )
    op.create_table(
        "ranked_models",
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_table(
        "reopened_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("marks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day"),
    )
    op.create_table(
        "closing_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("closed_until", sa.Date(), nullable=False),
        sa.CheckConstraint("id = 1", name="closing_state_single"),
        sa.PrimaryKeyConstraint("id"),
    )
    # No record occurred before.
    op.execute("INSERT INTO closing_state (id, closed_until) VALUES (1, '2020-01-01')")


def downgrade() -> None:
    for table in ("closing_state", "reopened_days", "ranked_models", "rankings_by_day"):
        op.drop_table(table)
    op.drop_index("usage_by_day_model_model", table_name="usage_by_day_model")
    op.drop_index("usage_by_day_all_day", table_name="usage_by_day_all")
    for table, _, _ in reversed(TABLES):
        op.drop_table(table)
