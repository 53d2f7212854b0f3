"""From uploaded pictures to a checked `EditSource` of the output size (stop 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.domain.request import EditSource, Original
from service.errors import InvalidRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.spec import ModelSpec
    from service.domain.result import Pixels

# diffusers' own defaults: of its image-to-image and of its inpainting pipeline.
_DEFAULT_STRENGTH = 0.8
_DEFAULT_MASKED_STRENGTH = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class UploadedImage:
    """One picture as it came in: decoded within the limits, and the very bytes of the upload.

    `pixels`: uint8 RGB, (height_px, width_px, 3), any size. `content`, `mime_type`: the file.
    """

    pixels: Pixels
    content: bytes
    mime_type: str


@dataclass(frozen=True, slots=True, eq=False)
class EditDraft:
    """The edit part of a request as it came in: decoded, nothing else checked.

    `images`: what the caller sent, the one to edit first. `mask`: uint8 (height_px, width_px) for
    that one, 255 = redraw, 0 = keep (the inverse of OpenAI's alpha). None means "not said".
    """

    images: tuple[UploadedImage, ...]
    mask: NDArray[np.uint8] | None = None
    strength: float | None = None


def size_for(draft: EditDraft, spec: ModelSpec) -> tuple[int, int]:
    """Return the (width, height) in px that the model draws and that fits the picture best.

    The nearest aspect ratio wins, then the nearest area. Raises InvalidRequest, param "image".
    """
    height_px, width_px, _ = _edited(draft).pixels.shape

    def distance(size_px: tuple[int, int]) -> tuple[float, float]:
        aspect = math.log(size_px[0] / size_px[1]) - math.log(width_px / height_px)
        area = math.log(size_px[0] * size_px[1]) - math.log(width_px * height_px)
        return round(abs(aspect), 6), abs(area)

    return min(spec.sizes_px, key=distance)


def build_source(
    draft: EditDraft, size_px: tuple[int, int], num_inference_steps: int
) -> EditSource:
    """Return the picture and mask resized to `size_px`, (width, height), with the strength.

    As diffusers does, both are stretched when the aspect ratio differs. Raises InvalidRequest
    naming "image", "mask" or "strength".
    """
    image = _edited(draft)
    strength = _strength(draft, num_inference_steps)
    return EditSource(
        pixels=_resized(image.pixels, size_px, Image.Resampling.LANCZOS),
        strength=strength,
        originals=tuple(Original(upload.content, upload.mime_type) for upload in draft.images),
        mask=_mask(draft.mask, image.pixels, size_px),
    )


def _edited(draft: EditDraft) -> UploadedImage:
    if len(draft.images) != 1:
        # One that is not looked at must not be taken, nor be named in the credentials.
        raise InvalidRequest("An edit takes exactly one image.", param="image")
    return draft.images[0]


def _mask(
    mask: NDArray[np.uint8] | None, pixels: Pixels, size_px: tuple[int, int]
) -> NDArray[np.uint8] | None:
    if mask is None:
        return None
    if mask.shape != pixels.shape[:2]:
        (height_px, width_px), (image_height_px, image_width_px) = mask.shape, pixels.shape[:2]
        raise InvalidRequest(
            f"The mask has {width_px}x{height_px} pixels, the image "
            f"{image_width_px}x{image_height_px}; they must have the same size.",
            param="mask",
        )
    if not mask.any():
        raise InvalidRequest("The mask leaves nothing to redraw.", param="mask")
    # Not Lanczos, which overshoots: what is kept or redrawn entirely must stay so.
    return _resized(mask, size_px, Image.Resampling.BILINEAR)


def _strength(draft: EditDraft, num_inference_steps: int) -> float:
    strength = draft.strength
    if strength is None:
        strength = _DEFAULT_STRENGTH if draft.mask is None else _DEFAULT_MASKED_STRENGTH
        return strength if int(num_inference_steps * strength) else 1.0
    if not 0 < strength <= 1:  # also refuses NaN
        raise InvalidRequest("'strength' must be above 0 and at most 1.", param="strength")
    if int(num_inference_steps * strength) == 0:
        raise InvalidRequest(
            f"'strength' {strength:g} of {num_inference_steps} steps is less than one step.",
            param="strength",
        )
    return strength


def _resized(
    pixels: NDArray[np.uint8], size_px: tuple[int, int], how: Image.Resampling
) -> NDArray[np.uint8]:
    """Return an array of its own at (width, height), whatever `pixels` is a view of."""
    return np.array(Image.fromarray(pixels).resize(size_px, how))
