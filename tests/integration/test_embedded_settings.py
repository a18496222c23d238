"""The embedded server's settings as text: sized to memory, quoted so that no value can break out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.embedded import configuration as embedded_settings
from app.embedded.account import find_binaries
from app.embedded.configuration import GIGABYTE, MEGABYTE, available_memory_bytes, render_settings, server_settings
from app.embedded.layout import EmbeddedServerError


@pytest.mark.parametrize(
    ("memory", "shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem"),
    [
        (256 * MEGABYTE, "128MB", "256MB", "4MB", "64MB"),
        (4 * GIGABYTE, "1024MB", "2457MB", "16MB", "256MB"),
        (256 * GIGABYTE, "8192MB", "157286MB", "64MB", "1024MB"),
    ],
)
def test_sizes_follow_the_memory_within_limits(
    memory: int, shared_buffers: str, effective_cache_size: str, work_mem: str, maintenance_work_mem: str
) -> None:
    settings = server_settings(memory, wal_compression="pglz")
    assert settings["shared_buffers"] == shared_buffers
    assert settings["effective_cache_size"] == effective_cache_size
    assert settings["work_mem"] == work_mem
    assert settings["maintenance_work_mem"] == maintenance_work_mem
    assert not settings.keys() & {"fsync", "synchronous_commit", "full_page_writes"}


def test_memory_is_the_least_of_the_machine_and_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(embedded_settings, "_cgroup_limits", lambda: iter([1 << 60, 300 * MEGABYTE]))
    assert available_memory_bytes() == 300 * MEGABYTE
    monkeypatch.setattr(embedded_settings, "_cgroup_limits", lambda: iter([1 << 60]))
    assert available_memory_bytes() == machine


def test_the_limits_of_a_cgroup_and_of_those_above_it_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (tmp_path / "own").write_text("1:cpu:/x\n0::/outer/inner\n")
    monkeypatch.setattr(embedded_settings, "CGROUPS", tmp_path)
    monkeypatch.setattr(embedded_settings, "OWN_CGROUP", tmp_path / "own")
    assert list(embedded_settings._cgroup_limits()) == [1000]


def test_a_small_dev_shm_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    small = os.statvfs_result((4096, 4096, 16384, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert server_settings(GIGABYTE, wal_compression="pglz")["dynamic_shared_memory_type"] == "sysv"


def test_values_are_quoted() -> None:
    text = render_settings({"a.b": "it's", "c": "\\d\n= 'e'"})
    assert text.splitlines()[1:] == ["a.b = 'it''s'", "c = '\\\\d\\n= ''e'''"]
    for name in ("", "1a", "a b", "a = 1\nb"):
        with pytest.raises(EmbeddedServerError, match="Not a PostgreSQL setting"):
            render_settings({name: "1"})


def test_the_wheels_binaries_tell_their_version_and_compression() -> None:
    binaries = find_binaries()
    assert binaries.major() == "18"
    assert not binaries.compresses_with("no-such-method")
