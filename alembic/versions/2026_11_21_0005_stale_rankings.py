"""Which models are otherwise public than the rankings of closed days have it, kept with the models and indexed.

It was found by comparing every model with a table of its own, for each question for rankings.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("ranked_public", sa.Boolean(), nullable=True))
    op.execute(
        "UPDATE models m SET ranked_public = coalesce((SELECT r.is_public FROM ranked_models r WHERE r.model_id = m.id), m.is_public)"
    )
    op.alter_column("models", "ranked_public", nullable=False)
    op.add_column("models", sa.Column("is_ranking_stale", sa.Boolean(), sa.Computed("is_public <> ranked_public", persisted=True)))
    op.create_index("models_ranking_stale", "models", ["id"], postgresql_where=sa.text("is_ranking_stale"))
    op.drop_table("ranked_models")
    op.execute("ANALYZE models")  # so that the index is used from the start


def downgrade() -> None:
    op.create_table(
        "ranked_models",
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.execute("INSERT INTO ranked_models (model_id, is_public) SELECT id, ranked_public FROM models")
    op.drop_index("models_ranking_stale", table_name="models")
    op.drop_column("models", "is_ranking_stale")
    op.drop_column("models", "ranked_public")
