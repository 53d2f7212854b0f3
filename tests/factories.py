"""Short ways to make the objects tests need; every argument has a sensible default."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from models.families.toy import ToyModel
from models.interface import DiffusionModel
from service.domain.events import EngineEvent, Finished
from service.domain.identity import Deadline, RequestId, new_request_id
from service.domain.request import (
    EditSource,
    GenerationRequest,
    Original,
    OutputOptions,
    SamplingParams,
)
from service.domain.result import DecodedImage
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.editing import solver_table
from service.engine.loop import EngineLoop
from service.engine.options import EngineOptions
from service.engine.request_state import BatchKey, Job
from service.errors import ServiceError
from service.provenance.encode import encode_pixels


def make_request(
    *,
    prompt: str = "a red apple",
    seed: int = 7,
    steps: int = 4,
    guidance: float = 3.0,
    scheduler: str = "ddim",
    num_images: int = 1,
    size: tuple[int, int] = (64, 64),
    model_id: str = "toy",
    rescale: float = 0.0,
    output: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
    source: EditSource | None = None,
    num_previews: int = 0,
) -> GenerationRequest:
    return GenerationRequest(
        model_id=model_id,
        prompt=prompt,
        negative_prompt="",
        width_px=size[0],
        height_px=size[1],
        num_images=num_images,
        sampling=SamplingParams(seed, steps, guidance, scheduler, rescale),
        output=output,
        source=source,
        num_previews=num_previews,
    )


def make_source(
    *,
    size: tuple[int, int] = (64, 64),
    strength: float = 0.5,
    masked: bool = False,
    picture_seed: int = 0,
) -> EditSource:
    """Return a smooth colourful picture to edit; `masked` keeps its left half, with a soft edge."""
    width_px, height_px = size
    coarse = np.random.default_rng(picture_seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)).copy()
    mask = None
    if masked:
        ramp = np.clip((np.arange(width_px) - width_px // 2) * 64, 0, 255).astype(np.uint8)
        mask = np.broadcast_to(ramp, (height_px, width_px)).copy()
    original = Original(encode_pixels(pixels, OutputOptions()), "image/png")
    return EditSource(pixels=pixels, strength=strength, originals=(original,), mask=mask)


@dataclass
class RecordingSink:
    """Keeps every terminal result it is given, so that a second one is seen."""

    results: list[Sequence[DecodedImage] | ServiceError] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    previews: list[tuple[int, int, DecodedImage]] = field(default_factory=list)
    pictures: dict[int, DecodedImage] = field(default_factory=dict)

    def progressed(self, steps_done: int, steps_total: int) -> None:
        self.steps.append((steps_done, steps_total))

    def preview(self, image_index: int, partial_index: int, image: DecodedImage) -> None:
        assert not self.results
        self.previews.append((image_index, partial_index, image))

    def finished(self, image_index: int, image: DecodedImage) -> None:
        assert not self.results
        assert image_index not in self.pictures
        self.pictures[image_index] = image

    def resolve(self) -> None:
        self.results.append([self.pictures[index] for index in sorted(self.pictures)])

    def reject(self, error: ServiceError) -> None:
        self.results.append(error)

    @property
    def images(self) -> Sequence[DecodedImage]:
        (images,) = self.results
        assert not isinstance(images, ServiceError), images
        return images

    @property
    def digests(self) -> list[str]:
        return [image.pixels_sha256 for image in self.images]

    @property
    def error(self) -> ServiceError:
        (error,) = self.results
        assert isinstance(error, ServiceError)
        return error


@dataclass
class RecordingObserver:
    events: list[EngineEvent] = field(default_factory=list)

    def on_event(self, event: EngineEvent) -> None:
        self.events.append(event)

    def finished(self, request_id: RequestId) -> list[Finished]:
        return [e for e in self.events if isinstance(e, Finished) and e.request_id == request_id]


@dataclass
class FakeClock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


class EngineBench:
    """An engine that a test turns by hand, on a clock that stands still unless moved."""

    def __init__(
        self,
        model: DiffusionModel | None = None,
        *,
        max_batch_rows: int = 16,
        max_queued_images: int = 256,
        pin_batch_rows: bool = False,
    ) -> None:
        self.model = model if model is not None else ToyModel()
        self.clock = FakeClock()
        self.observer = RecordingObserver()
        self.queue = AdmissionQueue(max_queued_images)
        options = EngineOptions(
            max_batch_rows=max_batch_rows,
            max_queued_images=max_queued_images,
            pin_batch_rows=pin_batch_rows,
        )
        self.loop = EngineLoop(
            {self.model.spec.model_id: self.model}, self.queue, options, self.observer, self.clock
        )

    def submit(
        self, request: GenerationRequest | None = None, *, timeout_s: float = 60.0
    ) -> tuple[Job, RecordingSink]:
        request = request if request is not None else make_request()
        sink = RecordingSink()
        job = Job(
            request_id=new_request_id(),
            request=request,
            key=BatchKey(
                request.model_id,
                self.model.spec.latent.shape(request.width_px, request.height_px),
            ),
            table=solver_table(self.model, request),
            deadline=Deadline.after(timeout_s, self.clock()),
            sink=sink,
            submitted_at_s=self.clock(),
        )
        self.queue.put(job, retry_after_s=1.0)
        return job, sink

    def run(self, ticks: int = 1000) -> None:
        """Tick until there is nothing left to do."""
        for _ in range(ticks):
            self.loop.tick()
            if self.loop.is_idle:
                return
        raise AssertionError("the engine did not become idle")

    def digests_alone(self, request: GenerationRequest) -> list[str]:
        """Return what `request` gives in an engine of its own."""
        alone = EngineBench(self.model)
        _, sink = alone.submit(request)
        alone.run()
        return sink.digests


class ThreadedEngine:
    """An engine in its thread with its asyncio client, as the service runs it."""

    def __init__(
        self,
        model: DiffusionModel | None = None,
        options: EngineOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model if model is not None else ToyModel()
        self.options = options if options is not None else EngineOptions()
        self.observer = RecordingObserver()
        self.queue = AdmissionQueue(self.options.max_queued_images)
        models = {self.model.spec.model_id: self.model}
        self.loop = EngineLoop(models, self.queue, self.options, self.observer, clock)
        self.client = EngineClient(models, self.queue, self.loop, self.observer, clock)

    async def __aenter__(self) -> ThreadedEngine:
        self.loop.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.loop.stop, 5.0)
