"""Small picture files for tests that upload some."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from tests.fakes import flat_pixels


def png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Return a picture as a PNG file."""
    return picture_file(Image.fromarray(flat_pixels(width_px, height_px)))


def mask_png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Return a mask whose left half is transparent: to be drawn anew."""
    pixels = np.zeros((height_px, width_px, 4), np.uint8)
    pixels[:, width_px // 2 :, 3] = 255
    return picture_file(Image.fromarray(pixels))


def picture_file(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    """Return a picture as a file of any format that Pillow writes."""
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
