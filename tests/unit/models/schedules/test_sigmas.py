from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.schedules.config import NoiseScheduleConfig
from models.schedules.sigmas import (
    alphas_cumprod,
    flow_sigmas,
    karras_sigmas,
    sigma_to_timestep,
    spaced_timesteps,
    train_sigmas,
)

STABLE_DIFFUSION = NoiseScheduleConfig(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
)
ZERO_SNR = NoiseScheduleConfig(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
)


def spaced(spacing: Any, num_steps: int, *, offset: int = 0, skips_lowest: bool = False) -> Any:
    config = NoiseScheduleConfig(timestep_spacing=spacing, steps_offset=offset)
    return spaced_timesteps(config, num_steps, "leading", skips_lowest=skips_lowest).tolist()


def test_the_noise_range_is_the_published_one_of_stable_diffusion():
    sigmas = train_sigmas(STABLE_DIFFUSION)

    assert float(sigmas[0]) == pytest.approx(0.0292, abs=1e-4)
    assert float(sigmas[-1]) == pytest.approx(14.6146, abs=1e-4)
    assert (np.diff(sigmas) > 0).all()


def test_zero_snr_rescaling_ends_without_signal_and_keeps_the_first_step():
    plain, rescaled = alphas_cumprod(STABLE_DIFFUSION), alphas_cumprod(ZERO_SNR)

    assert rescaled[-1] == 0
    assert float(rescaled[0]) == pytest.approx(float(plain[0]), rel=1e-6)
    assert (np.diff(rescaled) < 0).all()


def test_the_highest_sigma_of_a_zero_snr_schedule_is_finite():
    assert float(train_sigmas(ZERO_SNR)[-1]) == pytest.approx(4096, rel=1e-6)


def test_trained_betas_replace_the_schedule():
    config = NoiseScheduleConfig(num_train_timesteps=3, trained_betas=(0.1, 0.2, 0.5))

    np.testing.assert_allclose(alphas_cumprod(config), [0.9, 0.72, 0.36], rtol=1e-6)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [751, 501, 251, 1]),
        ("trailing", [999, 749, 499, 249]),
        ("linspace", [999, 666, 333, 0]),
    ],
)
def test_four_timesteps_of_a_thousand(spacing, expected):
    assert spaced(spacing, 4, offset=1) == expected


def test_skipping_the_lowest_point_starts_at_the_same_end():
    assert spaced("linspace", 3, skips_lowest=True) == [999, 666, 333]
    assert spaced("leading", 3, offset=1, skips_lowest=True) == [751, 501, 251]
    assert spaced("trailing", 4, skips_lowest=True) == spaced("trailing", 4)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_every_step_count_gives_exactly_that_many_timesteps_in_range(spacing):
    for num_steps in range(1, 1001):
        timesteps = spaced(spacing, num_steps)
        assert len(timesteps) == num_steps
        assert min(timesteps) >= 0
        assert max(timesteps) <= 999


def test_karras_levels_fall_between_their_ends():
    sigmas = karras_sigmas(10.0, 0.1, 5)

    assert sigmas[0] == pytest.approx(10.0)
    assert sigmas[-1] == pytest.approx(0.1)
    assert (np.diff(sigmas) < 0).all()
    assert sigmas[2] == pytest.approx(((10 ** (1 / 7) + 0.1 ** (1 / 7)) / 2) ** 7)


def test_a_known_level_maps_to_its_own_timestep_and_others_between():
    known = train_sigmas(STABLE_DIFFUSION)
    halfway = np.sqrt(np.float64(known[500]) * known[501])

    timesteps = sigma_to_timestep(np.array([known[500], halfway, 1e-12, 1e6]), known)

    np.testing.assert_allclose(timesteps, [500, 500.5, 0, 999], atol=1e-3)


def test_flow_levels_start_at_one_and_a_shift_spends_more_steps_on_noise():
    plain = flow_sigmas(NoiseScheduleConfig(is_flow_matching=True), 10)
    shifted = flow_sigmas(NoiseScheduleConfig(is_flow_matching=True, shift=3.0), 10)

    assert plain[0] == shifted[0] == 1
    assert float(plain[-1]) == pytest.approx(0.001)
    assert (shifted[1:] > plain[1:]).all()
