"""The main job as its users do it: the real command, a real port, curl's requests and the official SDK."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from openrouter import OpenRouter

import app
from app.embedded.server import EmbeddedServer

CHECKOUT = Path(app.__file__).parents[1]
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)


def run(
    data_dir: Path, *arguments: str, check: bool = True, stdin: str | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `tokengraph` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=CHECKOUT,
        env=environment(data_dir) | (variables or {}),
        capture_output=True,
        text=True,
        timeout=120,
        input=stdin,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def environment(data_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENGRAPH_", "GATEWAY_"))}
    return kept | {"TOKENGRAPH_DATA_DIR": str(data_dir), "TOKENGRAPH_SNAPSHOT_SECONDS": "1", "GATEWAY_API_KEY": "s3cret"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(data_dir: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A gateway in a process of its own; ended with SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "app", *(arguments or ("serve",)), "--port", str(port)]
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url, process
    finally:
        was_killed = process.poll() is not None
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert was_killed or process.returncode == 0
        folder = data_dir / "demo" if command[3] == "demo" else data_dir
        assert was_killed or not EmbeddedServer(folder).is_running(), "the last to leave stops the server"


def wait_until_ready(url: str, process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise AssertionError(process.stdout.read() if process.stdout else "it ended")
        try:
            if httpx.get(f"{url}/readyz", timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready in time")


def make_key(data_dir: Path, *arguments: str) -> str:
    answer: dict[str, str] = json.loads(run(data_dir, "keys", "create", *arguments, "--json").stdout)
    assert set(answer) == {"id", "key"}
    return answer["key"]


def records(count: int, **given: Any) -> list[dict[str, Any]]:
    return [
        {
            "request_id": f"r{number}",
            "occurred_at": (YESTERDAY + timedelta(seconds=number)).isoformat(),
            "tenant_id": "acme",
            "model_id": "openai/gpt-4o",
            "prompt_tokens": 100,
            "completion_tokens": number,
            **given,
        }
        for number in range(count)
    ]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "the data's folder"


def test_records_in_answers_out_by_keys_that_can_be_revoked(data_dir: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps([{"model_id": "openai/gpt-4o", "name": "GPT-4o", "provider_name": "OpenAI", "public": True}]))
    with serving(data_dir) as (url, _):
        assert "1 new" in run(data_dir, "catalog", "load", str(catalog)).stdout
        assert "0 new, 0 with a new price" in run(data_dir, "catalog", "load", str(catalog)).stdout
        ingest, reader = make_key(data_dir, "--role", "ingest"), make_key(data_dir, "--role", "tenant", "--tenant", "acme")

        sent = {"records": [*records(50), *records(3, request_id="same", model_id="x/private")]}
        receipt = httpx.post(f"{url}/v1/ingest/usage", json=sent, headers={"Authorization": f"Bearer {ingest}"}, timeout=60).json()
        assert (receipt["received"], receipt["inserted"], receipt["duplicates"]) == (53, 51, 2)

        with OpenRouter(api_key=reader, server_url=f"{url}/api/v1") as client:
            answer = client.datasets.get_rankings_daily(start_date=YESTERDAY.date().isoformat())
        assert [(str(row.date_ if hasattr(row, "date_") else row.date), row.model_permaslug, row.total_tokens) for row in answer.data] == [
            (YESTERDAY.date().isoformat(), "openai/gpt-4o", str(50 * 100 + sum(range(50)))),
            (YESTERDAY.date().isoformat(), "other", "100"),
        ]

        run(data_dir, "snapshot")
        network = httpx.get(f"{url}/api/v1/analytics/network", timeout=60).json()
        assert network["totals"]["tokens"] == 51 * 100 + sum(range(50))
        assert [model["model_name"] for model in network["top_models"]] == ["GPT-4o"]
        asked = {"query": "{ network { totals { requests } } rankingsDaily { data { totalTokens } } }"}
        graph = httpx.post(f"{url}/graphql", json=asked, headers={"X-API-Key": reader}, timeout=60).json()
        assert graph["data"]["network"]["totals"]["requests"] == 51
        assert len(graph["data"]["rankingsDaily"]["data"]) == 2

        assert "the rollups equal the records" in run(data_dir, "rollups", "verify").stdout

        made = json.loads(run(data_dir, "keys", "create", "--role", "admin", "--name", "ops", "--json").stdout)
        headers = {"Authorization": f"Bearer {made['key']}"}
        rankings = f"{url}/api/v1/datasets/rankings-daily"
        assert httpx.get(rankings, headers=headers, timeout=60).status_code == 200
        assert made["key"] not in run(data_dir, "keys", "list").stdout
        listed = json.loads(run(data_dir, "keys", "list", "--json").stdout)
        assert (made["id"], "ops", "active") in [(key["id"], key["name"], key["status"]) for key in listed]
        run(data_dir, "keys", "revoke", made["id"])
        refused = httpx.get(rankings, headers=headers, timeout=60)
        assert (refused.status_code, refused.json()["error"]["message"]) == (401, "Invalid credentials")
        assert httpx.get(rankings, headers={"Authorization": "Bearer s3cret"}, timeout=60).status_code == 200, (
            "GATEWAY_API_KEY is a valid key"
        )


def test_files_are_ingested_once_however_often_they_are_given(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "usage.ndjson"
    file.write_text("".join(json.dumps(record) + "\n" for record in records(1200)))
    first = json.loads(run(data_dir, "ingest", str(file), "--json").stdout)
    assert (first["received"], first["inserted"], first["rejected"]) == (1200, 1200, 0)
    again = json.loads(run(data_dir, "ingest", "-", "--format", "ndjson", "--json", stdin=file.read_text()).stdout)
    assert (again["inserted"], again["duplicates"]) == (0, 1200)
    bad = tmp_path / "bad.csv"
    bad.write_text("request_id,occurred_at,tenant_id,model_id,prompt_tokens\na,2026-01-01T00:00:00Z,acme,m/x,5\nb,yesterday,acme,m/x,5\n")
    refused = run(data_dir, "ingest", str(bad), check=False)
    assert refused.returncode == 1
    assert "received 2  inserted 1  duplicates 0  rejected 1" in refused.stdout
    assert "record 1, occurred_at:" in refused.stderr
    assert "the rollups equal the records" in run(data_dir, "rollups", "verify").stdout


def test_the_demo_prints_keys_that_work_and_keeps_them(data_dir: Path) -> None:
    printed = []
    for _ in range(2):
        with serving(data_dir, "demo", "--records", "3000") as (url, process):
            time.sleep(0.2)
            keys = json.loads((data_dir / "demo" / "demo-keys.json").read_text())
            assert set(keys) == {"admin", "gateway", "tenant", "ingest"}
            for key in keys.values():
                assert httpx.get(f"{url}/api/v1/datasets/rankings-daily", headers={"Authorization": f"Bearer {key}"}, timeout=60).json()[
                    "data"
                ]
            assert httpx.get(f"{url}/api/v1/analytics/network", timeout=60).json()["totals"]["requests"] > 1000
            printed.append(keys)
            assert process.poll() is None
            refused = run(data_dir, "demo", "--reset", "--port", str(free_port()), check=False)
            assert (refused.returncode, "A process uses the database" in refused.stderr) == (1, True), refused.stderr
    assert printed[0] == printed[1]
    assert not (data_dir / "cluster").exists(), "what `serve` will use is untouched"
    with serving(data_dir, "demo", "--records", "0", "--reset") as (url, _):
        assert httpx.get(f"{url}/api/v1/analytics/network", timeout=60).json()["totals"]["requests"] == 0
        old = {"Authorization": f"Bearer {printed[0]['admin']}"}
        assert httpx.get(f"{url}/api/v1/datasets/rankings-daily", headers=old, timeout=60).status_code == 401


def test_the_demo_tries_the_port_before_it_loads_anything(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(data_dir, "demo", "--port", str(taken.getsockname()[1]), check=False)
    assert done.returncode == 1
    assert "cannot be bound: Address already in use. Choose another with --port" in done.stderr
    assert not data_dir.exists()


def test_the_demo_of_an_operators_database_is_not_reset(data_dir: Path) -> None:
    url = {"TOKENGRAPH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = run(data_dir, "demo", "--reset", "--port", str(free_port()), check=False, variables=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--reset deletes only the embedded demo database" in done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TOKENGRAPH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "cannot be reached"),
        ({"TOKENGRAPH_WORKERS": "2"}, "TOKENGRAPH_REDIS_URL"),
        ({"TOKENGRAPH_SNAPSHOT_SECONDS": "soon"}, "TOKENGRAPH_SNAPSHOT_SECONDS"),
    ],
)
def test_settings_that_cannot_be_right_are_said_in_one_line(data_dir: Path, variables: dict[str, str], words: str) -> None:
    done = run(data_dir, "serve", check=False, variables=variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
