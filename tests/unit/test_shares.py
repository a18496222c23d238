"""Connections by purpose and caller: what is reserved is there at once, callers take turns, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.shares import BACKGROUND, INGEST, SERVICE, UNPACED_QUERIES, Purpose, Request, Shares, Turns, Workload
from app.domain.errors import NoConnectionFreeError

_requests: dict[tuple[str, int], Request] = {}


def query(caller: str, request: int = 0) -> Workload:
    return Workload(Purpose.QUERY, caller, _requests.setdefault((caller, request), Request()))


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@given(st.integers(4, 1000))
def test_each_purpose_has_connections_that_no_other_takes(connections: int) -> None:
    shares = Shares.of(connections)
    assert shares.service + shares.ingest + shares.common == connections
    assert 1 <= shares.queries < shares.common, "jobs have at least one that no question takes"
    assert 2 <= shares.background <= shares.common, "a job may hold one for its lock and one to work with"
    assert 1 <= shares.request <= shares.caller <= shares.queries
    if connections >= 8:
        assert shares.caller < shares.queries, "one caller leaves some to others"
        assert shares.background < shares.common, "jobs leave one to questions"
        assert shares.common - shares.queries == 2


async def test_no_number_of_questions_delays_what_is_reserved() -> None:
    turns = Turns(Shares.of(10))
    asked = [asyncio.create_task(turns.take(query(f"k{number % 50}", number))) for number in range(2_000)]
    await settle()
    assert turns.held(Purpose.QUERY) == 4
    for reserved in (SERVICE, SERVICE, INGEST, INGEST, BACKGROUND, BACKGROUND):
        taking = turns.take(reserved)
        with pytest.raises(StopIteration):  # it returns without having waited
            taking.send(None)
    assert sum(turns.held(purpose) for purpose in Purpose) == 10
    for task in asked:
        task.cancel()
    await settle()


async def test_one_caller_and_one_request_get_their_share_and_no_more() -> None:
    turns = Turns(Shares(1, 1, 12, 3, queries=9, caller=5, request=3))
    one = [asyncio.create_task(turns.take(query("greedy", 1))) for _ in range(20)]
    await settle()
    assert turns.held(Purpose.QUERY) == 3
    two = [asyncio.create_task(turns.take(query("greedy", 2))) for _ in range(20)]
    await settle()
    assert (turns.held(Purpose.QUERY), sum(task.done() for task in two)) == (5, 2)
    await asyncio.wait_for(turns.take(query("modest")), 5)
    assert turns.held(Purpose.QUERY) == 6
    for task in one + two:
        task.cancel()
    await settle()


async def test_callers_take_turns_and_so_do_the_requests_of_one() -> None:
    turns = Turns(Shares(1, 1, 2, 2, queries=1, caller=1, request=1))
    await turns.take(query("first"))
    order: list[Workload] = []

    async def ask(who: Workload) -> None:
        await turns.take(who)
        order.append(who)

    line = [*[query("a", 1)] * 3, *[query("a", 2)] * 2, *[query("b", 1)] * 2, query("c", 1)]
    tasks = [asyncio.create_task(ask(who)) for who in line]
    await settle()
    leaving = query("first")
    for _ in line:
        turns.give_back(leaving)
        await settle()
        leaving = order[-1]
    numbers = {request: number for (_, number), request in _requests.items()}
    assert [(who.caller, numbers[who.request]) for who in order if who.request is not None] == [
        *(("a", 1), ("b", 1), ("c", 1)),
        *(("a", 2), ("b", 1)),
        *(("a", 1), ("a", 2), ("a", 1)),
    ]
    await asyncio.gather(*tasks)


async def test_who_waits_too_long_is_told_that_the_gateway_is_busy() -> None:
    turns = Turns(Shares.of(4), wait_seconds=0.01)
    await turns.take(query("a"))
    for _ in range(2):
        with pytest.raises(NoConnectionFreeError) as caught:
            await turns.take(query("b"))
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("BUSY", 503, 2)
    assert "busy" in caught.value.message
    assert "reached" not in caught.value.message
    turns.give_back(query("a"))
    await turns.take(query("b"))
    assert turns.held(Purpose.QUERY) == 1


async def test_who_waits_for_its_own_request_goes_on_waiting() -> None:
    turns = Turns(Shares(1, 1, 2, 2, queries=2, caller=1, request=1), wait_seconds=0.01)
    await turns.take(query("a", 1))
    own = asyncio.create_task(turns.take(query("a", 1)))
    with pytest.raises(NoConnectionFreeError):  # another request of the caller, whose patience begins later
        await turns.take(query("a", 2))
    assert not own.done()
    turns.give_back(query("a", 1))
    await own
    turns.give_back(query("a", 1))
    assert turns.held(Purpose.QUERY) == 0


async def test_who_goes_away_leaves_the_turn_to_others() -> None:
    turns = Turns(Shares.of(4))
    await turns.take(query("a"))
    waiting = [asyncio.create_task(turns.take(query(name))) for name in "bcd"]
    await settle()
    waiting[0].cancel()  # it has not run since when its turn comes
    turns.give_back(query("a"))
    waiting[1].cancel()  # its turn has come, and it has not run since
    await settle()
    assert [task.cancelled() for task in waiting] == [True, True, False]
    assert waiting[2].done()
    assert turns.held(Purpose.QUERY) == 1


@given(st.lists(st.tuples(st.sampled_from(list(Purpose)), st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=60))
async def test_whatever_comes_and_goes_shares_hold_and_everybody_is_served(steps: list[tuple[Purpose, int, int, bool]]) -> None:
    shares = Shares.of(9)
    turns = Turns(shares, pace_seconds=0)
    held: list[Workload] = []
    done = 0

    async def ask(who: Workload) -> None:
        nonlocal done
        await turns.take(who)
        held.append(who)
        done += 1

    def check() -> None:
        by_purpose = Counter(who.purpose for who in held)
        assert by_purpose[Purpose.SERVICE] <= shares.service
        assert by_purpose[Purpose.INGEST] <= shares.ingest
        assert by_purpose[Purpose.QUERY] <= shares.queries
        assert by_purpose[Purpose.QUERY] + by_purpose[Purpose.BACKGROUND] <= shares.common
        assert max(Counter(who.caller for who in held if who.caller).values(), default=0) <= shares.caller
        assert max(Counter(who.request for who in held if who.request).values(), default=0) <= shares.request

    tasks = []
    for purpose, caller, request, leaves in steps:
        who = query(f"k{caller}", request) if purpose is Purpose.QUERY else Workload(purpose)
        tasks.append(asyncio.create_task(ask(who)))
        if leaves and held:
            turns.give_back(held.pop(0))
        await settle()
        check()
    while held:
        turns.give_back(held.pop(0))
        await settle()
        check()
    assert done == len(steps)
    await asyncio.gather(*tasks)
    assert not any(turns.held(purpose) for purpose in Purpose)


async def test_while_records_are_written_many_questions_of_one_request_begin_apart() -> None:
    turns = Turns(Shares.of(10))
    many = query("tenant", 100)

    async def ask(who: Workload) -> None:
        await turns.take(who)
        turns.give_back(who)

    await turns.take(INGEST)
    for _ in range(UNPACED_QUERIES):
        begun = ask(many)
        with pytest.raises(StopIteration):
            begun.send(None)
    later = [asyncio.create_task(ask(many)) for _ in range(4)]
    await settle()
    assert [task.done() for task in later] == [True, False, False, False]
    for other in (query("dashboard", 100), query("tenant", 101)):
        begun = ask(other)
        with pytest.raises(StopIteration):  # neither waits behind them
            begun.send(None)
    await asyncio.gather(*later)


async def test_while_nothing_is_written_questions_begin_at_once() -> None:
    turns = Turns(Shares.of(10))
    many = query("tenant", 102)
    for _ in range(5 * UNPACED_QUERIES):
        taking = turns.take(many)
        with pytest.raises(StopIteration):
            taking.send(None)
        turns.give_back(many)
