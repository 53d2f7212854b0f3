"""Pictures from outside become upright RGB pixels, or a typed error, within the limits."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.domain.request import OutputFormat
from service.errors import InvalidRequest, PayloadTooLarge
from service.provenance.decode import DecodeLimits, decode_pixels, picture_format
from tests.fakes import flat_pixels
from tests.provenance_kit import LIMITS, picture_bytes


def saved(image: Image.Image, fmt: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def png_claiming(width_px: int, height_px: int) -> bytes:
    """A few bytes that claim to be a picture of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("fmt", list(OutputFormat))
def test_the_first_bytes_tell_the_format_however_damaged_the_rest(fmt):
    assert picture_format(picture_bytes(fmt)[:12] + b"damage", LIMITS) is fmt


@pytest.mark.parametrize("content", [b"", b"GIF89a" * 9, b"RIFF\0\0\0\0WAVE", b"BM"])
def test_other_first_bytes_are_invalid_requests(content):
    with pytest.raises(InvalidRequest):
        picture_format(content, LIMITS)


def test_too_many_bytes_are_refused_whatever_they_are():
    with pytest.raises(PayloadTooLarge):
        picture_format(b"x" * 11, DecodeLimits(10, 10**6))


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 50, b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]
)
def test_what_is_no_picture_is_an_invalid_request(content):
    with pytest.raises(InvalidRequest) as caught:
        decode_pixels(content, LIMITS)
    assert caught.value.param == "image"


@pytest.mark.parametrize("fmt", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_invalid_requests(fmt):
    with pytest.raises(InvalidRequest):
        decode_pixels(saved(Image.new("RGB", (8, 8)), fmt), LIMITS)


@pytest.mark.parametrize("fmt", list(OutputFormat))
def test_a_truncated_picture_is_an_invalid_request(fmt):
    content = picture_bytes(fmt)
    with pytest.raises(InvalidRequest):
        decode_pixels(content[: len(content) // 2], LIMITS)


def test_too_many_bytes_are_refused():
    content = picture_bytes(OutputFormat.PNG)
    with pytest.raises(PayloadTooLarge) as caught:
        decode_pixels(content, DecodeLimits(len(content) - 1, 10**6))
    assert caught.value.param == "image"


@pytest.mark.parametrize("side_px", [1100, 9500, 13500, 65000, 2**31 - 1])
def test_too_many_pixels_are_refused_from_the_header_alone(side_px):
    with pytest.raises(PayloadTooLarge) as caught:
        decode_pixels(png_claiming(side_px, side_px), LIMITS)
    assert caught.value.param == "image"


def test_a_picture_at_the_limit_is_read():
    content = picture_bytes(OutputFormat.PNG, flat_pixels(96, 64))
    assert decode_pixels(content, DecodeLimits(len(content), 96 * 64)).shape == (64, 96, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    image = Image.fromarray(flat_pixels(48, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(image, "PNG", exif=exif)
    with Image.open(BytesIO(content)) as reopened:
        expected = np.asarray(ImageOps.exif_transpose(reopened).convert("RGB"))
    assert np.array_equal(decode_pixels(content, LIMITS), expected)


def test_transparency_is_shown_over_white():
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (decode_pixels(saved(image, "PNG"), LIMITS) == 255).all()


def test_palettes_with_transparency_are_shown_over_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    opaque = decode_pixels(saved(image, "PNG"), LIMITS)
    assert (opaque == [200, 100, 50]).all()
    assert (decode_pixels(saved(image, "PNG", transparency=1), LIMITS) == 255).all()


def test_sixteen_bits_keep_their_upper_eight():
    image = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    assert (decode_pixels(saved(image, "PNG"), LIMITS) == 0x80).all()


def test_grey_and_cmyk_become_rgb():
    grey = decode_pixels(saved(Image.new("L", (8, 8), 77), "PNG"), LIMITS)
    assert (grey == 77).all()
    cmyk = decode_pixels(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), LIMITS)
    assert cmyk.shape == (8, 8, 3)
    assert (cmyk > 250).all()


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(fmt):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    content = saved(
        frames[0], fmt, save_all=True, append_images=frames[1:], duration=50, lossless=True
    )
    pixels = decode_pixels(content, LIMITS)
    assert (pixels == [255, 0, 0]).all()
