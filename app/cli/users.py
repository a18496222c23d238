"""`tokengraph users`: erase the identity of a user. A server may be running."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.main import app
from app.cli.session import run_with_database
from app.settings import load
from app.write.erase import erase_user

users = typer.Typer(help="End users of the records.", no_args_is_help=True)
app.add_typer(users, name="users")


@users.callback()
def group() -> None:
    """Make `erase` a subcommand although it is the only one."""


@users.command("erase")
def erase(user_id: Annotated[str, typer.Argument(metavar="ID", help="The `user_id` of the records.")]) -> None:
    """Erase a user's id and names permanently. Usage stays counted under an anonymous id."""
    erased = run_with_database(load(), lambda database: erase_user(database, user_id))
    if erased.anonymous_id is not None:
        known = "1 tenant" if erased.tenants == 1 else f"{erased.tenants} tenants"
        typer.echo(f"erased: the user is now {erased.anonymous_id}, without a name, in {known}")
    typer.echo(f"{erased.quarantined_records} quarantined records lost the user's id and name")
