"""Erasing a user: who it was is gone from everywhere, what it used is still counted, and no writer brings the name back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from app.cube.rollups import ROLLUPS
from app.db.engine import Connection, Database
from app.domain.errors import BadInputError, NotFoundError
from app.domain.principal import Role
from app.domain.usage import ParsedBatch, Quarantined, Reason, UsageRecord
from app.summaries.verify import chunks_of, find_differences, find_extent
from app.write.batch import Ingestor, Written
from app.write.erase import Erasure, erase_user
from app.write.state import fetch_write_state
from tests.clock import NOW
from tests.command import run_command
from tests.factories import assert_rollups_equal, make_batch, make_record, stored_rollup, unpriced
from tests.gateway import Gateway

ALICE, NAME = "5b0c2b1e-alice", "Alice Liddell"

SURFACES = {
    "/api/v1/analytics/network": "admin",
    "/api/v1/datasets/rankings-daily?start_date=2026-06-01&end_date=2026-06-26": "admin",
    "/api/usage/analytics": "admin",
    "/v1/analytics": "gateway",
    "/v1/customer/analytics": "tenant",
    "/v1/customer/analytics/export.csv": "tenant",
    "/v1/customer/logs": "tenant",
    "/v1/customer/billing/usage-statement.csv": "tenant",
}


def by_alice(**given: Any) -> UsageRecord:
    """A record of the user who is to be erased."""
    return make_record(**{"user_id": ALICE, "username": NAME, "occurred_at": NOW - timedelta(hours=3), **given})


def aside(user_id: object, number: int) -> Quarantined:
    """A record that waits for a person."""
    values = {"tenant_id": "acme", "request_id": f"q{number}", "user_id": user_id, "username": NAME, "prompt_tokens": -1}
    return Quarantined(number, "test", NOW, None, values, (Reason("prompt_tokens", "is wrong"),))


async def fetch(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.read_connection() as connection:
        return await (await connection.execute(statement)).fetchall()


async def user_key(database: Database, user_id: str) -> int:
    ((key,),) = await fetch(database, f"SELECT id FROM users WHERE external_id = '{user_id}'")
    return int(key)


async def mentions(database: Database, *words: str) -> list[str]:
    """Return the tables of which a row says one of the words anywhere."""
    tables = await fetch(database, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1")
    condition = " OR ".join(f"strpos(t::text, '{word}') > 0" for word in words)
    return [name for (name,) in tables if (await fetch(database, f"SELECT EXISTS (SELECT FROM {name} t WHERE {condition})"))[0][0]]


async def assert_verified(database: Database) -> None:
    whole = await find_extent(database)
    assert whole is not None
    for chunk in chunks_of(whole):
        assert await find_differences(database, chunk) == []


async def request_counts(database: Database) -> dict[str, int]:
    rows = await fetch(
        database,
        "SELECT u.external_id, sum(r.request_count) FROM usage_by_day_all r JOIN users u ON u.id = r.user_id GROUP BY 1",
    )
    return {user_id: int(count) for user_id, count in rows}


async def fetch_surfaces(gateway: Gateway) -> dict[str, str]:
    await gateway.snapshot()
    answers = {}
    for url, role in SURFACES.items():
        answer = await gateway.client.get(url, headers=await gateway.key(role, "acme" if role == "tenant" else None))
        assert answer.status_code == 200, answer.text
        answers[url] = answer.text
    return answers


async def test_the_identity_goes_and_every_sum_stays(gateway: Gateway) -> None:
    database = gateway.database
    await gateway.catalog({"model_id": "openai/gpt-4o", "public": True, "cost_per_input_token": "0.001", "cost_per_output_token": "0.01"})
    await gateway.store(
        [
            *(by_alice(shared_model_spend=number) for number in range(3)),
            by_alice(tenant_id="globex", username="alice@globex.example"),
            *(make_record(user_id="bob", username="Bob", occurred_at=NOW - timedelta(hours=1)) for _ in range(2)),
            make_record(),
        ]
    )
    before = await fetch_surfaces(gateway)
    key = await user_key(database, ALICE)
    epoch = (await fetch_write_state(database)).epoch
    assert await erase_user(database, ALICE) == Erasure(f"erased-{key}", 2, 0)
    assert (await fetch_write_state(database)).epoch == epoch + 1
    assert await mentions(database, ALICE, NAME, "globex.example") == []
    after = await fetch_surfaces(gateway)
    usage = "/api/usage/analytics"
    assert ALICE in before[usage]
    # Of the two names of the one user, that of the newest record, or of equally new ones the last by code point, was shown.
    assert after == {**before, usage: before[usage].replace(f'"{ALICE}"', f'"erased-{key}"').replace('"alice@globex.example"', "null")}
    assert '"Bob"' in after[usage]
    await assert_verified(database)
    listed = await gateway.graphql("{ users(first: 10) { nodes { userId username } } }", await gateway.key("admin"))
    assert listed["data"]["users"]["nodes"] == [{"userId": "bob", "username": "Bob"}, {"userId": f"erased-{key}", "username": None}]


async def test_writers_that_remember_the_user_forget_it(database: Database) -> None:
    first, second = Ingestor(database), Ingestor(database)
    for ingestor in (first, second):
        await ingestor.ingest(make_batch([by_alice()]))
    key = await user_key(database, ALICE)
    await erase_user(database, ALICE)
    for ingestor in (first, second):
        assert (await ingestor.ingest(make_batch([by_alice()]))).inserted == 1
    assert await request_counts(database) == {f"erased-{key}": 2, ALICE: 2}
    assert await fetch(database, f"SELECT username, username_at FROM tenant_users WHERE user_id = {key}") == [(None, None)]
    assert await fetch(database, f"SELECT username FROM tenant_users WHERE user_id <> {key}") == [(NAME,)]
    again = await user_key(database, ALICE)
    assert await erase_user(database, ALICE) == Erasure(f"erased-{again}", 1, 0)
    assert await request_counts(database) == {f"erased-{key}": 2, f"erased-{again}": 2}
    await assert_verified(database)


async def test_nothing_is_lost_and_no_name_comes_back_while_writers_write(database: Database) -> None:
    ingestors = [Ingestor(database) for _ in range(2)]
    over = asyncio.Event()
    stored: list[UsageRecord] = []
    begun_after: dict[str, int] = {}
    erased: list[str] = []

    async def write(ingestor: Ingestor, number: int) -> None:
        written = 0
        while not over.is_set():
            written += 1
            # A tenant that is new each time makes the writer register the user there.
            batch = [by_alice(), by_alice(tenant_id=f"t{number}-{written}"), make_record(user_id=f"u{number}", username=f"name {written}")]
            begun_after.update({record.request_id: len(erased) for record in batch if record.user_id == ALICE})
            receipt = await ingestor.ingest(make_batch(batch))
            assert receipt.inserted == 3
            stored.extend(batch)

    async def erase() -> None:
        try:
            while len(erased) < 8:
                await asyncio.sleep(0.12)
                try:
                    done = await erase_user(database, ALICE)
                except NotFoundError:
                    continue  # none of the writers has come again since
                assert done.anonymous_id is not None
                erased.append(done.anonymous_id)
        finally:
            over.set()

    async with asyncio.timeout(60):
        await asyncio.gather(erase(), *(write(ingestor, number) for number, ingestor in enumerate(ingestors * 3)))
    assert len(erased) == len(set(erased)) == 8
    assert await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    named = "SELECT u.external_id FROM tenant_users t JOIN users u ON u.id = t.user_id WHERE t.username IS NOT NULL AND"
    assert await fetch(database, f"{named} u.external_id LIKE 'erased-%'") == []
    counts = await request_counts(database)
    assert sum(counts.get(user, 0) for user in [*erased, ALICE]) == len(begun_after) == 2 * len(stored) // 3
    assert all(counts[user] > 0 for user in erased)
    # What was sent after an erasure was over is never the erased user's.
    rows = await fetch(database, "SELECT r.request_id, u.external_id FROM usage_records r JOIN users u ON u.id = r.user_id")
    attributed = [(begun_after[request_id], user) for request_id, user in rows if request_id in begun_after]
    assert all(user == ALICE or erased.index(user) >= count for count, user in attributed)
    await assert_verified(database)
    for rollup in ROLLUPS:
        assert sum(row["request_count"] for row in (await stored_rollup(database, rollup)).values()) == len(stored)


async def test_a_write_under_way_is_waited_for_and_its_name_goes_too(database: Database) -> None:
    await Ingestor(database).ingest(make_batch([by_alice(username=None)]))
    key = await user_key(database, ALICE)
    written, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: Connection, __: Written) -> None:
        written.set()
        await go_on.wait()

    async with asyncio.timeout(20):
        under_way = asyncio.create_task(Ingestor(database).ingest(make_batch([by_alice()]), also=hold))
        await written.wait()
        erasing = asyncio.create_task(erase_user(database, ALICE))
        await asyncio.sleep(0.2)
        # One that is to make the user a member of another tenant, and one that knows no more than the id.
        later = [Ingestor(database).ingest(make_batch([by_alice(tenant_id=tenant)])) for tenant in ("globex", "acme")]
        waiting = [asyncio.create_task(write) for write in later]
        await asyncio.sleep(0.2)
        assert not erasing.done()
        assert not any(task.done() for task in waiting)
        go_on.set()
        assert (await under_way).inserted == 1
        assert (await erasing).anonymous_id == f"erased-{key}"
        assert [(await task).inserted for task in waiting] == [1, 1]
    assert await fetch(database, f"SELECT tenant_id, username FROM tenant_users WHERE user_id = {key}") == [(1, None)]
    assert await request_counts(database) == {f"erased-{key}": 2, ALICE: 2}
    assert await fetch(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


class SlowToLeave(Database):
    """A database whose first transaction is committed for a while before its caller goes on."""

    gate: asyncio.Event | None = None

    @asynccontextmanager
    async def transaction(self, *, generic_plans: bool = False) -> AsyncIterator[Connection]:
        gate, self.gate = self.gate, None
        async with super().transaction(generic_plans=generic_plans) as connection:
            yield connection
        if gate is not None:
            await gate.wait()


async def test_what_a_write_saw_before_is_not_remembered_after(database: Database) -> None:
    slow = SlowToLeave(database.url, min_size=1, max_size=4)
    async with slow:
        shared = Ingestor(slow)
        await shared.ingest(make_batch([make_record()]))
        slow.gate = gate = asyncio.Event()
        overtaken = asyncio.create_task(shared.ingest(make_batch([by_alice()])))
        while not await request_counts(database):  # noqa: ASYNC110  (the other task's commit is waited for)
            await asyncio.sleep(0.02)
        key = await user_key(database, ALICE)
        await erase_user(database, ALICE)
        await shared.ingest(make_batch([make_record()]))  # it notices, and forgets
        gate.set()
        await overtaken
        await shared.ingest(make_batch([by_alice()]))
    assert await request_counts(database) == {f"erased-{key}": 1, ALICE: 1}
    assert await fetch(database, f"SELECT username FROM tenant_users WHERE user_id = {key}") == [(None,)]


async def test_quarantined_records_lose_the_user(database: Database) -> None:
    batch = ParsedBatch(received=5, quarantined=[aside(ALICE, 0), aside(ALICE, 1), aside("bob", 2), aside(None, 3), aside(7, 4)])
    await Ingestor(database).ingest(batch)
    await Ingestor(database).ingest(make_batch([by_alice()]))
    async with database.transaction() as connection:
        await connection.execute("UPDATE quarantined_records SET resolution = 'dropped', resolved_at = %s WHERE request_id = 'q1'", [NOW])
    assert (await erase_user(database, ALICE)).quarantined_records == 2
    rows = await fetch(database, "SELECT request_id, record ->> 'user_id', record ->> 'username' FROM quarantined_records ORDER BY 1")
    assert rows == [("q0", None, None), ("q1", None, None), ("q2", "bob", NAME), ("q3", None, NAME), ("q4", "7", NAME)]
    assert await fetch(database, "SELECT record FROM quarantined_records WHERE request_id = 'q0'") == [
        ({"tenant_id": "acme", "request_id": "q0", "prompt_tokens": -1},)
    ]
    # The same sent again is the one that is there.
    await Ingestor(database).ingest(batch)
    assert await mentions(database, ALICE) == []
    # One whom only the quarantine knows.
    epoch = (await fetch_write_state(database)).epoch
    assert await erase_user(database, "7") == Erasure(None, 0, 1)
    assert (await fetch_write_state(database)).epoch == epoch
    with pytest.raises(NotFoundError):
        await erase_user(database, "7")


async def test_what_cannot_be_erased_changes_nothing(database: Database) -> None:
    records = [by_alice(), make_record(user_id="bob", username=ALICE)]
    await Ingestor(database).ingest(make_batch(records))
    anonymous = (await erase_user(database, "bob")).anonymous_id
    assert anonymous is not None
    everything = (
        "SELECT u.id, u.external_id, t.username, w.epoch FROM users u JOIN tenant_users t ON t.user_id = u.id, write_state w ORDER BY 1"
    )
    before = await fetch(database, everything)
    for user_id, error in (
        ("bob", NotFoundError),
        ("nobody", NotFoundError),
        ("", NotFoundError),
        (ALICE.upper(), NotFoundError),
        ("%", NotFoundError),
        (anonymous, BadInputError),
        ("a\0b", BadInputError),
        ("\ud800", BadInputError),
    ):
        with pytest.raises(error):
            await erase_user(database, user_id)
    assert await fetch(database, everything) == before


async def test_an_anonymous_id_is_nobodys(database: Database) -> None:
    ingestor = Ingestor(database)
    await ingestor.ingest(make_batch([by_alice()]))
    key = await user_key(database, ALICE)
    impostors = [f"erased-{key}", f"erased-{key}-2", f"erased-{key}0", f"erased-{key}-33"]
    await ingestor.ingest(make_batch([make_record(user_id=user_id, username=user_id) for user_id in impostors]))
    assert (await erase_user(database, ALICE)).anonymous_id == f"erased-{key}-3"
    other = await user_key(database, impostors[0])
    assert (await erase_user(database, impostors[0])).anonymous_id == f"erased-{other}"
    assert await request_counts(database) == {f"erased-{key}-3": 1, f"erased-{other}": 1, **dict.fromkeys(impostors[1:], 1)}
    with pytest.raises(BadInputError):
        await erase_user(database, f"erased-{key}-3")


async def test_two_at_once_erase_once(database: Database) -> None:
    await Ingestor(database).ingest(make_batch([by_alice()]))
    epoch = (await fetch_write_state(database)).epoch
    ends = await asyncio.gather(*(erase_user(database, ALICE) for _ in range(4)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Erasure", *["NotFoundError"] * 3]
    assert (await fetch_write_state(database)).epoch == epoch + 1


async def test_the_command(database: Database) -> None:
    await Ingestor(database).ingest(make_batch(records := [by_alice(), by_alice(tenant_id="globex")]))
    key = await user_key(database, ALICE)
    code, output, _ = await run_command(database.url, "users", "erase", ALICE)
    assert code == 0
    assert output == (
        f"erased: the user is now erased-{key}, without a name, in 2 tenants\n0 quarantined records lost the user's id and name\n"
    )
    for user_id, message in ((ALICE, "no user has this id"), ("[/bold]", "no user has this id"), (f"erased-{key}", "anonymous id")):
        code, output, errors = await run_command(database.url, "users", "erase", user_id)
        assert (code, output) == (1, "")
        assert message in errors
    code, output, _ = await run_command(database.url, "rollups", "verify")
    assert code == 0
    renamed = [record._replace(user_id=f"erased-{key}") for record in records]
    await assert_rollups_equal(database, unpriced(renamed))


async def test_the_mutation_is_for_admins(gateway: Gateway) -> None:
    await gateway.store([by_alice()])
    key = await user_key(gateway.database, ALICE)

    async def erase(user_id: str, role: Role | None) -> tuple[Any, list[str]]:
        headers = {} if role is None else await gateway.key(role, "acme" if role is Role.TENANT else None)
        document = "mutation($id: String!) { eraseUser(userId: $id) { userId tenants quarantinedRecords } }"
        answer = await gateway.graphql(document, headers, id=user_id)
        return answer["data"]["eraseUser"], [error["extensions"]["code"] for error in answer.get("errors", ())]

    for role in (None, Role.TENANT, Role.GATEWAY, Role.INGEST):
        assert await erase(ALICE, role) == (None, ["UNAUTHENTICATED" if role is None else "FORBIDDEN"])
    assert await request_counts(gateway.database) == {ALICE: 1}
    assert await erase(ALICE, Role.ADMIN) == ({"userId": f"erased-{key}", "tenants": 1, "quarantinedRecords": 0}, [])
    assert await erase(ALICE, Role.ADMIN) == (None, ["NOT_FOUND"])
    assert await erase(f"erased-{key}", Role.ADMIN) == (None, ["BAD_USER_INPUT"])
