"""The use case: one request from admission to signed pictures (stops 3-9)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from service.domain.progress import Phase, Progress
from service.domain.result import GenerationResult
from service.errors import Cancelled, DeadlineExceeded, InvalidRequest, ModelNotFound
from service.provenance.pipeline import MarkingRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from models.interface import DiffusionModel
    from service.domain.identity import Deadline, RequestId
    from service.domain.request import GenerationRequest
    from service.domain.result import DecodedImage, SignedImage
    from service.engine.client import EngineClient, Ticket

_REMEMBERED_REQUESTS = 1024


class Marker(Protocol):
    """Turns pixels into the only form that may leave; raises a ServiceError instead of less."""

    def mark(self, image: DecodedImage, request: MarkingRequest) -> SignedImage:
        """Watermark, encode, sign, read back and record one image. Blocking, thread-safe."""


class _Live:
    """What is known of a request while it runs: its ticket, then that it is being marked."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.is_marking = False

    def progress(self) -> Progress:
        progress = self.ticket.progress()
        return replace(progress, phase=Phase.MARKING) if self.is_marking else progress


class GenerateImages:
    """Generates, marks and answers; one instance per server, used from the event loop.

    `marking_pool`: threads for watermarking, encoding and signing, which never run on the loop.
    `clock`: monotonic seconds.
    """

    def __init__(
        self,
        models: Mapping[str, DiffusionModel],
        engine: EngineClient,
        marker: Marker,
        marking_pool: Executor,
        clock: Callable[[], float],
    ) -> None:
        self._models = models
        self._engine = engine
        self._marker = marker
        self._marking_pool = marking_pool
        self._clock = clock
        self._live: dict[RequestId, _Live] = {}
        self._past: OrderedDict[RequestId, Progress] = OrderedDict()

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return every picture of `request`, signed, or raise the ServiceError that ended it.

        Cancelling the awaiting task frees the engine within one step.
        """
        if request_id in self._live:
            raise InvalidRequest(
                f"A request with the id {request_id!r} is running.", param="x-request-id"
            )
        prompt_tokens = self._check_tokens(request)
        created_at = datetime.now(UTC)
        ticket = self._engine.submit(request, request_id=request_id, deadline=deadline)
        live = self._live[request_id] = _Live(ticket)
        phase = Phase.FAILED
        try:
            decoded = await ticket.images()
            live.is_marking = True
            images = await self._mark_all(decoded, request, request_id, deadline)
            phase = Phase.DONE
        except (asyncio.CancelledError, Cancelled):
            phase = Phase.CANCELLED
            raise
        except DeadlineExceeded:
            phase = Phase.EXPIRED
            raise
        finally:
            self._remember(request_id, replace(ticket.progress(), phase=phase))
        return GenerationResult(request_id, request, images, created_at, prompt_tokens)

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a running or recent request has come; None if it is not known."""
        live = self._live.get(request_id)
        return live.progress() if live is not None else self._past.get(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; its caller gets Cancelled. Tell whether one was running."""
        live = self._live.get(request_id)
        return live is not None and live.ticket.cancel()

    def _check_tokens(self, request: GenerationRequest) -> int:
        """Refuse what the model would silently cut off; return the prompt's token count."""
        model = self._models.get(request.model_id)
        if model is None:
            raise ModelNotFound(f"No model {request.model_id!r} is served here.", param="model")
        counts = {}
        for param in ("prompt", "negative_prompt"):
            counts[param] = model.count_tokens(getattr(request, param))
            if counts[param] > model.spec.max_prompt_tokens:
                raise InvalidRequest(
                    f"'{param}' has {counts[param]} tokens; model {request.model_id!r} reads at "
                    f"most {model.spec.max_prompt_tokens}.",
                    param=param,
                )
        return counts["prompt"]

    async def _mark_all(
        self,
        decoded: tuple[DecodedImage, ...],
        request: GenerationRequest,
        request_id: RequestId,
        deadline: Deadline,
    ) -> tuple[SignedImage, ...]:
        loop = asyncio.get_running_loop()
        revision = self._models[request.model_id].spec.revision
        marking = MarkingRequest(request_id, request.model_id, revision, request.output)
        jobs = [
            loop.run_in_executor(self._marking_pool, self._marker.mark, image, marking)
            for image in decoded
        ]
        try:
            async with asyncio.timeout(deadline.remaining_s(self._clock())):
                return tuple(await asyncio.gather(*jobs))
        except TimeoutError as exc:
            raise DeadlineExceeded("The deadline passed while the picture was marked.") from exc
        finally:
            for job in jobs:
                job.cancel()

    def _remember(self, request_id: RequestId, progress: Progress) -> None:
        del self._live[request_id]
        self._past[request_id] = progress
        self._past.move_to_end(request_id)
        while len(self._past) > _REMEMBERED_REQUESTS:
            self._past.popitem(last=False)
