from __future__ import annotations

import numpy as np
import pytest

from models.arrays import NumpyArrays
from models.guidance import apply_guidance

ROW_STD = NumpyArrays().row_std


def column(*values: float):
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


@pytest.fixture
def predictions():
    rng = np.random.default_rng(1)
    return rng.standard_normal((2, 3, 4, 4, 4), np.float32)


def test_scale_one_is_the_conditional_and_scale_zero_the_unconditional(predictions):
    cond, uncond = predictions

    guided = apply_guidance(cond, uncond, column(1, 0, 2), None, ROW_STD)

    np.testing.assert_allclose(guided[0], cond[0], atol=1e-6)
    np.testing.assert_array_equal(guided[1], uncond[1])
    np.testing.assert_allclose(guided[2], 2 * cond[2] - uncond[2], atol=1e-6)


def test_full_rescale_restores_the_contrast_of_the_conditional(predictions):
    cond, uncond = predictions

    guided = apply_guidance(cond, uncond, column(7, 7, 7), column(1, 1, 1), ROW_STD)

    np.testing.assert_allclose(ROW_STD(guided), ROW_STD(cond), rtol=1e-5)


def test_rows_without_rescale_keep_their_bits_beside_rows_with_it(predictions):
    cond, uncond = predictions
    cond[0, 0, 0], uncond[0, 0, 0] = -1.0, -0.0
    plain = apply_guidance(cond, uncond, column(0, 3, 5), None, ROW_STD)

    mixed = apply_guidance(cond, uncond, column(0, 3, 5), column(0, 0.7, 0), ROW_STD)

    assert np.signbit(plain[0, 0, 0]).all()  # a negative zero, the delicate case
    assert mixed[0].tobytes() == plain[0].tobytes()
    assert mixed[2].tobytes() == plain[2].tobytes()
    assert not np.allclose(mixed[1], plain[1])


def test_a_flat_prediction_stays_as_it_is(predictions):
    cond, uncond = predictions
    cond[1], uncond[1] = 0.5, 0.25

    guided = apply_guidance(cond, uncond, column(3, 3, 3), column(0.5, 0.5, 0.5), ROW_STD)

    assert (guided[1] == 1.0).all()
    assert np.isfinite(guided).all()


def test_arguments_are_not_changed(predictions):
    before = predictions.copy()
    cond, uncond = predictions

    apply_guidance(cond, uncond, column(7, 7, 7), column(1, 0, 1), ROW_STD)

    np.testing.assert_array_equal(predictions, before)
