"""PostgreSQL settings of the embedded server, sized to the memory of the machine."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.embedded.layout import PORT, EmbeddedServerError

MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
# Docker gives /dev/shm 64 MB, which a parallel query can outgrow.
_SMALL_DEV_SHM_BYTES = 512 * MEGABYTE


def available_memory_bytes() -> int:
    """Return the memory of the machine, or the limit of this process's cgroup if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *_cgroup_limits()])


def _cgroup_limits() -> Iterator[int]:
    files = [CGROUPS / "memory" / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in OWN_CGROUP.read_text().splitlines():
            if line.startswith("0::/"):
                own = CGROUPS / line.removeprefix("0::/")
                files += [folder / "memory.max" for folder in (own, *own.parents) if folder.is_relative_to(CGROUPS)]
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # ValueError: `max`
            yield int(file.read_text())


def server_settings(memory_bytes: int, *, wal_compression: str) -> dict[str, str]:
    """Return the settings by name. Durability (fsync, synchronous_commit, full_page_writes) stays at its safe defaults."""
    settings = {
        "cluster_name": "tokengraph",
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": "run",
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "shared_buffers": _megabytes(memory_bytes // 4, at_least=128, at_most=8192),
        "effective_cache_size": _megabytes(memory_bytes * 3 // 5, at_least=256),
        "work_mem": _megabytes(memory_bytes // 256, at_least=4, at_most=64),
        "maintenance_work_mem": _megabytes(memory_bytes // 16, at_least=64, at_most=1024),
        "huge_pages": "try",
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",
        "checkpoint_timeout": "15min",
        "wal_compression": wal_compression,
        "random_page_cost": "1.1",
        "jit": "off",
        "max_locks_per_transaction": "128",  # a query over all monthly partitions locks each of them and their indexes
        "autovacuum_naptime": "30s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_insert_scale_factor": "0.1",
        "autovacuum_analyze_scale_factor": "0.02",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",  # the supervisor parses messages of the server
        "log_destination": "stderr",
        "logging_collector": "off",  # the supervisor limits the log
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        "log_lock_waits": "on",
    }
    with contextlib.suppress(OSError):
        shm = os.statvfs("/dev/shm")  # noqa: S108 - looked at only
        if shm.f_blocks * shm.f_frsize < _SMALL_DEV_SHM_BYTES:
            settings["dynamic_shared_memory_type"] = "sysv"
    return settings


def _megabytes(size: int, *, at_least: int, at_most: int | None = None) -> str:
    value = max(size // MEGABYTE, at_least)
    return f"{value if at_most is None else min(value, at_most)}MB"


def render_settings(settings: Mapping[str, str]) -> str:
    """Return the settings as the text of a configuration file. Errors: EmbeddedServerError for what is no setting's name."""
    lines = ["# Written by tokengraph at each start: put your own settings below the include line of postgresql.conf."]
    for name, value in settings.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or "\0" in value:
            raise EmbeddedServerError(f"Not a PostgreSQL setting: {name!r} = {value!r}")
        quoted = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"
