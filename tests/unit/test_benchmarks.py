"""The parts of `benchmarks/` that are no measurement: numbers as text, ratios and goals, the data that is written."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from app.ingest.catalog import parse_catalog
from app.ingest.parse import parse_ndjson
from benchmarks.__main__ import parse_arguments
from benchmarks.generate import BYTES_PER_RECORD, END, MONTHS, check_disk, slice_months
from benchmarks.generate import START as GENERATED_START
from benchmarks.population import MODELS, PROVIDERS, TENANTS, USERS, catalog_entries, list_callers, zipf_rank
from benchmarks.report import Comparison, Goal, Quantity, format_number, render_markdown
from benchmarks.timing import BenchmarkError, Rate, percentile
from benchmarks.traffic import START, STEP, encode_ndjson, generate_introductions, generate_traffic, split


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0001234, "0.000123"),
        (0.5, "0.5"),
        (0.9996, "1"),
        (9.876, "9.88"),
        (63.0, "63"),
        (1184.4, "1184"),
        (62_149, "62.1k"),
        (1_357_000, "1.36M"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_quantity_is_the_median_with_half_the_range() -> None:
    assert str(Quantity.of([90.0, 110.0, 100.0], "rows/s")) == "100 rows/s ±10%"
    assert str(Quantity.of([2.0], "ms")) == "2 ms"


def test_a_ratio_is_ours_by_theirs_and_for_times_how_many_times_as_fast() -> None:
    ours, theirs = Quantity(50.0, "rows/s"), Quantity(200.0, "rows/s")
    rates = Comparison("Section", "what", ours, "peer", theirs, Goal(0.2))
    assert rates.ratio == 0.25
    assert rates.cells() == ("what", "50 rows/s", "peer: 200 rows/s", "0.25×", "≥ 0.2 ✓")
    times = Comparison("Section", "what", Quantity(2.0, "ms"), "raw", Quantity(500.0, "ms"), inverted=True)
    assert times.cells()[3] == "250× as fast"
    growth = Comparison("Section", "what", Quantity(3.2, "ms"), "before", Quantity(2.0, "ms"), Goal(1.5, at_most=True))
    assert growth.cells()[4] == "≤ 1.5 ✗"
    alone = Comparison("Section", "deadlocks", Quantity(0.0, ""))
    assert alone.ratio is None
    assert alone.cells()[2:] == ("", "", "")


def test_the_written_report_has_the_machine_and_a_table_for_each_section() -> None:
    lines = [Comparison(section, "what | which", Quantity(1.0, "s")) for section in ("A", "A", "B")]
    text = render_markdown(lines, {"CPU": "two cores"})
    assert "| CPU | two cores |" in text
    assert [line for line in text.splitlines() if line.startswith("##")] == ["## A", "## B"]
    assert text.count("| what / which | 1 s |") == 3


def test_percentiles_are_samples() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert (percentile(samples, 0.5), percentile(samples, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert Rate(10, 4.0).per_second == 2.5


def test_the_same_seed_gives_the_same_records() -> None:
    assert generate_traffic("a", 50) == generate_traffic("a", 50)
    assert generate_traffic("a", 50)[:20] == generate_traffic("a", 20)
    assert {record.request_id for record in generate_traffic("a", 50)}.isdisjoint(r.request_id for r in generate_traffic("b", 50))


def test_every_record_is_one_that_the_gateway_takes_and_is_full() -> None:
    records = generate_traffic("full", 400)
    parsed = parse_ndjson(encode_ndjson(records), now=datetime(2026, 1, 1, tzinfo=UTC), tenant_id=None)
    assert (parsed.rejects, parsed.unknown_fields) == ([], {})
    assert parsed.records == records
    missing = Counter(name for record in records for name, value in record._asdict().items() if value is None)
    assert missing == {"username": 400, "cost_usd": 200}
    instants = [record.occurred_at for record in records]
    assert instants == sorted(instants)
    assert instants[-1] - instants[0] == 399 * STEP


def test_the_introductions_name_everything_before_the_stream_begins() -> None:
    records = generate_introductions()
    assert len(records) == USERS == len({record.user_id for record in records})
    assert len({record.tenant_id for record in records}) == TENANTS
    assert len({record.model_permaslug for record in records[:MODELS]}) == MODELS
    assert {(r.tenant_id, r.project_id) for r in generate_traffic("a", 2000)} <= {(r.tenant_id, r.project_id) for r in records}
    assert START - timedelta(days=1) <= min(record.occurred_at for record in records)
    assert max(record.occurred_at for record in records) < START


def test_callers_and_models_are_skewed() -> None:
    ranks = Counter(zipf_rank(number / 10_000, 400) for number in range(10_000))
    assert set(ranks) == set(range(400))
    assert ranks[0] > 10 * ranks[20] > ranks[200]
    sizes = Counter(caller.tenant_id for caller in list_callers())
    assert sizes.most_common(1)[0][1] > USERS // 20
    entries = parse_catalog(catalog_entries())
    assert (len(entries), sum(bool(entry.public) for entry in entries), len({entry.provider for entry in entries})) == (
        MODELS,
        MODELS // 2,
        PROVIDERS,
    )


def test_batches_are_whole() -> None:
    records = generate_traffic("a", 25)
    assert list(split(records, 10)) == [records[:10], records[10:20]]


@pytest.mark.parametrize("rows", [1, 23, 1_000, 1_000_003])
def test_months_share_all_rows_and_keep_them_inside(rows: int) -> None:
    slices = list(slice_months(rows))
    assert len(slices) == min(MONTHS, len(slices))
    assert (slices[0].first, slices[-1].last) == (0, rows - 1)
    for before, after in pairwise(slices):
        assert before.last + 1 == after.first
        assert before.start + (before.last - before.first + 1) * timedelta(microseconds=before.step) <= after.start
    assert slices[0].start >= GENERATED_START
    assert slices[-1].start < END


def test_a_disk_that_is_too_small_is_refused_in_words(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_disk(1, tmp_path)
    with pytest.raises(BenchmarkError, match=r"records take about \d+ GB; twice that must be free"):
        check_disk(free // BYTES_PER_RECORD, tmp_path)


def test_only_a_complete_run_writes_the_results() -> None:
    whole = parse_arguments([])
    assert (whole.rows, whole.output.name) == ([1_000_000, 10_000_000], "results.md")
    assert parse_arguments(["--quick"]).output is None
    partial = parse_arguments(["--only", "answers", "--rows", "300,200"])
    assert (partial.only, partial.rows, partial.output) == (["answers"], [200, 300], None)
    with pytest.raises(SystemExit):
        parse_arguments(["--only", "nothing"])
