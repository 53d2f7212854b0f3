"""The noise schedule of training, and sampling with it by the service's own solver tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import DDIMScheduler

from models.guidance import apply_guidance
from models.schedules.catalog import compile_solver
from models.schedules.config import NoiseScheduleConfig
from models.schedules.solvers import Column
from models.stepping import advance

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_COEFFICIENTS: Final = slice(Column.A, Column.Q + 1)


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance. scale: 1 is none. rescale: 0 to 1, see models.guidance."""

    scale: float
    rescale: float = 0.0


def make_scheduler() -> Any:
    """Return diffusers' DDIMScheduler: v-prediction, ending in pure noise, spaced from the end.

    A zero terminal signal is what makes plain backgrounds come out in the colour asked for.
    Source: Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed".
    """
    scheduler: Any = DDIMScheduler  # diffusers has no types
    return scheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class NoiseSchedule:
    """Signal and noise levels on one device. t: (n,) int64, 0 .. num_timesteps - 1."""

    def __init__(self, device: torch.device | str) -> None:
        alphas_cumprod: Tensor = make_scheduler().alphas_cumprod.to(device, torch.float32)
        self.num_timesteps = len(alphas_cumprod)
        self._signal = alphas_cumprod.sqrt()
        self._noise = (1 - alphas_cumprod).sqrt()

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise levels (n, 1, 1, 1) at t; a t below 0 is the end, as in DDIM."""
        index = t.clamp(min=0)
        return self._signal[index][:, None, None, None], self._noise[index][:, None, None, None]

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return latents (n, C, h, w) at noise level t."""
        signal, sigma = self.levels(t)
        return signal * latents + sigma * noise

    def velocity(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the denoiser should predict (n, C, h, w)."""
        signal, sigma = self.levels(t)
        return signal * noise - sigma * latents

    def denoised(self, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction implies."""
        signal, sigma = self.levels(t)
        return signal * noisy - sigma * velocity

    def step(self, noisy: Tensor, velocity: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        """Return the latents at t_next after one DDIM step from t (Song et al. 2021, eq. 12)."""
        signal, sigma = self.levels(t)
        signal_next, sigma_next = self.levels(t_next)
        noise = sigma * noisy + signal * velocity
        return signal_next * (signal * noisy - sigma * velocity) + sigma_next * noise

    def velocity_between(self, noisy: Tensor, target: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        """Return the velocity whose DDIM step from t to t_next leads to `target`.

        t must differ from t_next in noise level. It is `step` solved for the velocity.
        """
        signal, sigma = self.levels(t)
        signal_next, sigma_next = self.levels(t_next)
        along = signal_next * signal + sigma_next * sigma
        across = sigma_next * signal - signal_next * sigma
        return (target - along * noisy) / across

    def snr(self, t: Tensor) -> Tensor:
        """Return the signal-to-noise ratio (n,) at t: 0 at the end of the schedule."""
        ratio: Tensor = self._signal[t] / self._noise[t]
        return ratio.square()


def sample(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Tensor,
    embeds: tuple[Tensor, Tensor],
    num_steps: int,
    guidance: Guidance,
) -> Tensor:
    """Return clean latents (n, C, h, w) by DDIM, as the service would draw them.

    denoise: (latents, t (n,) float, embeds) -> prediction. noise: (n, C, h, w). embeds: with the
    prompts and without, (n, T, D) each; the latter is not used if the guidance scale is 1.
    """
    cond, uncond = embeds
    config = NoiseScheduleConfig.from_dict(dict(make_scheduler().config))
    table = compile_solver("ddim", num_steps, config)
    latents = noise * table.init_noise_scale
    for row in torch.tensor(table.coefficients, dtype=torch.float32, device=noise.device):
        t = row[Column.T].expand(len(noise))
        out = guided_prediction(denoise, row[Column.S] * latents, t, (cond, uncond), guidance)
        # DDIM keeps no history and adds no noise: their coefficients are zero.
        latents, _ = advance(latents, out, None, None, list(row[_COEFFICIENTS]))
    return latents


def sampling_times(num_steps: int) -> list[int]:
    """Return the steps of the schedule that DDIM visits, highest first."""
    config = NoiseScheduleConfig.from_dict(dict(make_scheduler().config))
    return [round(t) for t in compile_solver("ddim", num_steps, config).coefficients[:, Column.T]]


def guided_prediction(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    latents: Tensor,
    t: Tensor,
    embeds: tuple[Tensor, Tensor],
    guidance: Guidance,
) -> Tensor:
    """Return the guided prediction (n, C, h, w); one call of the network for both halves."""
    cond, uncond = embeds
    if guidance.scale == 1:
        return denoise(latents, t, cond)
    both = denoise(latents.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([cond, uncond]))
    with_prompt, without_prompt = both.chunk(2)
    ones = torch.ones(len(latents), 1, 1, 1, device=latents.device)
    guided: Any = apply_guidance(
        with_prompt,
        without_prompt,
        guidance.scale * ones,
        guidance.rescale * ones,
        lambda values: values.std(dim=(1, 2, 3), keepdim=True),
    )
    return torch.as_tensor(guided)
