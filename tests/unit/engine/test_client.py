"""The asyncio side of the engine, with the engine in its own thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from models.families.toy import ToyModel
from service.domain.identity import Deadline, new_request_id
from service.domain.progress import Phase
from service.engine.options import EngineOptions
from service.errors import Cancelled, Draining, InvalidRequest, ModelNotFound, QueueFull
from tests.factories import ThreadedEngine, make_request


def submit(engine, request=None):
    request = request if request is not None else make_request()
    deadline = Deadline.after(30.0, time.monotonic())
    return engine.client.submit(request, request_id=new_request_id(), deadline=deadline)


async def test_images_come_back_to_the_loop_that_asked():
    async with ThreadedEngine() as engine:
        images = await submit(engine, make_request(num_images=2)).images()
    assert len(images) == 2


async def test_many_concurrent_requests_all_end():
    async with ThreadedEngine() as engine:
        tickets = [submit(engine, make_request(seed=seed, steps=seed + 1)) for seed in range(16)]
        results = await asyncio.gather(*(ticket.images() for ticket in tickets))
    assert all(len(images) == 1 for images in results)


async def test_a_waiter_that_leaves_cancels_the_work():
    async with ThreadedEngine(ToyModel(step_delay_s=0.005)) as engine:
        ticket = submit(engine, make_request(steps=900))
        waiter = asyncio.create_task(ticket.images())
        await asyncio.sleep(0.03)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        async with asyncio.timeout(5):
            while engine.loop.running_images:
                await asyncio.sleep(0.001)
    assert ticket.progress().steps_done < 900


async def test_an_explicit_cancel_reaches_the_waiter_as_a_typed_error():
    async with ThreadedEngine(ToyModel(step_delay_s=0.005)) as engine:
        ticket = submit(engine, make_request(steps=900))
        assert ticket.cancel()
        with pytest.raises(Cancelled):
            await ticket.images()
        assert not ticket.cancel()


async def test_an_unknown_model_and_an_impossible_step_count_are_refused():
    async with ThreadedEngine() as engine:
        with pytest.raises(ModelNotFound):
            submit(engine, make_request(model_id="nope"))
        with pytest.raises(InvalidRequest):
            submit(engine, make_request(steps=100_000))


async def test_a_full_queue_says_when_to_come_back():
    gate = threading.Event()

    def on_denoise(latents: object, timesteps: object) -> None:
        gate.wait(10)

    model = ToyModel(on_denoise=on_denoise)
    async with ThreadedEngine(
        model, EngineOptions(max_batch_rows=2, max_queued_images=1)
    ) as engine:
        first = submit(engine)
        async with asyncio.timeout(5):
            while engine.queue.depth:
                await asyncio.sleep(0.001)
        second = submit(engine)
        with pytest.raises(QueueFull) as refusal:
            submit(engine)
        gate.set()
        await asyncio.gather(first.images(), second.images())
    assert (refusal.value.retry_after_s or 0) >= 1.0


async def test_draining_finishes_what_runs_and_refuses_what_comes():
    async with ThreadedEngine(ToyModel(step_delay_s=0.002)) as engine:
        ticket = submit(engine, make_request(steps=20))
        drain = asyncio.create_task(engine.client.drain())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            submit(engine)
        assert len(await ticket.images()) == 1
        await drain


async def test_stopping_ends_a_waiter_instead_of_leaving_it():
    engine = ThreadedEngine(ToyModel(step_delay_s=0.005))
    async with engine:
        ticket = submit(engine, make_request(steps=900))
    with pytest.raises(Draining):
        await ticket.images()


async def test_an_idle_engine_sleeps():
    async with ThreadedEngine() as engine:
        await submit(engine).images()
        await asyncio.sleep(0.02)
        before = engine.loop.last_tick_at_s
        await asyncio.sleep(0.05)
        assert engine.loop.last_tick_at_s == before


async def test_a_loop_that_was_busy_hears_of_the_last_step_and_then_of_the_picture():
    async with ThreadedEngine() as engine:
        deadline = Deadline.after(30.0, time.monotonic())
        ticket = engine.client.submit(
            make_request(steps=20), request_id=new_request_id(), deadline=deadline, is_watched=True
        )
        while ticket.progress().phase is not Phase.DONE:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop is to be busy
        kinds = [type(event).__name__ async for event in ticket.events()]
    assert kinds == ["StepsTaken", "ImageReady"]
