"""A Generation that takes note of when it was called and how it ended (stops 3 to 9)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from service.domain.stream import Completed
from service.errors import Cancelled, InternalError, ServiceError
from service.telemetry.request_record import GenerationNotes, current_record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult
    from service.domain.stream import StreamEvent
    from service.telemetry.generation import Generation

logger = logging.getLogger(__name__)


class RecordedGeneration:
    """Writes into the record of the current request, whatever transport made it.

    `logs_prompts`: whether the words of callers go into the log, which is off by default.
    """

    def __init__(self, inner: Generation, *, logs_prompts: bool = False) -> None:
        self._inner = inner
        self._logs_prompts = logs_prompts

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return what the inner use case returns."""
        self._log_prompt(request, request_id)
        with _recorded(request) as notes:
            result = await self._inner(request, request_id=request_id, deadline=deadline)
            notes.is_done = True
        return result

    async def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield what the inner use case yields."""
        self._log_prompt(request, request_id)
        completed = None
        events = self._inner.stream(request, request_id=request_id, deadline=deadline)
        with _recorded(request) as notes:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Completed):
                        notes.is_done, completed = True, event
                        break
                    yield event
        if completed is not None:  # out here: what is left is the answer
            yield completed

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a known request has come."""
        return self._inner.progress(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request; tell whether one was running."""
        return self._inner.cancel(request_id)

    def _log_prompt(self, request: GenerationRequest, request_id: RequestId) -> None:
        if self._logs_prompts:
            words = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
            logger.info("prompt", extra={"request_id": request_id, **words})


@contextmanager
def _recorded(request: GenerationRequest) -> Iterator[GenerationNotes]:
    """Note begin, end and error. Sets no context variable: a stream's reader may change tasks."""
    record = current_record.get()
    if record is None:
        yield GenerationNotes(request, 0.0)
        return
    notes = record.generation = GenerationNotes(request, record.clock())
    try:
        yield notes
    except ServiceError as error:
        record.fail(error.code)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        record.fail(Cancelled.code)
        raise
    except BaseException:
        record.fail(InternalError.code)
        raise
    finally:
        notes.ended_s = record.clock()
