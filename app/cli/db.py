"""`tokengraph db` and `tokengraph schema`."""

from __future__ import annotations

import typer

from app.cli.main import database, schema
from app.cli.session import open_server
from app.db.migrate import HEAD_REVISION, upgrade
from app.settings import load


@database.command("upgrade")
def upgrade_database() -> None:
    """Migrate the database to the newest schema."""
    with open_server(load()) as (url, _):
        changed = upgrade(url)
    typer.echo(f"{'migrated to' if changed else 'already at'} revision {HEAD_REVISION}")


@schema.command("print")
def print_sdl() -> None:
    """Print the GraphQL schema as SDL."""
    from app.resolvers.schema import print_schema

    typer.echo(print_schema(), nl=False)
