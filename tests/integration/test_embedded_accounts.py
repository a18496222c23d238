"""The embedded server as root, below closed folders and with binaries out of reach, and as an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.embedded import account as embedded_account
from app.embedded.account import Account, find_binaries, runnable_binaries, server_account
from app.embedded.layout import Layout, client_socket_dir
from app.embedded.process import listener_pid
from app.embedded.server import EmbeddedServer, EmbeddedServerError

FAST = {"fsync": "off"}
MEMORY = 512 * 1024 * 1024
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def use(data_dir: Path, binaries: Path) -> str:
    """Use a server and leave it, and tell what was seen: the role, the server's OS user, whether it ran on."""
    server = EmbeddedServer(data_dir, memory_bytes=MEMORY, extra_settings=FAST, binaries=binaries)
    try:
        with server, psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_user").fetchone()
            seen = f"{row and row[0]} {server_owner(data_dir)} {server.ensure_running()}"
        return f"{seen} {server.is_running()}"
    except EmbeddedServerError as error:
        return f"refused: {error}"


def use_as(uid: int, data_dir: Path) -> str:
    """Do use() in a fork of this process that becomes another OS user (this Python, and this checkout, may be out of reach for it)."""
    binaries = runnable_binaries(find_binaries(), Account(uid, uid, f"uid {uid}")).root
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # threads of a test runner stay behind
        child = os.fork()
    if child == 0:
        try:
            if uid != os.geteuid():
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.write(writer, use(data_dir, binaries).encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told


def server_owner(data_dir: Path) -> int:
    pid = listener_pid(client_socket_dir(Layout(data_dir)))
    return Path(f"/proc/{pid}").stat().st_uid


@as_root
def test_root_serves_a_folder_below_closed_ones_and_opens_none_of_them(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    data_dir = closed / "data"
    data_dir.mkdir(parents=True)
    closed.chmod(0o700)
    parents = [closed, *closed.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in parents]
    with EmbeddedServer(data_dir, memory_bytes=MEMORY, extra_settings=FAST) as server:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("tokengraph",)
        assert server_owner(data_dir) == server_account(data_dir / "cluster").uid != 0
        assert stat.S_IMODE((data_dir / "cluster").stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "cluster" / "run").stat().st_mode) == 0o700
        with psycopg.connect(server.url) as connection:  # a checkpoint and a spill use the folder after the start
            connection.execute("SET work_mem = '64kB'")
            connection.execute("SELECT g FROM generate_series(1, 50000) g ORDER BY -g LIMIT 1 OFFSET 40000")
            connection.commit()
            connection.execute("CHECKPOINT")
    assert [(path.stat().st_mode, path.stat().st_uid) for path in parents] == before
    assert {path.stat().st_uid for path in data_dir.iterdir() if path.name != "cluster"} == {0}


@as_root
def test_a_cluster_that_root_restored_is_handed_to_the_servers_user(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data", memory_bytes=MEMORY, extra_settings=FAST)
    server.start()
    server.stop()
    target = tmp_path / "outside"
    target.write_text("root's own")
    cluster = tmp_path / "data" / "cluster"
    (cluster / "link").symlink_to(target)
    subprocess.run(["chown", "-hR", "0:0", cluster], check=True)
    with server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert cluster.stat().st_uid != 0
    assert target.stat().st_uid == 0


@as_root
def test_root_copies_binaries_out_of_reach_once_and_reachable_ones_never(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = open_folder / "copies"
    monkeypatch.setattr(embedded_account, "COPY_FOLDERS", [copies])
    wheel = find_binaries()
    package = tmp_path / "closed" / wheel.root.parent.name
    package.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    shutil.copytree(wheel.root, package / "pg", ignore=shutil.ignore_patterns("include", "*.a"))
    shutil.copytree(wheel.libraries, package.with_name(wheel.libraries.name))
    (package / "pg" / "bin" / "postgres").chmod(0o700)  # as a umask of 077 makes it
    account = server_account(tmp_path / "none")
    leftover = copies / ".new-killed"
    leftover.mkdir(parents=True)
    copies.chmod(0o755)
    for _ in range(2):
        server = EmbeddedServer(tmp_path / "data", memory_bytes=MEMORY, extra_settings=FAST, binaries=package / "pg")
        with server, psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT now() AT TIME ZONE 'Europe/Zurich' IS NOT NULL").fetchone() == (True,)
            pid = listener_pid(tmp_path / "data" / "cluster" / "run")
            assert Path(f"/proc/{pid}/cmdline").read_text().startswith(str(copies))
    (copy,) = copies.glob("postgresql-*")
    assert not leftover.exists()
    assert {(path.stat().st_uid, path.stat().st_mode & 0o022) for path in copy.rglob("*")} == {(0, 0)}

    reachable = find_binaries(copy / package.name / "pg")
    monkeypatch.setattr(embedded_account, "COPY_FOLDERS", [])
    assert runnable_binaries(reachable, account) == reachable


@as_root
def test_a_place_for_copies_that_others_may_write_to_is_not_used(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_account, "COPY_FOLDERS", [open_folder, tmp_path / "unreachable", tmp_path / "no" / "parent"])
    open_folder.chmod(0o777)
    wheel = find_binaries()
    package = tmp_path / "package"
    shutil.copytree(wheel.root, package / "pg", ignore=shutil.ignore_patterns("include", "*.a"))
    with pytest.raises(EmbeddedServerError, match=r"cannot reach .*no place for a copy.*owner root, mode 0755"):
        runnable_binaries(find_binaries(package / "pg"), server_account(tmp_path / "none"))
    assert list(open_folder.iterdir()) == []


@as_root
def test_root_without_any_other_user_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def absent(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", absent)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: asked.append(command))
    with pytest.raises(EmbeddedServerError, match="there is no other OS user"):
        EmbeddedServer(tmp_path / "data").start()
    assert asked == [["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "tokengraph"]]
    monkeypatch.undo()
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(embedded_account, "SYSTEM_USER", "no-such-user")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert server_account(tmp_path / "none").uid == nobody.pw_uid


def test_an_ordinary_user_runs_its_own_server(open_folder: Path) -> None:
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    if uid != os.geteuid():
        os.chown(home, uid, uid)
    for _ in range(2):
        assert use_as(uid, home / "data") == f"tokengraph {uid} False False"
    assert {path.stat().st_uid for path in home.rglob("*")} == {uid}


@as_root
def test_root_uses_and_leaves_the_server_of_no_ordinary_user(open_folder: Path) -> None:
    os.chown(open_folder, NOBODY, NOBODY)
    assert use_as(NOBODY, open_folder / "data") == f"tokengraph {NOBODY} False False"
    with pytest.raises(EmbeddedServerError, match=r"belongs to the OS user nobody \(uid 65534\).*runs as root.*chown -R"):
        EmbeddedServer(open_folder / "data").start()
    subprocess.run(["chown", "-R", "0:0", open_folder / "data"], check=True)  # as the error advises
    with EmbeddedServer(open_folder / "data", memory_bytes=MEMORY, extra_settings=FAST) as server:
        assert server.is_running()


@as_root
def test_an_ordinary_user_is_told_whose_the_folder_is(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    data_dir.mkdir(mode=0o755)
    server = EmbeddedServer(data_dir, memory_bytes=MEMORY, extra_settings=FAST)
    server.start()
    server.stop()
    refusal = use_as(NOBODY, data_dir)
    assert refusal.startswith(f"refused: The data folder {data_dir} belongs to the OS user root (uid 0)")
    assert "runs as nobody (uid 65534)" in refusal
    data_dir.chmod(0o700)
    assert use_as(NOBODY, data_dir) == refusal
    refusal = use_as(NOBODY, open_folder / "new")
    assert refusal.startswith(f"refused: The data folder {open_folder / 'new'} cannot be used by the OS user nobody: ")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", data_dir], check=True)
    assert use_as(NOBODY, data_dir) == f"tokengraph {NOBODY} False False"


@as_root
def test_a_user_without_a_name_is_told_so(open_folder: Path) -> None:
    os.chown(open_folder, 54321, 54321)
    refusal = use_as(54321, open_folder / "data")
    assert "uid 54321, has no name, and PostgreSQL needs one" in refusal
