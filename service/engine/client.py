"""The engine as the asyncio side sees it: submit, watch, cancel, drain (stop 4)."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.domain.events import Queued
from service.domain.stream import StepsTaken
from service.engine.editing import solver_table
from service.engine.mailbox import Mailbox
from service.engine.request_state import BatchKey, Job
from service.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from models.interface import DiffusionModel
    from service.domain.events import Observer
    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import DecodedImage
    from service.domain.times import RequestTimes
    from service.engine.admission import AdmissionQueue
    from service.engine.loop import EngineLoop
    from service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """What an image looks like by now, before any mark."""

    image_index: int
    partial_index: int
    image: DecodedImage


@dataclass(frozen=True, slots=True)
class ImageReady:
    """One image is finished, before any mark."""

    image_index: int
    image: DecodedImage


TicketEvent = StepsTaken | PreviewReady | ImageReady


class _LoopSink:
    """Implements JobSink: carries results from the engine thread to the loop of whoever waits.

    `is_watched`: whether anyone wants to know of steps. `on_resolved` is called on the loop after
    the last image.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_watched: bool) -> None:
        self._loop = loop
        self._is_watched = is_watched
        self.mailbox: Mailbox[TicketEvent] = Mailbox()
        self.on_resolved: Callable[[], None] = lambda: None
        # What the loop has not been given yet; of steps only the last, however many were taken.
        self._steps = self._delivered_steps = StepsTaken(0, 0)
        self._pending: deque[Callable[[], None]] = deque()
        self._is_announced = False

    def progressed(self, steps_done: int, steps_total: int) -> None:
        if self._is_watched:
            self._steps = StepsTaken(steps_done, steps_total)
            self._announce()

    def preview(self, image_index: int, partial_index: int, image: DecodedImage) -> None:
        self._post(partial(self.mailbox.put, PreviewReady(image_index, partial_index, image)))

    def finished(self, image_index: int, image: DecodedImage) -> None:
        self._post(partial(self.mailbox.put, ImageReady(image_index, image)))

    def resolve(self) -> None:
        self._post(self._settle)

    def reject(self, error: ServiceError) -> None:
        self._post(partial(self.mailbox.close, error))

    def _settle(self) -> None:
        self.mailbox.close()
        self.on_resolved()

    def _post(self, delivery: Callable[[], None]) -> None:
        self._pending.append(delivery)
        self._announce()

    def _announce(self) -> None:
        # One call at a time is under way to the loop: waking it costs both threads. What there is
        # was written before the flag is read here, and is read there after the flag is cleared, so
        # nothing is left behind.
        if not self._is_announced and not self._loop.is_closed():
            self._is_announced = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_announced = False
        # A step that was taken after the pictures now pending may overtake them; it says no more
        # than that the engine is further on.
        steps = self._steps
        if steps is not self._delivered_steps:
            self._delivered_steps = steps
            self.mailbox.put(steps)
        while self._pending:
            self._pending.popleft()()


class Ticket:
    """One submitted request. Its events, or its images, can be read once."""

    def __init__(
        self, job: Job, sink: _LoopSink, queue: AdmissionQueue, clock: Callable[[], float]
    ) -> None:
        self._job = job
        self._sink = sink
        self._queue = queue
        self._clock = clock

    @property
    def times(self) -> RequestTimes:
        """Return when it passed each stop; it goes on being written while the engine works."""
        return self._job.times

    async def events(self) -> AsyncGenerator[TicketEvent, None]:
        """Yield steps and pictures as they come, until all images have been yielded.

        Raises the ServiceError the request ended with. Closing the iterator cancels the request,
        so the engine never works for nobody.
        """
        try:
            async for event in self._sink.mailbox:
                yield event
        finally:
            self.cancel()

    async def images(self) -> tuple[DecodedImage, ...]:
        """Wait for all images, in order; raises and cancels as `events` does."""
        found: dict[int, DecodedImage] = {}
        async with aclosing(self.events()) as events:
            async for event in events:
                if isinstance(event, ImageReady):
                    found[event.image_index] = event.image
        return tuple(found[index] for index in sorted(found))

    def cancel(self) -> bool:
        """Ask the engine to stop before its next step; tell whether there was anything to stop."""
        if self._job.outcome is not None:
            return False
        if not self._job.cancel_requested:
            self._job.cancelled_at_s = self._clock()
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
        self,
        request: GenerationRequest,
        *,
        request_id: RequestId,
        deadline: Deadline,
        is_watched: bool = False,
    ) -> Ticket:
        """Queue `request` and return its ticket, which reports steps only if it `is_watched`.

        Raises ModelNotFound, InvalidRequest (see `solver_table`), QueueFull or Draining; then
        nothing was queued and no event is reported.
        """
        model = self._models.get(request.model_id)
        if model is None:
            raise ModelNotFound(f"No model {request.model_id!r} is served here.", param="model")
        table = solver_table(model, request)
        shape = model.spec.latent.shape(request.width_px, request.height_px)
        sink = _LoopSink(asyncio.get_running_loop(), is_watched=is_watched)
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
        sink.on_resolved = lambda: self._learn(job)
        return Ticket(job, sink, self._queue, self._clock)

    def seconds_for(self, num_images: int) -> float:
        """Return how long the engine works for `num_images`, from recent ones; 0 before these."""
        return num_images * self._seconds_per_image.value

    def estimated_wait_s(self) -> float:
        """Return how long the work now in the engine will take, from recent images; at least 1."""
        return max(1.0, self.seconds_of_work())

    def seconds_of_work(self) -> float:
        """Return the same without the floor: 0 for an idle engine."""
        images = self._queue.depth + self._loop.running_images
        return images * self._seconds_per_image.value

    async def drain(self, poll_s: float = 0.02) -> None:
        """Refuse new requests and return when the last one has left the engine."""
        self._queue.close()
        while not self._loop.is_idle:  # noqa: ASYNC110 - the engine is a thread, not a task
            await asyncio.sleep(poll_s)

    def _learn(self, job: Job) -> None:
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
