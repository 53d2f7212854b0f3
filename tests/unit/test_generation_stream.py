"""A watched generation: what its caller is told, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest

from models.families.toy import ToyModel
from service.domain.progress import Phase
from service.domain.stream import (
    Accepted,
    Completed,
    FinishedImage,
    PartialImage,
    StepsTaken,
    StreamEvent,
)
from service.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    SigningFailed,
    WatermarkFailed,
)
from tests.factories import make_request, make_source
from tests.unit.test_generation import MINE, running


async def collect(events, into=None, on_steps=None):
    """Read to the end; `into` keeps what came before an error, `on_steps` is called meanwhile."""
    seen = [] if into is None else into
    async for event in events:
        seen.append(event)
        if on_steps is not None and isinstance(event, StepsTaken):
            on_steps()
    return seen


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


async def test_it_begins_with_accepted_and_ends_with_the_result():
    async with running() as bench:
        events = await collect(bench.stream(make_request(num_images=2, num_previews=2)))
        alone = await bench(make_request(num_images=2))
    first, *_, last = events
    assert isinstance(first, Accepted)
    assert (first.request_id, first.queue_position, first.estimated_wait_s) == (MINE, 0, 0.0)
    assert isinstance(last, Completed)
    assert len(of_kind(events, Accepted)) == len(of_kind(events, Completed)) == 1
    digests = [image.pixels_sha256 for image in last.result.images]
    assert digests == [image.pixels_sha256 for image in alone.images]
    assert last.result.request.num_previews == 2


async def test_each_image_shows_its_previews_in_order_and_then_itself():
    async with running(ToyModel(step_delay_s=0.001)) as bench:
        events = await collect(bench.stream(make_request(num_images=3, steps=8, num_previews=3)))
    assert [event.steps_done for event in of_kind(events, StepsTaken)][-1] == 24
    for index in range(3):
        mine = [
            event
            for event in events
            if isinstance(event, PartialImage | FinishedImage) and event.image_index == index
        ]
        assert [event.partial_index for event in of_kind(mine, PartialImage)] == [0, 1, 2]
        assert [isinstance(event, FinishedImage) for event in mine] == [False] * 3 + [True]
    finished = {event.image_index: event.image for event in of_kind(events, FinishedImage)}
    assert tuple(finished[index] for index in range(3)) == events[-1].result.images


async def test_images_are_finished_as_they_come():
    async with running(ToyModel(step_delay_s=0.02)) as bench:
        # Eight of ten images fit the engine at once; the rest begin when those are done.
        async with aclosing(bench.stream(make_request(num_images=10, steps=10))) as events:
            async for event in events:
                if isinstance(event, FinishedImage):
                    break
        progress = bench.generate.progress(MINE)
    assert progress is not None
    assert progress.steps_done < progress.steps_total


async def test_previews_are_marked_as_previews_and_only_for_those_who_watch():
    async with running() as bench:
        await bench(make_request(steps=8, num_previews=3))
        assert [request.is_preview for request in bench.marker.requests] == [False]
        bench.marker.requests.clear()
        await collect(bench.stream(make_request(steps=8, num_previews=3)))
        assert sorted(request.is_preview for request in bench.marker.requests) == [
            False,
            True,
            True,
            True,
        ]


async def test_a_preview_that_cannot_be_marked_is_never_sent_and_fails_nothing(caplog):
    caplog.set_level(logging.INFO)
    async with running() as bench:
        bench.marker.preview_error = WatermarkFailed("pure noise")
        events = await collect(bench.stream(make_request(steps=8, num_previews=3)))
    assert not of_kind(events, PartialImage)
    assert len(events[-1].result.images) == 1
    assert "3 previews could not carry their marks" in caplog.text


async def test_a_picture_that_cannot_be_marked_ends_the_stream_with_its_error():
    events: list[StreamEvent] = []
    async with running() as bench:
        bench.marker.error = SigningFailed("no")
        with pytest.raises(SigningFailed):
            await collect(bench.stream(make_request(num_images=3)), into=events)
        assert bench.generate.progress(MINE).phase is Phase.FAILED
    assert not of_kind(events, FinishedImage)
    assert not of_kind(events, Completed)


async def test_the_originals_of_an_edit_reach_the_marks():
    source = make_source()
    async with running() as bench:
        await bench(make_request(steps=8, source=source))
        await bench(make_request())
    edited, created = bench.marker.requests
    assert edited.originals == source.originals
    assert created.originals == ()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (make_request(model_id="nope"), ModelNotFound),
        (make_request(prompt="word " * 17), InvalidRequest),
        (make_request(steps=2, source=make_source(strength=0.1)), InvalidRequest),
    ],
)
async def test_a_refusal_takes_the_place_of_the_first_event(request_, error):
    async with running() as bench:
        with pytest.raises(error):
            await anext(bench.stream(request_))
        assert bench.generate.progress(MINE) is None


async def wait_until_idle(bench):
    async with asyncio.timeout(5):
        while bench.engine.loop.running_images:
            await asyncio.sleep(0.001)


async def test_closing_the_iterator_frees_the_engine():
    async with running(ToyModel(step_delay_s=0.005)) as bench:
        async with aclosing(bench.stream(make_request(steps=900))) as events:
            async for event in events:
                if isinstance(event, StepsTaken):
                    break
        await wait_until_idle(bench)
        progress = bench.generate.progress(MINE)
        assert progress.phase is Phase.CANCELLED
        assert progress.steps_done < 900
        assert len(bench.engine.observer.finished(MINE)) == 1


async def test_cancelling_the_reading_task_frees_the_engine():
    async with running(ToyModel(step_delay_s=0.005)) as bench:
        reader = asyncio.create_task(collect(bench.stream(make_request(steps=900))))
        await asyncio.sleep(0.05)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await wait_until_idle(bench)
        assert bench.generate.progress(MINE).phase is Phase.CANCELLED


async def test_a_cancel_from_elsewhere_is_told_to_the_reader():
    async with running(ToyModel(step_delay_s=0.005)) as bench:
        with pytest.raises(Cancelled):
            await collect(
                bench.stream(make_request(steps=900)),
                on_steps=lambda: bench.generate.cancel(MINE),
            )


async def test_a_deadline_ends_the_stream():
    async with running(ToyModel(step_delay_s=0.01)) as bench:
        with pytest.raises(DeadlineExceeded):
            await collect(bench.stream(make_request(steps=900), timeout_s=0.2))
        assert bench.generate.progress(MINE).phase is Phase.EXPIRED


async def test_a_slow_reader_misses_steps_and_never_a_picture():
    async with running() as bench:
        seen = []
        async for event in bench.stream(make_request(num_images=4, steps=30, num_previews=3)):
            if isinstance(event, Accepted):
                # Read nothing until all is done: what waits is bounded by the pictures.
                async with asyncio.timeout(10):
                    while len(bench.marker.marked) < 16:
                        await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)
            seen.append(event)
    assert len(of_kind(seen, PartialImage)) == 12
    assert len(of_kind(seen, FinishedImage)) == 4
    assert len(of_kind(seen, StepsTaken)) <= 17
    assert isinstance(seen[-1], Completed)


async def test_a_caller_who_leaves_with_the_result_has_not_cancelled():
    async with running() as bench:
        async with aclosing(bench.stream()) as events:
            async for event in events:
                if isinstance(event, Completed):
                    break
        assert bench.generate.progress(MINE).phase is Phase.DONE
