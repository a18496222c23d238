"""PostGraphile, the peer of ad-hoc GraphQL: installed by npm from the lock file in `postgraphile/`, run on the finished rows.

It needs Node 22 (on 20 it starts, and answers every list with an error), so a pinned Node comes with it where npm has one for the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gateway import RunningServer, free_port, serving

VERSION = "5.1.5"
BIG_DOCUMENT = """query Big($start: Date!, $end: Date!) {
  rankingsBetween(startDate: $start, endDate: $end) { nodes { date modelPermaslug totalTokens } }
}"""
SMALL_DOCUMENT = """query Small($start: Date!) {
  allUsagePoints(condition: {windowStart: $start}) { nodes { period promptTokens completionTokens costUsd } }
  allUsageModels(condition: {windowStart: $start}) { nodes { modelId providerId promptTokens completionTokens costUsd requests } }
}"""

_FOLDER = Path(__file__).with_name("postgraphile")
_INSTALL_SECONDS = 300


def install(folder: Path, say: Callable[[str], None]) -> list[str] | None:
    """Install into a folder, unless it is there already; return the command, or None where there is no npm or it fails, having said so."""
    if not _script(folder).exists() and not _install(folder, say):
        return None
    own = sorted((folder / "node_modules").glob("node-*/bin/node"))
    return [str(own[0]) if own else "node", str(_script(folder))]


def _script(folder: Path) -> Path:
    return folder / "node_modules" / ".bin" / "postgraphile"


def _install(folder: Path, say: Callable[[str], None]) -> bool:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        say("PostGraphile is left out: npm and node are not installed")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_FOLDER / name, folder)
    try:
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"PostGraphile is left out: npm took over {_INSTALL_SECONDS} s")
        return False
    if done.returncode:
        say(f"PostGraphile is left out: npm failed: {done.stderr.strip()[-300:]}")
        return False
    say(f"PostGraphile {VERSION} installed")
    return True


@contextmanager
def serving_postgraphile(command: Sequence[str], url: str) -> Iterator[RunningServer]:
    """Run it, with its preset that exposes tables as they are, for production."""
    port = free_port()
    arguments = [*command, "--preset", "postgraphile/presets/amber", "--connection", url, "--schema", "peer"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"NODE_ENV": "production", "GRAPHILE_ENV": "production"}
    with serving([*arguments, "--host", "127.0.0.1", "--port", str(port)], environment, port, "/") as server:
        yield server
