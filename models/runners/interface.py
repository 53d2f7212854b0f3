"""The seam between a model family and whatever computes its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from models.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.interface import Array, ArrayBackend, Footprint


class RunnerUnavailable(ModelError):
    """This installation or machine lacks what the chosen runner needs; the message says what."""


class Runner(Protocol):
    """The networks of one loaded pipeline folder, in float32 at the seam.

    Shapes: rows R, tokens T, width D, latents (R, C, h, w), pixels (R, 3, H, W). Arrays are the
    runner's own (`arrays` moves them); token ids and times come from the host. One thread only.
    `has_vae_encoder`: whether the folder carries what `vae_encoder` needs.
    """

    arrays: ArrayBackend
    has_vae_encoder: bool
    footprint: Footprint

    def text_encoder(self, input_ids: NDArray[np.int64]) -> Array:
        """Return the last hidden state (R, T, D), final layer norm applied, of ids (R, T)."""

    def unet(self, sample: Array, timestep: NDArray[np.float32], prompt_embeds: Array) -> Array:
        """Return the raw prediction (R, C, h, w) for times (R,) and embeds (R, T, D).

        sample: as many channels as the network reads, (R, C or more, h, w).
        """

    def vae_decoder(self, latents: Array) -> Array:
        """Return pixels (R, 3, H, W), nominally in [-1, 1], of unscaled latents."""

    def vae_encoder(self, pixels: Array) -> Array:
        """Return the posterior's mean and log-variance, joined as (R, 2C, h, w).

        Raises WeightsError when the folder carries no encoder graph.
        """

    def close(self) -> None:
        """Free memory and threads; the runner is of no use afterwards."""
