"""However requests come, cross and end, use case and front doors hold nothing afterwards."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.domain.identity import RequestId
from service.domain.progress import Phase
from service.errors import RateLimited
from tests.interleaving_kit import AT_ONCE, CALLERS, Bench, Call, DirectVisit, HttpVisit

IDS = ("a", "b", "c", "d")
TURNS = 24
TURNS_TO_STOP = 3
MOST_TURNS = 3000
ENDED = {Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.EXPIRED}

calls = st.builds(
    Call,
    door=st.sampled_from(["unary", "sse", "once", "infer", "direct"]),
    at_turn=st.integers(0, TURNS // 2),
    caller=st.integers(0, 1),
    request_id=st.sampled_from(IDS),
    seed=st.integers(0, 11),
    steps=st.sampled_from([1, 2, 5, 40]),
    pictures=st.integers(1, 3),
    leaves_after=st.none() | st.integers(0, 12),
    cancelled_after=st.none() | st.integers(0, 12),
    timeout_turns=st.sampled_from([1, 3, 8, 500]),
)


Visits = list[tuple[Call, HttpVisit | DirectVisit]]


async def play(bench: Bench, wanted: list[Call]) -> None:
    """Let every call come and end as it wants to."""
    visits: Visits = []
    for turn in range(MOST_TURNS):
        for call in wanted:
            if call.at_turn == turn:
                door = DirectVisit if call.door == "direct" else HttpVisit
                visits.append((call, door(bench, call)))
        end_some(bench, visits, turn)
        await bench.turn()
        if turn > TURNS:
            if all(visit.task.done() for _, visit in visits):
                break
            await asyncio.sleep(0.0005)  # a body is digested in a real thread
    for _, visit in visits:
        visit.check()
    for _ in range(TURNS_TO_STOP):  # where nobody waits any more, nothing is drawn
        await bench.turn()
    assert bench.engine.is_idle


def end_some(bench: Bench, visits: Visits, turn: int) -> None:
    for call, visit in visits:
        if call.leaves_after is not None and turn == call.at_turn + call.leaves_after:
            visit.leave()
        if call.cancelled_after is not None and turn == call.at_turn + call.cancelled_after:
            bench.use_case.cancel(RequestId(call.request_id))


async def check_nothing_is_left(bench: Bench) -> None:
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (bench.engine.running_images, bench.queue.depth) == (0, 0)
    assert bench.idempotent.running == {}
    ids = [RequestId(name) for base in IDS for name in (base, *(f"{base}.{i}" for i in range(3)))]
    for request_id in ids:
        progress = bench.use_case.progress(request_id)
        assert progress is None or progress.phase in ENDED
        if progress is None:  # an id that was never let in belongs to nobody
            assert not any(
                bench.access.owners.may_see(request_id, bench.caller(i)) for i in range(2)
            )
    for index in range(len(CALLERS)):
        check_account_is_empty(bench, index)


def check_account_is_empty(bench: Bench, index: int) -> None:
    """All of a caller's places are free: so many generations begin, and no more."""
    with ExitStack() as held:
        for _ in range(AT_ONCE):
            held.enter_context(bench.access.quota.hold(bench.caller(index), 1.0))
        try:
            held.enter_context(bench.access.quota.hold(bench.caller(index), 1.0))
        except RateLimited:
            return
    raise AssertionError("the limit does not hold")


async def check_every_id_can_be_used_again(bench: Bench) -> None:
    """A request that were still live would refuse its id."""
    for name in IDS:
        owners = bench.access.owners
        seeing = [i for i in range(2) if owners.may_see(RequestId(name), bench.caller(i))]
        again = Call("unary", 0, seeing[0] if seeing else 0, name, 1, 1, 1, None, None, 500)
        visit = HttpVisit(bench, again)
        for _ in range(MOST_TURNS):
            if visit.task.done():
                break
            await bench.turn()
        visit.check()
        assert visit.sent[0]["status"] == 200
    await bench.turn()


def leaving_at_once(door: str) -> Call:
    return Call(door, 0, 0, "a", 1, 3, 2, 0, None, 500)


def staying(request_id: str, pictures: int) -> Call:
    return Call("direct", 0, 0, request_id, 1, 3, pictures, None, None, 500)


@settings(max_examples=80, deadline=None)
@given(wanted=st.lists(calls, min_size=1, max_size=9), timeout_s=st.sampled_from([4.0, 500.0]))
@example(wanted=[leaving_at_once("sse")], timeout_s=500.0)
@example(
    wanted=[staying("a", 3), staying("b", 3), staying("c", 3)], timeout_s=500.0
)  # a full queue
@example(wanted=[leaving_at_once("once"), leaving_at_once("infer")], timeout_s=500.0)
def test_nothing_is_left_of_requests_whatever_becomes_of_them(wanted, timeout_s):
    async def scenario() -> None:
        bench = Bench(timeout_s)
        await play(bench, wanted)
        await check_nothing_is_left(bench)
        await check_every_id_can_be_used_again(bench)
        await check_nothing_is_left(bench)

    asyncio.run(scenario())
