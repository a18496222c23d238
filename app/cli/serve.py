"""`tokengraph serve`: migrates, serves, runs the jobs, and keeps the embedded server alive."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer
import uvicorn

from app.cli.main import app
from app.cli.session import open_migrated
from app.db.embedded import EmbeddedServer
from app.settings import Settings, load

_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to serve, and what to say once it does."""

    host: str
    port: int
    announce: Callable[[], None]


class _AnnouncingServer(uvicorn.Server):
    """Says so when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: object = None) -> None:
        """Bind, then announce."""
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        if self.started:
            self._announce()


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int | None, typer.Option(help="Processes; more than one needs TOKENGRAPH_REDIS_URL.", min=1, max=64)] = None,
) -> None:
    """Migrate the database, serve, and run the jobs. No demo data."""
    leave_on_sigterm()
    settings = load(**({} if workers is None else {"workers": workers}))
    url = f"http://{host}:{port}"
    with open_migrated(settings) as (database_url, server):
        listen = Listen(host, port, lambda: typer.echo(f"Tokengraph serves on {url} (GraphQL at {url}/graphql)", err=True))
        run_server(settings.model_copy(update={"database_url": database_url}), server, listen)


def leave_on_sigterm() -> None:
    """Let SIGTERM unwind the process, so that the embedded server is left; uvicorn raises it again after its own shutdown."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def run_server(settings: Settings, server: EmbeddedServer | None, listen: Listen) -> None:
    """Serve until a signal. `settings.database_url` is set; `server`: the embedded one, to be started again if it dies."""
    stopped = threading.Event()
    watch = threading.Thread(target=_keep_alive, args=(server, stopped), daemon=True) if server is not None else None
    if watch is not None:
        watch.start()
    try:
        if settings.workers == 1:
            _serve_here(settings, listen)
        else:
            _serve_in_workers(settings, listen)
    finally:
        stopped.set()
        if server is not None and watch is not None:
            server.stop()  # first: it ends the wait of a watch that is starting the server
            watch.join()


def _serve_here(settings: Settings, listen: Listen) -> None:
    from app.web.app import create_app

    config = uvicorn.Config(
        create_app(settings),
        host=listen.host,
        port=listen.port,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        proxy_headers=False,  # `app.web.proxies` reads them
    )
    _AnnouncingServer(config, listen.announce).run()


def _serve_in_workers(settings: Settings, listen: Listen) -> None:
    os.environ["TOKENGRAPH_DATABASE_URL"] = settings.database_url or ""
    with tempfile.TemporaryDirectory(prefix="tokengraph-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        listen.announce()
        uvicorn.run(
            "app.web.app:create_app_from_environment",
            factory=True,
            host=listen.host,
            port=listen.port,
            workers=settings.workers,
            log_level="warning",
            access_log=False,
            loop="uvloop",
            http="httptools",
            proxy_headers=False,  # `app.web.proxies` reads them
        )


def _keep_alive(server: EmbeddedServer | None, stopped: threading.Event) -> None:
    while server is not None and not stopped.wait(_WATCH_SECONDS):
        try:
            if server.ensure_running():
                typer.echo("the embedded PostgreSQL had stopped; it runs again", err=True)
        except Exception as error:
            typer.echo(f"the embedded PostgreSQL cannot be started: {error}", err=True)
