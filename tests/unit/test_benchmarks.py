"""The parts of `benchmarks/` that are no measurement: numbers as text, ratios and goals, the data that is written."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from app.ingest.parse import parse_ndjson
from app.write.catalog import parse_catalog
from benchmarks import npm_peer
from benchmarks.generate import END, MONTHS, check_disk, disk_needed, slice_months
from benchmarks.generate import START as GENERATED_START
from benchmarks.http_reads import CONNECTIONS
from benchmarks.load import encode_graphql, encode_request, split_answer
from benchmarks.options import parse_arguments
from benchmarks.peers.bare import shape_rankings, shape_usage
from benchmarks.plot import render_svg, times_reached
from benchmarks.population import MODELS, PROVIDERS, TENANTS, USERS, catalog_entries, list_callers, zipf_rank
from benchmarks.questions import list_questions, normalized
from benchmarks.reads import BIG, KEYS, SMALL, WINDOWS, all_days
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
    with pytest.raises(BenchmarkError, match=r"records take up to \d+ GB of disk, and \d+ GB are free"):
        check_disk([free // 500], tmp_path)


def test_more_records_need_more_disk_but_less_each() -> None:
    small, large = disk_needed(1_000_000), disk_needed(100_000_000)
    assert small < large < 100 * small


def test_only_a_complete_run_writes_the_results() -> None:
    whole = parse_arguments([])
    assert whole.output is not None
    assert (whole.rows, whole.output.name, whole.data) == ((1_000_000, 10_000_000), "results.md", None)
    assert parse_arguments(["--quick"]).output is None
    partial = parse_arguments(["--only", "answers", "--rows", "300,200"])
    assert (partial.only, partial.rows, partial.output) == (("answers",), (200, 300), None)
    assert parse_arguments(["--data", "here"]).data == Path("here").absolute()


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--rows", "0"], ["--rows", "many"], ["--seconds", "-1"], ["--repeats", "0"]])
def test_options_that_mean_nothing_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_what_a_run_costs_grows_with_what_it_does() -> None:
    quick, whole, huge = (parse_arguments(words) for words in (["--quick"], [], ["--rows", "1000000,100000000"]))
    runs = (quick, whole, huge)
    times = [run.expected_seconds(run.rows) for run in runs]
    assert times == sorted(set(times))
    sizes = [run.disk_bytes(run.rows) for run in runs]
    assert sizes == sorted(set(sizes))
    assert huge.expected_seconds([]) < huge.expected_seconds(huge.rows) / 2
    assert huge.disk_bytes([]) == parse_arguments(["--only", "reads"]).disk_bytes(whole.rows) == 0


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (_OK, (200, len(_OK), False)),
        (_OK[:-1], None),
        (_OK[:20], None),
        (_OK + b"HTTP", (200, len(_OK), False)),
        (b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", (304, 38, False)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", (200, 59, True)),
    ],
)
def test_an_answer_is_whole_when_its_length_says_so(data: bytes, found: tuple[int, int, bool] | None) -> None:
    assert split_answer(data) == found


def test_an_answer_without_a_length_is_no_answer() -> None:
    with pytest.raises(BenchmarkError, match="without a length"):
        split_answer(b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n")


def test_a_post_says_its_length_and_a_get_has_no_body() -> None:
    post = encode_graphql("/graphql", {"Authorization": "Bearer k"}, "{a}", {"n": 1})
    head, _, body = post.partition(b"\r\n\r\n")
    assert body == b'{"query":"{a}","variables":{"n":1}}'
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Authorization: Bearer k" in head
    assert encode_request("GET", "/x", {}) == b"GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"


def test_windows_that_take_turns_differ_and_outnumber_the_connections() -> None:
    assert len(set(BIG)) == len(set(SMALL)) == WINDOWS > CONNECTIONS
    assert {len(window.dates()) for window in (*BIG, *SMALL)} == {30}
    assert all_days(BIG)[-1] < all_days(SMALL)[0]
    # Rankings are limited to 30 reads a minute of a key: a minute at this rate must not reach it.
    assert KEYS * 30 / 60 >= 2_000


def test_questions_are_named_once_and_ask_duckdb_for_the_sections_they_return() -> None:
    questions = list_questions()
    assert len({question.name for question in questions}) == len(questions) == 15
    for question in questions:
        for statement in question.statements.values():
            named = {word.strip("(),") for word in statement.replace("(", " ").split() if word.startswith("$")}
            assert {name.rstrip(")").removeprefix("$") for name in named} <= set(question.parameters)


def test_cells_compare_across_drivers() -> None:
    instant = datetime(2026, 1, 1, 5, tzinfo=UTC)
    ours = normalized({"rows": [(instant, 3, Decimal("1.50"), "x", None)]})
    assert ours == normalized({"rows": [(instant.replace(tzinfo=None), Decimal(3), Decimal("1.5"), "x", None)]})
    assert ours != normalized({"rows": [(instant, 3, Decimal("1.51"), "x", None)]})


def test_the_picture_shows_how_often_each_goal_is_reached() -> None:
    lines = [
        Comparison("A & B", "fast", Quantity(90.0, "x/s"), "peer <1>", Quantity(10.0, "x/s"), Goal(3)),
        Comparison("A & B", "slow", Quantity(3.0, "ms"), "before", Quantity(1.0, "ms"), Goal(1.5, at_most=True)),
        Comparison("A & B", "without a goal", Quantity(3.0, "ms"), "before", Quantity(1.0, "ms")),
    ]
    assert [times_reached(line) for line in lines] == [3.0, 0.5, None]
    picture = ElementTree.fromstring(render_svg(lines, "on a machine"))
    texts = ["".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if "goal" in text] == ["How many times each goal is reached", "9×  (goal ≥ 3)", "3×  (goal ≤ 1.5)"]
    assert {"A & B", "fast / peer <1>", "slow / before"} <= set(texts)
    assert not any("without" in text for text in texts)
    many = [Comparison(f"S{n}", "x" * 90, Quantity(1.0, "s"), "peer", Quantity(2.0, "s"), Goal(1)) for n in range(80)]
    assert len(render_svg(many, "")) < 50_000


def test_the_peer_is_pinned_and_its_lock_names_no_address_to_load_from() -> None:
    folder = Path(npm_peer.__file__).with_name("postgraphile")
    wanted = orjson.loads((folder / "package.json").read_bytes())
    locked = orjson.loads((folder / "package-lock.json").read_bytes())["packages"]
    assert wanted["dependencies"] == {"postgraphile": npm_peer.VERSION}
    assert locked["node_modules/postgraphile"]["version"] == npm_peer.VERSION
    assert all("resolved" not in package and ("integrity" in package or not name) for name, package in locked.items())


def test_without_npm_the_peer_is_left_out_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    assert npm_peer.install(tmp_path / "tools", said.append) is None
    assert said == ["PostGraphile is left out: npm and node are not installed"]


def test_the_bare_application_shapes_rows_as_the_documents_say() -> None:
    day = date(2025, 3, 1)
    rankings = shape_rankings({"rankings_daily": [(day, "a/b", "7"), (day, "other", "3")]})
    assert [row["model_permaslug"] for row in rankings["data"]] == ["a/b", "other"]
    rows = {"usage_time_series": [(day, Decimal(1), Decimal(2), Decimal("0.5"), Decimal(3), Decimal(3))], "usage_by_model": []}
    point = {"period": "2025-03-01", "input_tokens": 1, "output_tokens": 2, "cost": 0.5, "request_count": 3}
    assert shape_usage(rows) == {"time_series": [point], "by_model": [], "top_users": []}
