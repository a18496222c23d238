"""The declared tables are what the migrations make; the newest migration is the one that the code asks for."""

from __future__ import annotations

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

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


_CHECKS = """SELECT relname, conname, pg_get_constraintdef(c.oid)
  FROM pg_constraint c JOIN pg_class ON pg_class.oid = conrelid WHERE contype = 'c' AND relnamespace = %s::regnamespace"""


def test_checks_equal_migrations(database_url: str) -> None:
    """Alembic compares no CHECKs, so the server compares them: those of the migrations, and those of the tables as declared."""
    engine = create_engine(sqlalchemy_url(database_url), execution_options={"schema_translate_map": {None: "declared"}})
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA declared"))
        metadata.create_all(connection)
    engine.dispose()
    with psycopg.connect(database_url) as plain:
        migrated, declared = (set(plain.execute(_CHECKS, [schema]).fetchall()) for schema in ("public", "declared"))
    assert ("usage_records", "usage_records_attempt") in {row[:2] for row in declared}
    assert migrated == declared


def test_an_upgrade_is_done_once(database_url: str) -> None:
    assert current_revision(database_url) == HEAD_REVISION
    assert upgrade(database_url) is False
