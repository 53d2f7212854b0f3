"""The mark is as faint as its file allows, and stronger if a careless copy would lose it."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.request import OutputFormat, OutputOptions
from service.errors import WatermarkFailed
from service.provenance.closed_loop import ClosedLoop, MarkMargin
from service.provenance.encode import recompressed
from service.provenance.watermark import Effort, SpreadSpectrumWatermarker
from tests.fakes import flat_pixels

PNG = OutputOptions(OutputFormat.PNG)
READER = SpreadSpectrumWatermarker()
LOOP_READER = SpreadSpectrumWatermarker(effort=Effort.WHOLE)
PICTURES = [
    flat_pixels(64, 64, value=255),
    flat_pixels(64, 64, value=0),
    flat_pixels(64, 80, value=140),
    flat_pixels(128, 128, value=90),
]


def psnr_db(changed: np.ndarray, original: np.ndarray) -> float:
    error = np.mean((changed.astype(np.float64) - original) ** 2)
    return float(10 * np.log10(255.0**2 / error))


@pytest.mark.parametrize("pixels", PICTURES)
def test_with_a_margin_the_mark_survives_a_jpeg_copy(pixels):
    marked = ClosedLoop(LOOP_READER, MarkMargin(70)).mark(pixels, 77, PNG)
    reading = READER.detect(recompressed(marked.decoded, 70))
    assert reading is not None
    assert reading.watermark_id == 77


@pytest.mark.parametrize("pixels", PICTURES)
def test_without_a_margin_the_mark_is_fainter_or_the_same(pixels):
    faint = ClosedLoop(LOOP_READER).mark(pixels, 77, PNG)
    firm = ClosedLoop(LOOP_READER, MarkMargin(70)).mark(pixels, 77, PNG)
    assert psnr_db(faint.decoded, pixels) >= psnr_db(firm.decoded, pixels)
    assert READER.detect(faint.decoded) is not None


def test_a_margin_that_cannot_be_had_costs_no_more_than_its_bound():
    pixels = flat_pixels(64, 64, value=140)
    marked = ClosedLoop(LOOP_READER, MarkMargin(1, max_strength=2)).mark(pixels, 77, PNG)
    at_bound = LOOP_READER.embed(pixels, 77, strength=2)
    assert np.array_equal(marked.decoded, at_bound)


def test_a_picture_of_noise_that_carries_no_mark_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(WatermarkFailed):
        ClosedLoop(LOOP_READER).mark(noise, 77, PNG)


def test_what_the_loop_reads_a_blind_reader_reads_as_well():
    for value in range(0, 256, 51):
        pixels = flat_pixels(64, 64, value=value)
        marked = ClosedLoop(LOOP_READER).mark(pixels, 5, PNG)
        blind = READER.detect(marked.decoded)
        assert blind is not None
        assert blind.watermark_id == marked.reading.watermark_id
