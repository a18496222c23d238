"""`tokengraph serve`: migrates, serves, runs the jobs, and restarts the embedded server if it ends."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from app.cli.main import app
from app.cli.server import Server, Supervisor, allow_connections, bind, exit_on_sigterm
from app.cli.session import open_migrated
from app.embedded.server import EmbeddedServer
from app.settings import Settings, load
from app.web.http_protocol import BoundedConfig, ConnectionBounds

_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Listen:
    """Bound sockets to serve on, and a callback for the start."""

    sockets: list[socket.socket]
    announce: Callable[[], None]


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int | None, typer.Option(help="Processes; more than one needs TOKENGRAPH_REDIS_URL.", min=1, max=64)] = None,
) -> None:
    """Migrate the database, serve, and run the jobs. No demo data."""
    exit_on_sigterm()
    settings = load(**({} if workers is None else {"workers": workers}))
    sockets = bind(host, port)
    url = f"http://{host}:{sockets[0].getsockname()[1]}"
    with open_migrated(settings) as (database_url, server):
        announce = lambda: typer.echo(f"Tokengraph serves on {url} (GraphQL at {url}/graphql)", err=True)  # noqa: E731
        run_server(settings.model_copy(update={"database_url": database_url}), server, Listen(sockets, announce))


def run_server(settings: Settings, server: EmbeddedServer | None, listen: Listen) -> None:
    """Serve until a signal. `settings.database_url` is set; `server`: the embedded one, which is restarted if it ends."""
    stopped = threading.Event()
    watch = threading.Thread(target=_restart_if_ended, args=(server, stopped), daemon=True) if server is not None else None
    if watch is not None:
        watch.start()
    try:
        if settings.workers == 1:
            _serve_here(settings, server, listen.sockets, listen.announce)
        else:
            _serve_in_workers(settings, listen.sockets, listen.announce)
    finally:
        stopped.set()
        if server is not None and watch is not None:
            server.stop()  # first: it ends the wait of a watch that is starting the server
            watch.join()


def _config(app: Any, settings: Settings, **options: Any) -> BoundedConfig:
    bounds = ConnectionBounds(
        connections=allow_connections(settings.connections),
        per_address=settings.address_connections,
        proxies=settings.trusted_proxies,
    )
    return BoundedConfig(
        app,
        bounds,
        log_level="warning",
        proxy_headers=False,  # `app.http.proxies` reads them
        **options,
    )


def _serve_here(settings: Settings, server: EmbeddedServer | None, sockets: list[socket.socket], announce: Callable[[], None]) -> None:
    from app.web.app import create_app

    def end() -> None:
        try:
            if server is not None:
                server.stop()
        finally:
            os._exit(1)

    Server(_config(create_app(settings), settings), announce, end).run(sockets)


def _serve_in_workers(settings: Settings, sockets: list[socket.socket], announce: Callable[[], None]) -> None:
    os.environ["TOKENGRAPH_DATABASE_URL"] = settings.database_url or ""
    with tempfile.TemporaryDirectory(prefix="tokengraph-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = _config("app.web.app:create_app_from_environment", settings, factory=True, workers=settings.workers)
        Supervisor(config, sockets, announce).run()


def _restart_if_ended(server: EmbeddedServer | None, stopped: threading.Event) -> None:
    while server is not None and not stopped.wait(_WATCH_SECONDS):
        try:
            if server.ensure_running():
                typer.echo("the embedded PostgreSQL had stopped; it was restarted", err=True)
        except Exception as error:
            typer.echo(f"the embedded PostgreSQL cannot be started: {error}", err=True)
