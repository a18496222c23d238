"""What the fault tests share: a folder whose path is short, how long to go on, and what they counted, shown at the end.

`SOAK_KILLS` says how many kills (`make soak` sets it), `SOAK_SEED` repeats the traffic and the choice of faults of another run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.layout import Layout
from app.embedded.process import processes_of
from tests.faults.processes import kill_all, send, wait_until_gone

COUNTED = "counted"


@pytest.fixture
def kills() -> int:
    """How many faults to inflict."""
    return int(os.environ.get("SOAK_KILLS", "4"))


@pytest.fixture
def seed() -> int:
    """What the run's random choices come from; printed where a test fails."""
    return int(os.environ.get("SOAK_SEED") or random.randrange(2**32))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder of the test's own with a path that a Unix socket's address has room for."""
    folder = Path(tempfile.mkdtemp(prefix="tg-fault-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def layout(short_folder: Path) -> Iterator[Layout]:
    """A data folder for a server; whatever processes it still has at the end are killed."""
    layout = Layout(short_folder / "data")
    yield layout
    kill_all(layout)
    for pid in processes_of(layout):  # one that a dying server has just started
        send(pid, signal.SIGKILL)
    wait_until_gone(layout)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests counted."""
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        for name, value in getattr(report, "user_properties", ()):
            if name == COUNTED:
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
