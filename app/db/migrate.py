"""Migrates a database to the newest schema: in one process, in one transaction, with a lock timeout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from app.domain.errors import UnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD_REVISION = "0007"
"""The revision that this code needs. A test compares it with the newest script, so that start-up does not load Alembic."""

_LOCK = 0x746F6B656E67  # "tokeng"


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Tell whether Alembic compares this object: monthly partitions are excluded."""
    return not (kind == "table" and reflected and name is not None and name.startswith("usage_records_"))


def alembic_config() -> Config:
    """Return Alembic's configuration, of the source tree or of the installed package."""
    from alembic.config import Config

    package = Path(__file__).parent
    tree = package.parent.parent / "alembic.ini"
    return Config(str(tree if tree.exists() else package / "alembic.ini"))


def current_revision(url: str) -> str | None:
    """Return the revision of a database; None: never migrated. UnavailableError: no connection."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return None if row is None else str(row[0])
    except psycopg.OperationalError as error:
        raise UnavailableError(f"The database cannot be reached: {error}") from error


def upgrade(url: str) -> bool:
    """Migrate the database to the newest revision; return True if it was not current.

    Processes that start together take turns at an advisory lock of the transaction. A migration that cannot get its table lock within
    10 seconds fails and leaves everything as it was.
    """
    if current_revision(url) == HEAD_REVISION:
        return False
    from sqlalchemy import create_engine, text

    from alembic import command

    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            connection.execute(text("SET LOCAL statement_timeout = '15min'"))
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
    return True


def sqlalchemy_url(url: str) -> str:
    """Return a PostgreSQL URL in the form that makes SQLAlchemy use psycopg 3."""
    _, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}"
