"""Sums of what senders say become numeric in the rollups that ingest writes, as they are in those of closed days: none can overflow.

It rewrites the three tables with their indexes, and nobody reads or writes them meanwhile. Going back fails, and changes nothing, where
a sum is past 2^63 - 1. Listed models get indexes of their own, so that finding a model's entry takes no longer the more models records name.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None

TRAFFIC = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
BILLING = ("shared_model_spend", "byok_platform_fee", "managed_tool_fee", "agent_runtime_fee", "search_requests")

TABLES = {"usage_by_day_all": TRAFFIC + BILLING, "usage_by_hour_model": TRAFFIC, "usage_by_day_model": TRAFFIC}


def _alter(type_: str) -> None:
    for table, columns in TABLES.items():
        # One statement a table, so that it is rewritten once.
        op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {column} TYPE {type_}' for column in columns)}")
        op.execute(f"ANALYZE {table}")


def upgrade() -> None:
    _alter("numeric")
    for column in ("public_id", "permaslug"):
        op.create_index(f"models_listed_{column}", "models", [column], postgresql_where=sa.text("is_listed"))


def downgrade() -> None:
    for column in ("public_id", "permaslug"):
        op.drop_index(f"models_listed_{column}", table_name="models")
    _alter("bigint")
