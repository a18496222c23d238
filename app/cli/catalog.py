"""`tokengraph catalog`: load entries with prices, publish models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.cli.main import catalog
from app.cli.session import run_with_database
from app.domain.errors import BadInputError
from app.domain.time_range import system_clock
from app.settings import load
from app.write.catalog import load_catalog, parse_catalog, publish_models


@catalog.command("load")
def load_file(file: Annotated[Path, typer.Argument(help="A JSON array of entries.", exists=True, dir_okay=False, readable=True)]) -> None:
    """Add and update entries. A first price applies to all time, a later one from now on. Loading the same file again changes nothing."""
    try:
        value = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"{file}: not JSON: {error}") from None
    entries = parse_catalog(value)
    change = run_with_database(load(), lambda database: load_catalog(database, entries, system_clock()))
    typer.echo(f"{change.entries} entries: {change.added} new, {change.repriced} with a new price")


@catalog.command("publish")
def publish(pattern: Annotated[str, typer.Argument(help="A glob over model ids and permaslugs, such as 'openai/*'.")]) -> None:
    """Make the matching known models public."""
    published = run_with_database(load(), lambda database: publish_models(database, pattern))
    for permaslug in published:
        typer.echo(permaslug)
    typer.echo(f"{len(published)} published" if published else "no private model matches", err=True)
