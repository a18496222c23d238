"""What the figures were measured on, in words that name neither host nor user."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from app.embedded.configuration import available_memory_bytes


def describe_machine(database_url: str) -> dict[str, str]:
    """Return the machine and the server that `database_url` names, by property."""
    with psycopg.connect(database_url) as connection:

        def setting(name: str) -> str:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            return "" if row is None else str(row[0])

        postgres = {
            "PostgreSQL": setting("server_version"),
            "its settings": ", ".join(
                f"{name} {setting(name)}" for name in ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "work_mem")
            ),
        }
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "CPU": f"{_cpu_model()}, {_cores()} cores",
        "memory": f"{available_memory_bytes() / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **postgres,
        "load before the run": f"{os.getloadavg()[0]:.1f}",
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
