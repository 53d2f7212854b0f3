"""The use case: engine, then marks, then an answer; or one typed error and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from models.families.toy import ToyModel, toy_spec
from models.vocabulary_match import Vocabulary
from service.domain.identity import Deadline, RequestId, new_output_id
from service.domain.progress import Phase
from service.domain.request import OutputFormat
from service.domain.result import SignedImage
from service.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    InvalidRequest,
    ModelNotFound,
    SignerNotReady,
    SigningFailed,
)
from service.generation import GenerateImages
from service.provenance.pipeline import MarkingRequest
from tests.factories import ThreadedEngine, make_request

MINE = RequestId("mine")


class StampingMarker:
    """Marks at once, or when the gate opens; fails if told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.preview_error: Exception | None = None
        self.marked: list[int] = []
        self.requests: list[MarkingRequest] = []

    def mark(self, image, request):
        self.requests.append(request)
        assert self.gate.wait(10)
        error = self.preview_error if request.is_preview else self.error
        if error is not None:
            raise error
        self.marked.append(image.seed)
        return SignedImage(
            output_id=new_output_id(),
            content=b"signed",
            format=OutputFormat.PNG,
            width_px=64,
            height_px=64,
            seed=image.seed,
            pixels_sha256=image.pixels_sha256,
            content_sha256="0" * 64,
            watermark_id=1,
            watermark_profile="sst64",
            manifest_id=f"urn:c2pa:{request.request_id}",
            created_at=datetime.now(UTC),
        )


class Bench:
    def __init__(self, engine: ThreadedEngine, pool: ThreadPoolExecutor) -> None:
        self.engine = engine
        self.marker = StampingMarker()
        self.refusal: SignerNotReady | None = None
        self.generate = GenerateImages(
            {engine.model.spec.model_id: engine.model},
            engine.client,
            self.marker,
            pool,
            time.monotonic,
            lambda: self.refusal,
        )

    async def __call__(self, request=None, *, request_id=MINE, timeout_s=30.0):
        deadline = Deadline.after(timeout_s, time.monotonic())
        return await self.generate(
            request or make_request(), request_id=request_id, deadline=deadline
        )

    def stream(self, request=None, *, timeout_s=30.0):
        deadline = Deadline.after(timeout_s, time.monotonic())
        return self.generate.stream(request or make_request(), request_id=MINE, deadline=deadline)


@asynccontextmanager
async def running(model=None):
    with ThreadPoolExecutor(2) as pool:
        async with ThreadedEngine(model) as engine:
            bench = Bench(engine, pool)
            try:
                yield bench
            finally:
                bench.marker.gate.set()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_refusal_comes_before_any_work(is_streamed):
    async with running() as bench:
        bench.refusal = SignerNotReady("expired")
        with pytest.raises(SignerNotReady):
            await (anext(bench.stream()) if is_streamed else bench())
        assert bench.engine.queue.depth == 0
        assert bench.generate.progress(MINE) is None
        assert bench.marker.requests == []
        bench.refusal = None
        assert (await bench()).images


async def test_what_was_taken_before_a_refusal_is_decided_by_its_own_marks():
    async with running() as bench:
        bench.marker.gate.clear()
        taken = asyncio.create_task(bench())
        while not bench.marker.requests:
            await asyncio.sleep(0.01)
        bench.refusal = SignerNotReady("expired")
        bench.marker.error = SigningFailed("expired")
        bench.marker.gate.set()
        with pytest.raises(SigningFailed):
            await taken


async def test_every_image_is_marked_and_kept_in_order():
    async with running() as bench:
        result = await bench(make_request(num_images=3, seed=10))
    assert [image.seed for image in result.images] == [10, 11, 12]
    assert result.prompt_tokens == 3
    assert sorted(bench.marker.marked) == [10, 11, 12]


async def test_words_the_model_does_not_know_are_in_the_result():
    vocabulary = Vocabulary.from_card({"subjects": ["apple"], "object_colours": ["red"]})
    model = ToyModel(replace(toy_spec(), vocabulary=vocabulary))
    async with running(model) as bench:
        unknown = await bench(make_request(prompt="a wolf and an apple"))
        known = await bench(make_request(prompt="a red apple"))
    assert unknown.warnings == ("not drawn: 'wolf'",)
    assert known.warnings == ()


async def test_a_model_without_a_list_of_subjects_warns_of_nothing():
    async with running() as bench:
        assert (await bench(make_request(prompt="a wolf"))).warnings == ()


async def test_a_failing_mark_fails_the_request_and_returns_no_picture():
    async with running() as bench:
        bench.marker.error = SigningFailed("no")
        with pytest.raises(SigningFailed):
            await bench(make_request(num_images=2))
        progress = bench.generate.progress(MINE)
    assert progress is not None
    assert progress.phase is Phase.FAILED


async def test_progress_is_known_while_it_runs_and_for_a_while_after():
    async with running(ToyModel(step_delay_s=0.01)) as bench:
        call = asyncio.create_task(bench(make_request(steps=100)))
        await asyncio.sleep(0.1)
        running_now = bench.generate.progress(MINE)
        assert running_now is not None
        assert running_now.phase is Phase.RUNNING
        assert 0 < running_now.steps_done < running_now.steps_total == 100
        assert bench.generate.cancel(MINE)
        with pytest.raises(Cancelled):
            await call
        assert bench.generate.progress(MINE).phase is Phase.CANCELLED
        assert not bench.generate.cancel(MINE)
    assert bench.generate.progress(RequestId("unknown")) is None


async def test_marking_is_a_phase_of_its_own():
    async with running() as bench:
        bench.marker.gate.clear()
        call = asyncio.create_task(bench())
        async with asyncio.timeout(5):
            while (seen := bench.generate.progress(MINE)) is None or seen.phase is Phase.RUNNING:
                await asyncio.sleep(0.001)
        assert seen.phase is Phase.MARKING
        bench.marker.gate.set()
        await call
        assert bench.generate.progress(MINE).phase is Phase.DONE


async def test_a_deadline_counts_while_marking_too():
    async with running() as bench:
        bench.marker.gate.clear()
        with pytest.raises(DeadlineExceeded):
            await bench(timeout_s=0.3)
        assert bench.generate.progress(MINE).phase is Phase.EXPIRED


async def test_all_can_be_ended_wherever_they_are():
    async with running(ToyModel(step_delay_s=0.005)) as bench:
        bench.marker.gate.clear()
        marking = asyncio.create_task(bench(make_request(steps=1)))
        while not bench.marker.requests:
            await asyncio.sleep(0.001)
        drawing = asyncio.create_task(
            bench(make_request(steps=900), request_id=RequestId("drawing"))
        )
        while not bench.engine.loop.running_images:
            await asyncio.sleep(0.001)
        bench.generate.end_all()
        for each in (marking, drawing):
            with pytest.raises(Draining):
                await each
        with pytest.raises(Draining):
            await bench(request_id=RequestId("late"))
        async with asyncio.timeout(5):
            while bench.engine.loop.running_images:
                await asyncio.sleep(0.001)
        assert bench.generate.progress(MINE).phase is Phase.FAILED


async def test_a_waiter_that_leaves_frees_the_engine():
    async with running(ToyModel(step_delay_s=0.005)) as bench:
        call = asyncio.create_task(bench(make_request(steps=900)))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            while bench.engine.loop.running_images:
                await asyncio.sleep(0.001)
        assert bench.generate.progress(MINE).phase is Phase.CANCELLED


async def test_a_request_id_in_use_is_refused_and_the_first_goes_on():
    async with running() as bench:
        bench.marker.gate.clear()
        first = asyncio.create_task(bench())
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidRequest) as refusal:
            await bench()
        assert refusal.value.param == "x-request-id"
        bench.marker.gate.set()
        assert len((await first).images) == 1
        assert len((await bench()).images) == 1  # free again afterwards


@pytest.mark.parametrize("param", ["prompt", "negative_prompt"])
async def test_a_prompt_the_model_would_cut_is_refused(param):
    too_long = "word " * 17
    if param == "prompt":
        request = make_request(prompt=too_long)
    else:
        request = replace(make_request(), negative_prompt=too_long)
    async with running() as bench:
        with pytest.raises(InvalidRequest, match="17 tokens") as refusal:
            await bench(request)
    assert refusal.value.param == param


async def test_an_unknown_model_is_refused():
    async with running() as bench:
        with pytest.raises(ModelNotFound):
            await bench(make_request(model_id="nope"))
