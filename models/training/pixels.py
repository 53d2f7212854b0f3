"""Pixels between -1 and 1, as networks see them, and bytes, as files hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def to_pictures(pixels: Tensor) -> NDArray[np.uint8]:
    """Return (n, H, W, 3) uint8 of pixels (n, 3, H, W), nominally -1 to 1, rounded."""
    unit = pixels.detach().float().cpu().numpy() * 0.5 + 0.5
    rounded: NDArray[np.uint8] = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return rounded.transpose(0, 2, 3, 1)
