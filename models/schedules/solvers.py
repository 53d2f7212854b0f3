"""Samplers compiled into tables: one row of coefficients per step replaces a stateful object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from models.schedules import sigmas as levels
from models.schedules.prediction import denoised_form, noise_form

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.schedules.config import NoiseScheduleConfig, TimestepSpacing


class Column(IntEnum):
    """Where each coefficient of a step stands in a row; `SolverTable` says what they mean."""

    S = 0
    T = 1
    A = 2
    B = 3
    C = 4
    D = 5
    P = 6
    Q = 7


@dataclass(frozen=True, slots=True, eq=False)
class SolverTable:
    """A sampler for one schedule and step count, as numbers. Immutable, safe to share.

    Row i of `coefficients`, (num_steps, 8) float64 and read-only, is (s, t, a, b, c, d, p, q):

        network input = s*x at time t
        x' = a*x + b*out + c*h + d*z
        h' = p*x + q*out

    x: the sample, at first standard normal noise times `init_noise_scale`; out: the network's raw
    output after guidance; z: fresh standard normal noise; h: the denoised sample of the step
    before, zero at first. The kind of prediction is folded into the coefficients.

    `levels`, (num_steps + 1, 2), says where x stands before each step and at the end, for whoever
    puts a picture there: x = levels[i, 0] * denoised + levels[i, 1] * noise. `estimates`,
    (num_steps, 2), says what a step takes for the denoised sample: estimates[i, 0] * x +
    estimates[i, 1] * out. Both float64 and read-only.
    Raises ValueError for another shape or a number that is not finite.
    """

    coefficients: NDArray[np.float64]
    init_noise_scale: float
    levels: NDArray[np.float64]
    estimates: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the table and protect it against writes."""
        shape = self.coefficients.shape
        if self.coefficients.size == 0 or shape[1:] != (len(Column),):
            raise ValueError(f"a solver table has shape (steps, {len(Column)}), not {shape}")
        if self.levels.shape != (shape[0] + 1, 2) or self.estimates.shape != (shape[0], 2):
            raise ValueError(f"levels or estimates do not fit {shape[0]} steps")
        for numbers in (self.coefficients, self.levels, self.estimates):
            if not np.isfinite(numbers).all():
                raise ValueError("a solver table must be finite")
            numbers.setflags(write=False)

    @property
    def num_steps(self) -> int:
        """Return how many network calls one picture takes."""
        return len(self.coefficients)

    @property
    def is_stochastic(self) -> bool:
        """Tell whether any step adds fresh noise."""
        return bool(self.coefficients[:, Column.D].any())

    @property
    def uses_history(self) -> bool:
        """Tell whether any step reads the denoised sample of the step before."""
        return bool(self.coefficients[:, Column.C].any())

    def starting_at(self, step_index: int) -> SolverTable:
        """Return the steps from `step_index` on, for a sample put on `levels[step_index]`.

        Its first step has no history, so it is taken as if the denoised sample had not changed
        since, which makes a multistep solver's step one of first order.
        """
        rows = self.coefficients[step_index:].copy()
        first = rows[0]
        first[Column.A] += first[Column.C] * first[Column.P]
        first[Column.B] += first[Column.C] * first[Column.Q]
        first[Column.C] = 0.0
        levels, estimates = self.levels[step_index:], self.estimates[step_index:]
        return SolverTable(rows, self.init_noise_scale, levels, estimates)


def ddim(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile DDIM with eta 0, deterministic.

    Raises ValueError where an epsilon prediction meets a signal-to-noise ratio of zero, or
    `steps_offset` leads beyond training. Source: Song et al. 2020, DDIM, equation 12.
    """
    steps = levels.spaced_timesteps(config, num_inference_steps, "leading").round().astype(np.int64)
    if steps[0] >= config.num_train_timesteps:
        raise ValueError(
            f"steps_offset {config.steps_offset} leads beyond the {config.num_train_timesteps} "
            f"training timesteps with {num_inference_steps} steps"
        )
    remaining = levels.alphas_cumprod(config).astype(np.float64)
    if config.prediction_type == "epsilon" and remaining[steps[0]] == 0:
        raise ValueError(
            "ddim cannot sample an epsilon prediction from zero terminal SNR "
            "(rescale_betas_zero_snr): the first step would divide by zero"
        )
    # diffusers steps back by this much whatever the spacing, so `linspace` and step counts that
    # do not divide the training steps end a little off the next timestep they visit.
    before = steps - config.num_train_timesteps // num_inference_steps
    final = 1.0 if config.set_alpha_to_one else remaining[0]
    now, then = remaining[steps], np.where(before >= 0, remaining[before], final)
    alpha, sigma = np.sqrt(now), np.sqrt(1.0 - now)
    denoised = denoised_form(config.prediction_type, alpha, sigma)
    noise = noise_form(config.prediction_type, alpha, sigma)

    table = _blank(steps.astype(np.float64))
    table[:, Column.A] = np.sqrt(then) * denoised.x + np.sqrt(1.0 - then) * noise.x
    table[:, Column.B] = np.sqrt(then) * denoised.out + np.sqrt(1.0 - then) * noise.out
    return SolverTable(table, 1.0, _levels(alpha, sigma), np.stack(denoised, axis=1))


def euler(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile Euler steps. Source: Karras et al. 2022, algorithm 2 without churn."""
    steps, sigmas = _interpolated(config, num_inference_steps)
    return _euler(config, steps, sigmas, target=sigmas[1:])


def euler_karras(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile Euler steps over Karras noise levels; timesteps are fractional.

    Source: Karras et al. 2022, algorithm 2 and equation 5.
    """
    _, spaced = _interpolated(config, num_inference_steps)
    sigmas = levels.karras_sigmas(float(spaced[0]), float(spaced[-2]), num_inference_steps)
    steps = levels.sigma_to_timestep(sigmas, levels.train_sigmas(config))
    sigmas = _close(sigmas)
    return _euler(config, steps.astype(np.float32).astype(np.float64), sigmas, target=sigmas[1:])


def euler_ancestral(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile Euler steps that overshoot and add noise back.

    Source: k-diffusion, `sample_euler_ancestral` with eta 1.
    """
    steps, sigmas = _interpolated(config, num_inference_steps)
    start, end = sigmas[:-1], sigmas[1:]
    # diffusers subtracts squares to get `down`, in float32; from 20,000 down to 2 that gives NaN.
    down = end**2 / start
    up = np.sqrt(end**2 - down**2)
    table = _euler(config, steps, sigmas, target=down)
    coefficients = table.coefficients.copy()
    coefficients[:, Column.D] = up
    return replace(table, coefficients=coefficients)


def dpmpp_2m(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile DPM-Solver++(2M), midpoint form, first and last step of first order.

    Raises ValueError where two steps share a noise level. Source: Lu et al. 2022, DPM-Solver++,
    algorithm 2.
    """
    steps = levels.spaced_timesteps(config, num_inference_steps, "linspace", skips_lowest=True)
    steps = steps.round()
    known = levels.train_sigmas(config)
    return _dpmpp_2m(config, steps, _close(np.interp(steps, np.arange(len(known)), known)))


def dpmpp_2m_karras(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile DPM-Solver++(2M) over Karras noise levels from the whole training range.

    diffusers hands the network whole timesteps here: rounded, or cut for the cosine schedule.
    """
    known = levels.train_sigmas(config)
    sigmas = levels.karras_sigmas(float(known[-1]), float(known[0]), num_inference_steps)
    steps = levels.sigma_to_timestep(sigmas, known)
    steps = np.trunc(steps) if config.beta_schedule == "squaredcos_cap_v2" else steps.round()
    return _dpmpp_2m(config, steps, _close(sigmas))


def flow_match_euler(config: NoiseScheduleConfig, num_inference_steps: int) -> SolverTable:
    """Compile Euler steps along a rectified flow with static shift.

    Times are sigma * num_train_timesteps, the network's output is the velocity. Source: Esser et
    al. 2024, "Scaling Rectified Flow Transformers".
    """
    sigmas = np.append(levels.flow_sigmas(config, num_inference_steps), np.float32(0.0))
    times = sigmas[:-1] * np.float32(config.num_train_timesteps)
    table = _blank(times.astype(np.float64))
    table[:, Column.A] = 1.0
    table[:, Column.B] = np.diff(sigmas)
    noise = sigmas[:-1].astype(np.float64)
    estimates = np.stack([np.ones_like(noise), -noise], axis=1)
    return SolverTable(table, 1.0, _levels(1.0 - noise, noise), estimates)


def _blank(timesteps: NDArray[np.float64]) -> NDArray[np.float64]:
    table = np.zeros((len(timesteps), len(Column)))
    table[:, Column.S] = 1.0
    table[:, Column.T] = timesteps
    return table


def _levels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return both levels before each step, and after the last one the picture without noise."""
    return np.stack([np.append(signal, 1.0), np.append(noise, 0.0)], axis=1)


def _close(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append the final 0 and round to float32, the precision that diffusers keeps."""
    return np.append(sigmas, 0.0).astype(np.float32).astype(np.float64)


def _interpolated(
    config: NoiseScheduleConfig, num_inference_steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Euler's timesteps and their noise levels with a final 0."""
    steps = levels.spaced_timesteps(config, num_inference_steps, "linspace")
    steps = steps.astype(np.float32).astype(np.float64)
    known = levels.train_sigmas(config)
    return steps, _close(np.interp(steps, np.arange(len(known)), known))


def _euler(
    config: NoiseScheduleConfig,
    timesteps: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    target: NDArray[np.float64],
) -> SolverTable:
    """Compile steps from `sigmas[:-1]` to `target`, for x = denoised + sigma * noise."""
    start = sigmas[:-1]
    scale = 1.0 / np.sqrt(start**2 + 1.0)
    denoised = denoised_form(config.prediction_type, scale, start * scale)
    kept = target / start
    table = _blank(timesteps)
    table[:, Column.S] = scale
    table[:, Column.A] = kept + (1.0 - kept) * denoised.x * scale
    table[:, Column.B] = (1.0 - kept) * denoised.out
    spacing: TimestepSpacing = config.timestep_spacing or "linspace"
    highest = sigmas.max()
    # `leading` does not start at the highest training level, so diffusers adds unit variance.
    init = np.sqrt(highest**2 + 1.0) if spacing == "leading" else highest
    estimates = np.stack([denoised.x * scale, denoised.out], axis=1)
    return SolverTable(table, float(init), _levels(np.ones_like(start), start), estimates)


def _dpmpp_2m(
    config: NoiseScheduleConfig, timesteps: NDArray[np.float64], sigmas: NDArray[np.float64]
) -> SolverTable:
    """Compile the multistep update for x = alpha * (denoised + sigma * noise)."""
    alpha = 1.0 / np.sqrt(sigmas**2 + 1.0)
    denoised = denoised_form(config.prediction_type, alpha[:-1], (sigmas * alpha)[:-1])
    decay = sigmas[1:] / sigmas[:-1]  # exp(-h), h being the step in log signal-to-noise
    gain = alpha[1:] * (1.0 - decay)
    h = -np.log(decay[:-1])
    if not h[:-1].all():
        raise ValueError(f"dpmpp_2m cannot take {len(timesteps)} steps: two share a noise level")
    ahead = np.zeros_like(gain)  # how far to extrapolate from the last two denoised samples
    ahead[1:-1] = h[1:] / (2.0 * h[:-1])

    table = _blank(timesteps)
    table[:, Column.A] = decay * alpha[1:] / alpha[:-1] + gain * (1.0 + ahead) * denoised.x
    table[:, Column.B] = gain * (1.0 + ahead) * denoised.out
    table[:, Column.C] = -gain * ahead
    table[:, Column.P] = denoised.x
    table[:, Column.Q] = denoised.out
    levels = np.stack([alpha, sigmas * alpha], axis=1)
    return SolverTable(table, 1.0, levels, np.stack(denoised, axis=1))
