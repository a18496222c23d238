"""The audits of the reference implementation of GraphQL over HTTP, against a gateway that listens: none warns, none fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.live import listening

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"


def test_every_audit_is_met(database_url: str) -> None:
    if not (FRONTEND / "node_modules" / "graphql-http").is_dir():
        pytest.skip("what the pages are built with is not set up: make pages")
    app = create_app(Settings(database_url=database_url), Wiring(jobs=False))
    with listening(app, lifespan="on") as url:
        command = [str(FRONTEND / "with-node"), "node", "audits.mjs", f"{url}/graphql"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["unmet"] == []
    assert found["audits"] > 50
