"""Tables against the plain loops of the papers, in float64, with a network known in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.schedules.catalog import compile_solver, scheduler_names
from models.schedules.config import NoiseScheduleConfig
from models.schedules.sigmas import alphas_cumprod, train_sigmas
from models.schedules.solvers import Column, SolverTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def make_config(prediction: str, spacing: str = "linspace") -> NoiseScheduleConfig:
    return NoiseScheduleConfig.from_dict(
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": prediction,
            "timestep_spacing": spacing,
        }
    )


def raw_output(prediction: str, x: NDArray[Any], t: float) -> NDArray[Any]:
    """A made-up network on unit-variance input; any smooth function will do."""
    bias = {"epsilon": 0.0, "v_prediction": 0.1, "sample": 0.2}[prediction]
    return np.asarray(np.tanh(0.7 * x + np.cos(t / 300)) + bias)


def denoise(prediction: str, x: NDArray[Any], t: float, alpha: float, sigma: float) -> NDArray[Any]:
    """The denoised sample that `raw_output` stands for, for x = alpha * x0 + sigma * noise."""
    out = raw_output(prediction, x, t)
    if prediction == "epsilon":
        return (x - sigma * out) / alpha
    return alpha * x - sigma * out if prediction == "v_prediction" else out


def run(
    table: SolverTable, prediction: str, start: NDArray[Any], draw: Callable[[int], NDArray[Any]]
) -> NDArray[Any]:
    x, h = start * table.init_noise_scale, np.zeros_like(start)
    for i, (s, t, a, b, c, d, p, q) in enumerate(table.coefficients):
        out = raw_output(prediction, s * x, t)
        x, h = a * x + b * out + c * h + d * draw(i), p * x + q * out
    return x


def no_noise(step: int) -> NDArray[Any]:
    return np.zeros((3, 5))


@pytest.fixture
def start() -> NDArray[Any]:
    return np.random.default_rng(0).standard_normal((3, 5))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim_is_equation_12_of_its_paper(prediction, start):
    config = make_config(prediction, "trailing")
    alpha_bar = np.append(alphas_cumprod(config).astype(np.float64), 1.0)
    x = start
    for t in range(999, -1, -100):
        alpha, sigma = np.sqrt(alpha_bar[t]), np.sqrt(1 - alpha_bar[t])
        previous = alpha_bar[t - 100 if t >= 100 else -1]
        x0 = denoise(prediction, x, t, alpha, sigma)
        x = np.sqrt(previous) * x0 + np.sqrt(1 - previous) * (x - alpha * x0) / sigma

    table = compile_solver("ddim", 10, config)

    np.testing.assert_allclose(run(table, prediction, start, no_noise), x, rtol=1e-9)


def euler_levels(config: NoiseScheduleConfig, num_steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
    timesteps = np.linspace(999, 0, num_steps, dtype=np.float32)
    known = train_sigmas(config)
    sigmas = np.interp(timesteps, np.arange(1000), known).astype(np.float32)
    return timesteps.astype(np.float64), np.append(sigmas, 0).astype(np.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_euler_is_algorithm_2_of_karras_without_churn(prediction, start):
    config = make_config(prediction)
    timesteps, sigmas = euler_levels(config, 8)
    x = start * sigmas[0]
    for t, sigma, sigma_next in zip(timesteps, sigmas, sigmas[1:], strict=False):
        alpha = 1 / np.sqrt(sigma**2 + 1)
        x0 = denoise(prediction, alpha * x, t, alpha, alpha * sigma)
        x = x + (x - x0) / sigma * (sigma_next - sigma)

    table = compile_solver("euler", 8, config)

    np.testing.assert_allclose(run(table, prediction, start, no_noise), x, rtol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_euler_ancestral_steps_down_and_adds_noise_back(prediction, start):
    config = make_config(prediction)
    timesteps, sigmas = euler_levels(config, 8)
    noise = np.random.default_rng(1).standard_normal((8, 3, 5))
    x = start * sigmas[0]
    for t, sigma, sigma_next, z in zip(timesteps, sigmas, sigmas[1:], noise, strict=False):
        alpha = 1 / np.sqrt(sigma**2 + 1)
        x0 = denoise(prediction, alpha * x, t, alpha, alpha * sigma)
        up = np.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
        down = np.sqrt(sigma_next**2 - up**2)
        x = x + (x - x0) / sigma * (down - sigma) + up * z

    table = compile_solver("euler_ancestral", 8, config)

    np.testing.assert_allclose(run(table, prediction, start, noise.__getitem__), x, rtol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_dpmpp_2m_is_algorithm_2_of_its_paper(prediction, start):
    config = make_config(prediction)
    timesteps = np.linspace(0, 999, 9).round()[:0:-1]
    sigmas = np.append(train_sigmas(config)[timesteps.astype(int)], 0).astype(np.float64)
    alphas = 1 / np.sqrt(sigmas**2 + 1)
    x, x0_before, h_before = start, np.zeros_like(start), np.inf
    for i, t in enumerate(timesteps):
        x0 = denoise(prediction, x, t, alphas[i], alphas[i] * sigmas[i])
        with np.errstate(divide="ignore"):
            h = np.log(sigmas[i]) - np.log(sigmas[i + 1])
        is_second_order = 0 < i < len(timesteps) - 1
        d = x0 + (x0 - x0_before) * h / (2 * h_before) if is_second_order else x0
        ratio = alphas[i + 1] * sigmas[i + 1] / (alphas[i] * sigmas[i])
        x = ratio * x - alphas[i + 1] * np.expm1(-h) * d
        x0_before, h_before = x0, h

    table = compile_solver("dpmpp_2m", 8, config)

    np.testing.assert_allclose(run(table, prediction, start, no_noise), x, rtol=1e-9)


def test_flow_match_euler_integrates_the_velocity():
    config = NoiseScheduleConfig(is_flow_matching=True, shift=3.0)
    target, start = 0.25, 4.0
    x = start
    for s, t, a, b, *rest in compile_solver("flow_match_euler", 7, config).coefficients:
        assert s == 1
        assert 0 < t <= 1000
        assert not any(rest)
        x = a * x + b * (start - target)  # the constant velocity from data to noise

    assert x == pytest.approx(target, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "is_stochastic", "uses_history"),
    [
        ("ddim", False, False),
        ("euler", False, False),
        ("euler_karras", False, False),
        ("euler_ancestral", True, False),
        ("dpmpp_2m", False, True),
        ("dpmpp_2m_karras", False, True),
    ],
)
def test_a_table_tells_what_its_steps_need(name, is_stochastic, uses_history):
    table = compile_solver(name, 5, make_config("epsilon"))

    assert table.num_steps == 5
    assert table.coefficients.shape == (5, 8)
    assert table.is_stochastic is is_stochastic
    assert table.uses_history is uses_history


def test_ancestral_sampling_adds_no_noise_in_its_last_step():
    table = compile_solver("euler_ancestral", 5, make_config("epsilon"))

    assert table.coefficients[-1, Column.D] == 0
    assert (table.coefficients[:-1, Column.D] > 0).all()
    assert not compile_solver("euler_ancestral", 1, make_config("epsilon")).is_stochastic


def test_karras_times_are_fractional_for_euler_and_whole_for_dpmpp():
    euler = compile_solver("euler_karras", 10, make_config("epsilon")).coefficients[:, Column.T]
    dpmpp = compile_solver("dpmpp_2m_karras", 10, make_config("epsilon")).coefficients[:, Column.T]

    assert (euler % 1 != 0).any()
    assert (dpmpp % 1 == 0).all()
    np.testing.assert_array_equal(euler, euler.astype(np.float32))


def test_a_table_cannot_be_written():
    table = compile_solver("ddim", 3, make_config("epsilon"))

    with pytest.raises(ValueError, match="read-only"):
        table.coefficients[0, 0] = 2.0


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        (np.zeros((3, 7)), "has shape"),
        (np.zeros((0, 8)), "has shape"),
        (np.zeros(8), "has shape"),
        (np.full((1, 8), np.inf), "must be finite"),
        (np.full((1, 8), np.nan), "must be finite"),
    ],
)
def test_a_malformed_table_is_refused(coefficients, message):
    with pytest.raises(ValueError, match=message):
        SolverTable(coefficients, 1.0, np.ones((2, 2)), np.ones((1, 2)))


@pytest.mark.parametrize(("levels", "estimates"), [((1, 2), (1, 2)), ((2, 2), (2, 2))])
def test_levels_and_estimates_must_fit_the_steps(levels, estimates):
    with pytest.raises(ValueError, match="do not fit 1 steps"):
        SolverTable(np.ones((1, 8)), 1.0, np.ones(levels), np.ones(estimates))


PREDICTIONS = ("epsilon", "v_prediction", "sample")


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", scheduler_names(make_config("epsilon")))
def test_a_picture_put_on_any_level_is_what_an_exact_network_finds_there(name, prediction):
    config = make_config(prediction)
    table = compile_solver(name, 7, config)
    clean, noise = 0.3, -1.7
    for row, (signal, level), estimate in zip(
        table.coefficients, table.levels[:-1], table.estimates, strict=True
    ):
        x = signal * clean + level * noise
        scaled = row[Column.S] * x
        # The network sees alpha * clean + sigma * noise with unit variance, whatever the solver.
        alpha = row[Column.S] * signal
        sigma = row[Column.S] * level
        out = {
            "epsilon": noise,
            "v_prediction": alpha * noise - sigma * clean,
            "sample": clean,
        }[prediction]
        assert alpha**2 + sigma**2 == pytest.approx(1.0, abs=1e-6)
        assert scaled == pytest.approx(alpha * clean + sigma * noise)
        assert estimate[0] * x + estimate[1] * out == pytest.approx(clean, abs=1e-4)
    assert table.levels[-1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", scheduler_names(make_config("epsilon")))
@pytest.mark.parametrize("start", [0, 1, 3, 6])
def test_starting_late_with_an_exact_network_ends_at_the_same_picture(name, prediction, start):
    table = compile_solver(name, 7, make_config(prediction)).starting_at(start)
    clean, noise = 0.3, -1.7
    signal, level = table.levels[0]
    x, h = signal * clean + level * noise, 99.0  # no step may read what was before the first
    for row, estimate in zip(table.coefficients, table.estimates, strict=True):
        out = (clean - estimate[0] * x) / estimate[1]  # what such a network answers at x
        x, h = (
            row[Column.A] * x + row[Column.B] * out + row[Column.C] * h,
            row[Column.P] * x + row[Column.Q] * out,
        )
    assert table.num_steps == 7 - start
    assert x == pytest.approx(clean, abs=2e-2)


def test_a_flow_model_mixes_picture_and_noise_and_estimates_from_the_velocity():
    config = NoiseScheduleConfig.from_dict({"_class_name": "FlowMatchEuler", "shift": 3.0})
    table = compile_solver("flow_match_euler", 5, config)
    clean, noise = 0.3, -1.7
    assert table.levels.sum(axis=1) == pytest.approx(np.ones(6))
    x = table.levels[:-1] @ [clean, noise]
    assert table.estimates[:, 0] * x + table.estimates[:, 1] * (noise - clean) == pytest.approx(
        np.full(5, clean), abs=1e-6
    )
