"""Encoded pictures are what the caller asked for and say how they came to be."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from service.domain.request import OutputFormat, OutputOptions
from service.errors import EncodingFailed
from service.provenance.decode import decode_pixels
from service.provenance.encode import encode_pixels
from tests.fakes import flat_pixels
from tests.provenance_kit import LIMITS

SOURCE_TYPE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FORMATS = list(OutputFormat)


def textured(side_px: int = 128):
    noise = np.random.default_rng(5).normal(0, 12, (side_px, side_px, 3))
    return np.clip(flat_pixels(side_px, side_px) + noise, 0, 255).astype(np.uint8)


def psnr_db(first, second) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_file_is_of_the_format_asked_for(fmt):
    with Image.open(BytesIO(encode_pixels(flat_pixels(), OutputOptions(fmt)))) as image:
        assert image.format == fmt.value.upper()
        assert image.size == (96, 96)


@pytest.mark.parametrize("fmt", FORMATS)
def test_xmp_names_the_digital_source_type(fmt):
    content = encode_pixels(flat_pixels(), OutputOptions(fmt))
    assert b"Iptc4xmpExt:DigitalSourceType" in content
    assert SOURCE_TYPE in content


@pytest.mark.parametrize("fmt", FORMATS)
def test_xmp_of_an_altered_picture_says_that_a_model_had_only_part_in_it(fmt):
    content = encode_pixels(flat_pixels(), OutputOptions(fmt), is_altered=True)
    assert b"/digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in content
    assert SOURCE_TYPE not in content


@pytest.mark.parametrize("side_px", [64, 512])
def test_png_keeps_every_bit(side_px):
    pixels = textured(side_px)
    content = encode_pixels(pixels, OutputOptions(OutputFormat.PNG, compression=0))
    assert np.array_equal(decode_pixels(content, LIMITS), pixels)


@pytest.mark.parametrize("fmt", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_more_compression_percent_is_better_and_larger(fmt):
    pixels = textured()
    sizes, qualities = [], []
    for compression in (0, 50, 100):
        content = encode_pixels(pixels, OutputOptions(fmt, compression))
        sizes.append(len(content))
        qualities.append(psnr_db(decode_pixels(content, LIMITS), pixels))
    assert sizes == sorted(sizes)
    assert qualities == sorted(qualities)
    assert sizes[0] < sizes[2] / 2


def test_jpeg_keeps_colour_at_full_resolution():
    content = encode_pixels(flat_pixels(), OutputOptions(OutputFormat.JPEG))
    with Image.open(BytesIO(content)) as image:
        assert isinstance(image, JpegImageFile)
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_pixels_no_encoder_takes_are_an_encoding_failure():
    with pytest.raises(EncodingFailed):
        encode_pixels(np.zeros((4, 4, 5), np.uint8), OutputOptions(OutputFormat.PNG))
    with pytest.raises(EncodingFailed):
        encode_pixels(np.zeros((1, 70000, 3), np.uint8), OutputOptions(OutputFormat.JPEG))
