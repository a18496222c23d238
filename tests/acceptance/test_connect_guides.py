"""The guide for one's own router, run as it stands: its Python and its TypeScript write through to the answers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.gateway import Gateway
from tests.live import listening

GUIDE = Path(__file__).parents[2] / "docs" / "connect" / "own-router.md"


def code(language: str) -> str:
    """Return the guide's only block of a language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(block)


@pytest.mark.parametrize("language", ["python", "typescript"])
async def test_the_guides_lines_report_a_request(gateway: Gateway, database_url: str, tmp_path: Path, language: str) -> None:
    record = json.dumps(json.loads(code("json")))
    if language == "python":
        script = tmp_path / "router.py"
        script.write_text(f"{code('python')}\nfor _ in range(2):\n    print(json.dumps(report({record})))\n")
        command = [sys.executable, str(script)]
    else:
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        script = tmp_path / "router.mjs"
        # The one annotation goes, so that a Node that reads no TypeScript runs it too.
        source = code("typescript").replace("(record: object)", "(record)")
        script.write_text(f"{source}\nfor (const _ of [1, 2]) console.log(JSON.stringify(await report({record})));\n")
        command = [node, str(script)]
    key = (await gateway.key("ingest"))["Authorization"].removeprefix("Bearer ")
    app = create_app(Settings(database_url=database_url), Wiring(clock=gateway.clock, jobs=False))
    with listening(app) as url:
        environment = {"PATH": os.environ["PATH"], "TOKENGRAPH_URL": url, "TOKENGRAPH_KEY": key}
        done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    receipts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(receipt["inserted"], receipt["duplicates"]) for receipt in receipts] == [(1, 0), (0, 1)]
    answer = await gateway.graphql("{ gatewayStats { requests models { name } } }", await gateway.key("admin"))
    assert answer["data"]["gatewayStats"] == {"requests": 1, "models": [{"name": "openai/gpt-4o"}]}
