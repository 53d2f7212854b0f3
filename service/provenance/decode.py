"""Reads pictures from outside, of which nothing may be assumed, into RGB pixels."""

from __future__ import annotations

import struct
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from service.domain.request import OutputFormat
from service.errors import InvalidRequest, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.domain.result import Pixels

# Everything Pillow's three readers are seen to raise on damaged files. `Warning`: where warnings
# are errors, a suspicious file is a damaged one.
_MALFORMED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    MemoryError,
    Warning,
)

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a picture may take. `max_pixels` is checked against its header, before decoding."""

    max_bytes: int
    max_pixels: int


def picture_format(content: bytes, limits: DecodeLimits) -> OutputFormat:
    """Return the format of a picture from its first bytes, however damaged the rest.

    Raises PayloadTooLarge beyond `limits.max_bytes` and InvalidRequest for anything that does not
    begin like a PNG, JPEG or WebP file; both with param "image".
    """
    _check_bytes(content, limits)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return OutputFormat.PNG
    if content.startswith(b"\xff\xd8\xff"):
        return OutputFormat.JPEG
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return OutputFormat.WEBP
    raise InvalidRequest("The image is not a PNG, JPEG or WebP file.", param="image")


def decode_pixels(content: bytes, limits: DecodeLimits) -> Pixels:
    """Return the picture as one sees it: uint8 RGB, (height_px, width_px, 3).

    The first frame of an animation, turned as its EXIF orientation says, transparency over white,
    16-bit values by their upper 8 bits. Colour profiles are not applied: the watermark is in the
    luma and survives them, and a hostile profile is one parser less to fear.
    Raises PayloadTooLarge beyond `limits`, before decoding, and InvalidRequest for a file that is
    damaged or of another format; both with param "image".
    """
    with _opened(content, limits) as image:
        image.load()
        turned = _upright(image)
        return np.ascontiguousarray(_to_rgb(turned))


@contextmanager
def _opened(content: bytes, limits: DecodeLimits) -> Iterator[Image.Image]:
    _check_bytes(content, limits)
    try:
        with Image.open(BytesIO(content), formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.width * image.height > limits.max_pixels:
                raise _too_many_pixels(limits)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits) from error
    except _MALFORMED as error:
        raise InvalidRequest(
            "The image is not a complete PNG, JPEG or WebP file.", param="image"
        ) from error


def _check_bytes(content: bytes, limits: DecodeLimits) -> None:
    if len(content) > limits.max_bytes:
        raise PayloadTooLarge(f"The image is larger than {limits.max_bytes} bytes.", param="image")


def _too_many_pixels(limits: DecodeLimits) -> PayloadTooLarge:
    return PayloadTooLarge(f"The image has more than {limits.max_pixels} pixels.", param="image")


def _upright(image: Image.Image) -> Image.Image:
    transpose = _TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(paper, layer)
    return np.asarray(image.convert("RGB"))
