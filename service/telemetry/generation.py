"""The use case as every transport calls it, and a wrapper that counts how calls end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from service.errors import Cancelled, Draining, QueueFull, ServiceError
from service.telemetry.metric_table import (
    ADMISSION_REFUSALS,
    IMAGES,
    PIXELS,
    REQUEST_SECONDS,
    REQUESTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult
    from service.telemetry.metrics import Metrics


class Generation(Protocol):
    """The use case as transports call it; `service.generation.GenerateImages` is the real one."""

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return every picture of `request`, signed, or raise a ServiceError."""

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a known request has come."""

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; tell whether one was running."""


class CountedGeneration:
    """A Generation whose outcomes are counted, whatever transport calls it."""

    def __init__(
        self, inner: Generation, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Call the inner use case and count how it ended, pictures and pixels included."""
        started_s = self._clock()
        try:
            result = await self._inner(request, request_id=request_id, deadline=deadline)
        except asyncio.CancelledError:
            self._metrics.count(REQUESTS, request.model_id, Cancelled.code)
            raise
        except ServiceError as error:
            self._metrics.count(REQUESTS, request.model_id, error.code)
            if isinstance(error, QueueFull | Draining):
                self._metrics.count(ADMISSION_REFUSALS, error.code)
            raise
        self._count_pictures(result, self._clock() - started_s)
        return result

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a known request has come."""
        return self._inner.progress(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; tell whether one was running."""
        return self._inner.cancel(request_id)

    def _count_pictures(self, result: GenerationResult, duration_s: float) -> None:
        model_id = result.request.model_id
        self._metrics.count(REQUESTS, model_id, "done")
        self._metrics.observe(REQUEST_SECONDS, duration_s, model_id)
        for image in result.images:
            self._metrics.count(IMAGES, model_id, image.format.value)
            self._metrics.count(PIXELS, model_id, amount=image.width_px * image.height_px)
