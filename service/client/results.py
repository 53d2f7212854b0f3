"""What a caller gets: pictures, events, reports and models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Picture:
    """One signed picture. `content` is the file; changing a byte breaks its signature.

    `pixels_sha256`: digest of the decoded RGB pixels before marking: equal for equal requests.
    `watermark_id`: hexadecimal.
    """

    content: bytes
    mime_type: str
    width_px: int
    height_px: int
    seed: int
    output_id: str
    pixels_sha256: str
    content_sha256: str
    watermark_id: str
    watermark_profile: str
    manifest_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is queued. `queue_position`: images ahead of it that are not running yet."""

    request_id: str
    queue_position: int
    estimated_wait_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps over all images of the request."""

    steps_done: int
    steps_total: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What an image looks like by now; both indices from 0."""

    image_index: int
    partial_index: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """One image is done; `image_index` from 0."""

    image_index: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class Done:
    """All images were sent. `warnings`: sentences about what the pictures may lack.

    `joules`: what drawing them took; None where the server's hardware does not count it.
    """

    request_id: str
    model: str
    created_at: datetime
    prompt_tokens: int
    warnings: tuple[str, ...]
    joules: float | None = None


Event = Accepted | Progress | Preview | FinishedImage | Done


@dataclass(frozen=True, slots=True)
class Generated:
    """Everything that one request gave; `pictures` in the order of their seeds.

    `joules`: what drawing them took; None where the server's hardware does not count it.
    """

    pictures: tuple[Picture, ...]
    request_id: str
    model: str
    created_at: datetime
    prompt_tokens: int
    warnings: tuple[str, ...]
    joules: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Where a picture comes from.

    `verdict`, `confidence`: the same words as over HTTP, such as "ai_generated_by_us", "proof".
    `message`: the evidence in full.
    """

    verdict: str
    confidence: str
    notes: tuple[str, ...]
    message: pb.VerifyResponse


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A served model; sizes are (width, height). `message`: defaults, limits and card as well."""

    id: str
    revision: str
    is_default: bool
    sizes_px: tuple[tuple[int, int], ...]
    schedulers: tuple[str, ...]
    message: pb.Model


class Collector:
    """Puts the events of one request together."""

    def __init__(self) -> None:
        self._pictures: dict[int, Picture] = {}
        self._done: Done | None = None

    def add(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, FinishedImage):
            self._pictures[event.image_index] = event.picture
        elif isinstance(event, Done):
            self._done = event

    def result(self) -> Generated:
        """Return everything, once the stream has ended without an error."""
        done = self._done
        assert done is not None, "a stream that ends well ends with `done`"
        return Generated(
            pictures=tuple(self._pictures[index] for index in sorted(self._pictures)),
            request_id=done.request_id,
            model=done.model,
            created_at=done.created_at,
            prompt_tokens=done.prompt_tokens,
            warnings=done.warnings,
            joules=done.joules,
        )


def to_event(message: pb.GenerateResponse | pb.EditResponse) -> Event | None:
    """Return one message of a stream, or None for a kind that this version does not know."""
    match message.WhichOneof("event"):
        case "accepted":
            accepted = message.accepted
            wait_s = accepted.estimated_wait.ToNanoseconds() / 1e9
            return Accepted(accepted.request_id, accepted.queue_position, wait_s)
        case "progress":
            return Progress(message.progress.steps_done, message.progress.steps_total)
        case "preview":
            preview = message.preview
            return Preview(preview.image_index, preview.partial_index, to_picture(preview.image))
        case "image":
            return FinishedImage(message.image.image_index, to_picture(message.image.image))
        case "done":
            return _to_done(message.done)
        case _:
            return None


def to_picture(image: pb.Image) -> Picture:
    """Return one image of a message."""
    return Picture(
        content=image.content,
        mime_type=image.mime_type,
        width_px=image.width_px,
        height_px=image.height_px,
        seed=image.seed,
        output_id=image.output_id,
        pixels_sha256=image.pixels_sha256,
        content_sha256=image.content_sha256,
        watermark_id=image.watermark_id,
        watermark_profile=image.watermark_profile,
        manifest_id=image.manifest_id,
        created_at=image.created_at.ToDatetime(tzinfo=UTC),
    )


def to_report(message: pb.VerifyResponse) -> Report:
    """Return a report; enum values lose the prefix that protobuf wants."""
    return Report(
        verdict=pb.Verdict.Name(message.verdict).removeprefix("VERDICT_").lower(),
        confidence=pb.Confidence.Name(message.confidence).removeprefix("CONFIDENCE_").lower(),
        notes=tuple(message.notes),
        message=message,
    )


def to_model(message: pb.Model) -> ModelFacts:
    """Return one listed model."""
    return ModelFacts(
        id=message.id,
        revision=message.revision,
        is_default=message.is_default,
        sizes_px=tuple((size.width_px, size.height_px) for size in message.sizes),
        schedulers=tuple(message.schedulers),
        message=message,
    )


def _to_done(done: pb.Done) -> Done:
    return Done(
        request_id=done.request_id,
        model=done.model,
        created_at=done.created_at.ToDatetime(tzinfo=UTC),
        prompt_tokens=done.usage.prompt_tokens,
        warnings=tuple(done.warnings),
        joules=done.energy.joules if done.HasField("energy") else None,
    )
