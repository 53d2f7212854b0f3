"""Between the wire's messages and the service's own types (stops 2 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from service.domain.request import OutputFormat
from service.domain.stream import (
    Accepted,
    Completed,
    FinishedImage,
    PartialImage,
    StepsTaken,
)
from service.errors import InvalidRequest
from service.intake import GenerationDraft
from service.provenance.manifest import format_watermark_id
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message

    from service.domain.result import GenerationResult, RequestEnergy, SignedImage
    from service.domain.stream import StreamEvent
    from service.edit_intake import EditDraft

    DrawRequest = pb.GenerateRequest | pb.EditRequest

EventMessage = TypeVar("EventMessage", pb.GenerateResponse, pb.EditResponse)

_FORMATS: dict[int, OutputFormat | None] = {
    pb.OUTPUT_FORMAT_UNSPECIFIED: None,
    pb.OUTPUT_FORMAT_PNG: OutputFormat.PNG,
    pb.OUTPUT_FORMAT_JPEG: OutputFormat.JPEG,
    pb.OUTPUT_FORMAT_WEBP: OutputFormat.WEBP,
}


def refuse_unknown_fields(request: Message) -> None:
    """Raise InvalidRequest for a field that this server's version of the API does not have.

    Whoever sends one wants something that would otherwise be left out without a word.
    """
    unknown = UnknownFieldSet(request)
    if len(unknown):
        number = unknown[0].field_number
        raise InvalidRequest(
            f"Field number {number} is not a field of {request.DESCRIPTOR.name} here.",
            param=str(number),
        )


def to_draft(request: DrawRequest, edit: EditDraft | None = None) -> GenerationDraft:
    """Translate the wire names once; what the values may be is `service.intake`'s to say.

    `edit`: the decoded upload of an edit. Raises InvalidRequest for an unknown output format.
    """
    wire_format = request.output_format
    if wire_format not in _FORMATS:
        known = ", ".join(name for name in pb.OutputFormat.keys())  # noqa: SIM118 - not a dict
        raise InvalidRequest(
            f"'output_format' {wire_format} is not known. There are: {known}.",
            param="output_format",
        )
    refuse_unknown_fields(request.size)
    size = request.size
    return GenerationDraft(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt if request.HasField("negative_prompt") else None,
        num_images=request.n if request.HasField("n") else None,
        size=f"{size.width_px}x{size.height_px}" if request.HasField("size") else None,
        seed=request.seed if request.HasField("seed") else None,
        num_inference_steps=(
            request.num_inference_steps if request.HasField("num_inference_steps") else None
        ),
        guidance_scale=request.guidance_scale if request.HasField("guidance_scale") else None,
        scheduler=request.scheduler if request.HasField("scheduler") else None,
        output_format=_FORMATS[wire_format],
        output_compression=(
            request.output_compression if request.HasField("output_compression") else None
        ),
        num_previews=request.partial_images if request.HasField("partial_images") else None,
        edit=edit,
    )


def event_message(event: StreamEvent, message_type: type[EventMessage]) -> EventMessage:
    """Return one event of a generation or an edit as the message of its stream."""
    match event:
        case Accepted():
            return message_type(accepted=_accepted(event))
        case StepsTaken():
            return message_type(
                progress=pb.Progress(steps_done=event.steps_done, steps_total=event.steps_total)
            )
        case PartialImage():
            return message_type(
                preview=pb.Preview(
                    image_index=event.image_index,
                    partial_index=event.partial_index,
                    image=image_message(event.image),
                )
            )
        case FinishedImage():
            return message_type(
                image=pb.FinishedImage(
                    image_index=event.image_index, image=image_message(event.image)
                )
            )
        case Completed():
            return message_type(done=_done(event.result))


def image_message(image: SignedImage) -> pb.Image:
    """Return a signed picture with everything a caller may want to know about it."""
    return pb.Image(
        content=image.content,
        mime_type=image.format.mime_type,
        width_px=image.width_px,
        height_px=image.height_px,
        seed=image.seed,
        output_id=image.output_id,
        pixels_sha256=image.pixels_sha256,
        content_sha256=image.content_sha256,
        watermark_id=format_watermark_id(image.watermark_id),
        watermark_profile=image.watermark_profile,
        manifest_id=image.manifest_id,
        created_at=_timestamp(image.created_at),
    )


def _accepted(event: Accepted) -> pb.Accepted:
    wait = Duration()
    wait.FromNanoseconds(int(event.estimated_wait_s * 1e9))
    return pb.Accepted(
        request_id=event.request_id, queue_position=event.queue_position, estimated_wait=wait
    )


def _done(result: GenerationResult) -> pb.Done:
    return pb.Done(
        request_id=result.request_id,
        model=result.request.model_id,
        created_at=_timestamp(result.created_at),
        usage=pb.Usage(prompt_tokens=result.prompt_tokens, images=len(result.images)),
        warnings=result.warnings,
        energy=_energy(result.energy, len(result.images)),
    )


def _energy(energy: RequestEnergy | None, num_images: int) -> pb.Energy | None:
    if energy is None:
        return None
    return pb.Energy(
        joules=energy.joules,
        joules_per_image=energy.joules / num_images,
        sources=energy.sources,
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
