"""Classifier-free guidance with optional rescaling, for any array library (stop 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.interface import Array


def apply_guidance(
    cond: Array,
    uncond: Array,
    scale: Array,
    rescale: Array | None,
    row_std: Callable[[Array], Array],
) -> Array:
    """Return the guided prediction, (R, C, h, w); every row by itself.

    cond, uncond: predictions with and without the prompt, (R, C, h, w). scale: (R, 1, 1, 1).
    rescale: (R, 1, 1, 1) in 0 .. 1, how far to pull the contrast back to that of `cond`; None means
    0 for all and saves two reductions. Rows with rescale 0 have the same bits either way.
    row_std: `ArrayBackend.row_std`.
    Sources: Ho & Salimans 2022, "Classifier-Free Diffusion Guidance"; Lin et al. 2023, "Common
    Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4.
    """
    guided = uncond + scale * (cond - uncond)
    if rescale is None:
        return guided
    spread = row_std(guided)
    # A flat prediction has no contrast to correct; without this it would become NaN.
    is_flat = spread == 0
    rescaled = guided * ((row_std(cond) + is_flat) / (spread + is_flat))
    # With rescale 0 this is guided to the bit: the zero it adds has the sign of guided.
    return rescale * rescaled + (1 - rescale) * guided
