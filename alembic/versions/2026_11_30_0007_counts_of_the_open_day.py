"""Counts of the day that is closed in part, by which an answer takes it from the shorter source.

They begin at 0, which says that the cube has no row: answers take the day from the cube until the job has counted.

Revision: 0007.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None

COUNTS = ("partly_cube_rows", "partly_hour_records")


def upgrade() -> None:
    for name in COUNTS:
        op.add_column("closing_state", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in COUNTS:
        op.drop_column("closing_state", name)
