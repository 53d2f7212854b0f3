from __future__ import annotations

from dataclasses import replace

import pytest

from models.schedules.catalog import compile_solver, scheduler_names
from models.schedules.config import NoiseScheduleConfig, UnsupportedScheduleOption

EPSILON = NoiseScheduleConfig()
FLOW = NoiseScheduleConfig(is_flow_matching=True)
DIFFUSION_NAMES = (
    "ddim",
    "euler",
    "euler_karras",
    "euler_ancestral",
    "dpmpp_2m",
    "dpmpp_2m_karras",
)


def test_a_diffusion_model_offers_every_solver_but_flow_matching():
    assert scheduler_names(EPSILON) == DIFFUSION_NAMES


def test_a_flow_matching_model_offers_its_own_solver_only():
    assert scheduler_names(FLOW) == ("flow_match_euler",)


@pytest.mark.parametrize(
    "config",
    [
        EPSILON,
        FLOW,
        replace(EPSILON, prediction_type="v_prediction", rescale_betas_zero_snr=True),
        replace(EPSILON, rescale_betas_zero_snr=True, timestep_spacing="trailing"),
        NoiseScheduleConfig.from_dict({"thresholding": True, "sigma_max": 10.0}),
    ],
)
def test_every_offered_name_compiles(config):
    for name in scheduler_names(config):
        assert compile_solver(name, 20, config).num_steps == 20


@pytest.mark.parametrize(
    ("option", "value", "without"),
    [
        ("clip_sample", True, {"ddim"}),
        ("thresholding", True, {"ddim", "dpmpp_2m", "dpmpp_2m_karras"}),
        ("sigma_min", 0.1, {"euler_karras", "dpmpp_2m_karras"}),
        ("algorithm_type", "sde-dpmsolver++", {"dpmpp_2m", "dpmpp_2m_karras"}),
        ("timestep_type", "continuous", {"euler", "euler_karras"}),
    ],
)
def test_an_option_takes_away_the_solvers_that_would_have_to_honour_it(option, value, without):
    config = NoiseScheduleConfig.from_dict({option: value})

    assert set(scheduler_names(config)) == set(DIFFUSION_NAMES) - without
    for name in without:
        with pytest.raises(
            UnsupportedScheduleOption, match=f"does not support {option} = "
        ) as caught:
            compile_solver(name, 4, config)
        assert caught.value.option == option


@pytest.mark.parametrize("option", ["use_dynamic_shifting", "stochastic_sampling"])
def test_a_flow_option_that_is_not_compiled_is_refused_by_name(option):
    config = NoiseScheduleConfig.from_dict(
        {"_class_name": "FlowMatchEulerDiscreteScheduler", option: True}
    )

    assert scheduler_names(config) == ()
    with pytest.raises(UnsupportedScheduleOption, match=option):
        compile_solver("flow_match_euler", 4, config)


def test_an_epsilon_model_cannot_start_ddim_where_no_signal_is_left():
    config = replace(EPSILON, rescale_betas_zero_snr=True, timestep_spacing="trailing")

    assert "ddim" not in scheduler_names(config)
    with pytest.raises(UnsupportedScheduleOption, match="divide by zero"):
        compile_solver("ddim", 4, config)


def test_leading_steps_avoid_the_end_unless_they_reach_it():
    config = replace(EPSILON, rescale_betas_zero_snr=True, steps_offset=1)

    assert compile_solver("ddim", 4, config).num_steps == 4
    with pytest.raises(ValueError, match="divide by zero"):
        compile_solver("ddim", 500, config)


def test_an_offset_beyond_training_is_refused():
    with pytest.raises(ValueError, match="steps_offset 1 leads beyond"):
        compile_solver("ddim", 1000, replace(EPSILON, steps_offset=1))


def test_dpmpp_refuses_steps_that_share_a_noise_level():
    with pytest.raises(ValueError, match="two share a noise level"):
        compile_solver("dpmpp_2m", 1000, replace(EPSILON, timestep_spacing="leading"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown scheduler 'heun'; this model offers: ddim, euler"
    ):
        compile_solver("heun", 4, EPSILON)


@pytest.mark.parametrize(("name", "config"), [("flow_match_euler", EPSILON), ("ddim", FLOW)])
def test_a_solver_of_the_other_kind_is_refused(name, config):
    with pytest.raises(UnsupportedScheduleOption, match="does not fit a"):
        compile_solver(name, 4, config)


@pytest.mark.parametrize("num_inference_steps", [-1, 0, 1001])
def test_a_step_count_out_of_range_is_refused(num_inference_steps):
    with pytest.raises(ValueError, match="num_inference_steps must be 1 to 1000"):
        compile_solver("ddim", num_inference_steps, EPSILON)


def test_equal_requests_share_one_table():
    assert compile_solver("euler", 12, EPSILON) is compile_solver("euler", 12, replace(EPSILON))
