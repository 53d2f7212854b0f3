"""A tiny deterministic model in numpy, for tests of everything above the models.

It has no weights, but it behaves like a diffusion model: the prompt decides the picture's
colours, the seed its texture, more steps come closer to the limit, and every row is computed
by element-wise arithmetic alone, so a row's bits never depend on its batch-mates.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models.arrays import NumpyArrays
from models.errors import ModelError
from models.interface import Footprint
from models.schedules.catalog import compile_solver, scheduler_names
from models.schedules.config import NoiseScheduleConfig
from models.spec import LatentGeometry, ModelSpec, SamplingDefaults

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.interface import Array, ArrayBackend
    from models.schedules.solvers import SolverTable

_MAX_PROMPT_TOKENS = 16
_EMBEDDING_WIDTH = 8
_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


def toy_spec() -> ModelSpec:
    """Return the toy's spec: 64x64 pixels from (4, 16, 16) latents, 16 prompt tokens.

    Tests that need other sizes or defaults use `dataclasses.replace` on it.
    """
    return ModelSpec(
        model_id="toy",
        revision=hashlib.sha256(b"mintmark toy 1").hexdigest(),
        family="toy",
        latent=LatentGeometry(channels=4, factor=4),
        sizes_px=((64, 64), (96, 64)),
        default_size_px=(64, 64),
        max_prompt_tokens=_MAX_PROMPT_TOKENS,
        prediction_type="epsilon",
        schedulers=scheduler_names(NoiseScheduleConfig.from_dict(_SCHEDULE)),
        defaults=SamplingDefaults(num_inference_steps=4, guidance_scale=3.0, scheduler="ddim"),
        card={"description": "Deterministic test model; its pictures mean nothing."},
    )


class ToyModel:
    """Implements models.interface.DiffusionModel without weights.

    spec: what it claims to be; the latents must keep four channels.
    step_delay_s: slept in every `denoise` call, to stand for a slow network.
    on_denoise: called with (latents, timesteps) before each step; what it raises, `denoise` raises.
    on_decode: the same for `decode`, called with the latents.
    can_encode_image: what it claims; False stands for a folder without an encoder.
    """

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        step_delay_s: float = 0.0,
        on_denoise: Callable[[Array, NDArray[np.float32]], None] | None = None,
        on_decode: Callable[[Array], None] | None = None,
        can_encode_image: bool = True,
    ) -> None:
        self.spec = spec if spec is not None else toy_spec()
        self.arrays: ArrayBackend = NumpyArrays()
        self.is_closed = False
        self.can_encode_image = can_encode_image
        self.footprint = Footprint(weights_bytes=0, memory_bytes=0)
        self._step_delay_s = step_delay_s
        self._on_denoise = on_denoise
        self._on_decode = on_decode
        self._schedule = NoiseScheduleConfig.from_dict(_SCHEDULE)
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
        self._alphas_cumprod = np.cumprod(1.0 - betas)

    def count_tokens(self, text: str) -> int:
        """Return the number of whitespace-separated words."""
        return len(text.split())

    def encode_prompt(self, text: str) -> Array:
        """Return (1, 16, 8) float32: one hashed vector in [-1, 1) per word, zeros after the last.

        Case does not matter; words beyond the sixteenth are dropped.
        """
        embeds = np.zeros((1, _MAX_PROMPT_TOKENS, _EMBEDDING_WIDTH), dtype=np.float32)
        for position, word in enumerate(text.lower().split()[:_MAX_PROMPT_TOKENS]):
            digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()[:_EMBEDDING_WIDTH]
            embeds[0, position] = np.frombuffer(digest, dtype=np.uint8) / np.float32(128.0) - 1.0
        return embeds

    def compile_solver(self, scheduler: str, num_inference_steps: int) -> SolverTable:
        """Compile the public scheduler name; see DiffusionModel.compile_solver."""
        return compile_solver(scheduler, num_inference_steps, self._schedule)

    def encode_image(
        self, pixels: NDArray[np.uint8], blank: NDArray[np.bool_] | None = None
    ) -> Array:
        """Return (R, 4, h, w): each block's mean colour in [-1, 1], and zeros; `decode` undoes it.

        Raises ModelError if it was told that it cannot.
        """
        if not self.can_encode_image:
            raise ModelError("the toy was told to have no encoder")
        values = pixels.astype(np.float64) / 127.5 - 1.0
        if blank is not None:
            values[blank] = 0.0
        rows, height_px, width_px, _ = pixels.shape
        factor = self.spec.latent.factor
        height, width = height_px // factor, width_px // factor
        blocks = values.reshape(rows, height, factor, width, factor, 3).mean(axis=(2, 4))
        latents = np.zeros((rows, 4, height, width), np.float32)
        latents[:, :3] = np.transpose(blocks, (0, 3, 1, 2))
        return latents

    def denoise(
        self,
        latents: Array,
        timesteps: NDArray[np.float32],
        prompt_embeds: Array,
        inpainting: Array | None = None,
    ) -> Array:
        """Return the noise (R, 4, h, w) that separates `latents` from the prompt's picture.

        Where `inpainting` keeps something, that takes the place of the prompt's picture.
        """
        if self._on_denoise is not None:
            self._on_denoise(latents, timesteps)
        if self._step_delay_s > 0:
            time.sleep(self._step_delay_s)
        denoised = _picture_of(prompt_embeds) + 0.5 * _squash(latents)
        if inpainting is not None:
            redraw, kept = inpainting[:, :1], inpainting[:, 1:]
            denoised = redraw * denoised + (1.0 - redraw) * kept
        alpha_cumprod = np.interp(timesteps, np.arange(1000), self._alphas_cumprod)
        signal = np.sqrt(alpha_cumprod).astype(np.float32)[:, None, None, None]
        noise = np.sqrt(1.0 - alpha_cumprod).astype(np.float32)[:, None, None, None]
        return (latents - signal * denoised) / noise

    def decode(self, latents: Array) -> NDArray[np.uint8]:
        """Return (R, 4h, 4w, 3): the first three planes, each latent a 4x4 block of pixels."""
        if self._on_decode is not None:
            self._on_decode(latents)
        rgb = np.transpose(latents[:, :3], (0, 2, 3, 1))
        blocks = rgb.repeat(self.spec.latent.factor, axis=1).repeat(self.spec.latent.factor, axis=2)
        return np.rint(np.clip(blocks / 2 + 0.5, 0.0, 1.0) * 255).astype(np.uint8)

    def close(self) -> None:
        """Remember that the model was closed, for tests that check the shutdown."""
        self.is_closed = True


def _picture_of(prompt_embeds: Array) -> Array:
    """Return (R, 4, 1, 1): the colour that a prompt's words add up to, each plane in (-1, 1)."""
    return _squash(prompt_embeds[:, :, :4].sum(axis=1))[:, :, None, None]


def _squash(values: Array) -> Array:
    """Map to (-1, 1) with operations that IEEE 754 rounds exactly, so bits are portable."""
    return values / (1.0 + np.abs(values))
