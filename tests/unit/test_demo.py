"""The demo data: the catalog is valid, the records are deterministic, within the contract, and shaped like a router's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.demo.generate import DEMO_TENANT, TIED, UNCATALOGUED, demo_catalog, generate_demo
from app.domain.fields import MAX_COUNT
from app.domain.usage import OTHER, UNKNOWN, UsageRecord

END = datetime(2026, 6, 26, 12, 34, 56, 789_000, tzinfo=UTC)
COUNT = 60_000
IDENTITY = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")


def permaslug(entry: dict[str, Any]) -> str:
    return str(entry.get("permaslug", entry["model_id"]))


def digest(records: list[UsageRecord]) -> str:
    return hashlib.sha256(repr(records).encode()).hexdigest()


@pytest.fixture(scope="module")
def records() -> list[UsageRecord]:
    return list(generate_demo(END, count=COUNT))


@pytest.fixture(scope="module")
def daily_tokens(records: list[UsageRecord]) -> dict[date, Counter[str]]:
    tokens: dict[date, Counter[str]] = defaultdict(Counter)
    for record in records:
        tokens[record.occurred_at.date()][record.model_permaslug] += record.prompt_tokens + record.completion_tokens
    return tokens


class TestCatalog:
    def test_is_a_packaged_resource(self) -> None:
        assert json.loads(files("app.demo").joinpath("catalog.json").read_text(encoding="utf-8")) == demo_catalog()

    def test_entries_have_the_fields_of_the_format(self) -> None:
        required = {"model_id", "name", "provider", "provider_name", "cost_per_input_token", "cost_per_output_token", "public"}
        for entry in demo_catalog():
            assert required <= entry.keys() <= required | {"permaslug"}
            assert type(entry["public"]) is bool
            assert entry["provider"] == entry["model_id"].split("/")[0]
            assert entry["name"]
            assert entry["provider_name"]
            assert permaslug(entry) not in (OTHER, UNKNOWN)

    def test_prices_are_plain_decimal_strings_or_null(self) -> None:
        prices = [entry[f"cost_per_{way}_token"] for entry in demo_catalog() for way in ("input", "output")]
        for price in prices:
            assert price is None or (re.fullmatch(r"\d+(\.\d+)?", price) and Decimal(price) < Decimal("0.0001"))
        unpriced = [entry for entry in demo_catalog() if entry["public"] and None in _prices(entry)]
        assert 1 <= len(unpriced) <= 2

    def test_permaslugs_are_unique_and_a_model_has_one_name(self) -> None:
        slugs = [permaslug(entry) for entry in demo_catalog()]
        assert len(slugs) == len(set(slugs))
        names, providers = defaultdict(set), defaultdict(set)
        for entry in demo_catalog():
            names[entry["model_id"]].add(entry["name"])
            providers[entry["provider"]].add(entry["provider_name"])
        assert {len(found) for found in (*names.values(), *providers.values())} == {1}

    def test_sizes(self) -> None:
        public = [entry for entry in demo_catalog() if entry["public"]]
        assert 60 <= len(public) <= 70
        assert 38 <= len({entry["model_id"] for entry in public}) <= 48
        assert 11 <= len({entry["provider"] for entry in public}) <= 14
        assert len(demo_catalog()) - len(public) == 4

    def test_variants_are_free_and_follow_a_paid_permaslug(self) -> None:
        paid = {permaslug(entry) for entry in demo_catalog()}
        free = [entry for entry in demo_catalog() if permaslug(entry).endswith(":free")]
        assert len(free) >= 5
        for entry in free:
            assert _prices(entry) == ["0", "0"]
            assert permaslug(entry).removesuffix(":free") in paid


def _prices(entry: dict[str, Any]) -> list[str | None]:
    return [entry["cost_per_input_token"], entry["cost_per_output_token"]]


class TestDeterminism:
    def test_same_arguments_same_records_whatever_the_hash_seed(self) -> None:
        script = (
            "import hashlib, datetime as d; from app.demo.generate import generate_demo;"
            f"records = list(generate_demo(d.datetime.fromisoformat('{END.isoformat()}'), count=2000));"
            "print(hashlib.sha256(repr(records).encode()).hexdigest())"
        )
        root = Path(__file__).parents[2]
        other = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": "12345"},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        assert other.stdout.strip() == digest(list(generate_demo(END, count=2000)))

    def test_an_instant_counts_not_its_offset(self) -> None:
        elsewhere = END.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert list(generate_demo(elsewhere, count=500)) == list(generate_demo(END, count=500))

    @pytest.mark.parametrize("change", [{"seed": 8}, {"count": 501}, {"days": 89}])
    def test_other_arguments_other_request_ids(self, change: dict[str, int]) -> None:
        ids = {record.request_id for record in generate_demo(END, count=500)}
        assert ids.isdisjoint(record.request_id for record in generate_demo(END, **{"count": 500, **change}))

    def test_the_population_does_not_depend_on_the_end(self) -> None:
        ours, theirs = ({record.api_key_id for record in generate_demo(end, count=5000)} for end in (END, END + timedelta(days=11)))
        assert len(ours & theirs) > 0.8 * len(ours)


class TestBounds:
    @pytest.mark.parametrize("count", [0, 1, 3, 100, 4321])
    def test_the_count_is_exact(self, count: int) -> None:
        assert sum(1 for _ in generate_demo(END, count=count)) == count

    @pytest.mark.parametrize("end", [END, END.replace(hour=0, minute=0, second=0, microsecond=0), END.replace(hour=0, minute=0)])
    @pytest.mark.parametrize("days", [1, 30])
    def test_within_the_window(self, end: datetime, days: int) -> None:
        instants = [record.occurred_at for record in generate_demo(end, count=3000, days=days)]
        assert end - timedelta(days=days) <= min(instants)
        assert max(instants) < end

    def test_ascending_and_utc(self, records: list[UsageRecord]) -> None:
        assert len(records) == COUNT
        assert all(before.occurred_at <= after.occurred_at for before, after in pairwise(records))
        assert {record.occurred_at.tzinfo for record in records} == {UTC}

    def test_every_dashboard_window_has_traffic(self, records: list[UsageRecord]) -> None:
        last = Counter(int((END - record.occurred_at) / timedelta(hours=1)) for record in records)
        assert all(last[hour] for hour in range(24))
        assert len({record.occurred_at.date() for record in records}) == 91

    def test_one_tenant_is_enough(self) -> None:
        assert {record.tenant_id for record in generate_demo(END, count=500, tenants=1)} == {DEMO_TENANT}

    def test_refuses_nonsense(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            generate_demo(END.replace(tzinfo=None))
        for wrong in ({"count": -1}, {"days": 0}, {"tenants": 0}, {"tenants": 10_000}):
            with pytest.raises(ValueError, match="must be"):
                generate_demo(END, **wrong)


class TestRecords:
    def test_ids_follow_the_contract(self, records: list[UsageRecord]) -> None:
        assert len({record.request_id for record in records}) == COUNT
        for record in records:
            assert 1 <= len(record.request_id) <= 128
            assert IDENTITY.fullmatch(record.tenant_id)
            assert record.project_id is None or IDENTITY.fullmatch(record.project_id)
            assert record.api_key_id is None or (record.api_key_id.startswith("key_") and IDENTITY.fullmatch(record.api_key_id))
            assert record.user_id is None or str(UUID(record.user_id)) == record.user_id
            assert record.username is None or record.user_id is not None

    def test_counts_are_within_their_ranges(self, records: list[UsageRecord]) -> None:
        for record in records:
            assert 0 <= record.cached_tokens <= record.prompt_tokens <= MAX_COUNT
            assert 0 <= record.reasoning_tokens <= record.completion_tokens <= MAX_COUNT
            assert 0 <= record.status_code <= 599
            for number in (record.cost_usd, record.latency_ms, record.ttft_ms):
                assert number is None or (number.is_finite() and number >= 0)
            if record.ttft_ms is not None and record.latency_ms is not None:
                assert record.ttft_ms <= record.latency_ms
            assert record.cost_usd is None or record.cost_usd == round(record.cost_usd, 9)

    def test_credits_go_by_the_traffic_mode(self, records: list[UsageRecord]) -> None:
        for record in records:
            assert record.traffic_mode in ("shared", "byok")
            unused = record.shared_model_spend if record.traffic_mode == "byok" else record.byok_platform_fee
            assert unused == record.agent_runtime_fee == 0
            assert (record.managed_tool_fee > 0) == (record.search_requests > 0)
        assert all(sum(getattr(r, name) for r in records) > 0 for name in ("shared_model_spend", "byok_platform_fee"))

    def test_failures_cost_nothing_and_few_have_tokens(self, records: list[UsageRecord]) -> None:
        failed = [record for record in records if not 200 <= record.status_code < 300]
        assert 0.03 < len(failed) / COUNT < 0.04
        assert {record.status_code for record in failed} == {400, 401, 408, 429, 499, 500, 502, 503, 0}
        partial = [record for record in failed if record.prompt_tokens]
        assert 0.02 < len(partial) / len(failed) < 0.2
        for record in failed:
            assert record.cost_usd is None
            assert record.shared_model_spend == record.byok_platform_fee == record.managed_tool_fee == 0
        assert {record.status_code for record in partial} <= {499, 500, 502, 0}

    def test_some_failed_before_routing(self, records: list[UsageRecord]) -> None:
        unrouted = [record for record in records if record.model_id == UNKNOWN]
        assert 0 < len(unrouted) < 0.005 * COUNT
        for record in unrouted:
            assert record.status_code in (400, 401, 429)
            assert record.model_permaslug == UNKNOWN
            assert record.provider is None
            assert record.prompt_tokens == record.completion_tokens == 0

    def test_models_are_the_catalogs_but_one(self, records: list[UsageRecord]) -> None:
        catalog = {permaslug(entry): entry["model_id"] for entry in demo_catalog()}
        used = {record.model_permaslug: record.model_id for record in records}
        assert used == catalog | {UNCATALOGUED: UNCATALOGUED, UNKNOWN: UNKNOWN}

    def test_a_private_model_serves_one_tenant(self, records: list[UsageRecord]) -> None:
        private = {permaslug(entry) for entry in demo_catalog() if not entry["public"]} | {UNCATALOGUED}
        tenants = defaultdict(set)
        for record in records:
            tenants[record.model_permaslug].add(record.tenant_id)
        assert {len(tenants[slug]) for slug in private} == {1}

    @pytest.mark.parametrize(
        ("field", "low", "high"),
        [
            ("project_id", 0.98, 0.999),
            ("api_key_id", 0.98, 0.999),
            ("user_id", 0.8, 0.95),
            ("username", 0.7, 0.94),
            ("provider", 0.01, 0.1),
            ("cost_usd", 0.035, 0.065),
            ("latency_ms", 0.95, 0.99),
            ("ttft_ms", 0.5, 0.8),
            ("search_requests", 0.015, 0.025),
            ("cached_tokens", 0.15, 0.6),
            ("reasoning_tokens", 0.1, 0.3),
        ],
    )
    def test_optional_fields_are_filled_as_often_as_in_life(self, records: list[UsageRecord], field: str, low: float, high: float) -> None:
        assert low < sum(getattr(record, field) not in (None, 0) for record in records) / COUNT < high


class TestShape:
    def test_models_are_skewed(self, daily_tokens: dict[date, Counter[str]]) -> None:
        tokens = sum(daily_tokens.values(), Counter[str]())
        (_, most), *_ = tokens.most_common(1)
        assert most > 0.1 * tokens.total()
        assert sum(count for _, count in tokens.most_common(15)) > 0.6 * tokens.total()

    def test_tenants_are_skewed(self, records: list[UsageRecord]) -> None:
        tenants = Counter(record.tenant_id for record in records)
        assert len(tenants) == 30
        (busiest, most), *_ = tenants.most_common(1)
        assert busiest == DEMO_TENANT
        assert 0.15 < most / COUNT < 0.35

    def test_each_tenant_has_a_few_projects_and_keys(self, records: list[UsageRecord]) -> None:
        projects, keys = defaultdict(set), defaultdict(set)
        for record in records:
            if record.project_id and record.api_key_id:
                projects[record.tenant_id].add(record.project_id)
                keys[record.tenant_id].add(record.api_key_id)
        assert all(1 <= len(found) <= 6 for found in projects.values())
        assert all(1 <= len(found) <= 8 for found in keys.values())
        assert len({record.user_id for record in records}) > 2000

    def test_own_keys_are_concentrated(self, records: list[UsageRecord]) -> None:
        own = Counter(record.tenant_id for record in records if record.traffic_mode == "byok")
        assert 0.09 < own.total() / COUNT < 0.15
        assert 1 <= len(own) <= 6
        assert own[DEMO_TENANT]

    def test_days_and_nights_weeks_and_growth(self, records: list[UsageRecord]) -> None:
        days = Counter(record.occurred_at.date() for record in records)
        hours = Counter(record.occurred_at.hour for record in records)
        assert hours[14] > 2 * hours[3]
        weekdays = [count for day, count in days.items() if day.weekday() < 5]
        weekend = [count for day, count in days.items() if day.weekday() >= 5]
        assert sum(weekdays) / len(weekdays) > 1.5 * sum(weekend) / len(weekend)
        dates = sorted(days)
        assert sum(days[day] for day in dates[-29:-1]) > 1.3 * sum(days[day] for day in dates[1:29])

    def test_one_model_is_launched_and_one_fades(self, daily_tokens: dict[date, Counter[str]]) -> None:
        dates = sorted(daily_tokens)
        launched, faded = "anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-3-7-sonnet-20250219"
        assert sum(daily_tokens[day][launched] for day in dates[:50]) == 0
        assert sum(daily_tokens[day][launched] for day in dates[-14:]) > 0
        early, late = (sum(daily_tokens[day][faded] for day in part) for part in (dates[:14], dates[-14:]))
        assert 0 < 5 * late < early

    def test_an_open_model_has_more_than_one_host(self, records: list[UsageRecord]) -> None:
        hosts = defaultdict(set)
        for record in records:
            hosts[record.model_permaslug].add(record.provider)
        assert sum(len(found) == 3 and None in found for found in hosts.values()) >= 3

    def test_the_pairs_tie_exactly_on_every_day(self, daily_tokens: dict[date, Counter[str]]) -> None:
        for tokens in daily_tokens.values():
            for one, other in TIED:
                assert tokens[one] == tokens[other] > 0

    def test_more_public_models_than_the_rankings_show(self, daily_tokens: dict[date, Counter[str]]) -> None:
        public = {permaslug(entry) for entry in demo_catalog() if entry["public"]}
        crowded = sum(sum(tokens[slug] > 0 for slug in public) > 50 for tokens in daily_tokens.values())
        assert crowded >= len(daily_tokens) / 2
