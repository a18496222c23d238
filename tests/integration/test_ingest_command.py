"""`tokengraph ingest` as a process of its own: every source, receipts and exit codes, the way back in of our exports, growing files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest

import app
from app.db.engine import Database
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import FakeClock
from tests.conftest import with_database
from tests.factories import assert_rollups_equal, make_record
from tests.gateway import Gateway

CHECKOUT = Path(app.__file__).parents[1]
AT = datetime(2026, 6, 25, 10, 30, tzinfo=UTC)


def environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENGRAPH_", "GATEWAY_"))}
    return kept | {"TOKENGRAPH_DATABASE_URL": url}


def run(url: str, *arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `tokengraph ingest` to its end; it never shows a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "ingest", *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(url),
        capture_output=True,
        timeout=120,
        input=stdin,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def receipt(url: str, *arguments: str | Path, stdin: bytes | None = None) -> tuple[int, dict[str, Any]]:
    done = run(url, *arguments, "--json", stdin=stdin)
    return done.returncode, json.loads(done.stdout)


def usage(request_id: str, **given: Any) -> bytes:
    row = {"request_id": request_id, "occurred_at": AT.isoformat(), "tenant_id": "acme", "model_id": "openai/gpt-4o", **given}
    return orjson.dumps(row) + b"\n"


def stored(url: str, columns: str = "request_id") -> list[Any]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT {columns} FROM usage_records ORDER BY request_id").fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


class TestFiles:
    def test_a_directory_of_everything(self, database_url: str, tmp_path: Path) -> None:
        (tmp_path / "in" / "deep").mkdir(parents=True)
        (tmp_path / "in" / "deep" / "a.ndjson").write_bytes(usage("a1") + usage("a2", prompt_tokens=-1))
        (tmp_path / "in" / "b.json").write_bytes(b"[" + usage("b1") + b"]")
        (tmp_path / "in" / "c.csv").write_text(
            "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,tokens_cached,model_permaslug,cancelled\n"
            "gen-1,2026-06-25 10:30:00.5,0.01,10,5,4,openai/gpt-4o,true\ngen-2,2026-06-25 10:30:00,0.01,10,5,99,openai/gpt-4o,false\n"
        )
        (tmp_path / "in" / "junk.parquet").write_bytes(bytes(range(256)) * 40)
        (tmp_path / "in" / "README").touch()
        done = run(database_url, tmp_path / "in", "--tenant", "acme", "--json")
        answer = json.loads(done.stdout)
        assert done.returncode == 1
        assert (answer["received"], answer["inserted"], answer["rejected"], answer["quarantined"]) == (5, 3, 1, 1)
        assert [(Path(error["file"]).name, error["index"], error["field"]) for error in answer["errors"]] == [
            ("a.ndjson", 1, "prompt_tokens")
        ]
        assert [(reason["index"], reason["field"]) for reason in answer["quarantine_reasons"]] == [(1, "cached_tokens")]
        assert [failure.rpartition("/")[2] for failure in answer["failed_files"]] == ["junk.parquet: is not a Parquet file, or is damaged"]
        assert b"not read, because of an unknown extension:" in done.stderr
        assert stored(database_url, "request_id, interrupted, cost_usd") == [
            ("a1", False, Decimal(0)),
            ("b1", False, Decimal(0)),
            ("gen-1", True, Decimal("0.01")),
        ]
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT source, request_id FROM quarantined_records").fetchall() == [("openrouter-activity", "gen-2")]

    def test_a_map_and_standard_input(self, database_url: str, tmp_path: Path) -> None:
        column_map = tmp_path / "map.yaml"
        column_map.write_text(
            "fields:\n  request_id: id\n  occurred_at: {column: ts, unit: ms}\n  model_id: m\n  tenant_id: {value: acme}\n"
        )
        rows = b'{"id": 1, "ts": 1782618417713, "m": "x/y"}\n{"id": 2, "ts": "soon", "m": "x/y"}\n'
        code, answer = receipt(database_url, "-", "--map", column_map, stdin=rows)
        assert (code, answer["inserted"], answer["quarantined"], answer["rejected"]) == (1, 1, 1, 0)
        code, answer = receipt(database_url, "-", "--map", column_map, "--format", "csv", stdin=b"id,ts,m\n3,1782618417713,x/y\n")
        assert (code, answer["inserted"]) == (0, 1)
        assert stored(database_url) == ["1", "3"]
        column_map.write_text("fields: {request_id: id, occurred_at: {column: ts, unit: fortnights}}")
        done = run(database_url, "-", "--map", column_map, stdin=rows)
        assert done.returncode == 1
        assert b"map.yaml: fields.occurred_at.unit: must be one of s, ms, us, ns, iso" in done.stderr.replace(b"\n", b"")

    def test_what_cannot_be_read_is_said_in_one_line(self, database_url: str, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "junk.ndjson").write_bytes(bytes(range(256)) * 40)
        (tmp_path / "export.csv").write_text("date,model,requests\n")
        cases: list[tuple[list[str | Path], str]] = [
            ([tmp_path / "none.csv"], "no such file or directory"),
            ([tmp_path / "empty"], "has no file with one of the extensions"),
            ([tmp_path / "export.csv"], "each row is many requests"),
            ([tmp_path / "junk.ndjson", "--follow", "--format", "csv"], "--follow reads NDJSON"),
            ([tmp_path / "x.ndjson.gz", "--follow"], "a compressed file cannot be followed"),
            ([tmp_path, "--follow"], "--follow takes files"),
            ([tmp_path / "junk.ndjson", "--map", tmp_path / "m.yaml", "--source", "usage"], "--map and --source exclude each other"),
        ]
        for arguments, words in cases:
            done = run(database_url, *arguments)
            assert done.returncode == 1
            assert words in done.stderr.decode().replace("\n", " "), done.stderr.decode()
        code, answer = receipt(database_url, tmp_path / "junk.ndjson")
        assert (code, answer["inserted"], answer["rejected"]) == (1, 0, answer["received"])
        assert stored(database_url) == []


@pytest.fixture
async def elsewhere(server_url: str, clock: FakeClock) -> AsyncIterator[Gateway]:
    """A gateway on another database, migrated and empty."""
    name = f"elsewhere_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE tokengraph_template")
    other = create_app(Settings(database_url=with_database(server_url, name)), Wiring(clock=clock, jobs=False))
    async with (
        other.router.lifespan_context(other),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=other), base_url="http://gateway") as client,
    ):
        yield Gateway(other, client, other.state.services.database, clock)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


ANALYTICS = """{ tenantAnalytics(startDate: "2026-06-01", endDate: "2026-06-30") {
  summary { requests successful failed errorPercentage totalTokens promptTokens completionTokens
            sharedModelSpend byokPlatformFees managedToolFees agentRuntimeFees spend avgLatencyMs }
  timeSeries { date requests promptTokens completionTokens totalTokens sharedModelSpend byokPlatformFees managedToolFees agentRuntimeFees spend }
} }"""


async def test_what_the_gateway_hands_out_comes_in_again(gateway: Gateway, elsewhere: Gateway, tmp_path: Path) -> None:
    names = ["=1+1", "+a", "-b", "@c", "'d", "openai/gpt-4o", "plain"]
    records = [
        make_record(
            request_id=f"{names[number % 7]}{number}",
            occurred_at=AT - timedelta(hours=number, microseconds=number * 7 + 1),
            model_id=names[number % 7],
            status_code=(200, 429, 0, 204)[number % 4],
            prompt_tokens=number * 1000,
            completion_tokens=number,
            traffic_mode=("shared", "byok")[number % 2],
            shared_model_spend=number,
            byok_platform_fee=number % 3,
            managed_tool_fee=2**39 if number == 5 else 0,
            agent_runtime_fee=1,
            latency_ms=None if number % 3 == 0 else Decimal(number) / 7,
        )
        for number in range(90)
    ]
    await gateway.store(records)
    key = await gateway.key("tenant", "acme")
    expected = (await gateway.graphql(ANALYTICS, key))["data"]
    whole = await gateway.client.get("/v1/customer/billing/usage-statement.csv", params={"month": "2026-06"}, headers=key)
    statement = tmp_path / "usage-statement-2026-06.csv"
    statement.write_bytes(whole.content)
    logs = tmp_path / "logs.json"
    logs.write_bytes((await gateway.client.get("/v1/customer/logs", params={"limit": 100}, headers=key)).content)
    assert expected["tenantAnalytics"]["summary"]["requests"] == len(records)

    code, answer = await asyncio.to_thread(receipt, gateway.database.url, statement, logs, "--tenant", "acme")
    assert (code, answer["received"], answer["duplicates"]) == (0, 180, 180), "the ids and instants are exactly those that are there"

    cut = tmp_path / "cut.csv"
    cut.write_bytes(whole.content[:-100])
    code, answer = await asyncio.to_thread(receipt, elsewhere.database.url, cut, "--tenant", "acme")
    assert (code, answer["received"]) == (1, 0)
    assert answer["failed_files"][0].endswith("the statement has no closing total: the download was cut off")

    code, answer = await asyncio.to_thread(receipt, elsewhere.database.url, statement, "--tenant", "acme")
    assert (code, answer["inserted"], answer["received"]) == (0, 90, 90)
    again = await elsewhere.key("tenant", "acme")
    assert (await elsewhere.graphql(ANALYTICS, again))["data"] == expected
    code, answer = await asyncio.to_thread(receipt, elsewhere.database.url, logs, "--tenant", "acme")
    assert (code, answer["duplicates"]) == (0, 90)
    copied = await elsewhere.client.get("/v1/customer/billing/usage-statement.csv", params={"month": "2026-06"}, headers=again)
    assert copied.content == whole.content


@contextmanager
def following(url: str, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "ingest", *map(str, arguments), "--follow", "--json"],
        cwd=CHECKOUT,
        env=environment(url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def until(url: str, count: int, seconds: float = 60) -> float:
    """Wait until so many records are stored; return the seconds that it took."""
    start = time.monotonic()
    while True:
        try:
            if len(stored(url)) >= count:
                return time.monotonic() - start
        except psycopg.OperationalError:
            pass
        assert time.monotonic() - start < seconds, f"there are not {count} records after {seconds} s"
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], sign: signal.Signals) -> tuple[int, dict[str, Any], str]:
    process.send_signal(sign)
    out, errors = process.communicate(timeout=30)
    return process.returncode, json.loads(out), errors.decode()


def append(path: Path, *rows: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(rows))


class TestFollow:
    async def test_rotation_truncation_half_lines_and_a_restart(self, database_url: str, database: Database, tmp_path: Path) -> None:
        path = tmp_path / "usage.log"
        append(path, usage("r1"), usage("r2")[:40])
        with following(database_url, path) as process:
            until(database_url, 1)
            append(path, usage("r2")[40:])
            until(database_url, 2)
            append(path, usage("r3"))
            assert until(database_url, 3) < 5
            path.rename(tmp_path / "usage.log.1")
            append(tmp_path / "usage.log.1", usage("r4"))
            append(path, usage("r5"))
            until(database_url, 5)
            append(tmp_path / "usage.log.1", usage("late"))
            until(database_url, 6)
            path.write_bytes(usage("r6") + b"not json\n" + usage("r7")[:30])
            until(database_url, 7)
            code, answer, errors = end(process, signal.SIGTERM)
        assert (code, answer["received"], answer["inserted"], answer["rejected"]) == (1, 8, 7, 1)
        assert "usage.log, record 7: is malformed JSON" in errors
        append(path, usage("r7")[30:])
        with following(database_url, tmp_path / "usage.log.1", path) as process:
            until(database_url, 8)
            code, answer, errors = end(process, signal.SIGINT)
        assert (code, answer["inserted"], answer["duplicates"], answer["rejected"]) == (1, 1, 6, 1)
        assert stored(database_url) == ["late", *(f"r{number}" for number in range(1, 8))]
        made = [
            make_record(request_id=request_id, prompt_tokens=0, completion_tokens=0, occurred_at=AT) for request_id in stored(database_url)
        ]
        await assert_rollups_equal(database, [(each, None) for each in made])

    def test_a_database_that_goes_away_is_waited_for(self, database_url: str, server_url: str, tmp_path: Path) -> None:
        name = database_url.rpartition("?")[0].rpartition("/")[2]
        path = tmp_path / "usage.ndjson"

        def allow(*, connections: bool) -> None:
            with psycopg.connect(server_url, autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}")
                if not connections:
                    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

        allow(connections=False)
        try:
            with following(database_url, path) as process:
                assert process.stderr is not None
                assert process.stderr.readline() == b"the database cannot be reached; waiting for it\n"
                allow(connections=True)
                assert process.stderr.readline().endswith(b"usage.ndjson does not exist yet; waiting for it\n")
                append(path, usage("r1"))
                until(database_url, 1)
                allow(connections=False)
                append(path, usage("r2"))
                assert process.stderr.readline() == b"the database cannot be reached; waiting for it\n"
                append(path, usage("r3"))
                time.sleep(1)
                allow(connections=True)
                until(database_url, 3)
                assert process.stderr.readline() == b"the database can be reached again\n"
                allow(connections=False)
                append(path, usage("r4"))
                assert process.stderr.readline() == b"the database cannot be reached; waiting for it\n"
                code, answer, errors = end(process, signal.SIGTERM)
        finally:
            allow(connections=True)
        assert (code, answer["inserted"], errors) == (1, 3, "")
        assert answer["failed_files"] == ["1 records were read but not written: follow again from the beginning"]
        assert stored(database_url) == ["r1", "r2", "r3"]

    def test_a_pipe_is_written_as_it_comes_and_ends_by_itself(self, database_url: str) -> None:
        with following(database_url, "-") as process:
            assert process.stdin is not None
            process.stdin.write(usage("r1"))
            process.stdin.flush()
            until(database_url, 1)
            process.stdin.write(usage("r2").rstrip())
            out, errors = process.communicate(timeout=30)
        assert (process.returncode, json.loads(out)["inserted"], errors) == (0, 2, b"")
