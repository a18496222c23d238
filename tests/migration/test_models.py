"""The declared tables are what the migrations make; the newest migration is the one that the code asks for."""

from __future__ import annotations

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from app.db.migrate import HEAD_REVISION, alembic_config, current_revision, include_object, sqlalchemy_url, upgrade
from app.db.rollup_tables import metadata


def test_the_code_asks_for_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD_REVISION]


def test_models_equal_migrations(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": include_object})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


def test_checks_equal_migrations(database_url: str) -> None:
    """Alembic compares no CHECKs, so they are compared by name."""
    declared = {
        (table.name, constraint.name)
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
        ).fetchall()
    assert set(rows) == declared


def test_an_upgrade_is_done_once(database_url: str) -> None:
    assert current_revision(database_url) == HEAD_REVISION
    assert upgrade(database_url) is False
