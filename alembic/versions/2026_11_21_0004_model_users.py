"""What is kept of closed days by model and user, so that the users of one model need not be summed; and days that are closed in part.

The tables begin empty, so every closed day is reopened: the job closes each anew, and fills them. Until then answers read those days
from the rollups that ingest writes, as for late records.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

DAY_STARTS = "closed_until::timestamp AT TIME ZONE 'UTC'"
MEASURES = ("cost_usd", "request_count")
TABLES = (
    ("usage_by_day_model_user", "day", 100),
    ("usage_by_month_model_user", "month", 80),
    ("usage_by_model_user", None, 80),
)


def upgrade() -> None:
    for table, bucket, fillfactor in TABLES:
        buckets = [] if bucket is None else [bucket]
        op.create_table(
            table,
            sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False),
            *(sa.Column(name, sa.Date(), autoincrement=False, nullable=False) for name in buckets),
            sa.Column("cost_usd", sa.Numeric(), nullable=False),
            sa.Column("request_count", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("model_id", "user_id", *buckets, postgresql_include=list(MEASURES)),
            postgresql_with={"fillfactor": fillfactor},
        )
        if bucket != "day":
            ranks = [sa.text(f"{name} DESC") for name in MEASURES]
            op.create_index(f"{table}_greatest", table, ["model_id", *buckets, *ranks], postgresql_include=["user_id"])
    op.create_index("usage_by_day_model_user_day", "usage_by_day_model_user", ["day", "model_id"])
    # The instant is the start of the day that is not closed: nothing of it is kept yet.
    op.add_column("closing_state", sa.Column("partly_until", sa.DateTime(timezone=True), nullable=True))
    op.execute(f"UPDATE closing_state SET partly_until = {DAY_STARTS}")
    op.alter_column("closing_state", "partly_until", nullable=False)
    op.create_check_constraint(
        "closing_state_partly",
        "closing_state",
        f"partly_until >= {DAY_STARTS} AND partly_until < {DAY_STARTS.replace('closed_until', '(closed_until + 1)')}",
    )
    op.create_index(
        "usage_records_occurred_at",
        "usage_records",
        ["occurred_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 16, "autosummarize": "on"},
    )
    op.execute(
        "INSERT INTO reopened_days (day, marks)"
        " SELECT DISTINCT day, 1 FROM usage_by_day_model, closing_state WHERE day < closed_until ON CONFLICT (day) DO NOTHING"
    )


def downgrade() -> None:
    # The sums of months and all time hold a part of a day: so it is a day that was closed, and reopened.
    op.drop_constraint("closing_state_partly", "closing_state")
    op.execute(
        f"INSERT INTO reopened_days (day, marks) SELECT closed_until, 1 FROM closing_state WHERE partly_until > {DAY_STARTS}"
        " ON CONFLICT (day) DO UPDATE SET marks = reopened_days.marks + 1"
    )
    op.execute(f"UPDATE closing_state SET closed_until = closed_until + 1 WHERE partly_until > {DAY_STARTS}")
    op.drop_index("usage_records_occurred_at", table_name="usage_records")
    op.drop_column("closing_state", "partly_until")
    for table, _, _ in reversed(TABLES):
        op.drop_table(table)
