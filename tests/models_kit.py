"""Small pipeline folders, and a runner without networks, for tests of the models package."""

from __future__ import annotations

import json
import shutil
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from models.arrays import NumpyArrays
from models.interface import Footprint
from models.options import LoadOptions
from models.weights import WEIGHT_COMPONENTS, write_digests

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.interface import Array, ArrayBackend

EMBEDDED = LoadOptions.embedded_folder()
_TINY_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
)


def write_safetensors(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    """Write a float32 safetensors file from the format's description, without the library."""
    header: dict[str, Any] = {}
    offset = 0
    for name, values in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [offset, offset + values.nbytes],
        }
        offset += values.nbytes
    encoded = json.dumps(header).encode()
    body = b"".join(np.ascontiguousarray(values).tobytes() for values in tensors.values())
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)


def edit_json(path: Path, **changes: Any) -> None:
    """Set fields of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def make_hollow_folder(folder: Path) -> Path:
    """Make a pipeline folder with the embedded model's configuration and one tensor a component.

    Enough for everything that reads files without computing: specs, digests, refusals.
    """
    for name in _TINY_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EMBEDDED / name, folder / name)
    for component in WEIGHT_COMPONENTS:
        name = "model" if component == "text_encoder" else "diffusion_pytorch_model"
        weights = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
        write_safetensors(folder / component / f"{name}.safetensors", weights)
    write_digests(folder)
    return folder


class FakeRunner:
    """Implements models.runners.interface.Runner with arithmetic in place of networks."""

    has_vae_encoder = True
    footprint = Footprint(weights_bytes=3, memory_bytes=None)

    def __init__(self) -> None:
        self.arrays: ArrayBackend = NumpyArrays()
        self.encoded_ids: list[list[int]] = []
        self.decoded_rows: list[int] = []
        self.is_closed = False

    def text_encoder(self, input_ids: NDArray[np.int64]) -> Array:
        self.encoded_ids += input_ids.tolist()
        return np.repeat(input_ids[:, :, None], 4, axis=2).astype(np.float32)

    def unet(self, sample: Array, timestep: NDArray[np.float32], prompt_embeds: Array) -> Array:
        return sample * timestep[:, None, None, None] + prompt_embeds.mean()

    def vae_decoder(self, latents: Array) -> Array:
        self.decoded_rows.append(len(latents))
        return latents[:, :3].repeat(4, axis=2).repeat(4, axis=3)

    def vae_encoder(self, pixels: Array) -> Array:
        return np.concatenate([pixels[:, :, ::4, ::4]] * 2, axis=1)

    def close(self) -> None:
        self.is_closed = True


def make_stable_diffusion_folder(folder: Path, *, is_inpainting: bool = False) -> Path:
    """Save a random, tiny pipeline shaped like Stable Diffusion 1.5, by stock diffusers.

    is_inpainting: shaped like its inpainting model, whose network takes nine channels.

    Two levels, both with cross-attention, an autoencoder of factor 8 with attention, epsilon
    prediction on a PNDM schedule, 77 tokens, the early CLIP configuration (eos id 2), float32.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionInpaintPipeline,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    text_config = CLIPTextConfig(
        vocab_size=3200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=9 if is_inpainting else 4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        sample_size=64,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    tokenizer = CLIPTokenizer.from_pretrained(str(EMBEDDED / "tokenizer"), model_max_length=77)
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline_class: Any = (
        StableDiffusionInpaintPipeline if is_inpainting else StableDiffusionPipeline
    )
    pipeline = pipeline_class(
        vae=vae,
        text_encoder=CLIPTextModel(text_config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    return folder
