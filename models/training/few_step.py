"""Stage few-step: a sibling that draws in four steps, without guidance, what the denoiser draws.

Multistep consistency distillation: the guided path of the denoiser is cut into as many pieces as
the sibling has steps, and the sibling learns to jump from anywhere in a piece to its end. It is
then sampled by plain DDIM, as every model here. Source: Heek, Hoogeboom and Salimans 2024,
"Multistep Consistency Models"; guidance as in Luo et al. 2023, "Latent Consistency Models".
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from models.training.denoiser import as_denoise, save_unet
from models.training.diffusion import (
    Guidance,
    NoiseSchedule,
    guided_prediction,
    sampling_times,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.training.denoiser import Gallery
    from models.training.latents import LatentBank
    from models.training.recipe import DenoiserRecipe, FewStepRecipe

_NO_GUIDANCE = Guidance(1.0)


class StudentNetwork(nn.Module):
    """The forward pass of training: a UNet on embeds that do not change any more."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, noisy: Tensor, t: Tensor, embeds: Tensor) -> Tensor:
        """Return the predicted velocity (n, C, h, w)."""
        velocity: Tensor = self.unet(noisy, t, embeds).sample
        return velocity


class FewStepTask:
    """Implements models.training.loop.Task.

    teacher: the denoiser's finished UNet, on the device; encoder: its text encoder. Neither is
    changed. denoiser: the recipe that says how the teacher is guided.
    """

    def __init__(
        self,
        teacher: Any,
        encoder: Any,
        recipe: FewStepRecipe,
        denoiser: DenoiserRecipe,
        bank: LatentBank,
        gallery: Gallery,
    ) -> None:
        self.network: nn.Module = StudentNetwork(deepcopy(teacher))
        self._teacher = teacher.requires_grad_(requires_grad=False).eval()
        self._encoder = encoder.requires_grad_(requires_grad=False).eval()
        self._recipe = recipe
        self._guidance = Guidance(denoiser.guidance_scale, denoiser.guidance_rescale)
        self._bank = bank
        self._gallery = gallery
        device = next(teacher.parameters()).device
        self._schedule = NoiseSchedule(device)
        self._times = torch.tensor([*sampling_times(recipe.teacher_steps), -1], device=device)
        self._generator = torch.Generator(device).manual_seed(recipe.training.seed)
        # Supplies the targets; it lags a little behind, or the student would chase itself.
        self._target = deepcopy(teacher)
        self._average = EMAModel(self._target.parameters(), decay=recipe.target_decay, foreach=True)
        self._shown: Tensor | None = None

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return all weights as one group."""
        return [{"params": list(self.network.parameters()), "lr": learning_rate}]

    def losses(self, network: nn.Module, step: int) -> Mapping[str, Tensor]:
        """Return the error of the velocity that leads to the end of the piece."""
        generator = self._generator
        latents, ids = self._bank.draw(self._recipe.training.batch, step, generator)
        place = torch.randint(
            self._recipe.teacher_steps, (len(latents),), generator=generator, device=ids.device
        )
        noise = torch.randn(latents.shape, generator=generator, device=generator.device)
        t = self._times[place]
        noisy = self._schedule.add_noise(latents, noise, t)
        with torch.no_grad(), torch.autocast(ids.device.type, torch.bfloat16):
            embeds = self._encoder(input_ids=ids).last_hidden_state
            target = self._target_velocity(noisy, place, embeds)
        error = (network(noisy, t, embeds).float() - target).square()
        return {"loss": error.mean()}

    def after_step(self) -> None:
        """Let the targets follow the student."""
        parameters = list(self.network.parameters())
        self._average.step(parameters)
        self._average.copy_to(self._target.parameters())

    def show(self) -> tuple[NDArray[np.uint8], Mapping[str, float]]:
        """Return the fixed prompts in few steps, and their distance from the teacher's pictures."""
        network: Any = self.network
        drawn = self._gallery.draw(
            network.unet, self._encoder, self._recipe.sample_steps, _NO_GUIDANCE
        )
        if self._shown is None:
            self._shown = self._gallery.draw(
                self._teacher, self._encoder, self._recipe.teacher_steps, self._guidance
            )
        distance = (drawn - self._shown).square().mean().sqrt()
        return self._gallery.picture(drawn), {"distance_to_teacher": float(distance)}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the bank, the draws and the targets."""
        return {
            "bank": self._bank.state_dict(),
            "draws": self._generator.get_state(),
            "average": self._average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._bank.load_state_dict(state["bank"])
        self._generator.set_state(state["draws"].cpu())
        self._average.load_state_dict(state["average"])
        self._average.copy_to(self._target.parameters())

    def save(self, folder: Path, shard_bytes: int | None) -> None:
        """Write `unet`."""
        network: Any = self.network
        save_unet(network.unet, folder, shard_bytes)

    def _target_velocity(self, noisy: Tensor, place: Tensor, embeds: Tensor) -> Tensor:
        """Return the velocity from `place` on the path to the end of its piece.

        One guided step of the teacher, then one jump of the averaged student, unless the teacher's
        step already ends the piece.
        """
        schedule, times = self._schedule, self._times
        piece = self._recipe.teacher_steps // self._recipe.sample_steps
        end = (place // piece + 1) * piece
        t, t_next, t_end = times[place], times[place + 1], times[end]
        uncond = self._encoder(input_ids=self._bank.empty_ids).last_hidden_state.expand_as(embeds)
        guided = guided_prediction(
            as_denoise(self._teacher), noisy, t, (embeds, uncond), self._guidance
        )
        on_path = schedule.step(noisy, guided, t, t_next)
        jump = as_denoise(self._target)(on_path, t_next.clamp(min=0), embeds)
        at_end = schedule.step(on_path, jump, t_next, t_end)
        has_arrived = (place + 1 == end)[:, None, None, None]
        return schedule.velocity_between(noisy, torch.where(has_arrived, on_path, at_end), t, t_end)
