"""Stage autoencoder: pixels to latents and back, without losing the hue."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from models.training.journal import make_grid
from models.training.pixels import to_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.training.recipe import AutoencoderRecipe
    from models.training.sampler import BatchSampler

_LOW_PASS_PX: Final = 8
_SHOWN: Final = 12
_MEASURED_PICTURES: Final = 256
_MEASURED_BATCH: Final = 32
# diffusers clamps log-variances here too.
_SMALLEST_LOG_VARIANCE: Final = -30.0


class AutoencoderNetwork(nn.Module):
    """The forward pass of training: encode, disturb, decode."""

    def __init__(self, vae: Any, latent_noise: float) -> None:
        super().__init__()
        self.vae = vae
        self._latent_noise = latent_noise

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return (reconstruction, latents) of pixels (n, 3, H, W); noise: like the latents."""
        latents = encode_mean(self.vae, pixels)
        return self.vae.decoder(
            self.vae.post_quant_conv(latents + self._latent_noise * noise)
        ), latents


class AutoencoderTask:
    """Implements models.training.loop.Task.

    shown: a sampler of held-out drawings, for sample grids and the recorded PSNR.
    """

    def __init__(
        self, vae: Any, recipe: AutoencoderRecipe, sampler: BatchSampler, shown: BatchSampler
    ) -> None:
        self.network: nn.Module = AutoencoderNetwork(vae, recipe.latent_noise)
        self._recipe = recipe
        self._sampler = sampler
        self._shown = shown.sample(_SHOWN).pixels
        device = self._shown.device
        self._generator = torch.Generator(device).manual_seed(recipe.training.seed)

    @property
    def vae(self) -> Any:
        """Return the AutoencoderKL that is trained."""
        return self.network.vae

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return all weights as one group."""
        return [{"params": list(self.network.parameters()), "lr": learning_rate}]

    def losses(self, network: nn.Module, step: int) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the weighted loss and its parts for one batch."""
        pixels = self._sampler.sample(self._recipe.training.batch).pixels
        side = pixels.shape[-1] // self._recipe.factor
        shape = (len(pixels), self._recipe.latent_channels, side, side)
        noise = torch.randn(shape, generator=self._generator, device=pixels.device)
        reconstruction, latents = network(pixels, noise)
        return reconstruction_losses(reconstruction.float(), pixels, latents.float(), self._recipe)

    def after_step(self) -> None:
        """Do nothing."""

    def show(self) -> tuple[NDArray[np.uint8], Mapping[str, float]]:
        """Return drawings above their reconstructions, and the PSNR of these in decibels."""
        reconstruction = decode(self.vae, encode_mean(self.vae, self._shown))
        pairs = torch.cat([self._shown, reconstruction])
        error = (reconstruction.clamp(-1, 1) - self._shown).square().mean(dim=(1, 2, 3))
        # The range is 2 wide, so its square is 4.
        psnr_db = 10 * torch.log10(4 / error.clamp(min=1e-10)).mean()
        return make_grid(to_pictures(pairs), _SHOWN), {"psnr_db": float(psnr_db)}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the sampler and of the noise."""
        return {"sampler": self._sampler.state_dict(), "noise": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._sampler.load_state_dict(state["sampler"])
        self._generator.set_state(state["noise"].cpu())

    def save(self, folder: Path, shard_bytes: int | None) -> None:
        """Write `vae`: the network with its latents scaled to zero mean and unit variance."""
        vae = standardised(self.vae, self._sampler, self._recipe.latent_noise)
        limit = {} if shard_bytes is None else {"max_shard_size": shard_bytes}
        vae.save_pretrained(folder / "vae", safe_serialization=True, **limit)


def build_autoencoder(recipe: AutoencoderRecipe, size_px: int) -> Any:
    """Return an untrained AutoencoderKL for pictures of `size_px`."""
    levels = len(recipe.block_out_channels)
    network: Any = AutoencoderKL  # diffusers has no types
    return network(
        block_out_channels=recipe.block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=recipe.layers_per_block,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.norm_num_groups,
        sample_size=size_px,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def encode_mean(vae: Any, pixels: Tensor) -> Tensor:
    """Return the posterior's mean (n, C, h, w) of pixels (n, 3, H, W), -1 to 1."""
    moments: Tensor = vae.quant_conv(vae.encoder(pixels))
    return moments.chunk(2, dim=1)[0]


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Return pixels (n, 3, H, W) of latents (n, C, h, w)."""
    pixels: Tensor = vae.decoder(vae.post_quant_conv(latents))
    return pixels


def reconstruction_losses(
    reconstruction: Tensor, pixels: Tensor, latents: Tensor, recipe: AutoencoderRecipe
) -> dict[str, Tensor]:
    """Return "loss" and its parts.

    "unit_variance" keeps each latent channel at unit mean square: without it the encoder would
    outgrow the noise on its latents. "smoothness" keeps neighbouring latents alike.
    """
    error = reconstruction - pixels
    low = functional.avg_pool2d(error, _LOW_PASS_PX)
    red, green, blue = low.unbind(1)
    chroma = (red - green).abs().mean() + ((red + green) / 2 - blue).abs().mean()
    mean_square = latents.square().mean(dim=(0, 2, 3))
    parts = {
        "l1": error.abs().mean(),
        "mse": error.square().mean(),
        "gradient": error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean(),
        "low_pass": low.abs().mean(),
        "chroma": chroma,
        "unit_variance": (mean_square - 1).square().mean(),
        "smoothness": latents.diff(dim=2).square().mean() + latents.diff(dim=3).square().mean(),
    }
    total = torch.stack([getattr(recipe, f"{name}_weight") * parts[name] for name in parts]).sum()
    return {"loss": total, **parts}


@torch.no_grad()
def standardised(vae: Any, sampler: BatchSampler, latent_noise: float) -> Any:
    """Return a copy on the CPU whose latents have zero mean and unit variance per channel.

    The scaling goes into the two 1x1 convolutions around the latents, so `scaling_factor` is 1 and
    pixels stay the same. The posterior's variance becomes the constant noise of training.
    """
    mean, std = _latent_statistics(vae, sampler)
    copy = deepcopy(vae).cpu().float()
    channels = len(mean)
    into, out = copy.quant_conv, copy.post_quant_conv
    # Fold z' = (z - mean) / std into the former, z = std * z' + mean into the latter.
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.weight[channels:] = 0
    variance = (latent_noise / std).square()
    into.bias[channels:] = variance.log().clamp(min=_SMALLEST_LOG_VARIANCE)
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]
    copy.register_to_config(scaling_factor=1.0)
    return copy


def _latent_statistics(vae: Any, sampler: BatchSampler) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel over training pictures, on the CPU."""
    batches = [
        encode_mean(vae, sampler.sample(_MEASURED_BATCH).pixels)
        for _ in range(_MEASURED_PICTURES // _MEASURED_BATCH)
    ]
    values = torch.cat(batches).double().cpu().transpose(0, 1).flatten(1)
    return values.mean(dim=1).float(), values.std(dim=1).float().clamp(min=1e-6)
