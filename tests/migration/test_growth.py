"""A record's new field is a row of the field table, a measure if it is to be summed, and a migration: everything else follows from them."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import app
from app.db.migrate import HEAD_REVISION

ROOT = Path(app.__file__).parents[1]
REVISION = "9999"
SUMMED = ("usage_by_day_all", "usage_by_hour_model", "usage_by_day_model", "usage_by_day", "usage_by_month_model", "usage_by_day_tenant")
MIGRATION = f'''
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{REVISION}", "{HEAD_REVISION}", None, None


def _check(name, text):
    op.drop_constraint(name, "usage_records", type_="check")
    op.create_check_constraint(name, "usage_records", text)


def upgrade():
    for column in (
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("image_count", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("operation", sa.Text(collation="C"), nullable=True),
        sa.Column("usage_source", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("streamed", sa.Boolean(), nullable=False, server_default="false"),
        sa.Column("queue_ms", sa.Numeric(), nullable=True),
    ):
        op.add_column("usage_records", column)
    op.add_column("tenants", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("name_at", sa.DateTime(timezone=True), nullable=True))
    for table in {SUMMED!r}:
        op.add_column(table, sa.Column("cache_write_tokens", sa.Numeric(), nullable=False, server_default="0"))
'''


@dataclass(frozen=True)
class Change:
    """Lines that are put before the first line of a file that begins with `at`."""

    path: str
    at: str
    lines: tuple[str, ...]


FIELD_ROW = (
    '    cache_write_tokens: Annotated[int, Count("Input tokens written to a prompt cache.", Unit.TOKENS, part_of="prompt_tokens")] = 0',
)
STORED_COUNT = (
    Change("app/domain/usage.py", "    cost_usd: ", FIELD_ROW),
    Change("app/cube/metrics.py", "TRAFFIC_MEASURES", ("CACHE_WRITE_TOKENS = summed(lambda record: record.cache_write_tokens)",)),
    Change("app/cube/metrics.py", "    REASONING_TOKENS,", ("    CACHE_WRITE_TOKENS,",)),
)
"""A stored count: a field row, a measure (and the rollups that have it)."""

OTHER_KINDS = (
    Change(
        "app/domain/usage.py",
        "FIELDS: Final",
        (
            '    image_count: Annotated[int, Count("Images that were made.", Unit.COUNT)] = 0',
            '    operation: Annotated[str | None, Text("What was asked of the model.")] = None',
            '    usage_source: Annotated[str, Choice("Who counted the tokens.", ("provider", "router"))] = "provider"',
            '    streamed: Annotated[bool, Flag("Whether the answer was streamed.")] = False',
            '    queue_ms: Annotated[Decimal | None, Amount("Milliseconds in a queue, if known.", Unit.MILLISECONDS, 10**9)] = None',
            '    tenant_name: Annotated[str | None, DisplayName("Name to show.", "tenants", (("tenant_id", "id"),), "name", "name_at")] = None',
        ),
    ),
    Change(
        "app/db/models.py",
        "class Project(",
        ("    name: str | None = Field(sa_type=Text)", "    name_at: datetime | None = _instant()"),
    ),
)
"""A row for each other kind; a display name also needs a place where it is shown from."""

GIVEN = {
    "cache_write_tokens": 7,
    "image_count": 2,
    "operation": 'ch"a\\t {x}',
    "usage_source": "router",
    "streamed": True,
    "queue_ms": 1.5,
    "tenant_name": 'A "b", c',
}
WRONG = {"cache_write_tokens": 101, "operation": "x" * 129, "usage_source": "guess", "streamed": 3, "image_count": -1, "queue_ms": -1}
HUGE = {"prompt_tokens": 10**13, "cache_write_tokens": 10**13, "image_count": 10**7}


def _grow(tree: Path) -> None:
    ignore = shutil.ignore_patterns("static", "__pycache__", "*.pyc")
    for name in ("app", "alembic"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    shutil.copy(ROOT / "alembic.ini", tree)
    for change in (*STORED_COUNT, *OTHER_KINDS):
        path = tree / change.path
        lines = path.read_text(encoding="utf-8").splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(change.at))
        while change.at[0] != " " and not lines[at - 1]:  # a new line of what ends before
            at -= 1
        lines[at:at] = change.lines
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tree / f"alembic/versions/2099_01_01_{REVISION}_grown.py").write_text(MIGRATION, encoding="utf-8")
    migrate = tree / "app/db/migrate.py"
    migrate.write_text(migrate.read_text(encoding="utf-8").replace(f'"{HEAD_REVISION}"', f'"{REVISION}"'), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("grown.py"), tree)


def _changed(compared: filecmp.dircmp[str], below: str = "") -> set[str]:
    found = {f"{below}{name}" for name in (*compared.diff_files, *compared.right_only)}
    return found.union(*(_changed(inner, f"{below}{name}/") for name, inner in compared.subdirs.items()))


def test_a_stored_count_is_a_field_row_a_measure_and_a_migration(tmp_path: Path, database_url: str) -> None:
    _grow(tmp_path)
    run = subprocess.run(
        [sys.executable, "grown.py", database_url, *map(json.dumps, (GIVEN, WRONG, HUGE))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    came: dict[str, Any] = json.loads(run.stdout)

    # What had to change for the count: two files, and the migration with the revision that the code asks for.
    assert {change.path for change in STORED_COUNT} == {"app/domain/usage.py", "app/cube/metrics.py"}
    assert sum(len(change.lines) for change in STORED_COUNT) == 3
    compared = filecmp.dircmp(ROOT / "app", tmp_path / "app", ignore=["static", "__pycache__"])
    assert _changed(compared) == {"domain/usage.py", "cube/metrics.py", "db/migrate.py", "db/models.py"}

    # The database: tables, staging, both ways of encoding, sums of open and closed days.
    assert came["migrated"] is True
    assert came["differences"] == []
    assert came["inserted"] == [1, 999, 1, 1]
    stored = {"cache_write_tokens": "7", "image_count": "2", "usage_source": "1", "streamed": "True", "queue_ms": "1.5"}
    absent = {"cache_write_tokens": "0", "image_count": "0", "usage_source": "0", "streamed": "False"}
    assert came["stored"] == {
        name: [[value, "1001"], [absent.get(name, "None"), "1"]] for name, value in {**stored, "operation": GIVEN["operation"]}.items()
    }
    assert [row[2] for row in came["shown"]] == [GIVEN["tenant_name"]]
    assert came["sums"] == {name: [["7007"]] for name in SUMMED}
    assert came["unequal"] == []
    assert set(came["staged"]) == set(came["copied"]) == set(GIVEN)

    # The rules.
    assert came["rejects"] == {
        "cache_write_tokens": "is part of prompt_tokens and may not exceed it",
        "operation": "must be a string of 1 to 128 characters without control characters",
        "usage_source": 'must be "provider" or "router"',
        "streamed": "must be true or false",
        "image_count": "must be an integer from 0 to 9007199254740991",
        "queue_ms": "must be a number from 0 to 1000000000 with at most 40 decimal places, or null",
    }
    assert came["quarantined"] == list(HUGE)

    # What users read.
    assert came["openapi"]["cache_write_tokens"]["maximum"] == 2**53 - 1
    assert came["openapi"]["usage_source"]["enum"] == ["provider", "router"]
    assert "Input tokens written to a prompt cache. At most `prompt_tokens`; 0 if not given." in came["described"]
    assert came["metrics"] == ["cache_write_tokens"]
    inputs = came["schema"].partition("input UsageRecordInput {")[2].partition("\n}")[0].splitlines()
    for field in ("cacheWriteTokens: BigInt", "operation: String", "streamed: Boolean", "queueMs: Decimal", "tenantName: String"):
        assert f"  {field}" in inputs
    numbers = came["schema"].partition("type UsageMetrics {")[2].partition("\n}")[0]
    assert "  cacheWriteTokens: BigInt!\n" in numbers
