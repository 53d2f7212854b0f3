"""From what a caller wrote to a checked `GenerationRequest` (stop 2), for every transport."""

from __future__ import annotations

import math
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from service.domain.request import (
    MAX_PREVIEWS,
    GenerationRequest,
    OutputFormat,
    OutputOptions,
    SamplingParams,
)
from service.edit_intake import build_source, size_for
from service.errors import InvalidRequest

if TYPE_CHECKING:
    from models.spec import ModelSpec
    from service.edit_intake import EditDraft

MAX_SEED = 2**63 - 1
# A drawn seed leaves room for one seed per image and survives a JSON reader that uses doubles.
_DRAWN_SEED_BITS = 48
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_SURROGATE = re.compile("[\ud800-\udfff]")


class LimitsOptions(BaseModel):
    """What one request may ask for. Sizes are limited by the model (`ModelSpec.sizes_px`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    max_upload_pixels: int = Field(default=40_000_000, ge=4096)
    max_prompt_chars: int = Field(default=4000, ge=1, le=32_000)
    max_images_per_request: int = Field(default=10, ge=1, le=64)
    max_inference_steps: int = Field(default=150, ge=1, le=1000)
    max_guidance_scale: float = Field(default=50.0, gt=1)


@dataclass(frozen=True, slots=True)
class GenerationDraft:
    """A request as it came in: right types, nothing checked. None means "not said".

    `size` is `auto` or `<width>x<height>` in pixels. `num_previews`: per image, for a caller who
    watches. `edit`: the picture to start from, if one was sent. `needs_prompt`: false where a
    picture alone says enough.
    """

    prompt: str
    negative_prompt: str | None = None
    num_images: int | None = None
    size: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    num_previews: int | None = None
    edit: EditDraft | None = None
    needs_prompt: bool = True


def build_request(
    draft: GenerationDraft, spec: ModelSpec, limits: LimitsOptions
) -> GenerationRequest:
    """Check `draft` against the model and the limits and fill in what it leaves open.

    Raises InvalidRequest naming the wire parameter at fault.
    """
    num_images = _in_range("n", draft.num_images, 1, 1, limits.max_images_per_request)
    width_px, height_px = _size(draft, spec)
    sampling = _sampling(draft, spec, limits, num_images)
    edit, steps = draft.edit, sampling.num_inference_steps
    return GenerationRequest(
        model_id=spec.model_id,
        prompt=_text("prompt", draft.prompt, limits.max_prompt_chars, required=draft.needs_prompt),
        negative_prompt=_text(
            "negative_prompt", draft.negative_prompt or "", limits.max_prompt_chars, required=False
        ),
        width_px=width_px,
        height_px=height_px,
        num_images=num_images,
        sampling=sampling,
        output=_output(draft),
        source=None if edit is None else build_source(edit, (width_px, height_px), steps),
        num_previews=_in_range("partial_images", draft.num_previews, 0, 0, MAX_PREVIEWS),
    )


def _sampling(
    draft: GenerationDraft, spec: ModelSpec, limits: LimitsOptions, num_images: int
) -> SamplingParams:
    defaults = spec.defaults
    scheduler = draft.scheduler if draft.scheduler is not None else defaults.scheduler
    if scheduler not in spec.schedulers:
        known = ", ".join(spec.schedulers)
        raise InvalidRequest(
            f"Unknown scheduler {scheduler[:60]!r}. This model has: {known}.", param="scheduler"
        )
    return SamplingParams(
        seed=_seed(draft.seed, num_images),
        num_inference_steps=_in_range(
            "num_inference_steps",
            draft.num_inference_steps,
            defaults.num_inference_steps,
            1,
            limits.max_inference_steps,
        ),
        guidance_scale=_guidance(draft.guidance_scale, defaults.guidance_scale, limits),
        scheduler=scheduler,
        guidance_rescale=defaults.guidance_rescale,
    )


def _text(param: str, text: str, max_chars: int, *, required: bool) -> str:
    if required and not text.strip():
        raise InvalidRequest(f"'{param}' must not be empty.", param=param)
    if len(text) > max_chars:
        raise InvalidRequest(
            f"'{param}' has {len(text)} characters; at most {max_chars} are allowed.", param=param
        )
    # A lone surrogate is valid JSON but no text: it has no UTF-8 form, so no tokenizer takes it.
    if _SURROGATE.search(text):
        raise InvalidRequest(f"'{param}' is not valid Unicode text.", param=param)
    return text


def _in_range(param: str, value: int | None, default: int, low: int, high: int) -> int:
    chosen = default if value is None else value
    if not low <= chosen <= high:
        raise InvalidRequest(f"'{param}' must be from {low} to {high}.", param=param)
    return chosen


def _guidance(value: float | None, default: float, limits: LimitsOptions) -> float:
    chosen = default if value is None else value
    if not math.isfinite(chosen) or not 0 <= chosen <= limits.max_guidance_scale:
        raise InvalidRequest(
            f"'guidance_scale' must be from 0 to {limits.max_guidance_scale:g}.",
            param="guidance_scale",
        )
    return chosen


def _seed(value: int | None, num_images: int) -> int:
    if value is None:
        return secrets.randbits(_DRAWN_SEED_BITS)
    highest = MAX_SEED - (num_images - 1)  # image i takes seed + i
    if not 0 <= value <= highest:
        raise InvalidRequest(f"'seed' must be from 0 to {highest}.", param="seed")
    return value


def _size(draft: GenerationDraft, spec: ModelSpec) -> tuple[int, int]:
    size = draft.size
    if size is None or size == "auto":
        return spec.default_size_px if draft.edit is None else size_for(draft.edit, spec)
    match = _SIZE.fullmatch(size)
    wanted = (int(match[1]), int(match[2])) if match else None
    if wanted is None or wanted not in spec.sizes_px:
        known = ", ".join(f"{width}x{height}" for width, height in spec.sizes_px)
        raise InvalidRequest(
            f"Size {size[:40]!r} is not supported. This model draws: auto, {known}.", param="size"
        )
    return wanted


def _output(draft: GenerationDraft) -> OutputOptions:
    try:
        fmt = OutputFormat(draft.output_format or OutputFormat.PNG.value)
    except ValueError:
        known = ", ".join(OutputFormat)
        raise InvalidRequest(
            f"'output_format' must be one of: {known}.", param="output_format"
        ) from None
    compression = _in_range("output_compression", draft.output_compression, 100, 0, 100)
    return OutputOptions(fmt, compression)
