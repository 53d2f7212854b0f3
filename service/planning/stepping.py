"""A batch of chosen rows that the real engine steps by hand, to time its steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.domain.identity import Deadline, new_request_id
from service.domain.request import GenerationRequest, SamplingParams
from service.engine.admission import AdmissionQueue
from service.engine.editing import solver_table
from service.engine.loop import EngineLoop
from service.engine.options import EngineOptions
from service.engine.request_state import BatchKey, Job

if TYPE_CHECKING:
    from models.interface import DiffusionModel
    from service.domain.events import EngineEvent
    from service.domain.result import DecodedImage
    from service.errors import ServiceError

_STEPS = 200
_GUIDANCE_SCALE = 5.0
_FOR_EVER_S = 1e9
_MOST_ROWS = 1024


class SteppingBatch:
    """`rows` rows of one size: guided images, and one without guidance if rows are odd.

    Uses the engine's own loop, so a step contains everything that the engine does around the
    network. When its images are nearly done, new ones take their place, outside the time taken.
    """

    def __init__(self, model: DiffusionModel, size_px: tuple[int, int], rows: int) -> None:
        self._model = model
        self._size_px = size_px
        self._rows = rows
        self._loop: EngineLoop | None = None
        self._steps_left = 0

    def take(self, steps: int) -> float:
        """Take some steps and return the seconds until the device has finished them."""
        loop = self._loop
        if loop is None or self._steps_left <= steps:
            loop = self._loop = self._fill()
        self._steps_left -= steps
        self._synchronise()
        began_s = time.perf_counter()
        for _ in range(steps):
            loop.tick()
        self._synchronise()
        return time.perf_counter() - began_s

    def _fill(self) -> EngineLoop:
        """Return an engine that has admitted new images and taken their first step."""
        spec = self._model.spec
        shape, native = (spec.latent.shape(*size) for size in (self._size_px, spec.default_size_px))
        share = max(1.0, shape[1] * shape[2] / (native[1] * native[2]))
        budget = min(_MOST_ROWS, max(2, int(self._rows * share) + 1))
        options = EngineOptions(max_batch_rows=budget)
        queue = AdmissionQueue(max_images=self._rows)
        models = {spec.model_id: self._model}
        loop = EngineLoop(models, queue, options, _Silent(), time.monotonic)
        for number in range(self._rows - self._rows // 2):
            queue.put(self._job(number, is_guided=number < self._rows // 2), retry_after_s=1.0)
        loop.tick()
        self._steps_left = _STEPS - 1
        return loop

    def _job(self, seed: int, *, is_guided: bool) -> Job:
        spec, now_s = self._model.spec, time.monotonic()
        request = GenerationRequest(
            model_id=spec.model_id,
            prompt="a picture",
            negative_prompt="",
            width_px=self._size_px[0],
            height_px=self._size_px[1],
            num_images=1,
            sampling=SamplingParams(
                seed=seed,
                num_inference_steps=_STEPS,
                guidance_scale=_GUIDANCE_SCALE if is_guided else 1.0,
                scheduler=spec.defaults.scheduler,
                guidance_rescale=spec.defaults.guidance_rescale if is_guided else 0.0,
            ),
        )
        return Job(
            request_id=new_request_id(),
            request=request,
            key=BatchKey(spec.model_id, spec.latent.shape(*self._size_px)),
            table=solver_table(self._model, request),
            deadline=Deadline(now_s + _FOR_EVER_S),
            sink=_Nobody(),
            submitted_at_s=now_s,
        )

    def _synchronise(self) -> None:
        """Wait for the device: a copy to the host comes after everything that was asked before."""
        arrays = self._model.arrays
        arrays.to_numpy(arrays.zeros((1,)))


class _Silent:
    def on_event(self, event: EngineEvent) -> None:
        """Ignore the event."""


class _Nobody:
    """Implements JobSink for pictures that nobody waits for."""

    def progressed(self, steps_done: int, steps_total: int) -> None:
        """Ignore it."""

    def preview(self, image_index: int, partial_index: int, image: DecodedImage) -> None:
        """Ignore it."""

    def finished(self, image_index: int, image: DecodedImage) -> None:
        """Ignore it."""

    def resolve(self) -> None:
        """Ignore it."""

    def reject(self, error: ServiceError) -> None:
        """Raise it: a batch that does not step says nothing about time."""
        raise error
