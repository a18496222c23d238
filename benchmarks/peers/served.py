"""An application in uvicorn with the bounds that `tokengraph serve` sets: `python -m benchmarks.peers.served FACTORY PORT`."""

from __future__ import annotations

import sys

import uvicorn

from app.web.http_protocol import BoundedConfig, ConnectionBounds

if __name__ == "__main__":
    factory, port = sys.argv[1:]
    uvicorn.Server(BoundedConfig(factory, ConnectionBounds(), factory=True, port=int(port), log_level="warning", proxy_headers=False)).run()
