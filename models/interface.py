"""The seam between the engine and every model: what a model can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.schedules.solvers import SolverTable
    from models.spec import ModelSpec

# A native array of the runner: numpy.ndarray or torch.Tensor. Both support the arithmetic,
# indexing and broadcasting that the fused step needs, so one expression serves both.
Array = Any


class ArrayBackend(Protocol):
    """Where latents live. All arrays are float32 whatever the network computes in."""

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Return a zero array on the device."""

    def from_numpy(self, values: NDArray[np.float32]) -> Array:
        """Copy host values to the device."""

    def to_numpy(self, values: Array) -> NDArray[np.float32]:
        """Copy device values to the host."""

    def index(self, indices: Sequence[int]) -> Array:
        """Return `indices` in the form that gathers and scatters rows on the device."""

    def concat(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """Join along `axis`, the first one if not said."""

    def row_std(self, values: Array) -> Array:
        """Return the population-corrected standard deviation of each row, (rows, 1, 1, 1).

        Each row's result must not depend on the other rows, bit for bit on the CPU.
        """


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes. `weights_bytes`: its weight files and graphs on disk.

    `memory_bytes`: its weights on the device they compute on; None if the runner cannot tell.
    """

    weights_bytes: int
    memory_bytes: int | None


class DiffusionModel(Protocol):
    """A latent diffusion model, loaded. Called from one thread only (the engine's).

    Shapes: rows R, tokens T, width D, latents (R, C, h, w). `can_encode_image`: whether
    `encode_image` works, that is, whether the model can start from a picture.
    """

    spec: ModelSpec
    arrays: ArrayBackend
    can_encode_image: bool
    footprint: Footprint

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of `text` without special tokens. Thread-safe, no device."""

    def encode_prompt(self, text: str) -> Array:
        """Return (1, T, D) embeddings of `text`, truncated to the model's window."""

    def compile_solver(self, scheduler: str, num_inference_steps: int) -> SolverTable:
        """Compile the public scheduler name into one row of coefficients per step.

        Thread-safe, no device. Raises ValueError for an unknown name or an impossible step count.
        """

    def encode_image(
        self, pixels: NDArray[np.uint8], blank: NDArray[np.bool_] | None = None
    ) -> Array:
        """Return the latents (R, C, h, w) of RGB pixels (R, height, width, 3).

        The mean of the encoder's distribution: a picture has one set of latents, whatever the seed.
        blank: (R, height, width), pixels to take as mid-grey, which no RGB value is exactly.
        Raises ModelError if `can_encode_image` is false.
        """

    def denoise(
        self,
        latents: Array,
        timesteps: NDArray[np.float32],
        prompt_embeds: Array,
        inpainting: Array | None = None,
    ) -> Array:
        """Return the network's raw prediction (R, C, h, w) for scaled latents, one time per row.

        inpainting: (R, 1 + C, h, w), the mask (1 = redraw) and the latents of what is kept, for a
        model whose `spec.takes_mask`; None keeps nothing. Other models get None.
        """

    def decode(self, latents: Array) -> NDArray[np.uint8]:
        """Return RGB pixels (R, height, width, 3) of finished latents."""

    def close(self) -> None:
        """Free the device."""
