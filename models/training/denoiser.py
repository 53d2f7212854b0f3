"""Stage denoiser: noise and words to latents, by predicting the velocity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from models.training.autoencoder import decode
from models.training.diffusion import Guidance, NoiseSchedule, sample
from models.training.journal import make_grid
from models.training.pixels import to_pictures
from models.training.text import save_text_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.training.latents import LatentBank
    from models.training.recipe import DenoiserRecipe, Recipe

_COLUMNS: Final = 8


class DenoiserNetwork(nn.Module):
    """The forward pass of training: text encoder and UNet, trained together."""

    def __init__(self, unet: Any, encoder: Any) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, noisy: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Return the predicted velocity (n, C, h, w) for latents, steps (n,), tokens (n, T)."""
        embeds = self.encoder(input_ids=ids).last_hidden_state
        velocity: Tensor = self.unet(noisy, t, embeds).sample
        return velocity


class Gallery:
    """The fixed prompts and noises of the sample grids, always the same for one recipe.

    ids: tokens of the prompts (n, T); empty_ids: of the empty prompt (1, T). noise: (n, C, h, w).
    """

    def __init__(self, vae: Any, ids: Tensor, empty_ids: Tensor, noise: Tensor) -> None:
        self._vae = vae
        self._ids = ids
        self._empty_ids = empty_ids
        self._noise = noise

    def draw(self, unet: Any, encoder: Any, num_steps: int, guidance: Guidance) -> Tensor:
        """Return clean latents (n, C, h, w) for the prompts."""
        cond = encoder(input_ids=self._ids).last_hidden_state
        uncond = encoder(input_ids=self._empty_ids).last_hidden_state.expand_as(cond)
        return sample(as_denoise(unet), self._noise, (cond, uncond), num_steps, guidance)

    def picture(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return the grid (H, W, 3) of latents."""
        return make_grid(to_pictures(decode(self._vae, latents)), _COLUMNS)


class DenoiserTask:
    """Implements models.training.loop.Task."""

    def __init__(
        self, network: DenoiserNetwork, recipe: DenoiserRecipe, bank: LatentBank, gallery: Gallery
    ) -> None:
        self.network: nn.Module = network
        self._recipe = recipe
        self._bank = bank
        self._gallery = gallery
        device = next(network.parameters()).device
        self._schedule = NoiseSchedule(device)
        self._generator = torch.Generator(device).manual_seed(recipe.training.seed)
        if recipe.text_learning_rate_factor == 0:
            network.encoder.requires_grad_(requires_grad=False)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the UNet's weights, and the text encoder's with a lower rate."""
        network: Any = self.network
        groups = [{"params": list(network.unet.parameters()), "lr": learning_rate}]
        factor = self._recipe.text_learning_rate_factor
        if factor > 0:
            params = list(network.encoder.parameters())
            groups.append({"params": params, "lr": learning_rate * factor})
        return groups

    def losses(self, network: nn.Module, step: int) -> Mapping[str, Tensor]:
        """Return the weighted loss, and the plain error above and below the high noise mark."""
        recipe, schedule, generator = self._recipe, self._schedule, self._generator
        count = recipe.training.batch
        latents, ids = self._bank.draw(count, step, generator)
        is_dropped = self._uniform(count) < recipe.caption_dropout
        ids = torch.where(is_dropped[:, None], self._bank.empty_ids, ids)
        share = _between(recipe.high_noise_share, step / recipe.training.steps)
        t = self._draw_times(count, share)
        noise = torch.randn(latents.shape, generator=generator, device=generator.device)
        velocity = network(schedule.add_noise(latents, noise, t), t, ids)
        target = schedule.velocity(latents, noise, t)
        error = (velocity.float() - target).square().mean(dim=(1, 2, 3))
        is_high = t >= recipe.high_noise_from * schedule.num_timesteps
        return {
            "loss": (self._weights(t) * error).mean(),
            "mse_high_noise": _mean_where(is_high, error),
            "mse_low_noise": _mean_where(~is_high, error),
        }

    def after_step(self) -> None:
        """Do nothing."""

    def show(self) -> tuple[NDArray[np.uint8], Mapping[str, float]]:
        """Return the fixed prompts as they are drawn now."""
        network: Any = self.network
        recipe = self._recipe
        guidance = Guidance(recipe.guidance_scale, recipe.guidance_rescale)
        drawn = self._gallery.draw(network.unet, network.encoder, recipe.sample_steps, guidance)
        return self._gallery.picture(drawn), {}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the bank and of every draw."""
        return {"bank": self._bank.state_dict(), "draws": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._bank.load_state_dict(state["bank"])
        self._generator.set_state(state["draws"].cpu())

    def save(self, folder: Path, shard_bytes: int | None) -> None:
        """Write `unet` and `text_encoder`."""
        network: Any = self.network
        save_unet(network.unet, folder, shard_bytes)
        save_text_encoder(network.encoder, folder, shard_bytes)

    def _draw_times(self, count: int, high_share: float) -> Tensor:
        """Return steps (n,) of the schedule, evenly spread within the high and the low part."""
        mark = self._recipe.high_noise_from
        high = round(count * high_share)
        spread = self._uniform(count)
        position = torch.arange(count, device=spread.device) + spread
        below = mark * position / max(1, count - high)
        above = mark + (1 - mark) * (position - (count - high)) / max(1, high)
        unit = torch.where(torch.arange(count, device=spread.device) < count - high, below, above)
        last = self._schedule.num_timesteps - 1
        return (unit * self._schedule.num_timesteps).long().clamp(0, last)

    def _weights(self, t: Tensor) -> Tensor:
        """Return Min-SNR weights (n,) for the velocity, not below the recipe's floor.

        Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy".
        """
        snr = self._schedule.snr(t)
        weights = snr.clamp(max=self._recipe.min_snr_gamma) / (snr + 1)
        return weights.clamp(min=self._recipe.weight_floor)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._generator, device=self._generator.device)


def build_unet(recipe: Recipe) -> Any:
    """Return an untrained UNet2DConditionModel for the recipe's latents and text."""
    denoiser = recipe.denoiser
    channels = denoiser.block_out_channels
    has_attention = [level >= denoiser.attention_from_level for level in range(len(channels))]
    network: Any = UNet2DConditionModel  # diffusers has no types
    return network(
        sample_size=recipe.data.size_px // recipe.autoencoder.factor,
        in_channels=recipe.autoencoder.latent_channels,
        out_channels=recipe.autoencoder.latent_channels,
        block_out_channels=channels,
        layers_per_block=denoiser.layers_per_block,
        down_block_types=tuple(
            "CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in has_attention
        ),
        up_block_types=tuple(
            "CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(has_attention)
        ),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=recipe.text.hidden_size,
        # diffusers means the number of heads: its names are older than its meaning.
        attention_head_dim=tuple(max(1, width // denoiser.head_width) for width in channels),
        norm_num_groups=denoiser.norm_num_groups,
    )


def prepare_attention(unet: Any, device: torch.device | str) -> None:
    """Choose the attention that trains fastest: on a CPU torch's fused one is slow backwards."""
    if torch.device(device).type == "cpu":
        unet.set_attn_processor(AttnProcessor())


def as_denoise(unet: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the UNet as a function of latents, times and embeds."""

    def denoise(latents: Tensor, t: Tensor, embeds: Tensor) -> Tensor:
        velocity: Tensor = unet(latents, t, embeds).sample
        return velocity.float()

    return denoise


def save_unet(unet: Any, folder: Path, shard_bytes: int | None) -> None:
    """Write `unet` into a folder of networks."""
    limit = {} if shard_bytes is None else {"max_shard_size": shard_bytes}
    unet.save_pretrained(folder / "unet", safe_serialization=True, **limit)


def _between(ends: tuple[float, float], progress: float) -> float:
    """Return the value at `progress` (0 to 1) on the line between two ends."""
    first, last = ends
    return first + (last - first) * min(1.0, progress)


def _mean_where(is_counted: Tensor, values: Tensor) -> Tensor:
    """Return the mean of some values, 0 if there are none."""
    return (values * is_counted).sum() / is_counted.sum().clamp(min=1)
