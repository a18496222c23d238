"""`tokengraph serve` as an operator starts and stops it: what it says is true when it says so, and it ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.test_main_job import CHECKOUT, environment, free_port
from tests.redis_server import PROGRAM, Server

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed: apt-get install redis-server")


@pytest.fixture
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    made = Server(tmp_path_factory.mktemp("r"))
    made.start()
    yield made.url
    made.stop()


@contextmanager
def started(port: int, folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", str(port), *arguments],
        cwd=CHECKOUT,
        env=environment(folder) | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def announced(process: subprocess.Popen[str]) -> str:
    """Return the line that says where it serves, when it comes."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Tokengraph serves on "):
            return line
    raise AssertionError("it ended without a word")


@needs_redis
def test_two_workers_are_announced_when_they_serve_and_end_with_what_is_open(database_url: str, tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    settings = {"TOKENGRAPH_DATABASE_URL": database_url, "TOKENGRAPH_REDIS_URL": redis_url}
    with started(port, tmp_path, "--workers", "2", **settings) as process, ExitStack() as stack:
        assert str(port) in announced(process)
        for _ in range(20):  # by either worker
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
        for request in (b"", b"GET / HTTP/1.1\r\n", b"POST /graphql HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"):
            for _ in range(6):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(request)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(port, tmp_path / "data") as process:
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"127.0.0.1 port {port} cannot be bound" in said
    assert not (tmp_path / "data").exists()


def test_the_port_that_was_chosen_by_the_system_is_announced(database_url: str, tmp_path: Path) -> None:
    with started(0, tmp_path, TOKENGRAPH_DATABASE_URL=database_url) as process:
        url = announced(process).split()[3]
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
