"""What the engine reports besides pictures: shapes, shares, busy time, encoding, how it ended."""

from __future__ import annotations

import asyncio

from models.families.toy import ToyModel
from service.domain.events import Decoded, Encoded, Finished, Outcome, StepDone, Woke, Worked
from service.domain.identity import Deadline, RequestId
from tests.factories import EngineBench, ThreadedEngine, make_request, make_source


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_a_step_says_its_shape_and_whose_rows_it_had():
    bench = EngineBench()
    guided, _ = bench.submit(make_request(guidance=3.0))
    plain, _ = bench.submit(make_request(guidance=0.0, num_images=2))
    wide, _ = bench.submit(make_request(size=(96, 64), guidance=0.0))
    bench.run()
    steps = of(StepDone, bench.observer.events)
    assert {step.size_px for step in steps} == {(64, 64), (96, 64)}
    assert {step.model_id for step in steps} == {"toy"}
    ids = (guided.request_id, plain.request_id, wide.request_id)
    assert steps[0].shares == ((ids[0], 2), (ids[1], 1), (ids[1], 1))
    assert all(sum(rows for _, rows in step.shares) == step.rows for step in steps)
    assert {event.request_id for event in of(Decoded, bench.observer.events)} == set(ids)


def test_busy_time_is_what_turns_with_work_have_taken():
    def take_time(*_):
        bench.clock.now_s += 0.25

    bench = EngineBench(ToyModel(on_denoise=take_time))
    bench.loop.tick()  # nothing to do
    assert not of(Worked, bench.observer.events)
    bench.submit(make_request(steps=4))
    bench.run()
    assert sum(event.busy_s for event in of(Worked, bench.observer.events)) == 1.0


def test_prompts_are_encoded_once_an_image_and_a_picture_once_a_request():
    bench = EngineBench()
    bench.submit(make_request(num_images=2, steps=5, source=make_source()))
    bench.submit(make_request())
    bench.run()
    whats = [event.what for event in of(Encoded, bench.observer.events)]
    assert sorted(whats) == ["picture", "prompt", "prompt", "prompt"]


def test_a_deadline_is_missed_in_the_queue_or_while_running():
    bench = EngineBench(max_batch_rows=2)
    running, _ = bench.submit(timeout_s=1)
    queued, _ = bench.submit(timeout_s=1)
    bench.loop.tick()
    bench.clock.now_s += 2
    bench.loop.tick()
    (first,) = bench.observer.finished(running.request_id)
    (second,) = bench.observer.finished(queued.request_id)
    assert (first.outcome, first.has_started) == (Outcome.EXPIRED, True)
    assert (second.outcome, second.has_started) == (Outcome.EXPIRED, False)
    assert first.cancel_s is None


async def test_a_cancelled_request_says_how_long_that_took():
    async with ThreadedEngine(ToyModel(step_delay_s=0.01)) as engine:
        ticket = engine.client.submit(
            make_request(steps=500), request_id=RequestId("one"), deadline=Deadline(1e12)
        )
        reading = asyncio.create_task(ticket.images())
        while not of(StepDone, engine.observer.events):
            await asyncio.sleep(0.001)
        ticket.cancel()
        ticket.cancel()  # asking again does not start the clock again
        while not of(Finished, engine.observer.events):
            await asyncio.sleep(0.001)
        reading.cancel()
        (ending,) = of(Finished, engine.observer.events)
        assert ending.outcome is Outcome.CANCELLED
        assert ending.cancel_s is not None
        assert 0 < ending.cancel_s < 5
        assert engine.loop.running_images == 0


async def test_it_says_when_it_goes_on_after_a_rest():
    async with ThreadedEngine() as engine:
        for name in ("one", "two"):
            ticket = engine.client.submit(
                make_request(), request_id=RequestId(name), deadline=Deadline(1e12)
            )
            await ticket.images()
            await asyncio.sleep(0.05)
        kinds = [type(e) for e in engine.observer.events if isinstance(e, Woke | Finished)]
    # The first request may come before the engine has begun to wait.
    assert kinds in ([Woke, Finished, Woke, Finished], [Finished, Woke, Finished])
