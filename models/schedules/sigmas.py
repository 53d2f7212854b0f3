"""Noise levels and timestep grids of diffusion and flow models, as diffusers 0.42 computes them.

diffusers rounds to float32 at fixed places, and zero-SNR rescaling magnifies every one of them, so
these functions round at the same places. Equal to the bit up to square roots: torch's x86 builds
take theirs from a library that is not correctly rounded, which moves the lowest noise levels of a
rescaled schedule by up to 4e-5 (linear, scaled_linear) or 1.4e-3 (cosine), relative.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.schedules.config import NoiseScheduleConfig, TimestepSpacing

_KARRAS_RHO: Final = 7.0
# diffusers' stand-in for a cumulative alpha of zero, so that the highest sigma stays finite (4096).
_SMALLEST_ALPHA_CUMPROD: Final = np.float32(2.0**-24)


def alphas_cumprod(config: NoiseScheduleConfig) -> NDArray[np.float32]:
    """Return the share of signal power left at each training timestep, (num_train_timesteps,).

    Falling; with `rescale_betas_zero_snr` the last is exactly 0.
    """
    betas = _betas(config)
    if config.rescale_betas_zero_snr:
        betas = _rescale_zero_terminal_snr(betas)
    return _cumprod(np.float32(1.0) - betas)


def train_sigmas(config: NoiseScheduleConfig) -> NDArray[np.float32]:
    """Return sqrt((1 - a) / a) at each training timestep, rising, (num_train_timesteps,).

    A zero-SNR schedule ends at 4096 instead of infinity.
    """
    remaining = alphas_cumprod(config)
    if config.rescale_betas_zero_snr:
        remaining[-1] = _SMALLEST_ALPHA_CUMPROD
    return np.asarray(np.sqrt((np.float32(1.0) - remaining) / remaining))


def spaced_timesteps(
    config: NoiseScheduleConfig,
    num_inference_steps: int,
    default_spacing: TimestepSpacing,
    *,
    skips_lowest: bool = False,
) -> NDArray[np.float64]:
    """Return the falling timesteps to visit, (num_inference_steps,); `linspace` may be fractional.

    `skips_lowest` lays one point more on the `leading` and `linspace` grids and leaves out the
    lowest, as DPM-Solver does. Source: Lin et al. 2023, "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", table 2.
    """
    num_points = num_inference_steps + 1 if skips_lowest else num_inference_steps
    last = config.num_train_timesteps
    grid: NDArray[np.floating]
    match config.timestep_spacing or default_spacing:
        case "linspace":
            grid = np.linspace(0, last - 1, num_points)[::-1]
        case "leading":
            grid = np.arange(num_points)[::-1] * float(last // num_points) + config.steps_offset
        case "trailing":
            # For 135 step counts of 1000 (61 is one) rounding makes this grid one point too long,
            # ending at timestep -1; diffusers visits it, we do not.
            grid = np.arange(float(last), 0.0, -last / num_inference_steps).round() - 1.0
    return grid[:num_inference_steps].astype(np.float64)


def karras_sigmas(
    sigma_max: float, sigma_min: float, num_inference_steps: int
) -> NDArray[np.float64]:
    """Return falling noise levels with rho 7, (num_inference_steps,), without a final 0.

    Source: Karras et al. 2022, "Elucidating the Design Space...", equation 5.
    """
    ramp = np.linspace(0, 1, num_inference_steps)
    low, high = sigma_min ** (1 / _KARRAS_RHO), sigma_max ** (1 / _KARRAS_RHO)
    return np.asarray((high + ramp * (low - high)) ** _KARRAS_RHO)


def sigma_to_timestep(
    sigmas: NDArray[np.float64], known_sigmas: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the fractional training timestep of each noise level, log-linear between neighbours.

    known_sigmas: `train_sigmas`, rising. Levels outside it map to the nearest end.
    """
    known = np.log(known_sigmas)
    wanted = np.log(np.maximum(sigmas, 1e-10))
    low = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    weight = np.clip((known[low] - wanted) / (known[low] - known[low + 1]), 0, 1)
    return np.asarray((1 - weight) * low + weight * (low + 1))


def flow_sigmas(config: NoiseScheduleConfig, num_inference_steps: int) -> NDArray[np.float32]:
    """Return falling rectified-flow noise levels in (0, 1], (num_inference_steps,), no final 0.

    The lower end is shifted twice, once with the training grid and once with the rest, as in
    diffusers. Source: Esser et al. 2024, "Scaling Rectified Flow Transformers", section 5.3.2.
    """
    last, shift = config.num_train_timesteps, np.float32(config.shift)
    ends = np.array([last, 1], np.float32) / np.float32(last)
    high, low = shift * ends / (np.float32(1.0) + (shift - np.float32(1.0)) * ends)
    sigmas = np.linspace(float(high) * last, float(low) * last, num_inference_steps) / last
    return (config.shift * sigmas / (1 + (config.shift - 1) * sigmas)).astype(np.float32)


def _betas(config: NoiseScheduleConfig) -> NDArray[np.float32]:
    if config.trained_betas is not None:
        return np.array(config.trained_betas, np.float32)
    count = config.num_train_timesteps
    match config.beta_schedule:
        case "linear":
            return _linspace(config.beta_start, config.beta_end, count)
        case "scaled_linear":
            roots = _linspace(config.beta_start**0.5, config.beta_end**0.5, count)
            return roots * roots
        case "squaredcos_cap_v2":
            return _cosine_betas(count)


def _cosine_betas(count: int) -> NDArray[np.float32]:
    """Nichol & Dhariwal 2021, "Improved DDPM", equation 17, betas capped at 0.999."""
    bars = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    return np.array(
        [min(1 - after / before, 0.999) for before, after in pairwise(bars)],
        np.float32,
    )


def _rescale_zero_terminal_snr(betas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift and stretch sqrt(alphas_cumprod) to end at 0. Lin et al. 2023, algorithm 1."""
    roots = np.sqrt(_cumprod(np.float32(1.0) - betas))
    first, last = roots[0], roots[-1]
    roots = (roots - last) * (first / (first - last))
    powers = roots * roots
    alphas = np.concatenate([powers[:1], powers[1:] / powers[:-1]])
    return np.float32(1.0) - alphas


def _linspace(start: float, end: float, count: int) -> NDArray[np.float32]:
    """Return torch.linspace's float32 values: counted from both ends, each product-sum fused."""
    first, last = np.float32(start), np.float32(end)
    step = (last - first) / np.float32(max(count - 1, 1))
    index = np.arange(count)
    rising = float(first) + float(step) * index
    falling = float(last) - float(step) * (count - 1 - index)
    return np.where(index < max(count // 2, 1), rising, falling).astype(np.float32)


def _cumprod(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the running product; torch accumulates it in float64 and rounds each value."""
    return np.cumprod(values, dtype=np.float64).astype(np.float32)
