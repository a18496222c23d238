"""The embedded server after kill -9 of it, of its user, and beside the stale files that such deaths leave."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import app
from app.embedded import server as embedded
from app.embedded.account import server_account
from app.embedded.layout import Layout
from app.embedded.process import is_held, listener_pid
from app.embedded.server import EmbeddedServer, EmbeddedServerError

FAST = {"fsync": "off"}
MEMORY = 512 * 1024 * 1024
CHECKOUT = Path(app.__file__).parents[1]
USER = """
import sys, time
from pathlib import Path
from app.embedded.server import EmbeddedServer
print(EmbeddedServer(Path(sys.argv[1]), memory_bytes=1 << 29, extra_settings={"fsync": "off"}).start(), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a cluster, to be copied: faster than initdb each time."""
    data_dir = tmp_path_factory.mktemp("made") / "data"
    with EmbeddedServer(data_dir, memory_bytes=MEMORY, extra_settings=FAST):
        pass
    return data_dir


@pytest.fixture
def layout(made: Path, tmp_path: Path) -> Layout:
    subprocess.run(["cp", "-a", made, tmp_path], check=True)
    return Layout(tmp_path / "data")


@pytest.fixture
def server(layout: Layout) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(layout.data_dir, memory_bytes=MEMORY, extra_settings=FAST)
    yield server
    server.stop()


def postmaster(layout: Layout) -> int:
    pid = listener_pid(layout.socket_dir)
    assert pid
    return pid


def kill_server(layout: Layout) -> None:
    os.kill(postmaster(layout), signal.SIGKILL)
    while listener_pid(layout.socket_dir) is not None:
        time.sleep(0.001)


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_killed_server_is_started_again_with_its_data(layout: Layout, server: EmbeddedServer) -> None:
    url = server.start()
    run(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    assert not server.ensure_running()
    with psycopg.connect(url):  # an idle connection, as a pool has them
        kill_server(layout)
        assert server.ensure_running()
    assert server.url == url
    assert run(url, "SELECT sum(n) FROM kept") == [(500500,)]
    assert not server.ensure_running()
    server.stop()
    assert not server.is_running()


def test_a_server_killed_while_nobody_looked_is_started_again_by_start(layout: Layout, server: EmbeddedServer) -> None:
    url = server.start()
    kill_server(layout)
    assert server.start() == url
    kill_server(layout)
    server.stop()
    assert run(server.start(), "SELECT 1") == [(1,)]


def test_committed_rows_survive_a_kill_during_writes(layout: Layout) -> None:
    committed: list[int] = []

    def write(url: str) -> None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
            for number in range(100_000):
                connection.execute("INSERT INTO written SELECT %s, repeat('x', 500) FROM generate_series(1, 20)", [number])
                committed.append(number)

    with EmbeddedServer(layout.data_dir, memory_bytes=MEMORY) as server:  # with fsync
        url = server.url
        run(url, "CREATE TABLE written (number int, filler text)")
        writer = threading.Thread(target=write, args=[url])
        writer.start()
        while len(committed) < 100:
            time.sleep(0.002)
        kill_server(layout)
        writer.join()
        assert server.ensure_running()
        rows = run(url, "SELECT number, count(*) FROM written GROUP BY number ORDER BY number")
    assert [row[1] for row in rows] == [20] * len(rows)
    assert [row[0] for row in rows][: len(committed)] == committed
    assert len(rows) - len(committed) in (0, 1)  # a commit whose answer was lost


def work(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        connection.execute("SELECT count(*) FROM generate_series(1, 400000000)")


def test_orphaned_backends_are_waited_for(layout: Layout, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.start()
    with psycopg.connect(url, autocommit=True) as busy:
        orphan = busy.info.backend_pid
        worker = threading.Thread(target=work, args=[busy])
        worker.start()
        while run(url, f"SELECT state FROM pg_stat_activity WHERE pid = {orphan}") != [("active",)]:
            time.sleep(0.002)
        kill_server(layout)
        monkeypatch.setattr(embedded, "ORPHAN_SECONDS", 0.2)
        with pytest.raises(EmbeddedServerError, match=rf"was killed, and some of its processes.*pids: ({orphan}|not to be seen)\b"):
            server.ensure_running()
        monkeypatch.setattr(embedded, "ORPHAN_SECONDS", 60)
        threading.Timer(0.2, os.kill, [orphan, signal.SIGTERM]).start()
        assert server.ensure_running()
        worker.join()
    assert run(url, "SELECT 1") == [(1,)]


def test_the_server_of_a_killed_user_is_joined_and_stopped(layout: Layout, server: EmbeddedServer) -> None:
    command = [sys.executable, "-c", USER, str(layout.data_dir)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        url = user.stdout.readline().strip()
        pid = postmaster(layout)
        user.kill()
    assert not is_held(layout.users_lock)
    assert server.start() == url
    assert postmaster(layout) == pid
    server.stop()
    assert listener_pid(layout.socket_dir) is None
    assert not is_held(layout.server_lock)


def test_the_server_of_a_killed_user_is_started_again_when_it_dies_too(layout: Layout, server: EmbeddedServer) -> None:
    command = [sys.executable, "-c", USER, str(layout.data_dir)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        user.stdout.readline()
        server.start()
        user.kill()
    kill_server(layout)
    assert server.ensure_running()
    assert run(server.url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("whose", ["this test", "the server's user", "nobody any more", "no number", "empty"])
def test_a_stale_pid_file_fools_nobody(whose: str, layout: Layout, server: EmbeddedServer) -> None:
    run(server.start(), "CREATE TABLE kept AS SELECT 7 AS answer")
    server.stop()
    account = server_account(layout.cluster)
    with subprocess.Popen(["sleep", "600"], **account.switch()) as bystander:
        ended = subprocess.Popen(["true"])
        ended.wait()
        words = {
            "this test": str(os.getpid()),
            "the server's user": str(bystander.pid),
            "nobody any more": str(ended.pid),
            "no number": "nonsense",
        }
        word = words.get(whose)
        rest = f"/proc/self/cwd\n{int(time.time())}\n5432\nrun\n\n  1234567        99\nready   \n"
        for path in (layout.postmaster_pid, layout.socket_dir / ".s.PGSQL.5432.lock"):
            path.write_text(f"{word}\n{rest}" if word else "")
            account.own(path)
        assert not server.is_running()
        assert run(server.start(), "SELECT answer FROM kept") == [(7,)]
        server.stop()
        assert bystander.poll() is None
        bystander.kill()


def test_a_pid_file_of_a_killed_server_that_names_a_live_process_gets_it_neither_trusted_nor_stopped(
    layout: Layout, server: EmbeddedServer
) -> None:
    server.start()
    kill_server(layout)
    account = server_account(layout.cluster)
    with subprocess.Popen(["sleep", "600"], **account.switch()) as bystander:
        lines = layout.postmaster_pid.read_text().splitlines(keepends=True)
        layout.postmaster_pid.write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
        server.stop()
        assert bystander.poll() is None
        assert run(server.start(), "SELECT 1") == [(1,)]
        assert bystander.poll() is None
        bystander.kill()
