"""What the service hands on between its last stops: decoded, signed and answered pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datetime import datetime

    from service.domain.identity import OutputId, RequestId
    from service.domain.request import GenerationRequest, OutputFormat

Pixels = NDArray[np.uint8]  # (height, width, 3), RGB


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels as the model drew them, before any mark.

    `pixels`: uint8 RGB, (height_px, width_px, 3). `pixels_sha256`: hex digest of its raw bytes
    in C order. `seed`: the seed this one image was sampled with.
    """

    pixels: Pixels
    pixels_sha256: str
    seed: int


@dataclass(frozen=True, slots=True)
class SignedImage:
    """The only form in which a picture leaves the service: marked, encoded, signed, read back."""

    output_id: OutputId
    content: bytes
    format: OutputFormat
    width_px: int
    height_px: int
    seed: int
    pixels_sha256: str
    content_sha256: str
    watermark_id: int
    watermark_profile: str
    manifest_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RequestEnergy:
    """What drawing a request's pictures took, by the counters of the hardware named in `sources`.

    They count the whole device, other processes included; nothing is estimated.
    """

    joules: float
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """Everything a presenter needs to answer one request.

    `warnings`: a sentence for each phrase of the prompt that the model is known not to draw.
    `energy`: None where no hardware counts it.
    """

    request_id: RequestId
    request: GenerationRequest
    images: tuple[SignedImage, ...]
    created_at: datetime
    prompt_tokens: int
    warnings: tuple[str, ...] = ()
    energy: RequestEnergy | None = None
