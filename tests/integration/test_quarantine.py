"""Quarantined records: who sees them, what a release writes, and that each is decided on once whoever and whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from app.db.engine import Connection, Database
from app.domain.errors import BadInputError, ConnectionLostError
from app.domain.fields import MAX_COUNT
from app.domain.usage import ParsedBatch, Quarantined, Reason, UsageRecord
from app.graph.quarantine import QuarantineFilter, fetch_quarantined
from app.ingest.fields import FieldRules
from app.ingest.parse import parse_values
from app.ingest.release import DropReceipt, ReleaseReceipt, drop_quarantined, release_quarantined
from app.ingest.sources.candidates import Candidate, collect_candidates
from app.web.health import QuarantineCounts
from app.write import quarantine
from app.write.batch import Ingestor
from app.write.quarantine import RESOLVED_KEPT, forget_resolved
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, make_record, unpriced
from tests.gateway import Gateway
from tests.recorder import recorded

AT = NOW - timedelta(days=1)
CONTRADICTION = Reason("total_tokens", "is not the sum of prompt and completion tokens")
DAY_TOO_FAR = "must not be more than 1 day after the time of arrival"


def values(request_id: object, **given: object) -> dict[str, object]:
    """What a source read, right but for its contradiction."""
    return {
        "tenant_id": "acme",
        "request_id": request_id,
        "occurred_at": AT,
        "model_id": "openai/gpt-4o",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        **given,
    }


def record_of(request_id: str, **given: Any) -> UsageRecord:
    """The record that `values` become."""
    return make_record(request_id=request_id, occurred_at=AT, **given)


async def keep(database: Database, *records: dict[str, object], source: str = "otlp", sender: str | None = None) -> list[str]:
    """Quarantine what a source read, as a batch of its own, and return the ids in order."""
    batch = collect_candidates([Candidate(record, (CONTRADICTION,)) for record in records], source, FieldRules(NOW, sender))
    receipt = await Ingestor(database).ingest(batch)
    assert receipt.quarantined == receipt.received == len(records)
    rows = await fetch_quarantined(database, QuarantineFilter(include_resolved=True), 10_000)
    by_request = {(row.request_id, row.source, row.sender_tenant_id): str(row.id) for row in rows}
    return [by_request[None if record["request_id"] is None else str(record["request_id"]), source, sender] for record in records]


async def fetch(database: Database, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    async with database.read_connection() as connection:
        return await (await connection.execute(statement, parameters)).fetchall()


async def resolutions(database: Database) -> dict[str, str | None]:
    return dict(await fetch(database, "SELECT request_id, resolution FROM quarantined_records"))


async def stored(database: Database) -> list[str]:
    return [request for (request,) in await fetch(database, "SELECT request_id FROM usage_records ORDER BY request_id")]


def reasons_of(receipt: ReleaseReceipt) -> dict[str, list[tuple[str | None, str]]]:
    return {item.id: [(reason.field, reason.message) for reason in item.reasons] for item in receipt.still_quarantined}


async def test_a_contradiction_is_decided_by_the_release(database: Database) -> None:
    first, second = await keep(database, values("r1"), values("r2", latency_ms=1.5, cache_hit=True))
    assert await release_quarantined(database, [first, first.upper(), second.replace("-", "")], {}, NOW) == ReleaseReceipt(released=2)
    await assert_rollups_equal(database, unpriced([record_of("r1"), record_of("r2", latency_ms=1.5, cache_hit=True)]))
    assert await fetch(database, "SELECT DISTINCT resolution, resolved_at FROM quarantined_records") == [("released", NOW)]
    again = await release_quarantined(database, [first, second, str(uuid4())[:-1]], {"prompt_tokens": 7}, NOW)
    assert (again.released, again.released_before, len(again.not_found)) == (0, 2, 1)
    assert await drop_quarantined(database, [first], NOW) == DropReceipt(released_before=1)
    await assert_rollups_equal(database, unpriced([record_of("r1"), record_of("r2", latency_ms=1.5, cache_hit=True)]))


async def test_what_breaks_a_rule_stays_until_changes_mend_it(database: Database) -> None:
    good, model, tokens = await keep(
        database, values("r1"), values("r2", model_id=None, cost_usd=-1), values("r3", cached_tokens=101, username="")
    )
    receipt = await release_quarantined(database, [good, model, tokens], {"cost_usd": None}, NOW)
    assert (receipt.released, await stored(database)) == (1, ["r1"])
    assert reasons_of(receipt) == {
        model: [("model_id", "is required unless the request failed before routing")],
        tokens: [("cached_tokens", "is part of prompt_tokens and may not exceed it")],
    }
    mended = await release_quarantined(database, [model, tokens], {"model_id": "a/b", "cached_tokens": "5", "cost_usd": "0.5"}, NOW)
    assert mended == ReleaseReceipt(released=2)
    assert await fetch(database, "SELECT request_id, cached_tokens, cost_usd::text FROM usage_records WHERE cached_tokens > 0") == [
        ("r2", 5, "0.5"),
        ("r3", 5, "0.5"),
    ]


async def test_the_rules_hold_at_the_moment_of_the_release(database: Database) -> None:
    (early,) = await keep(database, values("r1", occurred_at=NOW + timedelta(days=3)))
    assert reasons_of(await release_quarantined(database, [early], {}, NOW)) == {early: [("occurred_at", DAY_TOO_FAR)]}
    assert (await release_quarantined(database, [early], {}, NOW + timedelta(days=2))).released == 1


async def test_a_record_is_its_senders_tenants_unless_the_changes_name_one(database: Database) -> None:
    (named, own), (free, nobody) = (
        await keep(database, values("named", tenant_id="victim"), values("own", tenant_id=None), sender="acme"),
        await keep(database, values("free", tenant_id="beta"), values("nobody", tenant_id="not a tenant")),
    )
    receipt = await release_quarantined(database, [named, own, free, nobody], {}, NOW)
    assert receipt.released == 2
    ((field, message),) = reasons_of(receipt)[named]
    assert (field, message[:64]) == ("tenant_id", "the key that sent it writes records of tenant acme only: to rele")
    assert reasons_of(receipt)[nobody][0][1].startswith("must be 1 to 128 characters")
    assert (await release_quarantined(database, [named], {"tenant_id": ""}, NOW)).released == 1
    assert (await release_quarantined(database, [nobody], {"tenant_id": None}, NOW)).still_quarantined[0].reasons[
        0
    ].message == "is required"
    assert (await release_quarantined(database, [nobody], {"tenant_id": "gamma"}, NOW)).released == 1
    (other,) = await keep(database, values("other", tenant_id="victim"), sender="acme")
    assert (await release_quarantined(database, [other], {"tenant_id": "victim"}, NOW)).released == 1
    rows = await fetch(
        database, "SELECT t.external_id, r.request_id FROM usage_records r JOIN tenants t ON t.id = r.tenant_id ORDER BY 1, 2"
    )
    assert rows == [("acme", "named"), ("acme", "own"), ("beta", "free"), ("gamma", "nobody"), ("victim", "other")]


async def test_of_one_request_the_first_is_written_and_the_others_are_duplicates(database: Database) -> None:
    (first,), (second,) = await keep(database, values("r1")), await keep(database, values("r1", prompt_tokens=999), source="litellm")
    (third,) = await keep(database, values("r1", prompt_tokens=998), source="openrouter")
    assert await release_quarantined(database, [second, first], {}, NOW) == ReleaseReceipt(released=1, duplicates=1)
    assert await release_quarantined(database, [third], {}, NOW) == ReleaseReceipt(duplicates=1)
    await assert_rollups_equal(database, unpriced([record_of("r1", prompt_tokens=999)]))
    with pytest.raises(BadInputError, match="one record at a time"):
        await release_quarantined(database, [first, second], {"request_id": "one"}, NOW)


async def test_what_came_in_right_by_another_way_is_a_duplicate(database: Database, ingestor: Ingestor) -> None:
    (kept,) = await keep(database, values("r1"))
    await ingestor.ingest(make_batch([record_of("r1", prompt_tokens=90)]))
    assert await release_quarantined(database, [kept], {}, NOW) == ReleaseReceipt(duplicates=1)
    await assert_rollups_equal(database, unpriced([record_of("r1", prompt_tokens=90)]))
    assert await resolutions(database) == {"r1": "released"}


async def test_what_was_decided_stays_so_when_it_is_sent_again(database: Database) -> None:
    released, dropped = await keep(database, values("released"), values("dropped"))
    await release_quarantined(database, [released], {}, NOW)
    assert await drop_quarantined(database, [dropped, dropped, "nonsense"], NOW) == DropReceipt(dropped=1, not_found=["nonsense"])
    assert await drop_quarantined(database, [dropped], NOW) == DropReceipt(dropped_before=1)
    assert await keep(database, values("released"), values("dropped")) == [released, dropped]
    assert await release_quarantined(database, [released, dropped], {}, NOW) == ReleaseReceipt(released_before=1, dropped_before=1)
    assert (await stored(database), await resolutions(database)) == (["released"], {"released": "released", "dropped": "dropped"})


async def test_retention_refuses_and_the_record_stays(database: Database) -> None:
    since = datetime(2026, 6, 1, tzinfo=NOW.tzinfo)
    async with database.transaction() as connection:
        await connection.execute("UPDATE write_state SET records_since = %s, epoch = epoch + 1", [since])
    old, good = await keep(database, values("old", occurred_at=since - timedelta(seconds=1)), values("good"))
    (follower,) = await keep(database, values("old"), source="litellm")
    receipt = await release_quarantined(database, [old, good, follower], {}, NOW)
    assert (receipt.released, receipt.duplicates) == (1, 0)
    assert reasons_of(receipt) == {
        old: [("occurred_at", "must not be before 2026-06-01T00:00:00.000Z: older records are not retained")],
        follower: [("request_id", "another record of the same request was refused before it: release this one by itself")],
    }
    assert await release_quarantined(database, [follower], {}, NOW) == ReleaseReceipt(released=1)
    assert (await release_quarantined(database, [old], {}, NOW)).released == 0
    await assert_rollups_equal(database, unpriced([record_of("good"), record_of("old")]))


async def test_many_releases_at_once_write_each_record_once(database: Database) -> None:
    ids = await keep(database, *(values(f"r{number}") for number in range(60)))
    receipts = await asyncio.gather(
        *(release_quarantined(database, ids[first : first + 40][::step], {}, NOW) for first in (0, 20) for step in (1, -1)),
        drop_quarantined(database, ids[55:], NOW),
    )
    released = [receipt for receipt in receipts if isinstance(receipt, ReleaseReceipt)]
    decided = await resolutions(database)
    went_in = sorted(request for request, resolution in decided.items() if resolution == "released")
    assert set(decided.values()) <= {"released", "dropped"}
    assert len(went_in) >= 55
    assert await stored(database) == went_in
    assert sum(receipt.released for receipt in released) == len(went_in)
    assert sum(receipt.duplicates for receipt in released) == 0
    assert all(receipt.released + receipt.released_before + receipt.dropped_before == 40 for receipt in released)
    await assert_rollups_equal(database, unpriced([record_of(request) for request in went_in]))


async def test_a_record_released_under_two_names_at_once_goes_in_under_one(database: Database) -> None:
    (kept,) = await keep(database, values(None))
    names = [f"name-{number}" for number in range(4)]
    receipts = await asyncio.gather(*(release_quarantined(database, [kept], {"request_id": name}, NOW) for name in names))
    assert sorted((receipt.released, receipt.released_before) for receipt in receipts) == [(0, 1), (0, 1), (0, 1), (1, 0)]
    assert len(await stored(database)) == 1


@asynccontextmanager
async def held(database: Database, url: str, statement: str, work: Awaitable[Any]) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Run `statement` in a transaction that `work` then waits for, and end it after the block; the work is done by then."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement)
        task = asyncio.ensure_future(work)
        while not await fetch(
            database, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        ):
            assert not task.done()
            await asyncio.sleep(0.01)
        yield connection
        await connection.commit()
        await task


async def test_of_a_user_erased_meanwhile_nothing_comes_back(database: Database, database_url: str) -> None:
    (kept,) = await keep(database, values("r1", user_id="alice", username="Alice"))
    release = release_quarantined(database, [kept], {}, NOW)
    async with held(database, database_url, "LOCK TABLE recent_requests IN ACCESS EXCLUSIVE MODE", release) as connection:
        await connection.execute("UPDATE quarantined_records SET record = record - '{user_id,username}'::text[]")
    assert (await stored(database), await fetch(database, "SELECT external_id FROM users")) == (["r1"], [])


@pytest.mark.parametrize("statement", ["LOCK TABLE recent_requests IN ACCESS EXCLUSIVE MODE", "SELECT FROM quarantined_records FOR UPDATE"])
async def test_what_was_dropped_while_the_release_waited_is_not_written(database: Database, database_url: str, statement: str) -> None:
    ids = await keep(database, values("r1"), values("r2"))
    receipts: list[ReleaseReceipt] = []

    async def release() -> None:
        receipts.append(await release_quarantined(database, ids, {}, NOW))

    async with held(database, database_url, statement, release()) as connection:
        await connection.execute("UPDATE quarantined_records SET resolution = 'dropped', resolved_at = now() WHERE request_id = 'r1'")
    assert receipts == [ReleaseReceipt(released=1, dropped_before=1)]
    assert await stored(database) == ["r2"]


async def test_a_release_that_is_killed_before_its_commit_is_done_again(database: Database, database_url: str) -> None:
    (kept,) = await keep(database, values("r1"))
    release = release_quarantined(database, [kept], {}, NOW)
    async with held(database, database_url, "SELECT FROM quarantined_records FOR UPDATE", release):
        killed = await fetch(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0",
        )
        assert killed == [(True,)]
        assert await stored(database) == []
    assert await resolutions(database) == {"r1": "released"}
    await assert_rollups_equal(database, unpriced([record_of("r1")]))


async def test_a_release_whose_answer_is_lost_is_not_done_twice(database_url: str) -> None:
    class Forgetful(Database):
        """Loses the connection right after the commit of the first release."""

        lost = 0

        @asynccontextmanager
        async def transaction(self, *, generic_plans: bool = False) -> AsyncIterator[Connection]:
            async with super().transaction(generic_plans=generic_plans) as connection:
                yield connection
            if not self.lost and "released" in (await resolutions(self)).values():
                self.lost += 1
                raise ConnectionLostError

    database = Forgetful(database_url)
    async with database:
        (kept,) = await keep(database, values(None))
        assert await release_quarantined(database, [kept], {"request_id": "r1"}, NOW) == ReleaseReceipt(released_before=1)
        assert database.lost == 1
        await assert_rollups_equal(database, unpriced([record_of("r1")]))


async def test_a_full_quarantine_rejects_and_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "QUARANTINE_LIMIT", 2)
    first, _ = await keep(database, values("r1"), values("r2"))
    batch = collect_candidates([Candidate(values(f"r{number}"), (CONTRADICTION,)) for number in (1, 3, 4)], "otlp", FieldRules(NOW, None))
    receipt = await Ingestor(database).ingest(batch)
    assert (receipt.received, receipt.quarantined, receipt.rejected) == (3, 1, 2)
    assert [error.index for error in receipt.errors] == [1, 2]
    assert "; cannot be quarantined: " in receipt.errors[0].message
    assert sorted(await resolutions(database)) == ["r1", "r2"]
    await drop_quarantined(database, [first], NOW)
    receipt = await Ingestor(database).ingest(batch)
    assert (receipt.quarantined, receipt.rejected, sorted(await resolutions(database))) == (2, 1, ["r1", "r2", "r3"])


async def test_a_tenant_that_fills_its_share_leaves_room_for_others(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within one transaction, and whether the tenant is the sender's or the record names it."""
    monkeypatch.setattr(quarantine, "TENANT_SHARE", 3)

    def batch(sender: str | None, tenant: object, *requests: str) -> ParsedBatch:
        candidates = [Candidate(values(request, tenant_id=tenant), (CONTRADICTION,)) for request in requests]
        return collect_candidates(candidates, "otlp", FieldRules(NOW, sender))

    full = "; cannot be quarantined: 3 records of tenant acme wait there to be released or dropped"
    receipts = await Ingestor(database).ingest_all(
        [
            batch("acme", "acme", "a1", "a2"),
            batch("acme", "of another", "a3", "a4"),
            batch("beta", None, "b1"),
            batch(None, "acme", "a5"),
            batch(None, None, "n1", "n2", "n3", "n4"),
        ]
    )
    assert [(receipt.quarantined, receipt.rejected) for receipt in receipts] == [(2, 0), (1, 1), (1, 0), (0, 1), (3, 1)]
    assert [error.message[-len(full) :] for receipt in (receipts[1], receipts[3]) for error in receipt.errors] == [full, full]
    assert receipts[4].errors[0].message.endswith("3 records without a tenant wait there to be released or dropped")
    assert sorted(await resolutions(database)) == ["a1", "a2", "a3", "b1", "n1", "n2", "n3"]
    (again,) = await Ingestor(database).ingest_all([batch("acme", "acme", "a1", "a6")])
    assert (again.quarantined, again.rejected) == (1, 1), "one that waits already needs no room"
    ((waiting,),) = await fetch(database, "SELECT id::text FROM quarantined_records WHERE request_id = 'a1'")
    await drop_quarantined(database, [waiting], NOW)
    assert (await Ingestor(database).ingest(batch("acme", "acme", "a6"))).quarantined == 1


async def test_what_was_decided_is_forgotten_after_its_time_in_steps(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_FORGOTTEN_AT_ONCE", 2)
    ids = await keep(database, *(values(f"r{number}") for number in range(7)))
    await drop_quarantined(database, ids[:3], NOW)
    await release_quarantined(database, ids[3:5], {}, NOW)
    await drop_quarantined(database, ids[5:6], NOW + timedelta(days=1))
    assert await forget_resolved(database, NOW + RESOLVED_KEPT) == 0
    later = NOW + RESOLVED_KEPT + timedelta(microseconds=1)
    assert sum(await asyncio.gather(*(forget_resolved(database, later) for _ in range(3)))) == 5
    assert await resolutions(database) == {"r5": "dropped", "r6": None}
    (again,) = await keep(database, values("r3"))
    assert await release_quarantined(database, [again], {}, NOW) == ReleaseReceipt(duplicates=1)


async def test_waiting_records_are_counted_without_ever_waiting_for_the_database(database: Database, database_url: str) -> None:
    counts = QuarantineCounts(database, fresh_for=0)
    assert set((await counts.read() or {"none": 1}).values()) == {0}
    await keep(database, values("r1"), values("r2"))
    (dropped, _) = await keep(database, values("r3"), values("r4"), source="spreadsheet")
    await drop_quarantined(database, [dropped], NOW)
    counted = await counts.read()
    assert counted is not None
    assert {source: count for source, count in counted.items() if count} == {"otlp": 2, "spreadsheet": 1}
    unasked = QuarantineCounts(database, fresh_for=0)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("LOCK TABLE quarantined_records IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(3):
            assert (await counts.read(), await unasked.read(), await unasked.read()) == (counted, None, None)
        waiting = await fetch(database, "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
        assert waiting == [(2,)]  # one question each, however often it is asked
    assert await unasked.read() == counted


async def test_metrics_are_told_whether_or_not_the_database_is_there(gateway: Gateway) -> None:
    await keep(gateway.database, values("r1"))
    assert 'tokengraph_quarantined_records{source="otlp"} 1.0\n' in (await gateway.client.get("/metrics")).text
    await gateway.database.close()
    assert await QuarantineCounts(gateway.database).read() is None
    response = await gateway.client.get("/metrics")
    assert (response.status_code, "tokengraph_http_requests_total" in response.text) == (200, True)


async def test_what_a_hostile_sender_gives_is_kept_and_stays_until_it_is_mended(database: Database) -> None:
    nested: object = "z" * 5_000
    for _ in range(30):
        nested = [nested, nested]
    hostile = values("a\0b", user_id="\ud800", prompt_tokens=2**63, username=nested, model_id="x" * 5_000, **{"\0odd": 1})
    batch = ParsedBatch(received=1, quarantined=[Quarantined(0, "otlp", NOW, None, hostile, (CONTRADICTION,))])
    assert (await Ingestor(database).ingest(batch)).quarantined == 1
    (row,) = await fetch_quarantined(database, QuarantineFilter(), 10)
    assert (row.request_id, row.record["prompt_tokens"], row.record["\ufffdodd"]) == ("a\ufffdb", str(2**63), 1)
    receipt = await release_quarantined(database, [str(row.id)], {}, NOW)
    told = dict(reasons_of(receipt)[str(row.id)])
    assert set(told) == {"request_id", "user_id", "prompt_tokens", "username", "model_id"}
    assert told["request_id"] == told["user_id"]
    changes = {"request_id": "r1", "user_id": None, "prompt_tokens": 1, "username": None, "model_id": "a/b"}
    assert (await release_quarantined(database, [str(row.id)], changes, NOW)).released == 1


LIST = """query ($first: Int! = 50, $after: String, $source: String, $tenantId: String, $includeResolved: Boolean! = false) {
  quarantinedRecords(first: $first, after: $after, source: $source, tenantId: $tenantId, includeResolved: $includeResolved) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { recordId } }
    nodes { recordId source senderTenantId tenantId requestId receivedAt reasons { field message } record resolution resolvedAt } } }"""
RELEASE = """mutation ($ids: [String!]!, $changes: UsageRecordChangesInput) { releaseQuarantinedRecords(recordIds: $ids, changes: $changes) {
  released duplicates releasedBefore droppedBefore notFound stillQuarantined { recordId reasons { field message } } } }"""
DROP = "mutation ($ids: [String!]!) { dropQuarantinedRecords(recordIds: $ids) { dropped droppedBefore releasedBefore notFound } }"
NOTHING = {"released": 0, "duplicates": 0, "releasedBefore": 0, "droppedBefore": 0, "notFound": [], "stillQuarantined": []}


async def ask(gateway: Gateway, document: str, headers: dict[str, str], **variables: Any) -> Any:
    answer = await gateway.graphql(document, headers, **variables)
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


async def refusal(gateway: Gateway, document: str, headers: dict[str, str], **variables: Any) -> tuple[str, str]:
    answer = await gateway.graphql(document, headers, **variables)
    (error,) = answer["errors"]
    return error["extensions"]["code"], error["message"]


@pytest.mark.parametrize("role", ["tenant", "ingest", "gateway", "anonymous"])
async def test_only_admins_see_and_decide(gateway: Gateway, role: str) -> None:
    (kept,) = await keep(gateway.database, values("r1"), sender="acme")
    headers = {} if role == "anonymous" else await gateway.key(role, None if role == "gateway" else "acme")
    code = "UNAUTHENTICATED" if role == "anonymous" else "FORBIDDEN"
    for document in (LIST, RELEASE, DROP):
        with recorded() as statements:
            assert (await refusal(gateway, document, headers, ids=[kept]))[0] == code
        assert statements.names() == ([] if role == "anonymous" else ["authenticate"])
    assert (await stored(gateway.database), await resolutions(gateway.database)) == ([], {"r1": None})


async def test_an_empty_quarantine_is_an_empty_page(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    page = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert await ask(gateway, LIST, admin) == {"totalCount": 0, "pageInfo": page, "edges": [], "nodes": []}
    nobody = str(uuid4())
    assert await ask(gateway, RELEASE, admin, ids=[nobody, "a\0", nobody]) == {**NOTHING, "notFound": ["a\ufffd", nobody]}
    nothing_dropped = {"dropped": 0, "droppedBefore": 0, "releasedBefore": 0, "notFound": [nobody]}
    assert await ask(gateway, DROP, admin, ids=[nobody]) == nothing_dropped


async def test_a_record_is_shown_by_the_names_of_graphql(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    batch = collect_candidates(
        [Candidate(values("r1", cached_tokens=2**63, total_tokens=5, tenant_id=None), (CONTRADICTION,))], "otlp", FieldRules(AT, "acme")
    )
    await Ingestor(gateway.database).ingest(batch)
    (node,) = (await ask(gateway, LIST, admin))["nodes"]
    count_rule = "must be an integer from 0 to 9007199254740991"
    assert node == {
        "recordId": node["recordId"],
        "source": "otlp",
        "senderTenantId": "acme",
        "tenantId": "acme",
        "requestId": "r1",
        "receivedAt": "2026-06-25T12:00:00.000Z",
        "reasons": [
            {"field": "total_tokens", "message": CONTRADICTION.message},
            {"field": "cachedTokens", "message": count_rule},
        ],
        "record": {
            "requestId": "r1",
            "occurredAt": "2026-06-25T12:00:00+00:00",
            "modelId": "openai/gpt-4o",
            "promptTokens": 100,
            "completionTokens": 20,
            "cachedTokens": "9223372036854775808",
            "total_tokens": 5,
        },
        "resolution": None,
        "resolvedAt": None,
    }
    still = {"recordId": node["recordId"], "reasons": [{"field": "cachedTokens", "message": count_rule}]}
    assert await ask(gateway, RELEASE, admin, ids=[node["recordId"]]) == {**NOTHING, "stillQuarantined": [still]}
    changes = {"cachedTokens": "120", "tenantId": None, "occurredAt": "2026-06-25T14:00:00+02:00"}
    still["reasons"][0]["message"] = "is part of promptTokens and may not exceed it"
    assert await ask(gateway, RELEASE, admin, ids=[node["recordId"]], changes=changes) == {**NOTHING, "stillQuarantined": [still]}
    assert await ask(gateway, RELEASE, admin, ids=[node["recordId"]], changes=changes | {"cachedTokens": 100}) == {**NOTHING, "released": 1}
    (node,) = (await ask(gateway, LIST, admin, includeResolved=True))["nodes"]
    assert (node["resolution"], node["resolvedAt"]) == ("RELEASED", "2026-06-26T12:00:00.000Z")
    await assert_rollups_equal(gateway.database, unpriced([record_of("r1", cached_tokens=100)]))


async def test_pages_go_from_the_oldest_on_and_stay_in_place(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    for minutes, source, tenant in [(3, "otlp", "acme"), (1, "litellm", "acme"), (2, "otlp", "beta"), (2, "otlp", "acme")]:
        rules = FieldRules(AT + timedelta(minutes=minutes), None)
        candidate = Candidate(values(f"{minutes}-{source}-{tenant}", tenant_id=tenant), (CONTRADICTION,))
        await Ingestor(gateway.database).ingest(collect_candidates([candidate], source, rules))
    whole = await ask(gateway, LIST, admin)
    requests = [node["requestId"] for node in whole["nodes"]]
    assert (requests[0], sorted(requests[1:3]), requests[3]) == ("1-litellm-acme", ["2-otlp-acme", "2-otlp-beta"], "3-otlp-acme")
    assert whole["totalCount"] == 4
    first = await ask(gateway, LIST, admin, first=2)
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    await ask(gateway, DROP, admin, ids=[first["nodes"][0]["recordId"]])
    rest = await ask(gateway, LIST, admin, first=2, after=first["pageInfo"]["endCursor"])
    assert [node["recordId"] for node in first["nodes"] + rest["nodes"]] == [node["recordId"] for node in whole["nodes"]]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"], rest["totalCount"]) == (False, True, 3)
    some = await ask(gateway, LIST, admin, first=1, source="otlp", tenantId="acme")
    assert ([node["requestId"] for node in some["nodes"]], some["totalCount"]) == (["2-otlp-acme"], 2)
    both = await ask(gateway, LIST, admin, source="litellm", includeResolved=True)
    assert ([node["resolution"] for node in both["nodes"]], both["totalCount"]) == (["DROPPED"], 0)
    assert (await ask(gateway, LIST, admin, source="'; --", tenantId="nobody"))["nodes"] == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"first": 0}, "first must be from 1 to 100"),
        ({"first": 101}, "first must be from 1 to 100"),
        ({"after": "nonsense"}, "the cursor is not one that this list gave"),
        ({"source": "a\0b"}, "text must not contain NUL characters"),
    ],
)
async def test_bad_arguments_are_refused(gateway: Gateway, variables: dict[str, Any], message: str) -> None:
    assert await refusal(gateway, LIST, await gateway.key("admin"), **variables) == ("BAD_USER_INPUT", message)


async def test_a_call_decides_on_a_thousand_records_at_most(gateway: Gateway) -> None:
    admin = await gateway.key("admin")
    ids = await keep(gateway.database, *(values(f"r{number}") for number in range(1000)))
    for document in (RELEASE, DROP):
        for wrong in ([], [*ids, ids[0]]):
            assert await refusal(gateway, document, admin, ids=wrong) == ("BAD_USER_INPUT", "recordIds must be 1 to 1000")
    message = "requestId can be changed of one record at a time: several would become one request"
    assert await refusal(gateway, RELEASE, admin, ids=ids, changes={"requestId": "one"}) == ("BAD_USER_INPUT", message)
    assert await ask(gateway, RELEASE, admin, ids=ids, changes={"attempt": 2}) == {**NOTHING, "released": 1000}
    await assert_rollups_equal(gateway.database, unpriced([record_of(f"r{number}", attempt=2) for number in range(1000)]))


async def test_what_no_request_can_mean_waits_and_is_written_by_who_says_so(database: Database, ingestor: Ingestor) -> None:
    body = [
        {"request_id": name, "occurred_at": AT.isoformat(), "tenant_id": "acme", "model_id": "m", **more}
        for name, more in (
            ("absurd", {"prompt_tokens": MAX_COUNT}),
            ("fine", {"prompt_tokens": 10**12}),
            ("wrong", {"prompt_tokens": 2**53}),
        )
    ]
    receipt = await ingestor.ingest(parse_values(body, now=NOW, tenant_id=None))
    assert (receipt.inserted, receipt.quarantined, receipt.rejected) == (1, 1, 1)
    again = await ingestor.ingest(parse_values(body, now=NOW + timedelta(hours=1), tenant_id=None))
    assert (again.inserted, again.duplicates, again.quarantined, again.rejected) == (0, 1, 1, 1)
    (row,) = await fetch(database, "SELECT id::text, source, reasons, record FROM quarantined_records")
    assert row[1:3] == ("usage_record", [{"field": "prompt_tokens", "message": "is implausible: over 1000000000000 for one request"}])
    assert row[3] == {**body[0]}
    assert await release_quarantined(database, [row[0]], {}, NOW) == ReleaseReceipt(released=1)
    assert await fetch(database, "SELECT sum(prompt_tokens) FROM usage_by_day_all") == [(MAX_COUNT + 10**12,)]
