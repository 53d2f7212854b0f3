"""What is noted of one request while it is served; spans and its log line are made from it.

Everyone who notes something finds the record of the current task, or none and then does nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.errors import Cancelled, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.domain.request import GenerationRequest
    from service.domain.times import RequestTimes
    from service.telemetry.trace_context import TraceContext


@dataclass(slots=True, eq=False)
class MarkingNotes:
    """One picture on its way through stop 9. `stages`: (name, seconds it took, when it was told).

    `ended_s`: None while it goes on. `error`: the code of what stopped it.
    """

    image_index: int
    is_preview: bool
    started_s: float
    ended_s: float | None = None
    error: str | None = None
    stages: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class GenerationNotes:
    """The use case, as the transport that called it saw it. `ended_s`: None while it runs."""

    request: GenerationRequest
    started_s: float
    ended_s: float | None = None
    is_done: bool = False
    times: RequestTimes | None = None
    markings: list[MarkingNotes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One HTTP request or gRPC call. `clock`: monotonic seconds, the engine's.

    `trace`: None if nothing is traced. `error`: the code of the first error, or None.
    """

    clock: Callable[[], float]
    trace: TraceContext | None = None
    request_id: str | None = None
    error: str | None = None
    generation: GenerationNotes | None = None
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin now."""
        self.started_s = self.clock()

    def fail(self, code: str) -> None:
        """Take note of an error, unless another one came first."""
        if self.error is None:
            self.error = code


# Set by the transports for the task that serves a request; tasks made by it inherit it.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)
_current_marking: ContextVar[MarkingNotes | None] = ContextVar("_current_marking", default=None)


def note_error(code: str) -> None:
    """Say that the current request is answered with an error."""
    record = current_record.get()
    if record is not None:
        record.fail(code)


def note_engine(times: RequestTimes) -> None:
    """Say where the engine writes when the current request passes its stops."""
    record = current_record.get()
    if record is not None and record.generation is not None:
        record.generation.times = times


@contextmanager
def noted_marking(image_index: int, *, is_preview: bool) -> Iterator[None]:
    """Take note of the marking of one picture; threads need the context, to be told its stages.

    Belongs into a task of its own, not around a `yield` of an asynchronous generator.
    """
    record = current_record.get()
    if record is None or record.generation is None:
        yield
        return
    notes = MarkingNotes(image_index, is_preview, record.clock())
    record.generation.markings.append(notes)
    token = _current_marking.set(notes)
    try:
        yield
    except ServiceError as error:
        notes.error = error.code
        raise
    except BaseException:
        notes.error = Cancelled.code
        raise
    finally:
        notes.ended_s = record.clock()
        _current_marking.reset(token)


def noting_stages(observe_stage: Callable[[str, float], None]) -> Callable[[str, float], None]:
    """Return a function that tells `observe_stage`, and the record of the current request.

    Both are told how many seconds a stage of marking the current picture took, until now.
    """

    def observe_and_note(stage: str, seconds: float) -> None:
        observe_stage(stage, seconds)
        notes, record = _current_marking.get(), current_record.get()
        if notes is not None and record is not None:
            notes.stages.append((stage, seconds, record.clock()))

    return observe_and_note
