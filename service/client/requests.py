"""What a caller may ask for, and the messages that ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from typing import Literal

DrawRequest = TypeVar("DrawRequest", pb.GenerateRequest, pb.EditRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """Everything beside the prompt. None means "not said": the model's default, see `list_models`.

    `size_px`: (width, height). `n`: how many pictures; image i is drawn with `seed` + i.
    `partial_images`: previews per image, 0 to 3; only `stream` shows them.
    """

    model: str | None = None
    negative_prompt: str | None = None
    n: int | None = None
    size_px: tuple[int, int] | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = None
    partial_images: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EditOptions(GenerateOptions):
    """The same, for an edit.

    `mask`: a PNG file as large as the picture; where it is transparent the picture is drawn anew.
    `strength`: how far the result may leave the picture, above 0 up to 1.
    """

    mask: bytes | None = None
    strength: float | None = None


def generate_request(prompt: str, options: GenerateOptions) -> pb.GenerateRequest:
    """Return the message. Raises ValueError or TypeError for what no message can hold."""
    return _filled(pb.GenerateRequest(prompt=prompt), options)


def edit_request(prompt: str, image: bytes, options: EditOptions) -> pb.EditRequest:
    """Return the message. Raises ValueError or TypeError for what no message can hold."""
    request = pb.EditRequest(
        prompt=prompt, image=[image], mask=options.mask, strength=options.strength
    )
    return _filled(request, options)


def _filled(request: DrawRequest, options: GenerateOptions) -> DrawRequest:
    """Set what was said; what was not stays unset, which is not the same as 0."""
    for name in (
        "model",
        "negative_prompt",
        "n",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "scheduler",
        "output_compression",
        "partial_images",
    ):
        value = getattr(options, name)
        if value is not None:
            setattr(request, name, value)
    if options.size_px is not None:
        width_px, height_px = options.size_px
        request.size.CopyFrom(pb.Size(width_px=width_px, height_px=height_px))
    if options.output_format is not None:
        name = f"OUTPUT_FORMAT_{options.output_format.upper()}"
        # An enum is an int at run time, which the stubs deny.
        request.output_format = pb.OutputFormat.Value(name)  # type: ignore[assignment]
    return request
