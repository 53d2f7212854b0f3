"""What a caller asks for, checked and free of any wire format (stop 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputFormat(StrEnum):
    """Picture formats that can carry C2PA credentials and that every client reads."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def mime_type(self) -> str:
        """Return the IANA media type."""
        return f"image/{self.value}"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the picture is encoded. `compression`: 0-100, OpenAI's meaning, ignored for PNG."""

    format: OutputFormat = OutputFormat.PNG
    compression: int = 100


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """diffusers' meaning exactly. `seed`: 0 .. 2**63-1 and belongs to one image.

    `guidance_scale` <= 1 means no guidance (one row); `guidance_rescale`: 0 .. 1.
    """

    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    guidance_rescale: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call for `num_images` pictures; image `i` is sampled with seed `sampling.seed + i`."""

    model_id: str
    prompt: str
    negative_prompt: str
    width_px: int
    height_px: int
    num_images: int
    sampling: SamplingParams
    output: OutputOptions = OutputOptions()
