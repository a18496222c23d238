"""A clock that jumps days or years and comes back: nothing is lost or doubled, and what runs by the clock goes on by the right one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.auth.store import KeyRequest, create_key
from app.domain.principal import Role
from app.domain.usage import UsageRecord
from app.jobs.loop import Job
from app.jobs.schedule import build_jobs
from app.summaries.retention import kept_since, retain_records
from app.write.batch import Ingestor
from app.write.rotation import RETRY_WINDOW, rotate_request_ids
from tests.clock import NOW
from tests.factories import assert_rollups_equal, make_batch, make_record, unpriced
from tests.faults.traffic import PATH, as_json
from tests.gateway import Gateway

EVERY = timedelta(minutes=10)
DAYS = timedelta(days=10)
YEARS = timedelta(days=3653)
KEPT = timedelta(days=90)


def jobs_of(gateway: Gateway, retention: timedelta | None = None) -> dict[str, Job]:
    """Return the jobs of a gateway by name."""
    return {job.name: job for job in build_jobs(gateway.database, gateway.clock, EVERY, retention)}


async def run_jobs(gateway: Gateway, retention: timedelta | None = None) -> None:
    """Run every job once, as a gateway does that is started."""
    for job in jobs_of(gateway, retention).values():
        await job.run()


async def post(gateway: Gateway, headers: dict[str, str], records: Sequence[UsageRecord]) -> dict[str, Any]:
    answer = await gateway.client.post(PATH, json=[as_json(record) for record in records], headers=headers)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def recent(gateway: Gateway, name: str, number: int = 5) -> list[UsageRecord]:
    """Return records that occurred in the last minutes by the gateway's clock."""
    return [make_record(request_id=f"{name}-{n}", occurred_at=gateway.clock.now - timedelta(minutes=n)) for n in range(number)]


def restamped(records: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Return retries of a client that stamps them anew."""
    return [record._replace(occurred_at=record.occurred_at - timedelta(seconds=7), prompt_tokens=1) for record in records]


@pytest.mark.parametrize("jump", [DAYS, YEARS, -DAYS, -timedelta(days=5 * 365)], ids=["days on", "years on", "days back", "years back"])
async def test_records_are_neither_lost_nor_doubled_by_a_jump_and_the_way_back(gateway: Gateway, jump: timedelta) -> None:
    headers = await gateway.key("ingest")
    await run_jobs(gateway)
    first = recent(gateway, "first")
    assert (await post(gateway, headers, first))["inserted"] == 5

    gateway.clock.advance(jump)
    await run_jobs(gateway)
    during = recent(gateway, "during")
    assert (await post(gateway, headers, during))["inserted"] == 5
    if jump > timedelta(0):
        assert (await post(gateway, headers, [*first, *restamped(first)]))["duplicates"] == 10
    await run_jobs(gateway)

    gateway.clock.now = NOW + timedelta(minutes=20)
    await run_jobs(gateway)
    after = recent(gateway, "after")
    assert (await post(gateway, headers, after))["inserted"] == 5
    again = [*first, *restamped(first), *after, *restamped(after)]
    if jump < timedelta(0):  # otherwise they are too far ahead to be taken at all
        again += [*during, *restamped(during)]
    assert (await post(gateway, headers, again))["duplicates"] == len(again)
    await assert_rollups_equal(gateway.database, unpriced([*first, *during, *after]))


async def test_the_network_is_shown_as_of_now_again_as_soon_as_the_clock_is_back(gateway: Gateway) -> None:
    headers = await gateway.key("ingest")
    await post(gateway, headers, recent(gateway, "first"))
    snapshot = jobs_of(gateway)["snapshot"]
    for jump in (DAYS, YEARS, -YEARS / 10):
        gateway.clock.now = NOW + jump
        assert await snapshot.run() <= EVERY
        assert await _shown(gateway) == gateway.clock.now

        gateway.clock.now = NOW + timedelta(minutes=1)
        assert await snapshot.run() <= EVERY
        assert await _shown(gateway) == (gateway.clock.now if jump > timedelta(0) else NOW + timedelta(minutes=1))
        answer = (await gateway.client.get("/api/v1/analytics/network")).json()
        assert answer["totals"]["requests"] == 5

        # And from then on at its times.
        gateway.clock.advance(EVERY)
        await snapshot.run()
        assert await _shown(gateway) == gateway.clock.now


async def _shown(gateway: Gateway) -> datetime:
    answer = (await gateway.client.get("/api/v1/analytics/network")).json()
    return datetime.fromisoformat(answer["generated_at"])


async def test_a_retry_is_known_while_the_clock_is_wrong_and_the_ids_are_rotated_again_when_it_is_right(gateway: Gateway) -> None:
    """A generation that began years ahead must not be kept for years."""
    headers = await gateway.key("ingest")
    await run_jobs(gateway)
    gateway.clock.advance(YEARS)
    assert await rotate_request_ids(gateway.database, gateway.clock())
    gateway.clock.now = NOW + timedelta(hours=1)
    assert not await rotate_request_ids(gateway.database, gateway.clock()), "what came in lately is not forgotten early"
    records = recent(gateway, "after")
    await post(gateway, headers, records)

    rotated = []
    while gateway.clock.now < NOW + timedelta(days=45):
        gateway.clock.advance(timedelta(hours=6))
        if await rotate_request_ids(gateway.database, gateway.clock()):
            rotated.append(gateway.clock.now)
        if gateway.clock.now - NOW < RETRY_WINDOW:
            assert (await post(gateway, headers, restamped(records)))["duplicates"] == 5
    assert rotated, "the ids are never rotated again"
    assert rotated[0] < NOW + timedelta(days=35)
    assert all(later - earlier >= RETRY_WINDOW for earlier, later in pairwise(rotated))


async def test_two_hosts_whose_clocks_differ_by_days_do_not_forget_ids_early(gateway: Gateway) -> None:
    """Whichever host's job comes first, no id is forgotten before the window of the one whose clock is right is over."""
    headers = await gateway.key("ingest")
    ahead = timedelta(days=5)
    await run_jobs(gateway)
    records = recent(gateway, "both")
    await post(gateway, headers, records)
    for hour in range(int(RETRY_WINDOW / timedelta(hours=1))):
        gateway.clock.now = NOW + timedelta(hours=hour)
        for host_clock in (gateway.clock.now + ahead, gateway.clock.now):
            await rotate_request_ids(gateway.database, host_clock)
        assert (await post(gateway, headers, restamped(records)))["duplicates"] == 5, f"after {hour} hours"


async def test_a_clock_that_jumps_ahead_drops_no_record_and_refuses_none_afterwards(gateway: Gateway) -> None:
    """What is kept is counted from the newest record: a wrong clock alone must not make everything old at once."""
    headers = await gateway.key("ingest")
    old = [make_record(request_id=f"old-{n}", occurred_at=NOW - timedelta(days=100 * n, hours=1)) for n in range(4)]
    await Ingestor(gateway.database).ingest(make_batch(old))
    await run_jobs(gateway, KEPT)
    kept = [record for record in old if record.occurred_at >= kept_since(NOW, KEPT)]
    assert 0 < len(kept) < len(old)
    assert await _stored_ids(gateway) == {record.request_id for record in kept}

    gateway.clock.advance(YEARS)
    await run_jobs(gateway, KEPT)
    await retain_records(gateway.database, gateway.clock(), KEPT)
    gateway.clock.now = NOW + timedelta(hours=1)
    assert await _stored_ids(gateway) == {record.request_id for record in kept}
    records = recent(gateway, "after")
    assert (await post(gateway, headers, records))["inserted"] == 5

    # Time that really passes, with records in it, makes them old as ever.
    gateway.clock.advance(timedelta(days=200))
    later = recent(gateway, "later")
    assert (await post(gateway, headers, later))["inserted"] == 5
    await run_jobs(gateway, KEPT)
    assert await _stored_ids(gateway) == {record.request_id for record in later}


async def _stored_ids(gateway: Gateway) -> set[str]:
    async with gateway.database.read_connection() as connection:
        rows = await (await connection.execute("SELECT request_id FROM usage_records")).fetchall()
    return {row[0] for row in rows}


async def test_rate_limits_do_not_open_or_close_with_the_clock(gateway: Gateway) -> None:
    headers = await gateway.key("tenant", "acme")

    async def ask() -> tuple[int, int | None]:
        answer = await gateway.client.get("/api/v1/datasets/rankings-daily", headers=headers)
        retry = answer.headers.get("retry-after")
        return answer.status_code, None if retry is None else int(retry)

    assert [(await ask())[0] for _ in range(31)] == [200] * 30 + [429]
    for jump in (timedelta(hours=1), DAYS, YEARS, -DAYS, -YEARS / 10):
        gateway.clock.now = NOW + jump
        status, retry_after = await ask()
        assert status == 429
        assert retry_after is not None
        assert 1 <= retry_after <= 60


async def test_a_key_that_expired_by_a_wrong_clock_opens_again_when_it_is_right(gateway: Gateway) -> None:
    made = await create_key(gateway.database, KeyRequest(Role.ADMIN, expires_at=NOW + timedelta(days=30)), NOW)
    headers = {"Authorization": f"Bearer {made.secret}"}
    statuses = []
    for jump in (timedelta(0), YEARS, timedelta(minutes=1), -DAYS):
        gateway.clock.now = NOW + jump
        statuses.append((await gateway.client.get("/v1/analytics", headers=headers)).status_code)
    assert statuses == [200, 401, 200, 200]
