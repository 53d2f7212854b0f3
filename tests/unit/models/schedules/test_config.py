from __future__ import annotations

import math

import pytest

from models.schedules.config import NoiseScheduleConfig, UnsupportedScheduleOption

# As the diffusers library writes it for the model in models/embedded.
DDIM_JSON = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.42.1",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "thresholding": False,
    "timestep_spacing": "trailing",
    "trained_betas": None,
}


def test_a_diffusers_file_is_read():
    assert NoiseScheduleConfig.from_dict(DDIM_JSON) == NoiseScheduleConfig(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
        set_alpha_to_one=False,
    )


def test_missing_and_null_keys_take_the_defaults_of_diffusers():
    nulls = dict.fromkeys(DDIM_JSON)

    assert NoiseScheduleConfig.from_dict({}) == NoiseScheduleConfig()
    assert NoiseScheduleConfig.from_dict(nulls) == NoiseScheduleConfig()


def test_a_flow_matching_file_is_recognised():
    config = NoiseScheduleConfig.from_dict(
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    )

    assert config.is_flow_matching
    assert config.shift == 3.0


def test_trained_betas_are_kept_and_the_config_stays_hashable():
    config = NoiseScheduleConfig.from_dict(
        {"num_train_timesteps": 2, "trained_betas": [0.1, 0.2], "clip_sample": True}
    )

    assert config.trained_betas == (0.1, 0.2)
    assert hash(config) == hash(
        NoiseScheduleConfig(2, trained_betas=(0.1, 0.2), departures=config.departures)
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("clip_sample", True), ("thresholding", True), ("sigma_min", 0.03), ("solver_order", 3)],
)
def test_settings_that_some_solver_cannot_honour_are_noted(option, value):
    config = NoiseScheduleConfig.from_dict({option: value})

    assert config.departures == ((option, repr(value)),)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("clip_sample", False),
        ("lambda_min_clipped", -math.inf),
        ("algorithm_type", "dpmsolver++"),
        ("solver_type", "bh2"),
    ],
)
def test_settings_that_change_nothing_are_not_noted(option, value):
    assert NoiseScheduleConfig.from_dict({option: value}).departures == ()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beta_schedule", "sigmoid"),
        ("prediction_type", "flow_prediction"),
        ("timestep_spacing", "random"),
    ],
)
def test_an_unknown_choice_is_refused_by_name(option, value):
    with pytest.raises(UnsupportedScheduleOption, match=f"{option} '{value}'") as caught:
        NoiseScheduleConfig.from_dict({option: value})

    assert caught.value.option == option


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"num_train_timesteps": 1}, "num_train_timesteps must exceed 1"),
        ({"num_train_timesteps": 10.5}, "num_train_timesteps must be an integer"),
        ({"num_train_timesteps": True}, "num_train_timesteps must be an integer"),
        ({"beta_start": "small"}, "beta_start must be a number"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "betas must satisfy"),
        ({"beta_end": 1.0}, "betas must satisfy"),
        ({"steps_offset": -1}, "steps_offset must not be negative"),
        ({"shift": 0.0}, "shift must be positive"),
        ({"shift": math.nan}, "shift must be positive"),
        ({"set_alpha_to_one": "yes"}, "set_alpha_to_one must be true or false"),
        ({"trained_betas": 0.1}, "trained_betas must be a list"),
        ({"trained_betas": [0.1, "x"]}, "trained_betas must be a number"),
        ({"trained_betas": [0.1, 0.2]}, "2 values for 1000 training timesteps"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, 1.0]}, "strictly between 0 and 1"),
    ],
)
def test_a_bad_value_is_refused_by_name(raw, message):
    with pytest.raises(ValueError, match=message):
        NoiseScheduleConfig.from_dict(raw)
