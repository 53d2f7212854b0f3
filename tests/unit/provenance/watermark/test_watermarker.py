from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.provenance.watermark import MIN_SIDE_PX, Effort, SpreadSpectrumWatermarker
from tests.unit.provenance.watermark.pictures import (
    BACKGROUNDS,
    icon,
    plain,
    psnr_db,
    recoded,
    resized,
    texture,
)

FULL_ID = 0xC0FFEE42


@pytest.fixture(scope="module")
def watermarker() -> SpreadSpectrumWatermarker:
    return SpreadSpectrumWatermarker()


def first_reading(watermarker, pixels, watermark_id, attack):
    """Return the reading at the least strength that survives `attack`, and that strength."""
    for strength in range(watermarker.max_strength + 1):
        reading = watermarker.detect(
            attack(watermarker.embed(pixels, watermark_id, strength=strength))
        )
        if reading is not None:
            return reading, strength
    raise AssertionError("no strength survives")


@pytest.mark.parametrize("colour", BACKGROUNDS)
@pytest.mark.parametrize("size_px", [64, 128, 256])
def test_a_picture_of_one_colour_carries_a_mark(watermarker, size_px, colour):
    marked = watermarker.embed(plain(size_px, size_px, colour), FULL_ID)
    reading = watermarker.detect(marked)
    assert reading is not None
    assert (reading.watermark_id, reading.profile, reading.is_weak) == (FULL_ID, "sst64", False)
    assert (reading.rotation_degrees, reading.is_mirrored, reading.scale) == (0, False, 1.0)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("codec", [None, (".jpg", 90), (".webp", 90)])
def test_a_64_px_icon_survives_encoding_at_one_of_the_two_faintest_strengths(
    watermarker, seed, codec
):
    reading, strength = first_reading(
        watermarker,
        icon(64, 64, seed),
        FULL_ID + seed,
        lambda marked: recoded(marked, *codec) if codec else marked,
    )
    assert reading.watermark_id == FULL_ID + seed
    assert strength <= 1


@pytest.mark.parametrize(
    ("width_px", "height_px"),
    [(64, 64), (65, 71), (96, 64), (64, 200), (127, 127), (128, 160), (199, 200), (320, 256)],
)
@pytest.mark.parametrize("make", [icon, texture])
def test_any_shape_carries_the_full_payload(watermarker, width_px, height_px, make):
    assert watermarker.id_bits(width_px, height_px) == 32
    reading, _ = first_reading(
        watermarker, make(width_px, height_px, 5), FULL_ID, lambda p: recoded(p, ".jpg", 90)
    )
    assert reading.watermark_id == FULL_ID
    assert not reading.is_weak


@pytest.mark.parametrize("size_px", [48, 55, 63])
def test_below_64_px_a_weak_hint_is_carried(watermarker, size_px):
    assert watermarker.id_bits(size_px, 190) == 16
    reading, _ = first_reading(
        watermarker, icon(size_px, size_px, 3), 0xBEEF, lambda p: recoded(p, ".webp", 90)
    )
    assert (reading.watermark_id, reading.profile) == (0xBEEF, "sst32-small")
    assert reading.is_weak
    assert reading.false_positive_rate > 1e-5


def test_a_lower_bound_for_the_full_payload_can_be_set():
    cautious = SpreadSpectrumWatermarker(full_from_px=128)
    assert cautious.id_bits(127, 127) == 16
    assert cautious.id_bits(128, 128) == 32


@pytest.mark.parametrize("size_px", [64, 256])
@pytest.mark.parametrize("is_altered", [False, True])
def test_created_and_altered_are_told_apart(watermarker, size_px, is_altered):
    marked = watermarker.embed(icon(size_px, size_px, 8), 77, is_altered=is_altered)
    reading = watermarker.detect(marked)
    assert reading is not None
    assert reading.is_altered is is_altered


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(("width_px", "height_px"), [(64, 64), (64, 90), (256, 288)])
def test_the_pose_is_read(watermarker, width_px, height_px, turns, is_mirrored):
    marked = watermarker.embed(icon(width_px, height_px, 13), FULL_ID)
    seen = np.rot90(np.fliplr(marked) if is_mirrored else marked, turns)
    reading = watermarker.detect(seen)
    assert reading is not None
    assert reading.watermark_id == FULL_ID
    assert (reading.is_mirrored, reading.rotation_degrees) == (is_mirrored, 90 * turns)


ATTACKS = {
    "JPEG 50": lambda p: recoded(p, ".jpg", 50),
    "WebP 80": lambda p: recoded(p, ".webp", 80),
    "half size": lambda p: resized(p, p.shape[1] // 2, p.shape[0] // 2),
    "double size": lambda p: resized(p, p.shape[1] * 2, p.shape[0] * 2),
    "darker": lambda p: np.clip(p.astype(int) - 30, 0, 255).astype(np.uint8),
    "screenshot": lambda p: recoded(
        resized(p, p.shape[1] * 4 // 5, p.shape[0] * 4 // 5), ".jpg", 70
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("make", [icon, texture])
@pytest.mark.parametrize("size_px", [256, 512])
def test_a_large_picture_survives_at_the_faintest_strength(watermarker, size_px, make, attack):
    marked = watermarker.embed(make(size_px, size_px, 5), FULL_ID)
    reading = watermarker.detect(attack(marked))
    assert reading is not None
    assert reading.watermark_id == FULL_ID


@pytest.mark.parametrize("factor", [1.0, 0.77, 1.3])
@pytest.mark.parametrize("size_px", [128, 300, 512])
def test_a_rescaled_crop_is_read_and_its_share_is_told(watermarker, size_px, factor):
    marked = watermarker.embed(icon(size_px, size_px, 21), FULL_ID)
    side_px = int(size_px * 0.7)
    top, left = size_px // 7, size_px // 5
    crop = marked[top : top + side_px, left : left + side_px]
    reading = watermarker.detect(resized(crop, int(side_px * factor), int(side_px * factor)))
    assert reading is not None
    assert reading.watermark_id == FULL_ID
    assert reading.scale == pytest.approx(1 / 0.7, rel=0.03)


@pytest.mark.parametrize("size_px", [64, 256])
def test_a_picture_on_a_larger_canvas_is_read(watermarker, size_px):
    canvas = plain(size_px * 7 // 4, size_px * 3 // 2, (240, 240, 240))
    marked = watermarker.embed(icon(size_px, size_px, 21), FULL_ID)
    canvas[size_px // 4 :][:size_px, size_px // 3 :][:, :size_px] = marked
    reading = watermarker.detect(canvas)
    assert reading is not None
    assert reading.watermark_id == FULL_ID
    assert reading.scale == pytest.approx(2 / 3, rel=0.03)


def test_a_slight_rotation_needs_the_thorough_search(watermarker):
    import cv2

    marked = watermarker.embed(icon(384, 384, 5), FULL_ID)
    turn = cv2.getRotationMatrix2D((191.5, 191.5), 3.2, 1.0)
    seen = np.asarray(
        cv2.warpAffine(marked, turn, (384, 384), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    assert watermarker.detect(seen) is None
    thorough = SpreadSpectrumWatermarker(effort=Effort.THOROUGH)
    reading = thorough.detect(seen)
    assert reading is not None
    assert reading.watermark_id == FULL_ID
    assert reading.false_positive_rate < 1e-7


@pytest.mark.parametrize("make", [icon, texture])
@pytest.mark.parametrize(("size_px", "faintest_db"), [(48, 42), (64, 42), (256, 42), (512, 44)])
def test_every_strength_costs_two_decibels_more(watermarker, size_px, faintest_db, make):
    picture = make(size_px, size_px, 6)
    for strength in range(watermarker.max_strength + 1):
        marked = watermarker.embed(picture, 5, strength=strength)
        assert marked.dtype == np.uint8
        assert marked.shape == picture.shape
        assert psnr_db(marked, picture) == pytest.approx(faintest_db - 2 * strength, abs=0.1)


def test_embedding_leaves_its_input_alone_and_repeats_exactly(watermarker):
    picture = icon(128, 128, 2)
    before = picture.copy()
    first, second = watermarker.embed(picture, 9), watermarker.embed(picture, 9)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(first, second)


def test_only_grey_moves_where_nothing_clips(watermarker):
    picture = plain(128, 128, (90, 120, 150))
    change = watermarker.embed(picture, 9).astype(int) - picture
    np.testing.assert_array_equal(change, change[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("key", [1, b"another key"])
def test_another_key_does_not_read_the_mark(watermarker, key):
    other = SpreadSpectrumWatermarker(key)
    marked = other.embed(icon(256, 256, 1), FULL_ID)
    assert watermarker.detect(marked) is None
    assert other.detect(marked) is not None


def test_a_negative_key_is_refused():
    with pytest.raises(ValueError, match="key"):
        SpreadSpectrumWatermarker(-1)


@pytest.mark.parametrize(
    ("width_px", "height_px"), [(MIN_SIDE_PX - 1, 90), (90, 1), (48, 193), (2001, 500)]
)
def test_a_picture_too_small_is_refused(watermarker, width_px, height_px):
    assert watermarker.id_bits(width_px, height_px) == 0
    with pytest.raises(ValueError, match="48 px"):
        watermarker.embed(plain(width_px, height_px, (9, 9, 9)), 0)


@pytest.mark.parametrize("strength", [-1, 8])
def test_a_strength_off_the_ladder_is_refused(watermarker, strength):
    with pytest.raises(ValueError, match="strength"):
        watermarker.embed(icon(64, 64, 1), 1, strength=strength)


def test_one_instance_serves_many_threads(watermarker):
    def round_trip(watermark_id: int) -> int | None:
        reading = watermarker.detect(watermarker.embed(icon(64, 64, watermark_id), watermark_id))
        return None if reading is None else reading.watermark_id

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(round_trip, range(40))) == list(range(40))


def test_a_mark_made_by_the_first_release_is_still_read(watermarker):
    """The carriers follow from the public key alone; if they drift, old marks are lost."""
    change = watermarker.embed(plain(64, 64, (128, 128, 128)), 0x01234567)[..., 0].astype(int) - 128
    assert change[0, :8].tolist() == [-1, 0, 2, 2, -1, -1, 1, 1]
    assert change[40, 20:28].tolist() == [2, 5, 1, 0, 4, 3, 5, 5]
