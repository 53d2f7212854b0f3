from __future__ import annotations

import numpy as np
import pytest

from models.training import metrics

WHITE, RED, BLUE = (255, 255, 255), (220, 30, 30), (40, 60, 220)


def picture(background=WHITE, colour=RED, *, side_px=32, box=(8, 24)):
    pixels = np.full((1, side_px, side_px, 3), background, np.uint8)
    pixels[:, box[0] : box[1], box[0] : box[1]] = colour
    return pixels


def test_psnr_is_that_of_the_mean_square_error():
    one = np.zeros((2, 4, 4, 3), np.uint8)
    other = one.copy()
    other[0] = 16
    assert metrics.psnr_db(one, other) == pytest.approx([10 * np.log10(255**2 / 256), 99])


def test_psnr_counts_bright_differences_in_both_directions():
    dark, bright = np.full((1, 2, 2, 3), 10, np.uint8), np.full((1, 2, 2, 3), 250, np.uint8)
    assert metrics.psnr_db(dark, bright) == pytest.approx(metrics.psnr_db(bright, dark))


def test_top_k_counts_better_classes_only():
    scores = np.array([[0.1, 0.5, 0.4], [0.9, 0.05, 0.05]], np.float32)
    truth = np.array([2, 0])
    assert metrics.top_k_hits(scores, truth, 1).tolist() == [False, True]
    assert metrics.top_k_hits(scores, truth, 2).tolist() == [True, True]


def test_a_judge_without_an_opinion_is_never_right():
    truth = np.array([0, 1, 2])
    assert not metrics.top_k_hits(np.zeros((3, 4), np.float32), truth, 3).any()


def test_wilson_interval_agrees_with_the_published_example():
    # Newcombe 1998, table I: 81 of 263.
    low, high = metrics.wilson_interval(81 / 263, 263)
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_wilson_interval_of_a_certain_outcome_is_not_a_point():
    assert metrics.wilson_interval(1.0, 10)[0] < 0.8
    assert metrics.wilson_interval(0.0, 0) == (0.0, 1.0)


def test_the_border_colour_survives_an_object_that_touches_the_border():
    pixels = picture(background=BLUE, box=(0, 12))
    assert metrics.border_colours(pixels)[0].tolist() == list(BLUE)


def test_nearest_colour_is_taken_from_the_palette():
    palette = np.array([WHITE, RED, BLUE], np.float64)
    seen = np.array([[250, 250, 240], [60, 60, 200]], np.float64)
    assert metrics.nearest_colours(seen, palette).tolist() == [0, 2]


def test_a_picture_is_blank_when_next_to_nothing_leaves_the_background():
    speck = picture(box=(8, 12))
    faint = picture(colour=(240, 240, 240))
    assert metrics.are_blank(np.concatenate([picture(), speck, faint])).tolist() == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("colour", "hue_deg"), [(RED, 0), ((30, 200, 30), 120), (BLUE, 233)])
def test_the_hue_is_that_of_the_object_and_not_of_the_background(colour, hue_deg):
    (seen,) = metrics.object_hues(picture(background=(250, 216, 74), colour=colour))
    assert abs((seen - hue_deg + 180) % 360 - 180) < 2


def test_an_object_of_two_colours_has_the_hue_of_the_larger_part():
    pixels = picture(colour=RED)
    pixels[:, 8:13, 8:24] = BLUE
    (seen,) = metrics.object_hues(pixels)
    assert min(seen, 360 - seen) < 5


def test_a_grey_object_has_no_hue_and_matches_no_colour():
    hues = metrics.object_hues(picture(colour=(90, 90, 90)))
    assert np.isnan(hues[0])
    assert metrics.nearest_hues(hues, np.array([0.0, 120.0])).tolist() == [-1]


def test_hues_wrap_round_the_circle():
    seen = np.array([355.0, 10.0, 290.0])
    assert metrics.nearest_hues(seen, np.array([0.0, 120.0, 240.0])).tolist() == [0, 0, 2]


def test_frechet_distance_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((200_000, 3)) * [1.0, 2.0, 3.0]
    other = rng.standard_normal((200_000, 3)) * [2.0, 2.0, 1.0] + [1.0, 0.0, 2.0]
    # Diagonal covariances: squared distances of means and of standard deviations.
    assert metrics.frechet_distance(one, other) == pytest.approx(5 + 1 + 4, rel=0.02)


def test_frechet_distance_grows_with_the_difference_and_vanishes_without():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((500, 8))
    shifts = [metrics.frechet_distance(features, features + shift) for shift in (0, 0.5, 1)]
    assert shifts[0] == pytest.approx(0, abs=1e-9)
    assert shifts == sorted(shifts)


def test_the_same_object_is_recognised_at_another_place_and_size():
    small, large = picture(box=(4, 12)), picture(box=(10, 28))
    other = picture()
    other[:, 8:16, 8:16] = BLUE
    bank = metrics.object_crops(large)
    assert metrics.nearest_cosines(metrics.object_crops(small), bank)[0] > 0.99
    assert metrics.nearest_cosines(metrics.object_crops(other), bank)[0] < 0.9


def test_a_blank_picture_resembles_nothing():
    bank = metrics.object_crops(picture())
    blank = np.full((1, 32, 32, 3), 255, np.uint8)
    assert metrics.nearest_cosines(metrics.object_crops(blank), bank).tolist() == [0.0]


def test_the_nearest_is_found_in_every_block():
    rng = np.random.default_rng(2)
    bank = rng.standard_normal((7, 12)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    assert metrics.nearest_cosines(bank, bank, block=3) == pytest.approx(np.ones(7), abs=1e-6)
