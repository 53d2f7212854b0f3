"""The mark comes back whatever the id, size and picture; nothing hostile disturbs detection."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.unit.provenance.watermark.pictures import icon, plain, recoded

WATERMARKER = SpreadSpectrumWatermarker()
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)
SIDES = st.integers(48, 280)
ROUND_TRIPS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def weakest_reading(pixels, watermark_id, codec):
    """Return the first reading along the ladder, as the marking service takes it."""
    for strength in range(WATERMARKER.max_strength + 1):
        marked = WATERMARKER.embed(pixels, watermark_id, strength=strength)
        reading = WATERMARKER.detect(recoded(marked, *codec) if codec else marked)
        if reading is not None:
            return reading
    return None


@ROUND_TRIPS
@given(
    width_px=SIDES,
    height_px=SIDES,
    id_share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 10_000),
    codec=st.sampled_from([None, (".jpg", 90), (".webp", 90)]),
)
def test_any_id_in_any_icon_comes_back(width_px, height_px, id_share, seed, codec):
    assume(max(width_px, height_px) <= 4 * min(width_px, height_px))
    watermark_id = int(id_share * 2 ** WATERMARKER.id_bits(width_px, height_px))
    reading = weakest_reading(icon(width_px, height_px, seed), watermark_id, codec)
    assert reading is not None
    assert reading.watermark_id == watermark_id
    assert reading.is_weak is (min(width_px, height_px) < 64)


@ROUND_TRIPS
@given(size_px=SIDES, colour=COLOURS, watermark_id=st.integers(0, 0xFFFF))
def test_any_single_colour_carries_a_mark(size_px, colour, watermark_id):
    reading = weakest_reading(plain(size_px, size_px, colour), watermark_id, None)
    assert reading is not None
    assert reading.watermark_id == watermark_id


@settings(max_examples=60, deadline=None)
@given(
    width_px=st.integers(0, 400),
    height_px=st.integers(0, 400),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["noise", "binary", "stripes", "sparse", "view"]),
)
def test_no_array_disturbs_detection(width_px, height_px, seed, kind):
    draw = np.random.default_rng(seed)
    shape = (height_px, width_px, 3)
    pixels = {
        "noise": lambda: draw.integers(0, 256, shape),
        "binary": lambda: draw.integers(0, 2, shape) * 255,
        "stripes": lambda: np.broadcast_to(np.arange(width_px)[:, None] % 2 * 255, shape),
        "sparse": lambda: (draw.random(shape) > 0.99) * 255,
        "view": lambda: draw.integers(0, 256, (2 * height_px, 2 * width_px, 3))[::-2, ::-2],
    }[kind]().astype(np.uint8)
    assert WATERMARKER.detect(pixels) is None


def test_extreme_shapes_are_answered_quickly():
    started_s = time.monotonic()
    for shape in [(1, 1, 3), (10_000, 3, 3), (3, 10_000, 3), (40_000, 64, 3), (6000, 6000, 3)]:
        assert WATERMARKER.detect(np.zeros(shape, np.uint8)) is None
    for other in [(64, 64), (64, 64, 4), (64, 64, 1), (0, 64, 3), (64,)]:
        assert WATERMARKER.detect(np.zeros(other, np.uint8)) is None
    assert time.monotonic() - started_s < 20.0
