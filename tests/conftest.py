"""Fixtures of every test: one server a run, a migrated template database, a clone of it for each test that asks."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, settings

from app.db.engine import Database
from app.db.migrate import upgrade
from app.embedded.server import EmbeddedServer
from app.settings import Settings
from app.web.app import Wiring, create_app
from app.write.batch import Ingestor
from tests.clock import FakeClock
from tests.gateway import Gateway

settings.register_profile("tokengraph", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("tokengraph")

TEMPLATE = "tokengraph_template"
_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres", default="", metavar="BIN", help="run on this installation (a folder with initdb) instead of the embedded one"
    )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _foreign_server(binaries: Path, folder: Path) -> Iterator[str]:
    """A server of another installation, as an operator would bring; run as `nobody` where we are root."""
    user = pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None
    home = Path("/tmp") / f"tg-pg-{os.getpid()}-{next(_numbers)}"
    home.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(home, user)
    data = home / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-D", str(data), "-U", "tokengraph", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses='' -c fsync=off -c autovacuum=off -c unix_socket_directories='{home}' -c shared_buffers=128MB"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(home / "log"), "-o", options, "start")
        if user is not None:
            home.chmod(0o755)
        yield f"postgresql://tokengraph@/postgres?host={quote(str(home), safe='')}"
        run("pg_ctl", "-D", str(data), "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server with the migrated template; shared by all workers of the run where it is the embedded one."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with running_server(shared, request.config.getoption("--postgres")) as url:
        yield url


@contextmanager
def running_server(folder: Path, binaries: str | None) -> Iterator[str]:
    """Run a server with the migrated template in a folder: PostgreSQL's own programs if named, else the embedded one, joined if it runs."""
    if binaries:
        with _foreign_server(Path(binaries), folder) as url:
            _make_template(url)
            yield url
        return
    server = EmbeddedServer(
        folder / "postgres", memory_bytes=2**30, extra_settings={"fsync": "off", "max_connections": "200", "autovacuum": "off"}
    )
    url = server.start()
    try:
        with _only_one(folder):
            _make_template(url)
        yield url
    finally:
        server.stop()


def _make_template(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {TEMPLATE}_new")
            upgrade(with_database(url, f"{TEMPLATE}_new"))
            connection.execute(f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield with_database(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool to a migrated, empty database."""
    async with Database(database_url, min_size=1, max_size=8) as opened:
        yield opened


@pytest.fixture
def ingestor(database: Database) -> Ingestor:
    """The one write, to this test's database."""
    return Ingestor(database)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
async def gateway(database_url: str, clock: FakeClock) -> AsyncIterator[Gateway]:
    """A gateway on this test's database; its jobs do not run."""
    app = create_app(Settings(database_url=database_url, gateway_api_key="gateway-secret"), Wiring(clock=clock, jobs=False))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield Gateway(app, client, app.state.services.database, clock)
