"""The `tokengraph` command: its groups and error output."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from app.domain.errors import TokengraphError

app = typer.Typer(
    name="tokengraph",
    help="Self-hosted GraphQL analytics gateway for LLM routers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
keys = typer.Typer(help="API keys of this gateway.", no_args_is_help=True)
catalog = typer.Typer(help="The model catalog: names, prices, public models.", no_args_is_help=True)
rollups = typer.Typer(help="Verify that the rollups equal the records, or rebuild them.", no_args_is_help=True)
database = typer.Typer(help="The database's schema.", no_args_is_help=True)
schema = typer.Typer(help="The GraphQL schema.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(catalog, name="catalog")
app.add_typer(rollups, name="rollups")
app.add_typer(database, name="db")
app.add_typer(schema, name="schema")


_MODULES: Final = ("catalog", "db", "demo", "documents", "ingest", "keys", "quarantine", "rollups", "serve", "users")
"""Each adds its commands to the groups above."""
_MODULE_OF: Final = {"schema": "db", "snapshot": "rollups"}
"""By commands that are in a module of another name."""


def _register(command: str) -> None:
    """Import the module of a command, so that it starts without what the others need; all of them for the help and for mistakes."""
    module = _MODULE_OF.get(command, command)
    for name in (module,) if module in _MODULES else _MODULES:
        import_module(f"app.cli.{name}")


def main() -> None:
    """Run the command line. A TokengraphError, such as an unreachable database, is one line on standard error and exit code 1."""
    _register(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        app(standalone_mode=True)
    except TokengraphError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(error.message)}", highlight=False, markup=True, soft_wrap=True)
        sys.exit(1)
