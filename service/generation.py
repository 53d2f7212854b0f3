"""The use case: one request from admission to signed pictures (stops 3-9)."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.domain.progress import Phase, Progress
from service.domain.result import GenerationResult
from service.domain.stream import Accepted, Completed, StepsTaken, StreamEvent
from service.engine.client import ImageReady, PreviewReady
from service.engine.mailbox import Mailbox
from service.errors import Cancelled, DeadlineExceeded, Draining, InvalidRequest, ModelNotFound
from service.marking import RequestMarking
from service.provenance.pipeline import MarkingRequest
from service.telemetry.request_record import note_engine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from concurrent.futures import Executor

    from models.interface import DiffusionModel
    from service.domain.identity import Deadline, RequestId
    from service.domain.request import GenerationRequest
    from service.domain.result import SignedImage
    from service.engine.client import EngineClient, Ticket
    from service.errors import ServiceError
    from service.marking import Marker

logger = logging.getLogger(__name__)

_REMEMBERED_REQUESTS = 1024


@dataclass(slots=True, eq=False)
class _Live:
    """A request while it runs: its engine side, what is announced to its caller, its pictures."""

    request: GenerationRequest
    request_id: RequestId
    deadline: Deadline
    ticket: Ticket
    outbox: Mailbox[StreamEvent]
    images: tuple[SignedImage, ...] = ()
    is_marking: bool = False

    def progress(self) -> Progress:
        progress = self.ticket.progress()
        return replace(progress, phase=Phase.MARKING) if self.is_marking else progress


class GenerateImages:
    """Generates, marks and answers; one instance per server, used from the event loop.

    `marking_pool`: threads for watermarking, encoding and signing, which never run on the loop.
    `clock`: monotonic seconds. `refusal`: returns why no picture could leave now, or None; asked
    before anything is done for a request.
    """

    def __init__(
        self,
        models: Mapping[str, DiffusionModel],
        engine: EngineClient,
        marker: Marker,
        marking_pool: Executor,
        clock: Callable[[], float],
        refusal: Callable[[], ServiceError | None] = lambda: None,
    ) -> None:
        self._models = models
        self._engine = engine
        self._marker = marker
        self._marking_pool = marking_pool
        self._clock = clock
        self._refusal = refusal
        self._live: dict[RequestId, _Live] = {}
        self._past: OrderedDict[RequestId, Progress] = OrderedDict()
        self._has_ended = False

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return every picture of `request`, signed, or raise the ServiceError that ended it.

        Cancelling the awaiting task frees the engine within one step.
        """
        events = self._run(request, request_id, deadline, is_watched=False)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Completed):
                    return event.result
        raise AssertionError("a request ends with its result or an error")

    def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        """Tell how `request` goes on: Accepted first, Completed last, or a ServiceError instead.

        A refusal is raised in place of the first event. Closing the iterator, or cancelling the
        task that reads it, frees the engine within one step. A slow reader costs no more memory
        than the pictures of its own request.
        """
        return self._run(request, request_id, deadline, is_watched=True)

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a running or recent request has come; None if it is not known."""
        live = self._live.get(request_id)
        return live.progress() if live is not None else self._past.get(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; its caller gets Cancelled. Tell whether one was running."""
        live = self._live.get(request_id)
        return live is not None and live.ticket.cancel()

    def end_all(self) -> None:
        """End every request with Draining, also those whose pictures are being signed, for good.

        Whoever comes later is refused in the same way. The engine is free within one step.
        """
        self._has_ended = True
        for live in self._live.values():
            live.outbox.close(_draining())
            live.ticket.cancel()

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

    def _find_warnings(self, request: GenerationRequest) -> tuple[str, ...]:
        vocabulary = self._models[request.model_id].spec.vocabulary
        return () if vocabulary is None else vocabulary.find_warnings(request.prompt)

    async def _run(
        self,
        request: GenerationRequest,
        request_id: RequestId,
        deadline: Deadline,
        *,
        is_watched: bool,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Submit, announce, complete; whatever happens, leave nothing running."""
        refusal = _draining() if self._has_ended else self._refusal()
        if refusal is not None:
            raise refusal
        if request_id in self._live:
            raise InvalidRequest(
                f"A request with the id {request_id!r} is running.", param="x-request-id"
            )
        prompt_tokens = self._check_tokens(request)
        warnings = self._find_warnings(request)
        created_at, ahead_s = datetime.now(UTC), self._engine.seconds_of_work()
        ticket = self._engine.submit(
            request if is_watched or not request.num_previews else replace(request, num_previews=0),
            request_id=request_id,
            deadline=deadline,
            is_watched=is_watched,
        )
        note_engine(ticket.times)
        live = _Live(request, request_id, deadline, ticket, Mailbox())
        self._live[request_id] = live
        marking = asyncio.create_task(self._mark_as_they_come(live))
        marking.add_done_callback(lambda task: _close(live.outbox, task))
        phase = Phase.FAILED
        try:
            yield Accepted(request_id, ticket.progress().queue_position, ahead_s)
            async for event in live.outbox:
                yield event
            phase = Phase.DONE
            yield Completed(
                GenerationResult(
                    request_id, request, live.images, created_at, prompt_tokens, warnings
                )
            )
        except (asyncio.CancelledError, GeneratorExit, Cancelled):
            phase = phase if phase is Phase.DONE else Phase.CANCELLED
            raise
        except DeadlineExceeded:
            phase = Phase.EXPIRED
            raise
        finally:
            ticket.cancel()
            marking.cancel()
            self._remember(request_id, replace(ticket.progress(), phase=phase))
            if not marking.done():
                await asyncio.wait([marking])

    async def _mark_as_they_come(self, live: _Live) -> None:
        """Mark every picture that the engine hands over, until the last one is announced."""
        try:
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
                marking = RequestMarking(
                    self._marker,
                    self._marking_pool,
                    tasks,
                    self._marking_request(live),
                    live.outbox.put,
                )
                async with aclosing(live.ticket.events()) as events:
                    async for event in events:
                        match event:
                            case StepsTaken():
                                live.outbox.put(event)
                            case PreviewReady():
                                marking.add_preview(
                                    event.image_index, event.partial_index, event.image
                                )
                            case ImageReady():
                                marking.add_image(event.image_index, event.image)
                live.is_marking = True
                # The engine keeps the deadline itself; from here on nobody else does.
                left_s = live.deadline.remaining_s(self._clock())
                limit.reschedule(asyncio.get_running_loop().time() + left_s)
        except TimeoutError as exc:
            raise DeadlineExceeded("The deadline passed while the picture was marked.") from exc
        live.images = marking.images
        if marking.skipped_previews:
            logger.info(
                "%d previews could not carry their marks and were not sent",
                marking.skipped_previews,
                extra={"request_id": live.request_id},
            )

    def _marking_request(self, live: _Live) -> MarkingRequest:
        request = live.request
        return MarkingRequest(
            request_id=live.request_id,
            model_id=request.model_id,
            model_revision=self._models[request.model_id].spec.revision,
            output=request.output,
            originals=() if request.source is None else request.source.originals,
        )

    def _remember(self, request_id: RequestId, progress: Progress) -> None:
        del self._live[request_id]
        self._past[request_id] = progress
        self._past.move_to_end(request_id)
        while len(self._past) > _REMEMBERED_REQUESTS:
            self._past.popitem(last=False)


def _draining() -> Draining:
    return Draining("The server is shutting down and could not wait.")


def _close(outbox: Mailbox[StreamEvent], task: asyncio.Task[None]) -> None:
    """End the announcements as `task` ended."""
    if task.cancelled():
        return
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):  # what failed first has stopped the others
        error = error.exceptions[0]
    outbox.close(error)
