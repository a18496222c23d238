"""`tokengraph quarantine`: what it shows and does, its exit codes, and that no sender writes to the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import app
from app.db.engine import Database
from app.domain.time_range import system_clock
from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.graph.quarantine import QuarantineFilter, fetch_quarantined
from app.write.batch import Ingestor
from tests.command import environment, run_command

AT = system_clock() - timedelta(days=1)
WRONG = Reason("total_tokens", "is not the sum of prompt and completion tokens")


async def run(url: str, *arguments: str) -> tuple[int, str, str]:
    return await run_command(url, "quarantine", *arguments)


async def run_json(url: str, *arguments: str) -> tuple[int, Any]:
    code, told, _ = await run(url, *arguments, "--json")
    return code, json.loads(told)


async def keep(database: Database, request_id: str, source: str = "otlp", **given: object) -> str:
    """Quarantine a record, a second after the one before, and return its id."""
    position = len(await fetch_quarantined(database, QuarantineFilter(include_resolved=True), 1_000))
    values = {"tenant_id": "acme", "request_id": request_id, "occurred_at": AT, "model_id": "a/b", "prompt_tokens": 5, **given}
    item = Quarantined(0, source, AT + timedelta(seconds=position), None, values, (WRONG,))
    await Ingestor(database).ingest(ParsedBatch(received=1, quarantined=[item]))
    rows = await fetch_quarantined(database, QuarantineFilter(include_resolved=True), 1_000)
    return str(rows[-1].id)


async def test_records_are_listed_shown_released_and_dropped(database: Database, database_url: str) -> None:
    first = await keep(database, "r1")
    second = await keep(database, "r2", model_id=None, tenant_id="beta")
    third = await keep(database, "r3", source="litellm")
    code, told, _ = await run(database_url, "list")
    assert (code, told.splitlines()[-1]) == (0, "3 records wait")
    assert [told.index(key) for key in (first, second, third)] == sorted(told.index(key) for key in (first, second, third))
    assert "total_tokens is not the sum of prompt and completion tokens" in told
    code, listed = await run_json(database_url, "list", "--source", "otlp", "--tenant", "beta")
    assert (code, [row["id"] for row in listed]) == (0, [second])
    assert listed[0]["record"]["prompt_tokens"] == 5
    assert [row["id"] for row in (await run_json(database_url, "list", "--limit", "1"))[1]] == [first]
    code, told, _ = await run(database_url, "show", second)
    assert code == 0
    assert 'tenant_id = "beta"' in told
    assert (await run_json(database_url, "show", second))[1] == listed[0]

    code, told, errors = await run(database_url, "release", first, second)
    assert (code, told) == (1, "released 1  still quarantined 1\n")
    assert errors == f"{second}: model_id is required unless the request failed before routing\n"
    code, receipt = await run_json(database_url, "release", first, second, "--set", "model_id=a/b", "--set", "prompt_tokens=")
    assert code == 0
    counts = {"released": 1, "duplicates": 0, "released_before": 1, "dropped_before": 0}
    assert receipt == {**counts, "still_quarantined": [], "not_found": []}
    assert (await run(database_url, "drop", third))[:2] == (0, "dropped 1\n")
    assert (await run(database_url, "drop", third, first))[:2] == (1, "dropped 0  released before 1  dropped before 1\n")
    assert (await run(database_url, "release", third))[0] == 1
    assert (await run(database_url, "list"))[1].splitlines()[-1] == "0 records wait"
    assert [row["resolution"] for row in (await run_json(database_url, "list", "--all"))[1]] == ["released", "released", "dropped"]
    async with database.read_connection() as connection:
        cursor = await connection.execute("SELECT request_id, prompt_tokens FROM usage_records ORDER BY 1")
        assert await cursor.fetchall() == [("r1", 5), ("r2", 0)]


async def test_all_of_a_source_is_one_command(database: Database, database_url: str) -> None:
    for number in range(4):
        await keep(database, f"r{number}", model_id="other" if number == 1 else "a/b")
    await keep(database, "r0", source="litellm", prompt_tokens=6)
    code, receipt = await run_json(database_url, "release", "--all-of", "otlp")
    assert (code, receipt["released"], len(receipt["still_quarantined"])) == (1, 3, 1)
    code, told, errors = await run(database_url, "drop", "--all-of", "otlp")
    assert (code, told.strip(), errors.startswith("Drop all waiting records of otlp?")) == (1, "", True)
    assert (await run(database_url, "drop", "--all-of", "otlp", "--yes"))[:2] == (0, "dropped 1\n")
    assert (await run(database_url, "release", "--all-of", "litellm"))[:2] == (0, "released 0  duplicates 1\n")
    assert await run_json(database_url, "list") == (0, [])


async def test_what_is_asked_wrongly_is_one_line_and_exit_code_1(database: Database, database_url: str) -> None:
    key = await keep(database, "r1")
    for arguments, message in [
        (["release"], "give ids, or --all-of SOURCE"),
        (["drop", key, "--all-of", "otlp"], "give ids, or --all-of SOURCE"),
        (["release", key, "--set", "nonsense"], "--set nonsense: must be FIELD=VALUE, with a field of the usage record"),
        (["release", "--all-of", "otlp", "--set", "request_id=r2"], "request_id can be changed of one record at a time"),
        (["show", "nonsense"], "no quarantined record has the id nonsense"),
    ]:
        code, told, errors = await run(database_url, *arguments)
        assert (code, told) == (1, "")
        assert errors.startswith(f"error: {message}")
    code, told, errors = await run(database_url, "release", "nonsense", key)
    assert (code, told, errors) == (1, "released 1  not found 1\n", "nonsense: no quarantined record has this id\n")


async def test_nothing_that_a_sender_wrote_reaches_the_terminal_as_it_is(database: Database, database_url: str) -> None:
    key = await keep(database, "\x1b[2Jgone", model_id="[bold]m[/nonsense]", **{"\x1b]0;title\x07": "\u202e\x9b"})
    for arguments in (["list"], ["show", key], ["release", key]):
        _, told, errors = await run(database_url, *arguments)
        assert (told + errors).replace("\n", "").isprintable()
    assert "[bold]m[/nonsense]" in (await run(database_url, "show", key))[1]
    assert (await run_json(database_url, "show", key))[1]["request_id"] == "\x1b[2Jgone"


async def test_it_is_a_command_of_the_program(database_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "quarantine", "show", "nonsense"),
        cwd=Path(app.__file__).parents[1],
        env={name: value for name, value in (os.environ | environment(database_url)).items() if value is not None},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, told, errors) == (1, b"", b"error: no quarantined record has the id nonsense\n")
