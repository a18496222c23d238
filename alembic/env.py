"""Runs migrations on the connection that `app.db.migrate` hands over: one transaction, guarded by a lock and by timeouts."""

from __future__ import annotations

from alembic import context
from app.db.migrate import include_object
from app.db.rollup_tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_object=include_object,
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
