"""The use case as every transport calls it, and a wrapper that counts how calls end."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from service.domain.stream import Completed, FinishedImage
from service.errors import (
    Cancelled,
    Draining,
    QueueFull,
    RateLimited,
    ServiceError,
    SignerNotReady,
)
from service.telemetry.metric_table import (
    ADMISSION_REFUSALS,
    IMAGES,
    PIXELS,
    REQUEST_SECONDS,
    REQUESTS,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult, SignedImage
    from service.domain.stream import StreamEvent
    from service.telemetry.energy import EnergyAccount
    from service.telemetry.metrics import Metrics


class Generation(Protocol):
    """The use case as transports call it; `service.generation.GenerateImages` is the real one."""

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return every picture of `request`, signed, or raise a ServiceError."""

    def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        """Tell how `request` goes on: Accepted first, Completed last, or a ServiceError instead.

        Work starts with the first event, which is where a refusal (a full queue, an unknown model)
        is raised. Closing the iterator stops the work.
        """

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a known request has come."""

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; tell whether one was running."""


class CountedGeneration:
    """A Generation whose outcomes are counted, whatever transport calls it.

    `energy`: where results are told what they took; None where no hardware counts it.
    """

    def __init__(
        self,
        inner: Generation,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        energy: EnergyAccount | None = None,
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock
        self._energy = energy

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Call the inner use case and count how it ended, pictures and pixels included."""
        started_s = self._clock()
        with self._counting_failures(request.model_id):
            result = await self._inner(request, request_id=request_id, deadline=deadline)
        self._count_done(result, self._clock() - started_s)
        for image in result.images:
            self._count_picture(request.model_id, image)
        return self._with_energy(result)

    async def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        """Pass on the inner stream and count how it ended, and each picture as it leaves.

        Previews are not counted as pictures.
        """
        started_s, completed = self._clock(), None
        events = self._inner.stream(request, request_id=request_id, deadline=deadline)
        with self._counting_failures(request.model_id):
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Completed):
                        completed = event
                        break
                    if isinstance(event, FinishedImage):
                        self._count_picture(request.model_id, event.image)
                    yield event
        if completed is not None:  # out here a caller who leaves with it has not cancelled
            self._count_done(completed.result, self._clock() - started_s)
            yield Completed(self._with_energy(completed.result))

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a known request has come."""
        return self._inner.progress(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; tell whether one was running."""
        return self._inner.cancel(request_id)

    @contextmanager
    def _counting_failures(self, model_id: str) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self._metrics.count(REQUESTS, model_id, Cancelled.code)
            raise
        except ServiceError as error:
            self._metrics.count(REQUESTS, model_id, error.code)
            if isinstance(error, QueueFull | Draining | RateLimited | SignerNotReady):
                self._metrics.count(ADMISSION_REFUSALS, error.code)
            raise

    def _with_energy(self, result: GenerationResult) -> GenerationResult:
        if self._energy is None:
            return result
        return replace(result, energy=self._energy.take(result.request_id))

    def _count_done(self, result: GenerationResult, duration_s: float) -> None:
        model_id = result.request.model_id
        self._metrics.count(REQUESTS, model_id, "done")
        self._metrics.observe(REQUEST_SECONDS, duration_s, model_id)

    def _count_picture(self, model_id: str, image: SignedImage) -> None:
        self._metrics.count(IMAGES, model_id, image.format.value)
        self._metrics.count(PIXELS, model_id, amount=image.width_px * image.height_px)
