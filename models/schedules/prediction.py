"""What a network's raw output says about the denoised sample, as linear forms of (x, out).

With x = alpha * denoised + sigma * noise and alpha**2 + sigma**2 = 1; v is
alpha * noise - sigma * denoised (Salimans & Ho 2022, "Progressive Distillation", appendix D).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.spec import PredictionType

Column = NDArray[np.float64]


class LinearForm(NamedTuple):
    """`x * (the sample) + out * (the raw output)`, one pair of weights per step."""

    x: Column
    out: Column


def denoised_form(prediction: PredictionType, alpha: Column, sigma: Column) -> LinearForm:
    """Return the weights that give the denoised sample. Infinite for epsilon where alpha is 0."""
    match prediction:
        case "epsilon":
            return LinearForm(1.0 / alpha, -sigma / alpha)
        case "v_prediction":
            return LinearForm(alpha, -sigma)
        case "sample":
            return LinearForm(np.zeros_like(alpha), np.ones_like(alpha))


def noise_form(prediction: PredictionType, alpha: Column, sigma: Column) -> LinearForm:
    """Return the weights that give the noise. Infinite for `sample` where sigma is 0."""
    match prediction:
        case "epsilon":
            return LinearForm(np.zeros_like(alpha), np.ones_like(alpha))
        case "v_prediction":
            return LinearForm(sigma, alpha)
        case "sample":
            return LinearForm(1.0 / sigma, -alpha / sigma)
