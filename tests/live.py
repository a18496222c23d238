"""A gateway on a real port, in a thread of the tests' process, for clients that bring their own event loop or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from app.web.http_protocol import BoundedConfig, ConnectionBounds


@contextmanager
def listening(app: ASGIApp, bounds: ConnectionBounds | None = None, *, lifespan: str = "auto") -> Iterator[str]:
    """Yield the URL of the application, served as `tokengraph serve` does. At the end it is stopped, as by SIGTERM."""
    config = BoundedConfig(app, bounds or ConnectionBounds(), host="127.0.0.1", port=0, log_level="error", lifespan=lifespan)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise AssertionError("the server did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not end"
