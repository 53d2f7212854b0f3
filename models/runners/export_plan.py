"""What to export from a Stable Diffusion folder: torch modules, example inputs and free axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.export import Dim
from transformers import CLIPTextModel

from models.runners import graphs
from models.runners.torch_runner import load_component
from models.tokenizer import ClipTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Inputs = tuple[torch.Tensor, ...]
# diffusers' up-sampling copies its input from 64 rows on, so a trace holds for at most 63. The copy
# changes no value: the graph serves any number of rows.
_MAX_ROWS = 63
_MAX_LATENT_SIDE = 1024
_TRIAL_ROWS = (1, 2, 3, 5)


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """One graph to export.

    dynamic_shapes: for each input, its free axes. trials: inputs for the parity check, which
    differ from the example in their number of rows and, where it is free, their height and width.
    """

    name: str
    module: torch.nn.Module
    input_names: tuple[str, ...]
    output_name: str
    example: Inputs
    dynamic_shapes: tuple[Mapping[int, Any], ...]
    trials: tuple[Inputs, ...]


class _TextEncoder(torch.nn.Module):
    """CLIP's text encoder up to its last hidden state."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return (R, T, D)."""
        hidden: torch.Tensor = self.model(input_ids=input_ids, return_dict=False)[0]
        return hidden


class _UNet(torch.nn.Module):
    """The denoiser with positional inputs only."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, prompt_embeds: torch.Tensor
    ) -> torch.Tensor:
        """Return (R, C, h, w)."""
        prediction: torch.Tensor = self.model(sample, timestep, prompt_embeds, return_dict=False)[0]
        return prediction


class _VaeDecoder(torch.nn.Module):
    """Latents to pixels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (R, 3, H, W)."""
        pixels: torch.Tensor = self.model.decode(latents, return_dict=False)[0]
        return pixels


class _VaeEncoder(torch.nn.Module):
    """Pixels to the posterior's mean and log-variance."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (R, 2C, h, w)."""
        moments: torch.Tensor = self.model.encode(pixels, return_dict=False)[0].parameters
        return moments


def stable_diffusion_plans(folder: Path) -> list[GraphPlan]:
    """Return the four graphs of a Stable Diffusion folder, its networks loaded in float32."""
    text: Any = load_component(CLIPTextModel, folder / "text_encoder", torch.float32)
    unet: Any = load_component(UNet2DConditionModel, folder / "unet", torch.float32)
    vae: Any = load_component(AutoencoderKL, folder / "vae", torch.float32)
    generator = torch.Generator().manual_seed(0)
    positions = text.config.max_position_embeddings
    tokens = ClipTokenizer.from_folder(folder / "tokenizer", max_window=positions).window
    return [
        _text_plan(text, tokens, generator),
        _unet_plan(unet, tokens, generator),
        *_vae_plans(vae, generator),
    ]


def _text_plan(text: Any, tokens: int, generator: torch.Generator) -> GraphPlan:
    """Plan the text encoder: free rows, a fixed window of tokens."""

    def draw(rows: int) -> Inputs:
        return (torch.randint(text.config.vocab_size, (rows, tokens), generator=generator),)

    return GraphPlan(
        name=graphs.TEXT_ENCODER,
        module=_TextEncoder(text),
        input_names=("input_ids",),
        output_name="last_hidden_state",
        example=draw(2),
        dynamic_shapes=({0: _rows()},),
        trials=tuple(draw(rows) for rows in _TRIAL_ROWS),
    )


def _unet_plan(unet: Any, tokens: int, generator: torch.Generator) -> GraphPlan:
    """Plan the denoiser: free rows, height and width.

    Times are float32: Karras and trailing spacings ask for fractions, which an integer would cut.
    """
    config = unet.config
    rows = _rows()
    multiple = 2 ** (len(config.block_out_channels) - 1)
    native = int(config.sample_size)

    def draw(rows: int, height: int, width: int) -> Inputs:
        return (
            torch.randn(rows, config.in_channels, height, width, generator=generator),
            torch.rand(rows, generator=generator) * 999,
            torch.randn(rows, tokens, config.cross_attention_dim, generator=generator),
        )

    return GraphPlan(
        name=graphs.UNET,
        module=_UNet(unet),
        input_names=("sample", "timestep", "encoder_hidden_states"),
        output_name="prediction",
        example=draw(2, native, native + multiple),
        dynamic_shapes=(
            {0: rows, 2: _side("height", multiple), 3: _side("width", multiple)},
            {0: rows},
            {0: rows},
        ),
        trials=_trials(draw, native, multiple),
    )


def _vae_plans(vae: Any, generator: torch.Generator) -> list[GraphPlan]:
    """Plan both directions of the autoencoder: free rows, height and width."""
    channels, factor = vae.config.latent_channels, 2 ** (len(vae.config.block_out_channels) - 1)
    native = int(vae.config.sample_size) // factor

    def draw_latents(rows: int, height: int, width: int) -> Inputs:
        return (torch.randn(rows, channels, height, width, generator=generator),)

    def draw_pixels(rows: int, height: int, width: int) -> Inputs:
        shape = (rows, vae.config.in_channels, height * factor, width * factor)
        return (torch.rand(shape, generator=generator) * 2 - 1,)

    decoder = GraphPlan(
        name=graphs.VAE_DECODER,
        module=_VaeDecoder(vae),
        input_names=("latents",),
        output_name="pixels",
        example=draw_latents(2, native, native + 1),
        dynamic_shapes=({0: _rows(), 2: _side("height", 1), 3: _side("width", 1)},),
        trials=_trials(draw_latents, native, 1),
    )
    encoder = GraphPlan(
        name=graphs.VAE_ENCODER,
        module=_VaeEncoder(vae),
        input_names=("pixels",),
        output_name="moments",
        example=draw_pixels(2, native, native + 1),
        dynamic_shapes=({0: _rows(), 2: _side("height", factor), 3: _side("width", factor)},),
        trials=_trials(draw_pixels, native, 1),
    )
    return [decoder, encoder]


def _trials(
    draw: Callable[[int, int, int], Inputs], native: int, multiple: int
) -> tuple[Inputs, ...]:
    """Return inputs at the native size for several row counts, and one in portrait."""
    squares = tuple(draw(rows, native, native) for rows in _TRIAL_ROWS)
    return (*squares, draw(2, native + 2 * multiple, native))


def _rows() -> Any:
    """Return the free batch axis."""
    return Dim("rows", min=1, max=_MAX_ROWS)


def _side(name: str, multiple: int) -> Any:
    """Return a free side that is a multiple of the network's total down-sampling."""
    side = Dim(name, min=1, max=_MAX_LATENT_SIDE)
    return multiple * side if multiple > 1 else side
