from __future__ import annotations

import hashlib

import numpy as np
import pytest

from models.noise import MAX_SEED, initial_noise, step_noise

SHAPE = (4, 8, 8)


@pytest.mark.parametrize(
    ("noise", "first", "digest"),
    [
        (
            initial_noise(0, SHAPE),
            [0.059911035, 0.015559634, -1.1644385],
            "cc479f361f0b2b2ed95478dd6294a27c50b7a26ae45d140e55d58eec5ee5cb53",
        ),
        (
            initial_noise(MAX_SEED, SHAPE),
            [0.9518664, -1.0147828, 1.1980889],
            "510d51467df73333e0c286f703ef81245017b859c823c594fea2706a787510d3",
        ),
        (
            step_noise(0, 0, SHAPE),
            [-1.431463, 1.6707169, -0.40272397],
            "352284967eb4a8f1d0d283c4f6a1a01a580d08443e6a68810a7ad8bcc97b3964",
        ),
        (
            step_noise(7, 49, SHAPE),
            [0.21815693, -1.268718, 0.24249546],
            "c9700f3c399e4609ac9427c39c485cc458c790258f23ab2600400d9764be38c1",
        ),
    ],
    ids=["seed 0", "largest seed", "seed 0 step 0", "seed 7 step 49"],
)
def test_a_seed_keeps_its_noise_for_ever(noise, first, digest):
    assert noise.ravel()[:3].tolist() == pytest.approx(first, rel=1e-6)
    assert hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest() == digest


def test_noise_is_standard_normal_float32():
    noise = initial_noise(3, (4, 64, 64))

    assert noise.dtype == np.float32
    assert noise.shape == (4, 64, 64)
    assert abs(float(noise.mean())) < 0.03
    assert float(noise.std()) == pytest.approx(1.0, abs=0.03)


def test_every_seed_purpose_and_step_draws_other_noise():
    draws = [initial_noise(0, SHAPE), initial_noise(1, SHAPE)]
    draws += [step_noise(seed, step, SHAPE) for seed in (0, 1) for step in (0, 1)]

    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_a_step_does_not_depend_on_the_draws_before_it():
    step_noise(5, 0, SHAPE)
    after_another = step_noise(5, 1, SHAPE)

    np.testing.assert_array_equal(after_another, step_noise(5, 1, SHAPE))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be 0 to 9223372036854775807"):
        initial_noise(seed, SHAPE)
    with pytest.raises(ValueError, match="seed must be"):
        step_noise(seed, 0, SHAPE)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step_index must not be negative"):
        step_noise(0, -1, SHAPE)
