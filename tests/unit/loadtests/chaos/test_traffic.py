"""The clients of the chaos scenarios keep account of everybody."""

from __future__ import annotations

import asyncio

from loadtests.chaos.clients import ANSWER
from loadtests.chaos.traffic import Traffic
from loadtests.harness.request import ImageRequest, Kind, Outcome
from tests.unit.loadtests.makers import DONE, AnswersAfter


def started(target, **options) -> Traffic:
    return Traffic(target, (ANSWER,), 500.0, **options)


async def run_until(traffic: Traffic, done: int) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run())
        assert await traffic.until_done(done, 10.0)
        traffic.stop()


async def test_everybody_who_was_sent_has_an_answer_when_it_ends():
    server = AnswersAfter(lambda _: 0.01)
    traffic = started(server)
    await run_until(traffic, 3)
    assert len(traffic.samples) == len(server.asked_at_s) >= 3
    assert {sample.kind for sample in traffic.samples} == {Kind.DONE}
    assert server.abandoned == traffic.in_flight == 0


async def test_a_client_that_is_not_answered_is_counted_as_such():
    traffic = started(AnswersAfter(lambda _: 60.0), request_timeout_s=0.01)
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run())
        assert not await traffic.until_done(1, 0.1)
        traffic.stop()
    assert {sample.code for sample in traffic.samples} == {"client_timeout"}


async def test_who_comes_when_too_many_wait_is_counted_and_not_sent():
    server = AnswersAfter(lambda _: 0.2)
    traffic = started(server, max_in_flight=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run())
        assert await traffic.until_answered(frozenset({"max_in_flight"}), 3, 10.0)
        traffic.stop()
    assert sum(sample.kind is Kind.OVERFLOW for sample in traffic.samples) >= 3


async def test_pictures_are_told_by_when_they_were_asked_for():
    traffic = started(AnswersAfter(lambda _: 0.0))
    await run_until(traffic, 2)
    middle_s = traffic.samples[-1].sent_s
    early, late = traffic.pictures(until_s=middle_s), traffic.pictures(middle_s)
    assert late
    assert len(early) + len(late) == len(traffic.pictures()) == len(traffic.samples)


async def test_pictures_that_came_before_an_error_are_kept():
    class Breaks:
        async def send(self, request: ImageRequest) -> Outcome:
            return Outcome(kind=Kind.FAILED, code="ledger_failed", pictures=(b"preview",))

    traffic = started(Breaks())
    await traffic.ask(traffic.draw(ANSWER))
    assert traffic.pictures() == [b"preview"]
    assert traffic.samples[0].code == "ledger_failed"


async def test_others_are_taken_over_with_their_times():
    first, second = started(AnswersAfter(lambda _: 0.0)), started(AnswersAfter(lambda _: 0.0))
    second.began_s = first.began_s + 100.0
    await second.ask(second.draw(ANSWER))
    first.take(second)
    assert first.samples[0].sent_s == second.samples[0].sent_s + 100.0
    assert first.pictures(first.samples[0].sent_s) == list(DONE.pictures)
