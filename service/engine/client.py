"""The engine as the asyncio side sees it: submit, watch, cancel, drain (stop 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.domain.events import Outcome, Queued
from service.engine.request_state import BatchKey, Job
from service.errors import InvalidRequest, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.interface import DiffusionModel
    from service.domain.events import Observer
    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import DecodedImage
    from service.engine.admission import AdmissionQueue
    from service.engine.loop import EngineLoop
    from service.errors import ServiceError


class _FutureSink:
    """Carries the terminal result from the engine thread to the loop of whoever waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[tuple[DecodedImage, ...]] = loop.create_future()

    def resolve(self, images: Sequence[DecodedImage]) -> None:
        self._call(self.future.set_result, tuple(images))

    def reject(self, error: ServiceError) -> None:
        self._call(self.future.set_exception, error)

    def _call(self, setter: Callable[..., None], value: object) -> None:
        def settle() -> None:
            if not self.future.done():  # the waiter may have left meanwhile
                setter(value)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


class Ticket:
    """One submitted request."""

    def __init__(self, job: Job, sink: _FutureSink, queue: AdmissionQueue) -> None:
        self._job = job
        self._sink = sink
        self._queue = queue

    async def images(self) -> tuple[DecodedImage, ...]:
        """Wait for all images, in order; raise the ServiceError the request ended with.

        A waiter that is cancelled cancels the request, so the engine never works for nobody.
        """
        try:
            return await self._sink.future
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """Ask the engine to stop before its next step; tell whether there was anything to stop."""
        if self._job.outcome is not None:
            return False
        self._job.cancel_requested = True
        self._queue.wake()
        return True

    def progress(self) -> Progress:
        """Return a snapshot of where the request is."""
        return self._job.progress(self._queue.images_ahead_of(self._job))


class EngineClient:
    """Submits requests to the engine. `submit` belongs to the event loop's thread."""

    def __init__(
        self,
        models: Mapping[str, DiffusionModel],
        queue: AdmissionQueue,
        loop: EngineLoop,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._models = models
        self._queue = queue
        self._loop = loop
        self._observer = observer
        self._clock = clock
        self._seconds_per_image = _MovingAverage()

    def submit(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> Ticket:
        """Queue `request` and return its ticket.

        Raises ModelNotFound, InvalidRequest (a step count the scheduler refuses), QueueFull or
        Draining; then nothing was queued and no event is reported.
        """
        model = self._models.get(request.model_id)
        if model is None:
            raise ModelNotFound(f"No model {request.model_id!r} is served here.", param="model")
        try:
            table = model.compile_solver(
                request.sampling.scheduler, request.sampling.num_inference_steps
            )
        except ValueError as exc:
            raise InvalidRequest(str(exc), param="num_inference_steps") from exc
        shape = model.spec.latent.shape(request.width_px, request.height_px)
        sink = _FutureSink(asyncio.get_running_loop())
        job = Job(
            request_id=request_id,
            request=request,
            key=BatchKey(request.model_id, shape),
            table=table,
            deadline=deadline,
            sink=sink,
            submitted_at_s=self._clock(),
        )
        self._queue.put(job, retry_after_s=self.estimated_wait_s())
        self._observer.on_event(Queued(request_id))
        sink.future.add_done_callback(lambda future: self._learn(job, future))
        return Ticket(job, sink, self._queue)

    def estimated_wait_s(self) -> float:
        """Return how long the work now in the engine will take, from recent images; at least 1."""
        images = self._queue.depth + self._loop.running_images
        return max(1.0, images * self._seconds_per_image.value)

    async def drain(self, poll_s: float = 0.02) -> None:
        """Refuse new requests and return when the last one has left the engine."""
        self._queue.close()
        while not self._loop.is_idle:  # noqa: ASYNC110 - the engine is a thread, not a task
            await asyncio.sleep(poll_s)

    def _learn(self, job: Job, future: asyncio.Future[tuple[DecodedImage, ...]]) -> None:
        if future.cancelled() or future.exception() is not None or job.outcome != Outcome.DONE:
            return
        assert job.admitted_at_s is not None
        running_s = self._clock() - job.admitted_at_s
        # Images share the engine: what one costs is the time divided by how many ran at once.
        together = max(1, self._loop.running_images + job.request.num_images)
        self._seconds_per_image.add(running_s / together)


class _MovingAverage:
    """An exponential moving average, for estimates only."""

    def __init__(self, weight: float = 0.1) -> None:
        self._weight = weight
        self.value = 0.0

    def add(self, sample: float) -> None:
        if self.value == 0.0:
            self.value = sample
        else:
            self.value += self._weight * (sample - self.value)
