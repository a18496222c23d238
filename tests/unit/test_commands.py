"""The `tokengraph` command: each command starts without what the others need, and the help knows all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = {"fastapi", "strawberry", "pyarrow", "uvicorn"}
_SCRIPT = f"""
import sys
from app.cli.main import main
try:
    main()
finally:
    print(*({_HEAVY} & sys.modules.keys()), file=sys.stderr)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _SCRIPT, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", [("keys", "create"), ("catalog", "load"), ("snapshot",)])
def test_a_command_imports_what_it_needs(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert (done.returncode, done.stderr.split()) == (0, [])
    assert "Usage:" in done.stdout


def test_the_help_lists_all_commands() -> None:
    shown = run("--help").stdout
    names = "catalog db demo documents ingest keys quarantine rollups schema serve snapshot users"
    assert [name for name in names.split() if f" {name} " not in shown] == []
    assert "No such command" in run("serv").stderr
