"""Uploaded files of an edit into the pictures they hold (stop 2), for every transport."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.edit_intake import EditDraft, UploadedImage
from service.errors import InvalidRequest, PayloadTooLarge
from service.provenance.decode import DecodeLimits, decode_pixels, picture_format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.intake import LimitsOptions

# As in service.provenance.decode: everything that Pillow's readers raise on damaged files.
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


def decode_edit(
    image: bytes, mask: bytes | None, strength: float | None, limits: LimitsOptions
) -> EditDraft:
    """Return the draft of an edit of one picture. Blocking: it belongs in a pool of threads.

    `mask`: a PNG file, transparent where the picture is drawn anew.
    Raises InvalidRequest or PayloadTooLarge, naming "image" or "mask".
    """
    bounds = DecodeLimits(limits.max_upload_bytes, limits.max_upload_pixels)
    mime_type = picture_format(image, bounds).mime_type
    upload = UploadedImage(decode_pixels(image, bounds), image, mime_type)
    decoded = None if mask is None else decode_mask(mask, bounds)
    return EditDraft(images=(upload,), mask=decoded, strength=strength)


def decode_mask(content: bytes, bounds: DecodeLimits) -> NDArray[np.uint8]:
    """Return uint8 (height_px, width_px): 255 where the mask is transparent, 0 where opaque.

    Raises PayloadTooLarge beyond `bounds`, before decoding, and InvalidRequest for anything but a
    complete PNG file with transparency; both with param "mask".
    """
    if len(content) > bounds.max_bytes:
        raise PayloadTooLarge(f"The mask is larger than {bounds.max_bytes} bytes.", param="mask")
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as mask:
            if mask.width * mask.height > bounds.max_pixels:
                raise _too_many_pixels(bounds)
            if not mask.has_transparency_data:
                raise InvalidRequest("The mask has no transparency.", param="mask")
            alpha = np.asarray(mask.convert("RGBA").getchannel("A"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(bounds) from error
    except _MALFORMED as error:
        raise InvalidRequest("The mask is not a complete PNG file.", param="mask") from error
    return 255 - alpha


def _too_many_pixels(bounds: DecodeLimits) -> PayloadTooLarge:
    return PayloadTooLarge(f"The mask has more than {bounds.max_pixels} pixels.", param="mask")
