"""Makes the spans of a request from what was noted of it, once it is over (stops 1 to 10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.telemetry import span_table as table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.domain.times import ImageTimes, RequestTimes
    from service.telemetry.request_record import GenerationNotes, MarkingNotes, RequestRecord

AttributeValue = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of time with a name. Monotonic seconds. `error`: the code of what ended it early.

    `is_fault`: whether that counts as an error of this span, and not only of whoever asked.
    """

    name: str
    start_s: float
    end_s: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    error: str | None = None
    is_fault: bool = True
    children: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the transport knows of a request. `is_fault`: whether its error is the server's."""

    name: str
    attributes: Mapping[str, AttributeValue]
    is_fault: bool = False


def server_span(record: RequestRecord, facts: ServerFacts) -> Span:
    """Return the span of a request that ends now, with one child for each stop it has reached."""
    end_s = record.clock()
    attributes = {**facts.attributes, table.OUTCOME: record.error or "done"}
    if record.request_id is not None:
        attributes[table.REQUEST_ID] = record.request_id
    if record.generation is not None:
        attributes |= _wanted(record.generation)
    return Span(
        facts.name,
        record.started_s,
        end_s,
        attributes,
        record.error,
        facts.is_fault,
        tuple(_stops(record, end_s)),
    )


def durations_ms(record: RequestRecord) -> dict[str, float]:
    """Return how long a request has been at each kind of stop so far, for its log line.

    What several pictures went through at once counts once. Empty if it reached none.
    """
    reached: dict[str, list[Span]] = {}
    for span in _stops(record, record.clock()):
        reached.setdefault(f"{span.name}_ms", []).append(span)
    return {
        name: round(1000 * (max(s.end_s for s in spans) - min(s.start_s for s in spans)), 1)
        for name, spans in reached.items()
    }


def _wanted(notes: GenerationNotes) -> dict[str, AttributeValue]:
    request = notes.request
    return {
        table.MODEL: request.model_id,
        table.IMAGES: request.num_images,
        table.SIZE: f"{request.width_px}x{request.height_px}",
        table.IS_EDIT: request.source is not None,
    }


def _stops(record: RequestRecord, end_s: float) -> Iterator[Span]:
    notes = record.generation
    if notes is None:
        if record.error is not None:  # refused before it got anywhere
            yield Span(table.INTAKE, record.started_s, end_s, error=record.error)
        return
    yield Span(table.INTAKE, record.started_s, notes.started_s)
    ended_s = end_s if notes.ended_s is None else notes.ended_s
    error = None if notes.is_done else record.error
    if notes.times is None:
        yield Span(table.ADMISSION, notes.started_s, ended_s, error=error)
    else:
        yield Span(table.ADMISSION, notes.started_s, notes.times.submitted_at_s)
        yield from _engine(notes, notes.times, ended_s, error)
    for marking in notes.markings:
        yield _marking(marking, ended_s)
    if notes.is_done:
        yield Span(table.ANSWER, ended_s, end_s, error=record.error)


def _engine(
    notes: GenerationNotes, times: RequestTimes, ended_s: float, error: str | None
) -> Iterator[Span]:
    admitted_s = times.admitted_at_s
    if admitted_s is None:
        yield Span(table.QUEUE, times.submitted_at_s, ended_s, error=error)
        return
    yield Span(table.QUEUE, times.submitted_at_s, admitted_s)
    for index, image in enumerate(times.images):
        yield from _image(notes, index, image, ended_s, error)


def _image(
    notes: GenerationNotes, index: int, image: ImageTimes, ended_s: float, error: str | None
) -> Iterator[Span]:
    """Yield what one image went through; what it was in the middle of ends with the request.

    The engine may still write: what it has not written yet is taken as not having happened.
    """
    which: dict[str, AttributeValue] = {table.IMAGE_INDEX: index}
    if image.encode_started_s is None:
        return
    if image.encoded_s is None:
        yield Span(table.ENCODE_PROMPT, image.encode_started_s, ended_s, which, error)
        return
    yield Span(table.ENCODE_PROMPT, image.encode_started_s, image.encoded_s, which)
    attributes = which | _denoising(notes, image)
    if image.stepped_s is None or attributes[table.STEPS] != attributes[table.STEPS_WANTED]:
        yield Span(table.DENOISE, image.encoded_s, ended_s, attributes, error)
        return
    yield Span(table.DENOISE, image.encoded_s, image.stepped_s, attributes)
    if image.decode_started_s is None:
        return
    if image.decoded_s is None:
        yield Span(table.DECODE, image.decode_started_s, ended_s, which, error)
    else:
        yield Span(table.DECODE, image.decode_started_s, image.decoded_s, which)


def _denoising(notes: GenerationNotes, image: ImageTimes) -> dict[str, AttributeValue]:
    times, sampling = notes.times, notes.request.sampling
    assert times is not None
    steps = image.steps
    return {
        table.STEPS: steps,
        table.STEPS_WANTED: times.steps_per_image,
        table.ROWS_MIN: image.rows_min,
        table.ROWS_MEAN: round(image.rows_sum / steps, 2) if steps else 0.0,
        table.ROWS_MAX: image.rows_max,
        table.SHAPE: times.shape,
        table.GUIDED: sampling.guidance_scale > 1,
        table.SCHEDULER: sampling.scheduler,
    }


def _marking(notes: MarkingNotes, ended_s: float) -> Span:
    end_s = ended_s if notes.ended_s is None else notes.ended_s
    attributes: dict[str, AttributeValue] = {
        table.IMAGE_INDEX: notes.image_index,
        table.IS_PREVIEW: notes.is_preview,
    }
    stages = tuple(_laid_out(notes))
    return Span(table.MARK, notes.started_s, end_s, attributes, notes.error, children=stages)


def _laid_out(notes: MarkingNotes) -> list[Span]:
    """Return the stages one behind the other.

    Stages that take turns are told together when all turns are over: each then ends where the next
    begins, at the latest.
    """
    spans: list[Span] = []
    next_s = float("inf")
    for name, seconds, told_s in reversed(notes.stages):
        end_s = min(told_s, next_s)
        next_s = end_s - seconds
        spans.append(Span(name, next_s, end_s))
    spans.reverse()
    return spans
