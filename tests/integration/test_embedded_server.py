"""The embedded server in good order: made, started, shared, stopped; odd paths, odd leftovers, errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

import app
from app.embedded import layout as embedded_layout
from app.embedded.layout import Layout, bound_log, client_socket_dir
from app.embedded.process import is_held, listener_pid, try_exclusive
from app.embedded.server import EmbeddedServer, EmbeddedServerError

FAST = {"fsync": "off"}
MEMORY = 512 * 1024 * 1024
CHECKOUT = Path(app.__file__).parents[1]
Make = Callable[..., EmbeddedServer]

USER = """
import sys
from pathlib import Path
from app.embedded.server import EmbeddedServer
from app.embedded.process import listener_pid
server = EmbeddedServer(Path(sys.argv[1]), memory_bytes=1 << 29, extra_settings={"fsync": "off"})
server.start()
print(listener_pid(Path(sys.argv[1]) / "cluster" / "run"), flush=True)
sys.stdin.readline()
server.stop()
print("left", flush=True)
"""


@pytest.fixture
def make() -> Iterator[Make]:
    servers: list[EmbeddedServer] = []

    def make(data_dir: Path, **options: object) -> EmbeddedServer:
        settings = {"memory_bytes": MEMORY, "extra_settings": FAST, **options}
        servers.append(EmbeddedServer(data_dir, **settings))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a cluster, to be copied: faster than initdb each time."""
    data_dir = tmp_path_factory.mktemp("made") / "data"
    with EmbeddedServer(data_dir, memory_bytes=MEMORY, extra_settings=FAST):
        pass
    return data_dir


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", made, tmp_path], check=True)
    return tmp_path / "data"


@contextlib.contextmanager
def user_process(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that uses the server until a line is written to it; its first line is the server's pid."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell_to_leave(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert read_line(process) == "left"


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def server_pid(data_dir: Path) -> int | None:
    return listener_pid(client_socket_dir(Layout(data_dir)))


def test_a_fresh_folder_gets_a_cluster_and_a_second_start_finds_what_was_stored(tmp_path: Path, make: Make) -> None:
    data_dir = tmp_path / "deep" / "data"
    server = make(data_dir)
    url = server.start()
    assert server.url == url
    assert server.is_running()
    assert (
        run(url, "SELECT datlocprovider::text, datlocale, pg_encoding_to_char(encoding) FROM pg_database") == [("b", "C.UTF-8", "UTF8")] * 4
    )
    assert run(url, "SELECT current_database(), current_user") == [("tokengraph", "tokengraph")]
    run(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    server.stop()
    assert not server.is_running()
    assert not (data_dir / "cluster" / "postmaster.pid").exists()
    assert data_dir.stat().st_mode & 0o777 == 0o700

    assert run(server.start(), "SELECT answer FROM kept") == [(42,)]


def test_the_settings_count_and_durability_stays_on(data_dir: Path, make: Make) -> None:
    url = make(data_dir, memory_bytes=2 * 1024**3, extra_settings={"application_name": "it's \\ here"}).start()
    assert run(
        url,
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'shared_buffers', "
        "'listen_addresses', 'TimeZone', 'jit', 'full_page_writes', 'application_name') ORDER BY name COLLATE \"C\"",
    ) == [
        ("TimeZone", "UTC"),
        ("application_name", "it's \\ here"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("jit", "off"),
        ("listen_addresses", ""),
        ("shared_buffers", str(512 * 1024 // 8)),
        ("synchronous_commit", "on"),
    ]


def test_sqlalchemy_takes_the_url_and_the_environment_has_no_say(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "/nonexistent")
    url = make(tmp_path / "it's a dätä: 100% @ work?").start()
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT current_user")).scalar_one() == "tokengraph"


@pytest.mark.parametrize("name", ["d" * 120, "with, a comma"])
def test_a_path_that_no_socket_address_takes_is_reached_by_a_short_link(name: str, tmp_path: Path, make: Make) -> None:
    server, second = make(tmp_path / name), make(tmp_path / name)
    url = server.start()
    assert run(url, "SELECT 1") == [(1,)]
    host = Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))
    assert host.parent.stat().st_mode & 0o777 == 0o700
    host.unlink()  # as a cleaner of temporary folders would
    assert not server.ensure_running()
    assert run(url, "SELECT 1") == [(1,)]
    assert second.start() == url
    server.stop()
    assert run(url, "SELECT 1") == [(1,)]
    second.stop()
    assert not host.parent.exists()


def test_a_short_link_is_put_where_nobody_else_can_change_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / ("d" * 120))
    tmp_path.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folders = list(embedded_layout._link_folders(layout))
    assert folders
    assert not any(folder.is_relative_to(tmp_path) for folder in folders)

    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    shared.chmod(0o755)
    elsewhere.symlink_to(tmp_path)
    monkeypatch.setattr(embedded_layout, "_link_folders", lambda layout: iter([shared, elsewhere]))
    with pytest.raises(EmbeddedServerError, match="no private folder for a short link"):
        client_socket_dir(layout)
    shared.chmod(0o700)
    assert client_socket_dir(layout).readlink() == layout.socket_dir


def test_a_second_process_attaches_and_the_last_to_leave_stops_the_server(data_dir: Path, make: Make) -> None:
    with user_process(data_dir) as first:
        pid = int(read_line(first))
        server = make(data_dir)
        url = server.start()
        assert server_pid(data_dir) == pid
        tell_to_leave(first)
        assert run(url, "SELECT 1") == [(1,)]
        assert not server.ensure_running()
    server.stop()
    assert not server.is_running()


def test_attaching_starts_no_process(data_dir: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(data_dir)
    first.start()

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(subprocess.Popen, "__del__", lambda self: None)
    second = make(data_dir)
    assert second.start() == first.url
    second.stop()
    assert first.is_running()


def test_processes_that_start_at_once_on_an_empty_folder_share_one_server(tmp_path: Path, make: Make) -> None:
    data_dir = tmp_path / "data"
    with user_process(data_dir) as one, user_process(data_dir) as two, user_process(data_dir) as three:
        pids = {read_line(process) for process in (one, two, three)}
        assert len(pids) == 1
        assert pids == {str(server_pid(data_dir))}
        for process in (two, one, three):
            tell_to_leave(process)
    assert server_pid(data_dir) is None
    assert not make(data_dir).is_running()


def test_the_server_inherits_no_lock_of_its_users(data_dir: Path, make: Make) -> None:
    layout = Layout(data_dir)
    with user_process(data_dir) as process:
        pid = int(read_line(process))
        assert is_held(layout.users_lock)
        process.kill()
    assert server_pid(data_dir) == pid
    assert is_held(layout.server_lock)
    assert not is_held(layout.users_lock)
    assert not is_held(layout.start_lock)
    make(data_dir).start()


def test_leftovers_of_a_killed_initdb_are_cleared_away(tmp_path: Path, make: Make) -> None:
    data_dir = tmp_path / "data"
    half = data_dir / "cluster.new-abc"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert run(make(data_dir).start(), "SELECT 1") == [(1,)]
    assert not half.exists()


def test_a_process_killed_in_initdb_leaves_nothing_half_made(tmp_path: Path, make: Make) -> None:
    data_dir = tmp_path / "data"
    with user_process(data_dir) as process:
        while not list(data_dir.glob("cluster.new-*/global")):
            time.sleep(0.005)
        process.kill()
        process.wait()
    assert not (data_dir / "cluster").exists()
    assert run(make(data_dir).start(), "SELECT 1") == [(1,)]


def test_a_process_killed_while_its_server_starts_leaves_it_to_the_next(data_dir: Path, make: Make) -> None:
    layout = Layout(data_dir)
    server = make(layout.data_dir)
    server.start()
    server.stop()
    with user_process(layout.data_dir) as process:
        while not layout.postmaster_pid.exists():
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert run(server.start(), "SELECT 1") == [(1,)]
    server.stop()
    assert not server.is_running()


def test_a_dropped_database_is_made_again(data_dir: Path, make: Make) -> None:
    server = make(data_dir)
    url = server.start()
    run(url.replace("/tokengraph?", "/postgres?"), "DROP DATABASE tokengraph")
    server.stop()
    assert run(server.start(), "SELECT current_database()") == [("tokengraph",)]


def test_a_cluster_of_another_version_and_a_folder_that_is_none_are_refused(tmp_path: Path, make: Make) -> None:
    server = make(tmp_path / "data")
    cluster = tmp_path / "data" / "cluster"
    cluster.mkdir(parents=True)
    with pytest.raises(EmbeddedServerError, match="has no PG_VERSION"):
        server.start()
    (cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 17, and this is PostgreSQL 18.*pg_upgrade"):
        server.start()
    with pytest.raises(EmbeddedServerError, match="was not started by this process"):
        _ = server.url


def test_a_server_that_cannot_start_is_noticed_at_once_and_quoted(data_dir: Path, make: Make) -> None:
    good, bad = make(data_dir), make(data_dir, extra_settings={**FAST, "shared_buffers": "nonsense"})
    good.start()
    good.stop()
    with pytest.raises(EmbeddedServerError, match='invalid value for parameter "shared_buffers": "nonsense"'):
        bad.start()
    with pytest.raises(EmbeddedServerError, match="Not a PostgreSQL setting"):
        make(data_dir, extra_settings={"x = 1\ny": "2"}).start()
    assert run(good.start(), "SELECT 1") == [(1,)]


def test_missing_binaries_and_a_file_in_the_folders_place_are_told(tmp_path: Path, make: Make) -> None:
    with pytest.raises(EmbeddedServerError, match="no PostgreSQL binaries in"):
        make(tmp_path / "data", binaries=tmp_path).start()
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match="TOKENGRAPH_DATA_DIR"):
        make(tmp_path / "file").start()


def test_a_server_that_does_not_let_this_process_in_is_an_error_and_is_stopped(data_dir: Path, make: Make) -> None:
    server = make(data_dir)
    server.start()
    server.stop()
    rules = data_dir / "cluster" / "pg_hba.conf"
    rules.write_text("local all all reject\n")
    with pytest.raises(EmbeddedServerError, match=r"does not let this process in.*pg_hba\.conf"):
        server.start()
    assert not server.is_running()


def test_a_full_server_counts_as_running(data_dir: Path, make: Make) -> None:
    options = {"extra_settings": {**FAST, "max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0"}}
    url = make(data_dir, **options).start()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(psycopg.connect(url))
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(url)
        assert make(data_dir).start() == url


def test_the_log_is_bounded(data_dir: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_layout, "LOG_BYTES", 20_000)
    monkeypatch.setattr(embedded_layout, "LOG_KEPT_BYTES", 5_000)
    server = make(data_dir)
    url = server.start()
    for _ in range(2):
        run(url, f"DO $$ BEGIN RAISE LOG '{'x' * 30_000}'; END $$")
        server.ensure_running()
    log, kept = data_dir / "server.log", data_dir / "server.log.1"
    assert log.stat().st_size == 0
    assert kept.stat().st_size == 5_000
    assert kept.stat().st_mode & 0o777 == 0o600
    run(url, "DO $$ BEGIN RAISE LOG 'still here'; END $$")
    assert log.read_bytes().startswith(b"20")
    assert "still here" in log.read_text()
    bound_log(Layout(data_dir))
    assert log.stat().st_size > 0


def test_stop_ends_a_start_that_waits_in_another_thread(data_dir: Path, make: Make) -> None:
    layout = Layout(data_dir)
    orphan = try_exclusive(layout.server_lock)
    assert orphan is not None
    server = make(layout.data_dir)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.start)
        while not (layout.users_lock.exists() and is_held(layout.users_lock)):
            time.sleep(0.002)
        server.stop()
        with pytest.raises(EmbeddedServerError, match="was released while it was starting"):
            waiting.result(10)
    os.close(orphan)
    assert not server.ensure_running()
    assert not server.is_running()
    assert run(server.start(), "SELECT 1") == [(1,)]
