"""The requests that the five documents print, sent by curl to the demo with the keys that it prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_main_job import serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(line: str) -> tuple[int, str, str]:
    """Run a curl command line; return status, content type and body."""
    command = line.replace("curl ", "curl -sS -w '\\n%{http_code} %{content_type}' ", 1)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    body, _, tail = done.stdout.rpartition("\n")
    status, _, kind = tail.partition(" ")
    return int(status), kind, body


def test_the_documents_own_lines(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "demo", "--records", "4000") as (url, process):
        keys: dict[str, str] = json.loads((tmp_path / "data" / "demo" / "demo-keys.json").read_text())

        def ask(line: str, key: str | None) -> Any:
            status, kind, body = curl(line.replace("$HOST", url).replace("$KEY", keys.get(key or "", "")))
            assert status == 200, (line, status, body)
            return json.loads(body) if kind.startswith("application/json") else body

        network = ask('curl "$HOST/api/v1/analytics/network"', None)
        assert len(network["top_models"]) == 15
        rankings = ask('curl "$HOST/api/v1/datasets/rankings-daily" -H "Authorization: Bearer $KEY"', "gateway")
        assert {row["model_permaslug"] for row in rankings["data"]} >= {"other"}
        usage = ask(
            'curl "$HOST/api/usage/analytics?date_from=2026-02-11&date_to=2126-03-12&aggregation=day" -H "Authorization: Bearer $KEY"',
            "admin",
        )
        assert usage["time_series"]
        assert usage["top_users"]
        month = ask('curl "$HOST/api/usage/analytics?aggregation=month&model_id=openai/gpt-5" -H "Authorization: Bearer $KEY"', "admin")
        assert {row["model_id"] for row in month["by_model"]} == {"openai/gpt-5"}
        stats = ask('curl "$HOST/v1/analytics?project_id=proj_abc123" -H "Authorization: Bearer $KEY"', "gateway")
        assert stats["total_requests"] == 0
        assert ask('curl "$HOST/v1/analytics" -H "Authorization: Bearer s3cret"', None)["total_requests"] == 4000
        customer = ask(
            'curl "$HOST/v1/customer/analytics?start_date=2026-02-01T00:00:00.000Z&end_date=2026-02-07T00:00:00.000Z" -H "Authorization: Bearer $KEY"',
            "tenant",
        )
        assert len(customer["timeseries"]) == 7
        export = ask('curl "$HOST/v1/customer/analytics/export.csv" -H "Authorization: Bearer $KEY"', "tenant")
        assert re.match(r"date,model,provider,api_key_id,traffic_mode,.*\r?\n\d{4}-", export)
        assert ask('curl "$HOST/v1/customer/logs?limit=2" -H "Authorization: Bearer $KEY"', "tenant")["data"][0]["id"]
        assert (
            ask('curl "$HOST/v1/customer/billing/usage-statement.csv" -H "Authorization: Bearer $KEY"', "tenant")
            .splitlines()[-1]
            .startswith("total,")
        )
        assert process.poll() is None
