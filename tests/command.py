"""The `tokengraph` command in process: its exit code, what it prints and what it says on standard error."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module

from typer.testing import CliRunner

from app.cli import main
from app.domain.errors import TokengraphError


def environment(url: str) -> dict[str, str | None]:
    """Return what a command's environment changes: our variables are unset but for the database."""
    ours = {name: None for name in os.environ if name.startswith(("TOKENGRAPH_", "GATEWAY_"))}
    return {**ours, "TOKENGRAPH_DATABASE_URL": url}


async def run_command(url: str, group: str, *arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    """Run a command of a group to its end, in a thread: it brings its own event loop. An error of ours is told as `main` does."""
    import_module(f"app.cli.{group}")
    done = await asyncio.to_thread(CliRunner().invoke, main.app, [group, *arguments], env=environment(url), input=stdin)
    if isinstance(done.exception, TokengraphError):
        return 1, done.stdout, f"{done.stderr}error: {done.exception.message}\n"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr
