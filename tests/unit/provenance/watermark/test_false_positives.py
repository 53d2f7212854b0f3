"""Unmarked pictures give no reading, and the stated rate is what the search can reach."""

from __future__ import annotations

import numpy as np
import pytest

from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.unit.provenance.watermark.pictures import BACKGROUNDS, icon, plain, texture


@pytest.fixture(scope="module")
def watermarker() -> SpreadSpectrumWatermarker:
    return SpreadSpectrumWatermarker()


def test_no_unmarked_picture_yields_a_reading(watermarker):
    pictures = [make(64, 64, seed) for seed in range(80) for make in (icon, texture)]
    pictures += [make(256, 200, seed) for seed in range(12) for make in (icon, texture)]
    pictures += [plain(80, 80, colour) for colour in BACKGROUNDS]
    assert [watermarker.detect(picture) for picture in pictures] == [None] * len(pictures)


@pytest.mark.parametrize("period_px", [8, 16, 21, 32])
def test_a_periodic_picture_is_no_mark(watermarker, period_px):
    tile = texture(period_px, period_px, period_px)
    assert watermarker.detect(np.tile(tile, (256 // period_px, 256 // period_px, 1))) is None


def test_the_stated_rates_follow_from_the_search(watermarker):
    full = watermarker.detect(watermarker.embed(icon(256, 256, 1), 1))
    hint = watermarker.detect(watermarker.embed(icon(60, 60, 1), 1))
    assert full is not None
    assert hint is not None
    assert full.false_positive_rate == 12 / 2**28
    assert hint.false_positive_rate == 2 * 2 / 2**16 + 12 / 2**28
