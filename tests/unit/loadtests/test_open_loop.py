"""The generator: everything goes when it is due, and nothing is hidden when it cannot."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.harness.open_loop import Planned
from loadtests.harness.request import ImageRequest, Kind, Outcome
from loadtests.harness.statistics import Window, figures_of, lag_of
from tests.unit.loadtests.makers import DONE, AnswersAfter, make_request, plan_every, play
from tests.unit.loadtests.virtual_time import run_virtually

STALL_BEGINS_S, STALL_ENDS_S, SERVICE_S = 2.0, 3.0, 0.01


def stalls(now_s: float) -> float:
    """Answer in 10 ms, but nothing during one second."""
    if STALL_BEGINS_S <= now_s < STALL_ENDS_S:
        return STALL_ENDS_S - now_s + SERVICE_S
    return SERVICE_S


async def closed_loop(target: AnswersAfter, gap_s: float, count: int) -> list[float]:
    """What many load tools do: ask, wait for the answer, wait a little, ask again."""
    loop = asyncio.get_running_loop()
    taken_s = []
    for _ in range(count):
        began_s = loop.time()
        await target.send(make_request())
        taken_s.append(loop.time() - began_s)
        await asyncio.sleep(max(0.0, gap_s - taken_s[-1]))
    return taken_s


def slow(latencies_s) -> int:
    return sum(latency_s > 5 * SERVICE_S for latency_s in latencies_s)


def test_a_stall_shows_in_every_request_due_during_it():
    recording = run_virtually(play(plan_every(0.05, 100), AnswersAfter(stalls)))
    due_in_stall = [
        each for each in recording.samples if STALL_BEGINS_S <= each.due_s < STALL_ENDS_S - 0.04
    ]
    assert len(due_in_stall) == 20
    for each in due_in_stall:
        assert each.latency_s == pytest.approx(STALL_ENDS_S - each.due_s + SERVICE_S)
    assert slow(each.latency_s for each in recording.samples) == 20


def test_a_closed_loop_hides_the_same_stall():
    """The control of the test above: the same server, asked as often, shows one slow answer."""
    assert slow(run_virtually(closed_loop(AnswersAfter(stalls), 0.05, 100))) == 1


def test_requests_go_when_they_are_due_whatever_the_server_does():
    target = AnswersAfter(lambda _: 1000.0)
    recording = run_virtually(play(plan_every(0.5, 10), target, request_timeout_s=3.2))
    assert target.asked_at_s == pytest.approx([index * 0.5 for index in range(10)])
    assert {each.kind for each in recording.samples} == {Kind.TIMED_OUT}
    assert {each.code for each in recording.samples} == {"client_timeout"}
    assert [each.latency_s for each in recording.samples] == pytest.approx([3.2] * 10)
    assert target.abandoned == 10
    assert recording.peak_in_flight == 7  # due from 0.0 to 3.0


def test_what_finds_no_room_is_counted_and_never_sent_later():
    target = AnswersAfter(lambda _: 2.2)
    recording = run_virtually(play(plan_every(1.0, 6), target, max_in_flight=2))
    kinds = [each.kind for each in recording.samples]
    overflow = Kind.OVERFLOW
    assert kinds == [Kind.DONE, Kind.DONE, overflow, Kind.DONE, Kind.DONE, overflow]
    assert target.asked_at_s == pytest.approx([0.0, 1.0, 3.0, 4.0])
    assert recording.samples[2].code == "max_in_flight"
    assert recording.peak_in_flight == 2


def test_a_client_that_leaves_takes_its_request_with_it():
    target = AnswersAfter(lambda _: 5.0)
    plan = plan_every(1.0, 3, leave_after_s=0.25)
    recording = run_virtually(play(plan, target))
    assert {each.kind for each in recording.samples} == {Kind.LEFT}
    assert [each.latency_s for each in recording.samples] == pytest.approx([0.25] * 3)
    assert not any(each.is_patient for each in recording.samples)
    assert target.abandoned == 3


def test_a_run_ends_by_itself_when_the_server_never_answers():
    async def timed() -> float:
        await play(plan_every(1.0, 3), AnswersAfter(lambda _: 1e9), duration_s=5.0, drain_s=2.0)
        return asyncio.get_running_loop().time()

    assert run_virtually(timed()) == pytest.approx(7.0)


def test_what_is_under_way_at_the_end_of_the_run_is_marked_as_given_up():
    recording = run_virtually(
        play(plan_every(1.0, 2), AnswersAfter(lambda _: 1e9), duration_s=5.0, drain_s=2.0)
    )
    assert [each.code for each in recording.samples] == ["run_over"] * 2
    assert [each.latency_s for each in recording.samples] == pytest.approx([7.0, 6.0])


class HoldsTheLoopUp:
    """A client so slow at one answer that the generator itself cannot send for a second."""

    async def send(self, request: ImageRequest) -> Outcome:
        loop = asyncio.get_running_loop()
        if loop.time() == pytest.approx(1.0):
            loop.block(1.0)  # type: ignore[attr-defined]
        await asyncio.sleep(SERVICE_S)
        return DONE


def test_a_late_generator_says_so_and_latency_counts_from_when_it_was_due():
    recording = run_virtually(play(plan_every(0.1, 30), HoldsTheLoopUp()))
    late = [each for each in recording.samples if each.lag_s > 0.05]
    assert len(late) == 9  # due from 1.1 to 1.9, sent at 2.0
    for each in late:
        assert each.latency_s == pytest.approx(2.0 - each.due_s + SERVICE_S)
        assert each.service_s == pytest.approx(SERVICE_S)
    assert lag_of(recording.samples).max_s == pytest.approx(0.9)


def test_percentiles_with_and_without_the_generators_delay_are_told_apart():
    recording = run_virtually(play(plan_every(0.1, 30), HoldsTheLoopUp()))
    figures = figures_of(recording.samples, Window(0.0, 10.0), {})
    assert figures.latency is not None
    assert figures.service is not None
    assert figures.latency.p99_s == pytest.approx(1.0 + SERVICE_S)  # the one that blocked
    assert figures.latency.p90_s > 0.5
    assert figures.service.p90_s == pytest.approx(SERVICE_S)


def test_a_defect_of_the_target_ends_the_run():
    class Broken:
        async def send(self, request: ImageRequest) -> Outcome:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        run_virtually(play([Planned(0.0, make_request())], Broken()))
    assert caught.group_contains(ZeroDivisionError)


def test_a_timeout_of_the_targets_own_is_a_defect_and_no_answer():
    class Broken:
        async def send(self, request: ImageRequest) -> Outcome:
            raise TimeoutError

    with pytest.raises(ExceptionGroup) as caught:
        run_virtually(play([Planned(0.0, make_request())], Broken()))
    assert caught.group_contains(TimeoutError)


def test_outcomes_are_handed_on_as_they_come():
    from loadtests.harness.open_loop import LoadOptions, offer

    seen = []
    options = LoadOptions(duration_s=5.0)
    run_virtually(
        offer(
            plan_every(1.0, 3),
            AnswersAfter(lambda now_s: 2.5 - now_s),  # the last one first
            options,
            on_outcome=lambda sample, outcome: seen.append((sample.number, outcome.pictures)),
        )
    )
    assert sorted(seen) == [(number, (b"picture",)) for number in range(3)]
